"""`responder serve`: the service in the foreground."""

from __future__ import annotations

import asyncio
import gc
import signal

import click

from responder.errors import RulebookError, SettingsError
from responder.settings.colour import colours_are_wanted
from responder.settings.environment import settings_from_environment
from responder.settings.service import Settings


@click.command()
def serve() -> None:
    """Run the service. Settings come from RESPONDER_* variables; SIGTERM or Ctrl-C ends it, open runs go on at the next start.

    SIGHUP reads the rulebook again, as POST /-/reload does.
    """
    try:
        settings = settings_from_environment()
    except SettingsError as error:
        raise SystemExit(_say("settings", str(error))) from error
    import uvloop

    from responder.telemetry import set_up_logging

    set_up_logging(settings.log_format, settings.secrets(), colours=colours_are_wanted())
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve(settings))
    except SettingsError as error:
        raise SystemExit(_say("settings", str(error))) from error
    except RulebookError as error:
        raise SystemExit(_say("rulebook", str(error))) from error


async def _serve(settings: Settings) -> None:
    from responder.wiring.serving import serving

    loop = asyncio.get_running_loop()
    asked_early = asyncio.Event()
    loop.add_signal_handler(signal.SIGHUP, asked_early.set)  # by default it would end the process
    async with serving(settings) as service:
        for name in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(name, service.stop)
        loop.add_signal_handler(signal.SIGHUP, service.reload_soon)
        if asked_early.is_set():
            service.reload_soon()
        await service.load_credentials()
        gc.collect()
        gc.freeze()  # what the start has made stays: the collector need not look through it again and again
        await service.wait()


def _say(what: str, problems: str) -> int:
    click.echo(f"responder: the {what} can't be used:", err=True)
    for line in problems.splitlines():
        click.echo(f"  {line}", err=True)
    return 2
