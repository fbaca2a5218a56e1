"""Commands that ask a running service: they need RESPONDER_URL and, if it has tokens, RESPONDER_TOKEN."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import click

from responder.cli.client import ServiceClient, pass_client
from responder.cli.table import print_table

_JSON = click.option("--json", "as_json", is_flag=True, help="Print the service's answer as JSON.")


@click.command()
@click.option("--target", help="Only incidents of this target.")
@click.option("--open", "open_only", is_flag=True, help="Only incidents that are not closed.")
@click.option("--limit", default=20, show_default=True, type=click.IntRange(1, 200))
@_JSON
@pass_client
def incidents(client: ServiceClient, target: str | None, open_only: bool, limit: int, as_json: bool) -> None:
    """List incidents, newest first."""
    parameters: dict[str, str] = {"limit": str(limit)}
    if target:
        parameters["target"] = target
    if open_only:
        parameters["open"] = "true"
    answer = client.get("/v1/incidents", parameters)
    if as_json:
        _print_json(answer)
        return
    rows = [
        [one["id"], one["status"], one["severity"], one["target"] or "-", one["rule"], one["opened_at"], one["reason"]]
        for one in answer["incidents"]
    ]
    print_table(["INCIDENT", "STATUS", "SEVERITY", "TARGET", "RULE", "OPENED", "REASON"], rows, empty="No incidents.")


@click.command()
@click.argument("incident")
@click.option("--format", "form", type=click.Choice(["markdown", "html", "json"]), default="markdown", show_default=True)
@pass_client
def report(client: ServiceClient, incident: str, form: str) -> None:
    """Print the report of an incident."""
    click.echo(client.get_text(f"/v1/incidents/{incident}/report", {"format": form}), nl=False)


@click.command()
@_JSON
@pass_client
def targets(client: ServiceClient, as_json: bool) -> None:
    """List the declared targets."""
    answer = client.get("/v1/targets")
    if as_json:
        _print_json(answer)
        return
    rows = [[one["name"], one["mode"], str(one["workload"])] for one in answer["targets"]]
    print_table(["TARGET", "MODE", "WORKLOAD"], rows, empty="No targets are declared.")


@click.command()
@click.argument("target")
@_JSON
@pass_client
def versions(client: ServiceClient, target: str, as_json: bool) -> None:
    """List what a target runs and what it can go back to."""
    answer = client.get(f"/v1/targets/{target}/versions")
    if as_json:
        _print_json(answer)
        return
    rows = [_version_row(one) for one in answer["versions"]]
    print_table(["", "VERSION", "REVISION", "CREATED", "FINGERPRINT", "CHANGE CAUSE"], rows, empty="No versions are known.")


@click.command()
@_JSON
@pass_client
def rules(client: ServiceClient, as_json: bool) -> None:
    """Show what each rule waits for."""
    answer = client.get("/v1/rules")
    if as_json:
        _print_json(answer)
        return
    rows = [
        [one["rule"], one["group"], one["state"], one.get("since") or "-", one.get("due_at") or "-", one.get("reason") or ""]
        for one in answer["rules"]
    ]
    print_table(["RULE", "GROUP", "STATE", "SINCE", "DUE", "REASON"], rows, empty="No rule has seen an alert.")


def _version_row(one: Mapping[str, Any]) -> list[str]:
    return [
        "*" if one["current"] else "",
        one["version"],
        one["revision"],
        one.get("created_at") or "unknown",
        one["fingerprint"][:12],
        one.get("change_cause") or "",
    ]


def _print_json(answer: object) -> None:
    click.echo(json.dumps(answer, indent=2, ensure_ascii=False))
