"""`responder plan`: what a plan would do now, step by step."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import click

from responder.cli.client import ServiceClient, pass_client

_EXIT_REFUSED = 3
_PHASES = {
    "steps": "Steps",
    "verify": "Verification",
    "monitor": "Checks while watching",
    "checkpoint": "Checkpoints",
    "on_failure": "On failure",
}


def _inputs(_context: click.Context, _option: click.Parameter, given: tuple[str, ...]) -> dict[str, str]:
    inputs = {}
    for one in given:
        name, mark, value = one.partition("=")
        if not mark or not name:
            raise click.BadParameter(f"{one!r} is not name=value")
        inputs[name] = value
    return inputs


@click.command()
@click.argument("plan")
@click.option("--target", required=True, help="Name of a declared target.")
@click.option(
    "--input", "inputs", multiple=True, callback=_inputs, metavar="NAME=VALUE", help="A value for one of the plan's inputs."
)
@click.option("--version", help="What the target is to go back to. Default: the newest proven version.")
@click.option("--json", "as_json", is_flag=True, help="Print the service's answer as JSON.")
@pass_client
@click.pass_context
def plan(
    context: click.Context,
    client: ServiceClient,
    plan: str,
    *,
    target: str,
    inputs: Mapping[str, str],
    version: str | None,
    as_json: bool,
) -> None:
    """Show what PLAN would do now, step by step. Nothing is changed."""
    body: dict[str, Any] = {"target": target, "inputs": dict(inputs)}
    if version:
        body["version"] = version
    _, answer = client.send("POST", "plans", plan, "preview", body=body)
    if as_json:
        click.echo(json.dumps(answer, indent=2, ensure_ascii=False))
    else:
        _print(answer)
    if answer.get("would") == "refuse":
        context.exit(_EXIT_REFUSED)


def _print(answer: Mapping[str, Any]) -> None:
    click.echo(_plain(f"Plan {answer['plan']} on {answer['target']}"))
    for name, pinned in answer["pins"].items():
        of = "" if name == answer["target"] else f"{name} "
        click.echo(_plain(f"  {of}from {_version(pinned['from'])} to {_version(pinned['to'])}"))
    for target, verdicts in answer["guards"].items():
        click.echo(_plain(f"Guards on {target}"))
        for one in verdicts:
            click.echo(_plain(f"  {one['outcome']:<8}{one['guard']}: {one['reason']}"))
    phase = ""
    for number, step in enumerate(answer["steps"], start=1):
        if step["phase"] != phase:
            phase = step["phase"]
            click.echo(_PHASES.get(phase, phase))
        _print_step(number, step)
    click.echo(_ending(answer))


def _print_step(number: int, step: Mapping[str, Any]) -> None:
    space = "  " * (1 + int(step["depth"]))
    named = step["name"] if step["name"] == step["uses"] else f"{step['name']} ({step['uses']})"
    when = f" [{step['when']}]" if step["when"] else ""
    click.echo(_plain(f"{space}{number}. {named}{when}: {step['what']}"))
    for line in str(step["difference"]).splitlines():
        click.echo(_plain(f"{space}     {line}"))


def _ending(answer: Mapping[str, Any]) -> str:
    if answer["would"] == "refuse":
        return _plain(f"It would be refused: {answer['reason']}")
    if answer["would"] == "observe":
        return "Observe mode: it would be said, and nothing done."
    return "It would run."


def _version(version: Mapping[str, Any]) -> str:
    return f"{version['version']} (revision {version['revision']})"


def _plain(text: str) -> str:
    return "".join(character if character.isprintable() else " " for character in text)
