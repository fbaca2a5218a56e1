"""`responder explain`: the story of an incident, or what a rule is about just now, in sentences."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import click

from responder.cli.client import ServiceClient, pass_client
from responder.cli.commands import AS_JSON, print_json
from responder.domain.incident import FORCED
from responder.domain.wording import one_line, spell_duration, spell_number

_FAILED = 1
_NOTHING = timedelta(0)
_LONGEST = 400  # characters of one text from outside
_VALUES_SHOWN = 5

_ENDS = {
    "observed": "The target is in observe mode, and nothing was done",
    "resolved": "It ended well",
    "failed": "It ended badly",
    "refused": "Nothing was changed",
    "cancelled": "It was cancelled",
    "suppressed": "It was suppressed, and nothing was done",
    "notified": "People were told; nothing else was to be done",
}
_GOING_ON = {
    "waiting_approval": "It waits for a person to approve",
    "countdown": "The countdown is running; a person can stop it",
    "running": "Its plan is running",
    "verifying": "The rollback is done and is being verified",
    "monitoring": "It is verified; the target is being watched",
}


@click.command()
@click.argument("incident_or_rule")
@AS_JSON
@pass_client
def explain(client: ServiceClient, incident_or_rule: str, as_json: bool) -> None:
    """Tell the story of an incident (inc_…), or what a rule has seen and waits for, in sentences."""
    if incident_or_rule.startswith("inc_"):
        incident = client.get("incidents", incident_or_rule)["incident"]
        lines, document = tell_incident(incident), {"incident": incident}
    else:
        _, rows = client.get_rows("rules", "rules")
        mine = [row for row in rows if row["rule"] == incident_or_rule]
        if not mine:
            names = ", ".join(dict.fromkeys(row["rule"] for row in rows)) or "none"
            click.echo(f"responder: there is no rule {incident_or_rule}; rules in force: {names}", err=True)
            raise SystemExit(_FAILED)
        lines, document = tell_rule(mine), {"rules": mine}
    if as_json:
        print_json(document)
        return
    for line in lines:
        click.echo(line)


# --- an incident ---------------------------------------------------------------------------------------------------------


def tell_incident(incident: Mapping[str, Any]) -> Iterator[str]:
    """incident: as `GET /v1/incidents/{id}` shows it."""
    where = f"about {incident['target']}" if incident["target"] else "about no declared target"
    by = "A person ordered it" if incident["rule"] == FORCED else f"The rule {incident['rule']} opened it"
    yield f"Incident {incident['id']} ({incident['severity']}) is {where}. {by}."
    began, opened = _moment(incident["began_at"]), _moment(incident["opened_at"])
    if began is not None and opened is not None:
        later = spell_duration(max(opened - began, _NOTHING))
        yield f"The trouble began at {_clock(began)}; the incident was opened {later} later, at {_clock(opened)}."
    passed: dict[str, frozenset[str]] = {}  # by target: what its guards said last
    for event in incident["events"]:
        if event["kind"] == "guards":
            yield from _guards(_clock(_moment(event["at"])), event["data"], passed)
        else:
            yield from _event(event)
    yield from _steps(incident["steps"])
    yield _ending(incident)


def _event(event: Mapping[str, Any]) -> Iterator[str]:
    at, kind, text = _clock(_moment(event["at"])), event["kind"], _text(event["text"])
    if kind in _SENTENCES:
        yield f"{at}  {_SENTENCES[kind]}: {text}."
    elif kind not in _ENDS:  # the end is told by itself
        yield f"{at}  {kind.replace('_', ' ').capitalize()}: {text}."


_SENTENCES = {
    "opened": "The rule decided to respond",
    "pinned": "It was written down what is replaced by what",
    "acting": "The first change went out",
    "joined": "Another alert joined",
    "told": "People were told",
    "step_succeeded": "A step was done",
    "step_failed": "A step failed",
}


def _guards(at: str, data: Mapping[str, Any], before: dict[str, frozenset[str]]) -> Iterator[str]:
    """before: what the guards of each target said the last time; where they are asked again, only what is new is told."""
    verdicts = [each for each in data.get("verdicts") or () if isinstance(each, Mapping)]
    against = [each for each in verdicts if each.get("outcome") not in ("pass", "warn")]
    passed = len(verdicts) - len(against)
    target = _text(str(data.get("target", "the target")))
    lines = [_verdict(each) for each in against or verdicts]
    known, before[target] = before.get(target), frozenset(lines)
    if against:
        yield f"{at}  Of the guards of {target} {passed} let it pass, but:"
    elif known is None:
        yield f"{at}  All {passed} guards of {target} let it pass:"
    else:
        lines = [line for line in lines if line not in known]
        yield f"{at}  Asked again, all {passed} guards of {target} let it pass{'; what is new:' if lines else '.'}"
    yield from lines


def _verdict(verdict: Mapping[str, Any]) -> str:
    unknown = " could not tell, which counts as a no" if verdict.get("outcome") == "unknown" else ""
    return f"    {verdict.get('guard')}{unknown}: {_text(str(verdict.get('reason')))}."


def _steps(steps: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for step in steps:
        if step["status"] in ("running", "pending"):
            yield f"The step {step['name']} ({step['uses']}) is {step['status']}."


def _ending(incident: Mapping[str, Any]) -> str:
    status = incident["status"]
    if status in _GOING_ON:
        progress = f" ({_text(incident['progress'])})" if incident.get("progress") else ""
        return f"{_GOING_ON[status]}{progress}."
    ending = f"{_ENDS.get(status, status)}: {_text(incident['reason'])}."
    began, closed = _moment(incident["began_at"]), _moment(incident["closed_at"])
    if began is None or closed is None:
        return ending
    return f"{ending} It was closed at {_clock(closed)}, {spell_duration(max(closed - began, _NOTHING))} after the trouble began."


# --- a rule --------------------------------------------------------------------------------------------------------------


def tell_rule(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """rows: those of one rule, as `GET /v1/rules` shows them."""
    first = rows[0]
    hold = "at once" if first["for"] == "0s" else f"when it has lasted for {first['for']}"
    plan = f" with the plan {first['plan']}" if first["plan"] else ""
    answers = {"rollback": f"rolls back{plan}", "approve": f"asks people and, after a yes, rolls back{plan}"}
    answer = answers.get(first["respond"], "tells people")
    yield f"The rule {first['rule']} ({first['severity']}) looks at {' and '.join(first['match'])}; it {answer} {hold}."
    called = [_call(level) for level in first.get("escalation", ())]
    if called:
        yield f"While nobody has its incident in hand, it calls {'; '.join(called)}."
    for row in rows:
        if row["state"] == "inactive":
            yield f"It is inactive: {_text(row['reason'])}. It waits for {_text(row['waits_for'])}."
        else:
            yield from _group(row)
        decisions = row["decisions"]
        if decisions:
            yield "The latest decisions:"
        for decision in decisions:
            group = f" about {_text(decision['group'])}" if row["state"] == "inactive" and decision["group"] else ""
            yield f"  {_clock(_moment(decision['at']))}  {decision['kind']}{group}: {_text(decision['reason'])}"


def _call(level: Mapping[str, Any]) -> str:
    contacts = f" ({', '.join(one_line(contact, _LONGEST) for contact in level['contacts'])})" if level["contacts"] else ""
    return f"{' and '.join(level['tell'])} {'at once' if level['after'] == '0s' else 'after ' + level['after']}{contacts}"


def _group(row: Mapping[str, Any]) -> Iterator[str]:
    group = f"The group {_text(row['group'])}" if row["group"] else "Its only group"
    yield f"{group} is {row['state']} since {_clock(_moment(row['since']))}: {_text(row['reason'])}."
    numbers = [spell_number(value) if value is not None else "none" for value in row["values"][:_VALUES_SHOWN]]
    count = row["alerts"]
    seen = f"{count} alert{'' if count == 1 else 's'}"
    if any(value is not None for value in row["values"]):
        more = " …" if count > len(numbers) else ""
        seen += f", with the number{'' if count == 1 else 's'} {', '.join(numbers)}{more}"
    yield f"It sees {seen}. It waits for {_text(row['waits_for'])}."


def _moment(stamp: str | None) -> datetime | None:
    return datetime.fromisoformat(stamp).astimezone(UTC) if stamp else None


def _clock(moment: datetime | None) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC" if moment is not None else "an unknown time"


def _text(text: str) -> str:
    """Without the full stop, so that it can end a sentence."""
    return one_line(text, _LONGEST).rstrip(".")
