"""What other rules would have decided, held against what really happened."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from responder.domain.decision import Decision
from responder.domain.incident import Incident
from responder.domain.rulebook import Response
from responder.domain.wording import spell_duration

SAME_TIME = timedelta(seconds=2)
"""A decision is on record when its incident opened, which is a moment later."""


class Difference(StrEnum):
    SAME = "same"
    CHANGED = "changed"  # the same trouble, decided at another time or in another way
    NEW = "new"  # nothing happened then
    GONE = "gone"  # an incident that would not have been


@dataclass(frozen=True, slots=True)
class Comparison:
    """decision: None for GONE. incident: None for NEW. notes: what is different."""

    difference: Difference
    decision: Decision | None
    incident: Incident | None
    notes: tuple[str, ...] = ()


def compare(responses: Iterable[Decision], incidents: Sequence[Incident]) -> list[Comparison]:
    """In the order of time. An incident is found again by its identity, else by target and episode: rules may have new names."""
    by_identity = {identity: each for each in incidents for identity in (each.identity, *each.joined)}
    found: list[Comparison] = []
    answered: set[str] = set()
    for decision in responses:
        incident = by_identity.get(decision.identity) or _of_this_episode(decision, incidents)
        if incident is None:
            found.append(Comparison(Difference.NEW, decision, None))
            continue
        notes = _notes(decision, incident) if incident.id not in answered else ()  # what joins later is compared with nothing
        answered.add(incident.id)
        found.append(Comparison(Difference.CHANGED if notes else Difference.SAME, decision, incident, notes))
    found += [Comparison(Difference.GONE, None, each) for each in incidents if each.id not in answered and each.rule]
    return sorted(found, key=_when)


def _when(comparison: Comparison) -> float:
    if comparison.decision is not None:
        return comparison.decision.at.timestamp()
    return comparison.incident.opened_at.timestamp() if comparison.incident is not None else 0.0


def _of_this_episode(decision: Decision, incidents: Sequence[Incident]) -> Incident | None:
    ends = (f"|{decision.episode}", f"|{decision.episode}|ask")
    for incident in incidents:
        if incident.target == decision.target and any(one.endswith(ends) for one in (incident.identity, *incident.joined)):
            return incident
    return None


def _notes(decision: Decision, incident: Incident) -> tuple[str, ...]:
    notes = []
    apart = decision.at - incident.opened_at
    if abs(apart) > SAME_TIME:
        notes.append(f"{spell_duration(abs(apart))} {'later' if apart > timedelta(0) else 'earlier'}")
    if decision.rule != incident.rule and (decision.rule, decision.group) not in incident.groups:
        notes.append(f"by rule {decision.rule}, not {incident.rule}")
    acted = Response.NOTIFY if incident.plan is None else Response.APPROVE if incident.asks else Response.ROLLBACK
    if decision.response is not acted:
        notes.append(f"response {decision.response.value}, not {acted.value}")
    if decision.severity is not incident.severity:
        notes.append(f"severity {decision.severity.value}, not {incident.severity.value}")
    return tuple(notes)
