"""`responder token new`: a token for a person or a tool, and the line for RESPONDER_TOKENS_FILE."""

from __future__ import annotations

import json
import secrets
from typing import Any

import click
from pydantic import ValidationError

from responder.web.people_file import Person, told
from responder.web.tokens import Role, digest_of

PREFIX = "rsp_"
"""So that scanners for leaked secrets can recognise ours."""


@click.group()
def token() -> None:
    """Make tokens for named people and tools."""


@token.command()
@click.argument("name")
@click.option("--role", type=click.Choice([role.value for role in Role]), required=True, help="What it may do.")
@click.option("--target", "targets", multiple=True, help="Its commands may concern only this one; repeat it for several.")
@click.option("--expires", help="A day, until whose end (UTC) it is good, or a time with its zone.")
@click.option("--slack", help="User id at Slack, such as U012ABCDEF.")
@click.option("--json", "as_json", is_flag=True, help="Print token and entry as JSON.")
def new(name: str, role: str, as_json: bool, **about: Any) -> None:
    """Print a new token, once, and the line that lets it in. Nothing is kept or sent."""
    made = PREFIX + secrets.token_urlsafe(32)
    entry: dict[str, object] = {"name": name, "role": role, "token_sha256": digest_of(made).hex()}
    entry |= {key: list(value) if key == "targets" else value for key, value in about.items() if value}
    try:
        Person.model_validate(entry)
    except ValidationError as error:
        raise click.UsageError("; ".join(what for _, what in told(error))) from None
    if as_json:
        click.echo(json.dumps({"token": made, "entry": entry}, indent=2, ensure_ascii=False))
        return
    click.echo(f"Token, shown only now:  {made}")
    click.echo("Line for RESPONDER_TOKENS_FILE:")
    click.echo("- " + json.dumps(entry, ensure_ascii=False))
