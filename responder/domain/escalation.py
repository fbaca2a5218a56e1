"""When other people are called because nobody has an incident in hand. Pure.

It counts from when the incident opened, and for what a person ordered from when it failed. It ends when somebody acknowledges,
rejects or cancels; when the incident is resolved; and, where nothing was changed, when the alert is over. While a rollback that
worked is being watched it stands still: if the watch fails, it is told at once what was due meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from responder.domain.incident import Incident, IncidentStatus
from responder.domain.rulebook import EscalationLevel, Severity
from responder.domain.wording import spell_duration, spell_time

_NOBODY_IS_NEEDED = frozenset(
    {
        IncidentStatus.MONITORING,
        IncidentStatus.RESOLVED,
        IncidentStatus.OBSERVED,
        IncidentStatus.CANCELLED,
        IncidentStatus.SUPPRESSED,
    }
)
_UNTOUCHED = frozenset({IncidentStatus.REFUSED, IncidentStatus.NOTIFIED})


def ends_with_its_alert(incident: Incident) -> bool:
    """Closed and nothing was changed: once the alert is over, there is nothing left to do."""
    return incident.status in _UNTOUCHED


def counted_from(incident: Incident) -> datetime | None:
    """When people were first needed; None while nobody has to be called (any more)."""
    if incident.acknowledged is not None or any(one.denied is not None and one.denied.by for one in incident.approvals):
        return None
    if incident.status in _NOBODY_IS_NEEDED or (incident.calm_at is not None and ends_with_its_alert(incident)):
        return None
    if incident.order is not None:
        return incident.closed_at if incident.status is IncidentStatus.FAILED else None
    return incident.opened_at


def due_levels(incident: Incident, levels: Iterable[EscalationLevel], now: datetime) -> list[EscalationLevel]:
    """Those whose time has come and that were not told yet, in the order of time."""
    start = counted_from(incident)
    return [] if start is None else [level for level in _untold(incident, levels) if start + level.after <= now]


def next_level_at(incident: Incident, levels: Iterable[EscalationLevel]) -> datetime | None:
    """When the next level that was not told yet is due, which may be past; None when nobody has to be called."""
    start = counted_from(incident)
    after = min((level.after for level in _untold(incident, levels)), default=None)
    return None if start is None or after is None else start + after


def levels_for(incident: Incident, levels: Iterable[EscalationLevel]) -> list[EscalationLevel]:
    """All levels that concern incidents like this, told or not."""
    return levels_of(incident.target, incident.severity, levels)


def levels_of(target: str, severity: Severity, levels: Iterable[EscalationLevel]) -> list[EscalationLevel]:
    """In the order of time: those for the target, else those for everybody. target: "" for none."""
    concerned = [level for level in levels if severity in level.severities]
    own = [level for level in concerned if target in level.targets]
    return sorted(own or (level for level in concerned if not level.targets), key=lambda level: level.after)


def describe_call(incident: Incident, level: EscalationLevel, number: int, of: int, now: datetime) -> str:
    """What those who are called read. number: of the level, counted from 1."""
    waited = _waited(incident, now)
    why = f"Nobody has acknowledged this for {spell_duration(waited)}" if waited else "This needs somebody"
    asked = next((one for one in incident.approvals if one.given is None and one.denied is None), None)
    if incident.is_open and asked is not None:
        state = f"it waits for approval until {spell_time(asked.expires_at, now)}"
    elif incident.is_open:
        state = f"it is {incident.status.value.replace('_', ' ')}: {incident.reason}"
    else:
        state = f"it ended {incident.status.value}: {incident.reason}"
    return (
        f"{why}; {state}. Escalation level {number} of {of}, due after {spell_duration(level.after)}. "
        f"Who takes it: responder acknowledge {incident.id}"
    )


def _waited(incident: Incident, now: datetime) -> timedelta:
    start = counted_from(incident) or now
    return timedelta(seconds=int(max(timedelta(0), now - start).total_seconds()))


def _untold(incident: Incident, levels: Iterable[EscalationLevel]) -> list[EscalationLevel]:
    return [level for level in levels_for(incident, levels) if level.after not in incident.escalated]
