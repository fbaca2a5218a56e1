"""The `responder` command. Sub-commands are imported when they are used: `serve` must not wait for what `demo` needs."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module

import click

from responder import __version__

# Name, then the module and the attribute that hold the command.
_COMMANDS: Mapping[str, tuple[str, str]] = {
    "serve": ("responder.cli.serve", "serve"),
    "check": ("responder.cli.check", "check"),
    "test": ("responder.cli.test", "test"),
    "replay": ("responder.cli.replay", "replay"),
    "demo": ("responder.cli.demo", "demo"),
    "incidents": ("responder.cli.operator", "incidents"),
    "report": ("responder.cli.operator", "report"),
    "targets": ("responder.cli.operator", "targets"),
    "versions": ("responder.cli.operator", "versions"),
    "rules": ("responder.cli.operator", "rules"),
    "guards": ("responder.cli.guards", "guards"),
    "observed": ("responder.cli.observed", "observed"),
    "plan": ("responder.cli.plan", "plan"),
    "explain": ("responder.cli.explain", "explain"),
    "rollback": ("responder.cli.rollback", "rollback"),
    "approve": ("responder.cli.commands", "approve"),
    "reject": ("responder.cli.commands", "reject"),
    "cancel": ("responder.cli.commands", "cancel"),
    "acknowledge": ("responder.cli.commands", "acknowledge"),
    "suppress": ("responder.cli.commands", "suppress"),
    "hold": ("responder.cli.commands", "hold"),
    "suppressions": ("responder.cli.commands", "suppressions"),
    "audit": ("responder.cli.commands", "audit"),
    "token": ("responder.cli.token", "token"),
    "completion": ("responder.cli.completion", "completion"),
}


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        if cmd_name not in _COMMANDS:
            return None
        module, attribute = _COMMANDS[cmd_name]
        command = getattr(import_module(module), attribute)
        return command if isinstance(command, click.Command) else None


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="responder %(version)s")
def cli() -> None:
    """Turn alerts into safe rollbacks.

    Exit codes: 0 done, 1 failed, 2 wrong usage, 3 refused by a guard.
    """
