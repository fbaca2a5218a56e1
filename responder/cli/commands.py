"""Commands that tell a running service something: yes, no, stop, I have it, not now, hold everything."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NoReturn

import click

from responder.cli.client import ServiceClient, pass_client
from responder.cli.table import print_table

FAILED, REFUSED = 1, 3
AS_JSON = click.option("--json", "as_json", is_flag=True, help="Print the service's answer as JSON.")
_SAID = {
    "approve": "approved",
    "reject": "rejected",
    "cancel": "to be cancelled",
    "acknowledge": "acknowledged",
}
_REASON = click.option("--reason", default="", help="Why; everybody sees it.")
_STEP = click.option("--step", help="Which request, when several wait; the oldest without it.")


def _answer(client: ServiceClient, incident: str, name: str, body: Mapping[str, Any], *, as_json: bool) -> None:
    status, document = client.send("POST", "incidents", incident, name, body=body)
    if status == 409:
        refuse(document, FAILED, as_json=as_json)
    if as_json:
        print_json(document)
        return
    found = document["incident"]
    status = found["status"].replace("_", " ")
    stands = "" if name == "approve" and found["status"] == "waiting_approval" else f"; it is {status}"  # it goes on in a moment
    click.echo(f"{found['id']} on {found['target'] or 'no target'}: {_SAID[name]}{stands}")


def _worded(name: str, about: str) -> click.Command:
    @click.command(name, help=about)
    @click.argument("incident")
    @_REASON
    @_STEP
    @AS_JSON
    @pass_client
    def command(client: ServiceClient, incident: str, reason: str, step: str | None, as_json: bool) -> None:
        body = {"reason": reason} if step is None else {"reason": reason, "step": step}
        _answer(client, incident, name, body, as_json=as_json)

    return command


def _plain(name: str, about: str) -> click.Command:
    @click.command(name, help=about)
    @click.argument("incident")
    @_REASON
    @AS_JSON
    @pass_client
    def command(client: ServiceClient, incident: str, reason: str, as_json: bool) -> None:
        _answer(client, incident, name, {"reason": reason}, as_json=as_json)

    return command


approve = _worded("approve", "Say yes to what waits for approval.")
reject = _worded("reject", "Say no to what waits for approval.")
cancel = _plain("cancel", "Stop an incident: a countdown at once, a run at its next safe point.")
acknowledge = _plain("acknowledge", "Say that you have an incident in hand: nobody else is called.")


@click.command()
@click.argument("matchers", nargs=-1)
@click.option("--for", "duration", help="How long, for example 2h.")
@click.option("--until", help="Until when, for example 2026-03-01T18:00:00Z.")
@click.option("--reason", default="", help="Why; everybody sees it.")
@click.option("--list", "listed", is_flag=True, help="Show what is suppressed now.")
@click.option("--end", metavar="ID", help="End a suppression before its time.")
@AS_JSON
@pass_client
def suppress(client: ServiceClient, listed: bool, end: str | None, as_json: bool, **words: Any) -> None:
    """Record alerts that match, and do nothing about them for a while.

    MATCHERS are Alertmanager's, for example 'alertname="HighErrorRate"' or 'target="app"'; all must match.
    """
    if listed:
        _list_suppressions(client, as_json=as_json)
        return
    if end is not None:
        _, document = client.send("DELETE", "suppressions", end, body={"reason": words["reason"]})
        said = f"{end} ended; what still fires is due now."
    else:
        if not words["matchers"]:
            raise click.UsageError("name at least one matcher, for example 'target=\"app\"'")
        if (words["duration"] is None) == (words["until"] is None):
            raise click.UsageError("say how long: either --for or --until")
        body = {key: list(value) if key == "matchers" else value for key, value in words.items() if value is not None}
        _, document = client.send("POST", "suppressions", body=body)
        made = document.get("suppression", {})
        said = f"{made.get('id')}: suppressed until {time_of(made.get('until'))} UTC."
    if as_json:
        print_json(document)
    else:
        click.echo(said)


@click.command()
@AS_JSON
@pass_client
def suppressions(client: ServiceClient, as_json: bool) -> None:
    """List what is suppressed now, by whom and until when."""
    _list_suppressions(client, as_json=as_json)


def _list_suppressions(client: ServiceClient, *, as_json: bool) -> None:
    document, listed = client.get_rows("suppressions", "suppressions")
    if as_json:
        print_json(document)
        return
    rows = [[one["id"], " ".join(one["matchers"]), time_of(one["until"]), one["by"], one["reason"]] for one in listed]
    print_table(["SUPPRESSION", "MATCHERS", "UNTIL (UTC)", "BY", "REASON"], rows, empty="Nothing is suppressed.")


@click.command()
@click.argument("switch", type=click.Choice(["on", "off"]), required=False)
@click.option("--reason", default="", help="Why; everybody sees it.")
@AS_JSON
@pass_client
def hold(client: ServiceClient, switch: str | None, reason: str, as_json: bool) -> None:
    """Show the hold, or turn it on or off: while it is on, no rollback begins, not even a forced one."""
    if switch is None:
        document = client.get("hold")
    else:
        if switch == "on" and not reason.strip():
            raise click.UsageError("say why: --reason …")
        _, document = client.send("PUT", "hold", body={"held": switch == "on", "reason": reason})
    if as_json:
        print_json(document)
    elif document.get("held"):
        click.echo(f"On hold since {time_of(document.get('at'))} UTC by {document.get('by')}: {document.get('reason')}")
    else:
        click.echo("Not on hold.")


@click.command()
@click.option("--limit", default=20, show_default=True, type=click.IntRange(1, 200), help="How many at most.")
@AS_JSON
@pass_client
def audit(client: ServiceClient, limit: int, as_json: bool) -> None:
    """Who told the service what, newest first."""
    document, listed = client.get_rows("audit", "audit", parameters={"limit": str(limit)})
    if as_json:
        print_json(document)
        return
    rows = [[time_of(one["at"]), one["by"], one["action"], one["subject"], one["outcome"], one["text"]] for one in listed]
    print_table(["AT (UTC)", "BY", "ACTION", "ABOUT", "OUTCOME", "WHAT"], rows, empty="Nobody has told the service anything.")


def refuse(document: Mapping[str, Any], code: int, *, as_json: bool) -> NoReturn:
    """Say why not, and end with this code."""
    if as_json:
        print_json(document)
    click.echo(f"responder: refused: {document.get('detail')}", err=True)
    way = way_past(document)
    if way:
        click.echo(way, err=True)
    raise SystemExit(code)


def way_past(document: Mapping[str, Any]) -> str:
    """How to order it all the same; "" when nobody can. A version that is not there takes another one, not an override."""
    options = [f"--override {name}" for name in document.get("may_override") or ()]
    verdicts = [one for each in (document.get("guards") or {}).values() for one in each]
    if any(one.get("guard") == "version" and one.get("outcome") not in ("pass", "warn") for one in verdicts):
        options.insert(0, "--version VERSION")
    return f"If you answer for it: {' '.join(options)}" if options else ""


def time_of(stamp: str | None) -> str:
    """To the second."""
    return f"{datetime.fromisoformat(stamp).astimezone(UTC):%Y-%m-%d %H:%M:%S}" if stamp else "-"


def print_json(document: object) -> None:
    click.echo(json.dumps(document, indent=2, ensure_ascii=False))
