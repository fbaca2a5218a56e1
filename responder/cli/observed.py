"""`responder observed`: what observe mode would have done, to decide whether to arm a target."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from responder.cli.client import ServiceClient, pass_client
from responder.cli.commands import AS_JSON, print_json, time_of
from responder.cli.table import print_table
from responder.domain.wording import one_line


@click.command()
@click.option("--since", default="14d", show_default=True, help="How far back, for example 30d.")
@AS_JSON
@pass_client
def observed(client: ServiceClient, since: str, as_json: bool) -> None:
    """Show what Responder would have done in observe mode, and how it turned out without it."""
    document, listed = client.get_rows("targets", "observed", parameters={"since": since})
    if as_json:
        print_json(document)
        return
    if not listed:
        click.echo(f"Nothing was observed in the last {document.get('window')}.")
    for number, one in enumerate(listed):
        if number:
            click.echo()
        _show(one)


def _show(one: Mapping[str, Any]) -> None:
    total, acted = one["observed"], one["would_have_acted"]
    times = "once" if acted == 1 else f"{acted} times"
    click.echo(f"{one_line(one['target'])} ({one['mode']}): {total} observed, would have acted {times}.")
    rows = [
        [each["incident"], time_of(each["opened_at"]), each["rule"], _saved(each), each["how"], each["would"]]
        for each in one["incidents"]
    ]
    print_table(["INCIDENT", "OPENED (UTC)", "RULE", "SAVED", "WITHOUT RESPONDER", "WITH IT"], rows, empty="")
    estimate = one["estimate"]
    click.echo(
        f"About {one['minutes_saved']:g} minutes would have been saved"
        + (f"; {one['in_vain']} would have been in vain: over by then" if one["in_vain"] else "")
        + f". A rollback counts as {estimate['seconds'] / 60:.1f} min ({estimate['basis']}), an approval as given at once."
    )
    if one["arm"]:
        click.echo(f"To arm it, say in the rulebook: {one_line(one['arm'])}")


def _saved(each: Mapping[str, Any]) -> str:
    if not each["acts"]:
        return "-"
    return "goes on" if each["ending"] == "goes_on" else f"{each['minutes_saved']:g} min"
