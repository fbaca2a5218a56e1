"""The `responder` command. Sub-commands are imported when they are used: `serve` must not wait for what `demo` needs."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from importlib import import_module

import click

from responder import __version__
from responder.settings.colour import colours_are_wanted

_SECTIONS: Mapping[str, tuple[str, ...]] = {
    "Try it, write rules, run it": ("demo", "check", "test", "replay", "serve", "token", "completion"),
    "Look at a running service": (
        "incidents",
        "report",
        "explain",
        "rules",
        "targets",
        "versions",
        "guards",
        "plan",
        "observed",
        "suppressions",
        "audit",
    ),
    "Take it in hand": ("rollback", "approve", "reject", "cancel", "acknowledge", "suppress", "hold"),
}
# Where a command is found that has no module of its own name.
_MODULES: Mapping[str, str] = {
    **dict.fromkeys(("incidents", "report", "targets", "versions", "rules"), "operator"),
    **dict.fromkeys(("approve", "reject", "cancel", "acknowledge", "suppress", "hold", "suppressions", "audit"), "commands"),
}
_NAMES = tuple(name for names in _SECTIONS.values() for name in names)
_WIDEST = 400  # characters of a command's first sentence: all of it


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(_NAMES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        if cmd_name not in _NAMES:
            return None
        command = getattr(import_module(f"responder.cli.{_MODULES.get(cmd_name, cmd_name)}"), cmd_name)
        return command if isinstance(command, click.Command) else None

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in _NAMES and not args[0].startswith("-"):
            near = get_close_matches(args[0], _NAMES, n=1)
            ctx.fail(f"there is no command {args[0]!r}" + (f"; did you mean {near[0]!r}?" if near else ""))
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for heading, names in _SECTIONS.items():
            commands = [(name, self.get_command(ctx, name)) for name in names]
            with formatter.section(heading):
                formatter.write_dl([(name, one.get_short_help_str(_WIDEST)) for name, one in commands if one is not None])


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="responder %(version)s")
@click.pass_context
def cli(context: click.Context) -> None:
    """Turn alerts into safe rollbacks.

    Commands that look at a running service or take it in hand talk to RESPONDER_URL (http://127.0.0.1:8080) with the token
    RESPONDER_TOKEN. Those that print tables or sentences also print JSON: --json.

    Exit codes: 0 done, 1 failed, 2 wrong usage, 3 refused by a guard.
    """
    if not colours_are_wanted():
        context.color = False
