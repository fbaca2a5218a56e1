"""How a replay is shown: tables for people, one document for machines."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import click

from responder.cli.table import print_table
from responder.domain.decision import Decision, DecisionKind
from responder.domain.hindsight import Comparison, Difference
from responder.domain.wording import one_line, spell_number
from responder.engine.replay import Replayed

_ROWS = 200
_QUERIES = 10

# --- for people ----------------------------------------------------------------------------------------------------------


def show(name: str, found: Replayed, responses: list[Decision], comparisons: list[Comparison] | None, seconds: float) -> None:
    signals = f"{found.signals} signal{'' if found.signals == 1 else 's'}"
    click.echo(f"{signals} in {found.entries} entr{'y' if found.entries == 1 else 'ies'} of {name}, in {seconds:.1f} s")
    if found.first_at and found.last_at:
        click.echo(f"from {spell_at(found.first_at)} to {spell_at(found.last_at)} UTC")
    click.echo("decisions: " + (", ".join(f"{count} {kind.value}" for kind, count in sorted(found.counts.items())) or "none"))
    click.echo()
    rows = [
        [
            spell_at(one.at),
            one.kind.value,
            one.response.value,
            one.severity.value,
            one.rule,
            one.group or "-",
            _number(one),
            one.reason,
        ]
        for one in responses[:_ROWS]
    ]
    headings = ["AT (UTC)", "DECISION", "RESPONSE", "SEVERITY", "RULE", "GROUP", "VALUE", "REASON"]
    print_table(headings, rows, empty="These rules would not have responded to anything.")
    if len(responses) > _ROWS:
        click.echo(f"… and {len(responses) - _ROWS} more (--json lists them)")
    if found.groups:
        still = f"{found.groups} group{' was' if found.groups == 1 else 's were'}"
        click.echo(f"{still} still pending or firing when the recording ends; what comes later is not decided here.")
    if found.unread:
        click.echo(f"{len(found.unread)} queries of these rules were not asked then; their numbers are missing here:")
        for query in found.unread[:_QUERIES]:
            click.echo(f"  {one_line(query, 120)}")
    if comparisons is not None:
        _show_comparisons(comparisons)


def _show_comparisons(comparisons: list[Comparison]) -> None:
    click.echo()
    counts = {kind: sum(one.difference is kind for one in comparisons) for kind in Difference}
    click.echo("against the incidents on record: " + ", ".join(f"{count} {kind.value}" for kind, count in counts.items()))
    different = [one for one in comparisons if one.difference is not Difference.SAME]
    rows = [[_mark(one), *_difference(one)] for one in different[:_ROWS]]
    if rows:
        print_table(["", "AT (UTC)", "RULE", "GROUP", "INCIDENT", "STATUS", "DIFFERENCE"], rows, empty="")
    if len(different) > _ROWS:
        click.echo(f"… and {len(different) - _ROWS} more (--json lists them)")


def _mark(comparison: Comparison) -> str:
    return {Difference.NEW: "+", Difference.GONE: "-", Difference.CHANGED: "~", Difference.SAME: " "}[comparison.difference]


def _difference(comparison: Comparison) -> list[str]:
    decision, incident = comparison.decision, comparison.incident
    text = "; ".join(comparison.notes)
    if decision is not None and incident is None:
        return [
            spell_at(decision.at),
            decision.rule,
            decision.group or "-",
            "-",
            "-",
            f"would have responded ({decision.response.value})",
        ]
    if incident is None:
        return []
    at = decision.at if decision is not None else incident.opened_at
    rule, group = (decision.rule, decision.group) if decision is not None else (incident.rule, incident.group)
    return [spell_at(at), rule, group or "-", incident.id, incident.status.value, text or "would not have been"]


def _number(decision: Decision) -> str:
    return "-" if decision.value is None else spell_number(decision.value)


def spell_at(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S}"


# --- for machines --------------------------------------------------------------------------------------------------------


def document(found: Replayed, comparisons: list[Comparison] | None, seconds: float) -> dict[str, Any]:
    return {
        "entries": found.entries,
        "signals": found.signals,
        "first_at": found.first_at.isoformat() if found.first_at else None,
        "last_at": found.last_at.isoformat() if found.last_at else None,
        "seconds": round(seconds, 3),
        "counts": {kind.value: found.counts.get(kind, 0) for kind in DecisionKind},
        "left_out": found.left_out,
        "unread": found.unread,
        "decisions": [_decision(one) for one in found.decisions],
        "differences": None if comparisons is None else [_comparison(one) for one in comparisons],
    }


def _decision(decision: Decision) -> dict[str, Any]:
    return {
        "at": decision.at.isoformat(),
        "kind": decision.kind.value,
        "rule": decision.rule,
        "group": decision.group,
        "target": decision.target or None,
        "severity": decision.severity.value,
        "response": decision.response.value,
        "inconclusive": decision.inconclusive,
        "value": decision.value,
        "began_at": decision.began_at.isoformat() if decision.began_at else None,
        "due_at": decision.due_at.isoformat() if decision.due_at else None,
        "reason": decision.reason,
    }


def _comparison(comparison: Comparison) -> dict[str, Any]:
    incident = comparison.incident
    return {
        "difference": comparison.difference.value,
        "notes": list(comparison.notes),
        "decision": None if comparison.decision is None else _decision(comparison.decision),
        "incident": None
        if incident is None
        else {
            "id": incident.id,
            "rule": incident.rule,
            "group": incident.group,
            "status": incident.status.value,
            "opened_at": incident.opened_at.isoformat(),
            "reason": one_line(incident.reason, 500),
        },
    }
