"""What a report says, before it is Markdown or JSON: moments, measures, verdicts, actions, and what is left to people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from responder.domain.incident import Incident, IncidentEvent, IncidentStatus, StepRecord, StepStatus
from responder.domain.wording import one_line, spell_duration

_DEEDS = frozenset({"acting", "recovered", "resolved", "failed"})
_FOLLOW_UP: tuple[tuple[str, tuple[str, ...]], ...] = (
    (
        "Immediate (0-30 minutes)",
        (
            "Verify that all systems are operational",
            "Update the incident's status",
            "Notify stakeholders that the rollback is complete",
            "Document timeline and actions",
            "Keep an eye on the system's stability",
        ),
    ),
    (
        "Short-term (30 minutes - 4 hours)",
        (
            "Hold a review of the rollback",
            "Document the root cause of the original issue",
            "Plan the fix for the version that was rolled back",
            "Update monitoring and alerting if needed",
            "Tell the team what was learned",
        ),
    ),
    (
        "Long-term (4 hours - 7 days)",
        (
            "Implement the fix for the original issue",
            "Test the fix in staging",
            "Update deployment procedures if needed",
            "Review and improve the rollback automation",
            "Update documentation and runbooks",
        ),
    ),
)

_IF_NOTHING_WAS_CHANGED = {
    "Notify stakeholders that the rollback is complete": "Notify stakeholders that nothing was rolled back",
    "Hold a review of the rollback": "Hold a review of the incident",
    "Plan the fix for the version that was rolled back": "Plan the fix for the version that is running",
}
_IF_IT_FAILED = {"Notify stakeholders that the rollback is complete": "Notify stakeholders that the rollback did not help"}


def follow_up(incident: Incident) -> list[tuple[str, list[str]]]:
    """What is left to people, by period: as the plan says, else what is good practice."""
    if incident.plan is not None and incident.plan.follow_up:
        return [(period, list(items)) for period, items in incident.plan.follow_up.items()]
    if incident.acted_at is None:
        other = _IF_NOTHING_WAS_CHANGED
    else:
        other = _IF_IT_FAILED if incident.status is IncidentStatus.FAILED else {}
    return [(period, [other.get(item, item) for item in items]) for period, items in _FOLLOW_UP]


def moments(incident: Incident) -> list[tuple[str, datetime | None]]:
    """What happened when, in order; None for what has not happened."""
    resolved = incident.closed_at if incident.status is IncidentStatus.RESOLVED else None
    known = [
        ("began_at", incident.began_at),
        ("opened_at", incident.opened_at),
        ("acted_at", incident.acted_at),
        ("recovered_at", incident.recovered_at),
        ("resolved_at", resolved),
    ]
    return known if resolved or incident.closed_at is None else [*known, ("closed_at", incident.closed_at)]


def measures(incident: Incident) -> list[tuple[str, datetime | None, datetime | None]]:
    """Name, from, to. Recovery is counted from when the trouble began, because that is what users felt."""
    return [
        ("time_to_detect", incident.began_at, incident.opened_at),
        ("time_to_act", incident.opened_at, incident.acted_at),
        ("time_to_recover", incident.began_at, incident.recovered_at),
        ("duration", incident.opened_at, incident.closed_at),
    ]


def verdicts(event: IncidentEvent) -> list[dict[str, str]]:
    """Those of the guards, as the event holds them; [] for an event without."""
    rows = event.data.get("verdicts")
    if not isinstance(rows, (list, tuple)):
        return []
    return [
        {part: cut(str(row.get(part, ""))) for part in ("guard", "outcome", "reason")} for row in rows if isinstance(row, Mapping)
    ]


def stamp(at: datetime | None) -> str | None:
    """RFC 3339, UTC, as the JSON of a report has it."""
    return None if at is None else at.astimezone(UTC).isoformat().replace("+00:00", "Z")


def when(at: datetime | None) -> str:
    """Day and time for readers, `-` for never. UTC."""
    return "-" if at is None else f"{at.astimezone(UTC):%Y-%m-%d} {clock(at)}"


def clock(at: datetime) -> str:
    """The time of day for readers. UTC."""
    return f"{at.astimezone(UTC):%H:%M:%S}"


def between(begin: datetime | None, end: datetime | None) -> str | None:
    """How long it took, for readers; None unless both are known."""
    return None if begin is None or end is None else spell_duration(end - begin)


def seconds(begin: datetime | None, end: datetime | None) -> float | None:
    """How long it took; None unless both are known."""
    return None if begin is None or end is None else (end - begin).total_seconds()


def cut(text: str, limit: int = 5000) -> str:
    """limit: in characters. What is within it keeps its lines."""
    return one_line(text, limit) if len(text) > limit else text


def actions(incident: Incident, events: Sequence[IncidentEvent]) -> list[str]:
    """One line for everything that was done, oldest first."""
    done = [
        (step.ended_at, f"{_named(step)} {step.status.value}" + _tries(step))
        for step in incident.steps
        if step.ended_at is not None and step.status is not StepStatus.SKIPPED
    ]
    done += [(event.at, event.text) for event in events if event.kind in _DEEDS]
    return [f"{when(at)}: {cut(text, 300)}" for at, text in sorted(done, key=lambda one: one[0])]


def _named(step: StepRecord) -> str:
    return step.name if step.name == step.uses else f"{step.name} ({step.uses})"


def _tries(step: StepRecord) -> str:
    return f" after {step.attempts} tries" if step.attempts > 1 else ""
