"""`responder rollback`: order a rollback, look at what it would do, follow it to its end."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import Any

import click

from responder.cli.client import ServiceClient, pass_client
from responder.cli.commands import AS_JSON, FAILED, REFUSED, print_json, refuse, time_of, way_past
from responder.domain.wording import one_line

_EVERY = 1.0  # seconds between two looks
_CODES = {"resolved": 0, "refused": REFUSED, "observed": REFUSED}
_OPEN = frozenset({"waiting_approval", "countdown", "running", "verifying", "monitoring"})
_pause = time.sleep


def _inputs(_context: click.Context, _option: click.Parameter, given: tuple[str, ...]) -> dict[str, str]:
    inputs = {}
    for text in given:
        name, separator, value = text.partition("=")
        if not separator or not name:
            raise click.BadParameter(f"{text!r} is not NAME=VALUE")
        inputs[name] = value
    return inputs


@click.command()
@click.argument("target")
@click.option("--reason", required=True, help="Why; everybody sees it.")
@click.option("--version", help="What to go back to; the newest proven version without it.")
@click.option("--revision", help="The same by its revision.")
@click.option("--plan", help="Plan to run; a bare rollback without it.")
@click.option("--input", "inputs", multiple=True, metavar="NAME=VALUE", callback=_inputs, help="A value for the plan.")
@click.option("--immediate", is_flag=True, help="Ask nobody on the way.")
@click.option("--skip-validation", is_flag=True, help="Leave out the plan's verification.")
@click.option("--create-backup", is_flag=True, help="The plan's backup first, also where it would be skipped.")
@click.option("--override", multiple=True, metavar="GUARD", help="Answer for a guard that refuses.")
@click.option("--dry-run", is_flag=True, help="Change nothing; show what would happen.")
@click.option("--follow", is_flag=True, help="Show how it goes until its end. Ctrl-C asks whether to cancel.")
@AS_JSON
@pass_client
def rollback(client: ServiceClient, target: str, follow: bool, as_json: bool, **options: Any) -> None:
    """Roll TARGET back, without any alert.

    Exit codes: 0 done (or begun, without --follow), 1 failed or cancelled, 2 wrong usage, 3 refused by a guard.
    """
    body = {key: list(value) if isinstance(value, tuple) else value for key, value in options.items() if value}
    status, document = client.send("POST", "rollbacks", body={"target": target, **body})
    if status == 409:
        refuse(document, REFUSED, as_json=as_json)
    if options["dry_run"]:
        _show_preview(document, as_json=as_json)
        return
    incident = document["incident"]
    if follow:
        raise SystemExit(_follow(client, incident["id"], as_json=as_json))
    if as_json:
        print_json(document)
    else:
        click.echo(f"{incident['id']} on {target}: begun. Its story: responder explain {incident['id']}")


def _show_preview(document: Mapping[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(document)
    else:
        _print_preview(document)
    if document["refusals"]:
        raise SystemExit(REFUSED)


def _print_preview(document: Mapping[str, Any]) -> None:
    for target, pinned in document["pins"].items():
        change = " to ".join(f"{pinned[end]['version']} (revision {pinned[end]['revision']})" for end in ("from", "to"))
        click.echo(f"{target} from {change}")
    steps = ", ".join(one["name"] for one in (*document["steps"], *document["verify"]))
    click.echo(f"plan {document['plan']}: {steps}")
    for target, verdicts in document["guards"].items():
        click.echo(f"guards on {target}:")
        for one in verdicts:
            click.echo(f"  {one['outcome']:8} {one['guard']}: {one['reason']}")
    words = {"roll back": "It would be done.", "observe": "Observe mode: nothing would be done."}
    click.echo(words.get(document["would"], f"It would be refused: {document['reason']}"))
    if way := way_past(document):
        click.echo(way)


def _follow(client: ServiceClient, incident_id: str, *, as_json: bool) -> int:
    """Print what happens until the incident is closed; returns the exit code."""
    told, progress = 0, ""
    while True:
        try:
            document = client.get("incidents", incident_id)
            incident = document["incident"]
            if not as_json:
                news = incident["events"][told:]
                for event in news:
                    click.echo(f"{time_of(event['at'])[11:]} {event['kind'].replace('_', ' ')}: {one_line(event['text'], 200)}")
                told = len(incident["events"])
                if incident["progress"] != progress:
                    progress = incident["progress"]
                    if progress and not news:  # beside news it may be older than they are
                        click.echo(f"         {one_line(progress, 200)}")
            if incident["status"] not in _OPEN:
                if as_json:
                    print_json(document)
                else:
                    click.echo(f"{incident_id}: {incident['status']}: {one_line(incident['reason'], 300)}")
                return _CODES.get(incident["status"], FAILED)
            _pause(_EVERY)
        except KeyboardInterrupt:
            if not _cancel(client, incident_id):
                click.echo(f"It goes on. Its story: responder explain {incident_id}", err=True)
                return FAILED


def _is_terminal() -> bool:
    return sys.stdin.isatty()


def _cancel(client: ServiceClient, incident_id: str) -> bool:
    """Ask first; returns whether it is being cancelled."""
    if not _is_terminal():
        return False
    try:
        if not click.confirm("\nCancel it? It stops at its next safe point", default=False, err=True):
            return False
    except (click.Abort, KeyboardInterrupt):
        return False
    status, document = client.send("POST", "incidents", incident_id, "cancel", body={"reason": "from the command line"})
    if status == 409:
        click.echo(f"responder: {document.get('detail')}", err=True)
    return True
