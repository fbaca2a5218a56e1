"""The incident report: what happened, what was decided and done, and what is left to people. Markdown or a JSON-able document."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC

from responder.domain.incident import Incident, IncidentEvent, IncidentStatus, Phase, StepRecord
from responder.domain.markdown import escape, link, table
from responder.domain.report_facts import (
    actions,
    between,
    clock,
    cut,
    follow_up,
    measures,
    moments,
    seconds,
    stamp,
    verdicts,
    when,
)
from responder.domain.selection import describe
from responder.domain.version import Version
from responder.domain.wording import spell_number

ROWS_LIMIT = 500
"""Rows of one table; of a longer timeline the first and the last are shown."""
OUTPUT_LIMIT = 600
_BLANK = "*to be filled in by people*"


def render_report(incident: Incident, events: Sequence[IncidentEvent]) -> str:
    """The report in Markdown. Text from outside is escaped and cut: it can't leave its cell."""
    sections = [
        [f"# {_title(incident)}", "", *_header(incident)],
        ["## Impact", "", *_impact(incident)],
        ["## Trigger", "", *_trigger(incident)],
        ["## Decision and guards", "", *_decision(incident, events)],
        ["## Timeline", "", *_timeline(incident, events)],
        ["## Steps", "", *_steps(incident.steps)],
        ["## Verification", "", *_verification(incident)],
        ["## Root cause", "", _BLANK],
        ["## Actions taken", "", *_numbered(actions(incident, events))],
        ["## Follow-up", "", *_follow_up(incident)],
    ]
    return "\n\n".join("\n".join(section).rstrip() for section in sections) + "\n"


def report_document(incident: Incident, events: Sequence[IncidentEvent]) -> dict[str, object]:
    """The same as values: times in RFC 3339, durations in seconds, text as it is but cut."""
    return {
        "id": incident.id,
        "title": _title(incident),
        "target": incident.target,
        "workload": incident.workload,
        "rule": incident.rule,
        "group": incident.group,
        "severity": incident.severity.value,
        "status": incident.status.value,
        "reason": cut(incident.reason),
        "versions": [
            {"target": name, "from": _version(pin.from_version), "to": _version(pin.to_version)}
            for name, pin in sorted(incident.pins.items())
        ],
        "impact": {
            **{moment: stamp(at) for moment, at in moments(incident)},
            **{f"{name}_seconds": seconds(begin, end) for name, begin, end in measures(incident)},
        },
        "trigger": {
            "labels": {cut(name): cut(value) for name, value in sorted(incident.trigger_labels.items())},
            "annotations": {cut(name): cut(value) for name, value in sorted(incident.trigger_annotations.items())},
            "value": incident.value,
            "link": cut(incident.trigger_link),
        },
        "guards": [
            {"at": stamp(event.at), "target": str(event.data.get("target", "")), "verdicts": verdicts(event)}
            for event in events
            if event.kind == "guards"
        ],
        "timeline": [{"at": stamp(event.at), "kind": event.kind, "text": cut(event.text)} for event in events],
        "steps": [
            {
                "name": step.name,
                "uses": step.uses,
                "phase": step.phase.value,
                "status": step.status.value,
                "attempts": step.attempts,
                "started_at": stamp(step.started_at),
                "ended_at": stamp(step.ended_at),
                "output": cut(step.output),
            }
            for step in incident.steps
        ],
        "root_cause": None,
        "actions": actions(incident, events),
        "follow_up": [{"when": period, "items": list(items)} for period, items in follow_up(incident)],
    }


def _version(version: Version) -> dict[str, object]:
    return {"version": version.version, "revision": version.revision, "fingerprint": version.fingerprint}


# --- sections -------------------------------------------------------------------------------------------------------------


def _title(incident: Incident) -> str:
    return f"{'Rollback' if incident.acted_at else 'Incident'} report: {escape(incident.target or incident.rule, 80)}"


def _header(incident: Incident) -> list[str]:
    opened = incident.opened_at.astimezone(UTC)
    rows = [
        ("Incident", escape(incident.id)),
        ("Date", opened.date().isoformat()),
        ("Time", f"{clock(opened)} UTC"),
        ("Duration", between(incident.opened_at, incident.closed_at) or "still open"),
        ("Target", escape(incident.target) or "none"),
        *((("Workload", escape(incident.workload)),) if incident.workload else ()),
        ("Severity", incident.severity.value),
        ("Status", incident.status.value.replace("_", " ")),
        ("Trigger", _began_by(incident)),
    ]
    for name, pin in sorted(incident.pins.items()):
        of = f" of {escape(name, 80)}" if len(incident.pins) > 1 else ""
        to, came = ("Target version", "Rolled back from") if incident.acted_at else ("Would have gone to", "Stays at")
        rows.append((f"{to}{of}", escape(describe(pin.to_version))))
        rows.append((f"{came}{of}", escape(describe(pin.from_version))))
    return table(("", ""), [(f"**{name}**", value) for name, value in rows])


def _began_by(incident: Incident) -> str:
    order = incident.order
    if order is None:
        return f"Automatic ({escape(incident.rule)})"
    return f"Manual, ordered by {escape(order.by, 80)}: {escape(order.reason)}"


def _impact(incident: Incident) -> list[str]:
    lines = table(
        ("Moment", "Time (UTC)"),
        [(moment.replace("_", " ").capitalize().removesuffix(" at"), when(at)) for moment, at in moments(incident)],
    )
    lasted = [(name.replace("_", " ").capitalize(), between(begin, end) or "-") for name, begin, end in measures(incident)]
    lines += ["", *table(("Measure", "Duration"), lasted), ""]
    lines += [f"- **{what}**: {_BLANK}" for what in ("Users affected", "Downtime", "Data loss", "Revenue impact")]
    return lines


def _trigger(incident: Incident) -> list[str]:
    lines = [f"- Rule: {escape(incident.rule)}", f"- Group: {escape(incident.group) or 'all alerts'}"]
    if incident.value is not None:
        lines.append(f"- Value: {spell_number(incident.value)}")
    if incident.trigger_link:
        lines.append(f"- Link: {link(incident.trigger_link)}")
    lines += [f"- Joined by: {escape(rule)}, group {escape(group) or 'all alerts'}" for rule, group in incident.groups[1:21]]
    for name, pairs in (("Label", incident.trigger_labels), ("Annotation", incident.trigger_annotations)):
        if pairs:
            lines += ["", *table((name, "Value"), [(escape(key, 80), escape(pairs[key])) for key in sorted(pairs)[:ROWS_LIMIT]])]
    return lines


def _decision(incident: Incident, events: Sequence[IncidentEvent]) -> list[str]:
    lines = [f"Outcome: **{incident.status.value.replace('_', ' ')}**: {escape(incident.reason, OUTPUT_LIMIT)}"]
    opened = next((event.text for event in events if event.kind == "opened"), "")
    if opened:
        lines += ["", f"Why it was opened: {escape(opened, OUTPUT_LIMIT)}"]
    asked = [event for event in events if event.kind == "guards"][-20:]
    said: dict[str, list[tuple[str, ...]]] = {}
    for event in asked:
        of = escape(str(event.data.get("target", "")), 80)
        rows = [tuple(escape(one[part]) for part in ("guard", "outcome", "reason")) for one in verdicts(event)]
        heading = f"Guards{f' on {of}' if of else ''} at {when(event.at)}"
        if rows and said.get(of) == rows:
            lines += ["", f"{heading}: the same, asked again."]
            continue
        said[of] = rows
        lines += ["", f"{heading}:", ""]
        lines += table(("Guard", "Outcome", "Why"), rows) if rows else [f"Result: {escape(event.text)}"]
    if not asked:
        lines += ["", "No guard was asked: nothing was about to be changed."]
    return lines


def _timeline(incident: Incident, events: Sequence[IncidentEvent]) -> list[str]:
    rows = [
        (when(event.at), between(incident.began_at, event.at) or "", escape(event.kind, 40), escape(event.text))
        for event in events
    ]
    if not rows:
        return ["Nothing is on record."]
    if len(rows) > ROWS_LIMIT:
        left_out = len(rows) - ROWS_LIMIT
        half = ROWS_LIMIT // 2
        rows = [*rows[:half], ("…", "", "", f"{left_out} more are on record"), *rows[-half:]]
    return table(("Time (UTC)", "After it began", "Event", "What"), rows)


def _steps(steps: Sequence[StepRecord]) -> list[str]:
    if not steps:
        return ["No step was run."]
    rows = [
        (
            str(number),
            escape(step.name, 80),
            escape(step.uses, 40),
            step.phase.value.replace("_", " "),
            step.status.value,
            str(step.attempts),
            when(step.started_at),
            between(step.started_at, step.ended_at) or "-",
            escape(step.output, OUTPUT_LIMIT),
        )
        for number, step in enumerate(steps[:ROWS_LIMIT], 1)
    ]
    return table(("#", "Step", "Uses", "Phase", "Status", "Attempts", "Started (UTC)", "Took", "Output"), rows)


def _verification(incident: Incident) -> list[str]:
    checks = [step for step in incident.steps if step.phase is Phase.VERIFY]
    lines = [
        f"- Check {escape(step.name, 80)}: {step.status.value}. {escape(step.output)}".rstrip() for step in checks[:ROWS_LIMIT]
    ]
    if incident.recovered_at is not None:
        held = "all checks held" if checks else "the plan's steps succeeded; it has no checks of its own"
        lines.append(f"- Recovered at {when(incident.recovered_at)}: {held}.")
    if incident.monitor_until is not None:
        lines.append(f"- Watched until {when(incident.monitor_until)}: {_watch_outcome(incident.status)}.")
    return lines or ["Nothing was verified: the plan did not come that far."]


def _watch_outcome(status: IncidentStatus) -> str:
    if status is IncidentStatus.MONITORING:
        return "still watching"
    return "the alert cleared" if status is IncidentStatus.RESOLVED else f"the incident ended {status.value}"


def _numbered(done: Iterable[str]) -> list[str]:
    return [f"{number}. {escape(text, 340)}" for number, text in enumerate(done, 1)] or ["None: nothing was changed."]


def _follow_up(incident: Incident) -> list[str]:
    lines: list[str] = []
    for period, items in follow_up(incident):
        lines += [f"### {escape(period, 80)}", "", *(f"- [ ] {escape(item)}" for item in items), ""]
    return lines
