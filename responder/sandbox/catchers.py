"""Catchers: stand-ins for the services that are told about incidents, over real HTTP on loopback.

In a process of its own: `python -m responder.sandbox.catchers slack|statuspage|pagerduty [--port N] [--component ID=NAME …]`. The
first line it writes is JSON with what a client needs (`url`; for Statuspage also `api_key` and `page_id`, for PagerDuty
`routing_key`) and where to look (`messages`). It ends with SIGTERM.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
from collections.abc import Sequence
from datetime import UTC, datetime

from responder.sandbox.catcher import Catcher, Fault
from responder.sandbox.pagerduty_catcher import PagerDutyCatcher
from responder.sandbox.slack_catcher import CaughtMessage, SlackCatcher
from responder.sandbox.statuspage_catcher import StatuspageCatcher

__all__ = ["Catcher", "CaughtMessage", "Fault", "PagerDutyCatcher", "SlackCatcher", "StatuspageCatcher"]


async def serve(catcher: Catcher, greeting: dict[str, str]) -> None:
    """Run a catcher until SIGTERM or SIGINT."""
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    async with catcher:
        sys.stdout.write(json.dumps(greeting) + "\n")
        sys.stdout.flush()
        await ended.wait()


async def run(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m responder.sandbox.catchers")
    parser.add_argument("service", choices=["slack", "statuspage", "pagerduty"])
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--component", action="append", default=[], metavar="ID=NAME")
    options = parser.parse_args(arguments)
    if options.service == "slack":
        slack = SlackCatcher(_clock, options.port)
        await serve(slack, {"url": slack.url, "api_url": slack.api_url, "messages": f"{slack.base_url}/messages"})
    elif options.service == "pagerduty":
        pager = PagerDutyCatcher(_clock, options.port)
        greeting = {"url": pager.url, "routing_key": pager.routing_key}
        await serve(pager, {**greeting, "messages": f"{pager.base_url}/messages"})
    else:
        names = dict(one.partition("=")[::2] for one in options.component)
        page = StatuspageCatcher(names, clock=_clock, port=options.port)
        greeting = {"url": page.url, "api_key": page.api_key, "page_id": page.page_id}
        await serve(page, {**greeting, "messages": f"{page.base_url}/messages"})


def _clock() -> datetime:
    return datetime.now(UTC)  # noqa: TID251 - this module is its own wiring when it is run as a process


if __name__ == "__main__":
    asyncio.run(run())
