"""Commands that ask a running service: they need RESPONDER_URL and, if it has tokens, RESPONDER_TOKEN."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import click

from responder.cli.client import ServiceClient, pass_client
from responder.cli.table import print_table
from responder.domain.wording import spell_duration

_JSON = click.option("--json", "as_json", is_flag=True, help="Print the service's answer as JSON.")


@click.command()
@click.option("--target", help="Only incidents of this target.")
@click.option("--open", "open_only", is_flag=True, help="Only incidents that are not closed.")
@click.option("--limit", default=20, show_default=True, type=click.IntRange(1, 200), help="How many at most.")
@click.option("--summary", metavar="DURATION", help="Instead: how the rollbacks of the last 30d, say, went.")
@_JSON
@pass_client
def incidents(client: ServiceClient, target: str | None, summary: str | None, as_json: bool, **options: Any) -> None:
    """List incidents, newest first."""
    if summary is not None:
        _summarise(client, {"window": summary, **({"target": target} if target else {})}, as_json=as_json)
        return
    parameters: dict[str, str] = {"limit": str(options["limit"])}
    if target:
        parameters["target"] = target
    if options["open_only"]:
        parameters["open"] = "true"
    answer, listed = client.get_rows("incidents", "incidents", parameters=parameters)
    if as_json:
        _print_json(answer)
        return
    rows = [
        [one["id"], one["status"], one["severity"], one["target"] or "-", one["rule"], _time(one["opened_at"]), one["reason"]]
        for one in listed
    ]
    print_table(["INCIDENT", "STATUS", "SEVERITY", "TARGET", "RULE", "OPENED (UTC)", "REASON"], rows, empty="No incidents.")


def _summarise(client: ServiceClient, parameters: Mapping[str, str], *, as_json: bool) -> None:
    answer = client.get("statistics", parameters=parameters)
    if as_json:
        _print_json(answer)
        return
    found = answer["statistics"]
    rate, mean = found["success_rate"], found["mean_duration_seconds"]
    took = "-" if mean is None else spell_duration(timedelta(seconds=mean))
    click.echo(f"Rollbacks in the last {found['window']}: {found['rollbacks']} (of {_counted(found['incidents'])})")
    click.echo(f"Succeeded: {found['resolved']}, failed: {found['failed']}, others: {found['others']}")
    click.echo(f"Success rate: {'-' if rate is None else f'{rate:.0%}'}")
    click.echo(f"Mean duration, from the first change to verified: {took}")
    for target, count in found["by_target"].items():
        click.echo(f"  {target or 'no target'}: {count}")


@click.command()
@click.argument("incident")
@click.option("--format", "form", type=click.Choice(["markdown", "html", "json"]), default="markdown", show_default=True)
@click.option("--json", "as_json", is_flag=True, help="The same as --format json.")
@pass_client
def report(client: ServiceClient, incident: str, form: str, as_json: bool) -> None:
    """Print the report of an incident."""
    form = "json" if as_json else form
    kind = "application/json" if form == "json" else f"text/{form}"
    click.echo(client.get_text("incidents", incident, "report", parameters={"format": form}, kind=kind), nl=False)


@click.command()
@_JSON
@pass_client
def targets(client: ServiceClient, as_json: bool) -> None:
    """List the declared targets."""
    answer, listed = client.get_rows("targets", "targets")
    if as_json:
        _print_json(answer)
        return
    rows = [[one["name"], one["mode"], _seen(one), _place(one)] for one in listed]
    print_table(["TARGET", "MODE", "SEEN", "PLACE"], rows, empty="No targets are declared.")
    unseen = [one["name"] for one in listed if _seen(one) == "no"]
    if unseen:
        click.echo(f"What was not seen yet can't be rolled back; `responder versions {unseen[0]}` says why.", err=True)


@click.command()
@click.argument("target")
@_JSON
@pass_client
def versions(client: ServiceClient, target: str, as_json: bool) -> None:
    """List what a target runs and what it can go back to."""
    answer, listed = client.get_rows("versions", "targets", target, "versions")
    if as_json:
        _print_json(answer)
        return
    rows = [_version_row(one) for one in listed]
    heading = ["", "VERSION", "REVISION", "AGE", "CREATED (UTC)", "PROVEN", "IMAGES", "FINGERPRINT", "CHANGE CAUSE"]
    print_table(heading, rows, empty="No versions are known.")


@click.command()
@_JSON
@pass_client
def rules(client: ServiceClient, as_json: bool) -> None:
    """Show what each rule waits for, and why; `responder explain <rule>` says more."""
    answer, listed = client.get_rows("rules", "rules")
    if as_json:
        _print_json(answer)
        return
    rows = [
        [one["rule"], one["group"] or "-", one["state"], _time(one["since"]), _time(one["due_at"]), _latest(one)]
        for one in listed
    ]
    print_table(["RULE", "GROUP", "STATE", "SINCE (UTC)", "DUE (UTC)", "REASON"], rows, empty="No rules are declared.")


def _latest(one: Mapping[str, Any]) -> str:
    """Why a group is as it is; of a rule without one, what it decided last."""
    decisions = one.get("decisions")
    if one["state"] != "inactive" or not decisions:
        return str(one["reason"])
    return f"{one['reason']}; last, at {_time(decisions[0]['at'])}: {decisions[0]['reason']}"


def _seen(one: Mapping[str, Any]) -> str:
    """An earlier version of the service does not say."""
    return {True: "yes", False: "no"}.get(one.get("watched"), "-")  # type: ignore[arg-type]


def _counted(incidents: int) -> str:
    return f"{incidents} incident{'' if incidents == 1 else 's'}"


def _place(one: Mapping[str, Any]) -> str:
    """In words; a service of an earlier version knows Deployments only and tells their parts."""
    place = one.get("place") or "{name} in namespace {namespace}".format_map(one["kubernetes"])
    return str(place)


def _time(stamp: str | None) -> str:
    """To the second; the heading names the zone."""
    return f"{datetime.fromisoformat(stamp).astimezone(UTC):%Y-%m-%d %H:%M:%S}" if stamp else "-"


def _version_row(one: Mapping[str, Any]) -> list[str]:
    return [
        "*" if one["current"] else "",
        one["version"],
        one["revision"],
        "-" if one.get("age_seconds") is None else spell_duration(timedelta(seconds=one["age_seconds"])),
        _time(one["created_at"]),
        ("yes: " if one.get("proven") else "no: ") + (one.get("proof") or "unknown"),
        ", ".join(one.get("images") or []) or "-",
        one["fingerprint"][:12],
        one.get("change_cause") or "",
    ]


def _print_json(answer: object) -> None:
    click.echo(json.dumps(answer, indent=2, ensure_ascii=False))
