"""What a person can tell an incident as it stands now, and how it stands. Pure: carriers make buttons and lines of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from responder.domain.incident import FORCED, Approval, Incident, IncidentStatus, StepStatus, said_by
from responder.domain.wording import spell_time


class OfferKind(StrEnum):
    APPROVE = "approve"
    REJECT = "reject"
    STOP = "stop"  # a countdown
    CANCEL = "cancel"  # what runs
    ACKNOWLEDGE = "acknowledge"
    SUPPRESS = "suppress"  # its alerts, for an hour
    HOLD = "hold"  # everything


@dataclass(frozen=True, slots=True)
class Offer:
    """step: of the request that a yes or no answers, "" for the start of the run and for other kinds."""

    kind: OfferKind
    step: str = ""


# Over, or done on purpose: nobody need take it in hand, and there is nothing left to silence.
_SETTLED = frozenset({IncidentStatus.RESOLVED, IncidentStatus.SUPPRESSED, IncidentStatus.CANCELLED, IncidentStatus.OBSERVED})


def offers_of(incident: Incident, *, held: bool) -> tuple[Offer, ...]:
    """In the order in which they are shown. held: whether everything is on hold already."""
    offers: list[Offer] = []
    can_stop = incident.is_open and incident.cancel is None
    request = _request(incident)
    if can_stop and request is not None:
        offers += [Offer(OfferKind.APPROVE, request.step), Offer(OfferKind.REJECT, request.step)]
    if can_stop and incident.status is IncidentStatus.COUNTDOWN:
        offers.append(Offer(OfferKind.STOP))
    elif can_stop and not incident.failure and incident.run_started_at is not None:
        offers.append(Offer(OfferKind.CANCEL))
    if incident.status not in _SETTLED:
        if incident.acknowledged is None:
            offers.append(Offer(OfferKind.ACKNOWLEDGE))
        if incident.quieted is None and incident.rule != FORCED:
            offers.append(Offer(OfferKind.SUPPRESS))
    if incident.is_open and not held:
        offers.append(Offer(OfferKind.HOLD))
    return tuple(offers)


def standing_of(incident: Incident, now: datetime, *, hold: str = "") -> str:
    """One line on how it stands. hold: who holds everything and why, "" when nothing is on hold."""
    parts = [_status(incident, now)]
    if incident.cancel is not None and incident.is_open:
        parts.append(said_by("being stopped, cancelled", incident.cancel))
    if incident.acknowledged is not None:
        parts.append(said_by("acknowledged", incident.acknowledged))
    if incident.quieted is not None:
        parts.append(said_by("its alerts are suppressed", incident.quieted))
    if hold and incident.is_open:
        parts.append(f"everything is {hold}")
    return "; ".join(parts)


def _status(incident: Incident, now: datetime) -> str:
    request = _request(incident)
    if incident.is_open and request is not None:
        who = f" of {' or '.join(request.by)}" if request.by else ""
        return f"Waits for the yes{who} until {spell_time(request.expires_at, now)}"
    if incident.status is IncidentStatus.COUNTDOWN and incident.countdown_until is not None:
        return f"Counts down until {spell_time(incident.countdown_until, now)}"
    if incident.status is IncidentStatus.RUNNING:
        running = next((step for step in incident.steps if step.status is StepStatus.RUNNING), None)
        done = sum(step.status in (StepStatus.SUCCEEDED, StepStatus.SKIPPED) for step in incident.steps)
        if running is not None:
            return f"Running: {running.name}, {done} of {len(incident.steps)} steps are done"
        return "Running" if incident.run_started_at is not None else "Checking"
    if incident.status is IncidentStatus.MONITORING and incident.monitor_until is not None:
        return f"Monitoring until {spell_time(incident.monitor_until, now)}"
    return incident.status.value.replace("_", " ").capitalize()


def _request(incident: Incident) -> Approval | None:
    """The oldest that is open."""
    return next((one for one in incident.approvals if one.given is None and one.denied is None), None)
