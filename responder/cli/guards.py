"""`responder guards`: how each guard of a target would decide right now."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from responder.cli.client import ServiceClient, pass_client
from responder.cli.commands import AS_JSON, REFUSED, print_json
from responder.cli.table import print_table

_MARKS = {"pass": "pass", "warn": "WARN", "refuse": "REFUSE", "unknown": "UNKNOWN"}


@click.command()
@click.argument("target")
@AS_JSON
@pass_client
def guards(client: ServiceClient, target: str, as_json: bool) -> None:
    """Show how each guard of TARGET would decide right now, and why. Nothing is changed.

    Exit codes: 0 it would be done, 3 a guard would refuse.
    """
    answer = client.get("targets", target, "guards")
    if as_json:
        print_json(answer)
    else:
        _print(answer)
    if answer["would"] == "refuse":
        raise SystemExit(REFUSED)


def _print(answer: Mapping[str, Any]) -> None:
    rows = [[_MARKS.get(one["outcome"], one["outcome"]), one["guard"], one["reason"]] for one in answer["guards"]]
    print_table(["", "GUARD", "REASON"], rows, empty="No guard was asked.")
    runs, to = answer["facts"].get("runs"), answer["to"]
    if runs and to:
        click.echo(f"From {_version(runs)} to {_version(to)}.")
    if answer["assumed"]:
        click.echo("No alert fires: this is what would be decided if one began now.")
    endings = {"observe": "Observe mode: it would be said, and nothing done.", "roll back": "It would be rolled back."}
    click.echo(endings.get(answer["would"], "It would be refused."))


def _version(version: Mapping[str, Any]) -> str:
    return f"{version['version']} (revision {version['revision']})"
