"""The world behind real HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from responder.domain.report import render_report, report_document
from responder.sandbox.loopback import LoopbackServer
from responder.telemetry import build_metrics
from responder.web.app import build_app
from responder.web.services import PeopleServices, WebServices
from responder.web.tokens import Tokens
from tests.simulation.world import World, wall


@asynccontextmanager
async def served(world: World) -> AsyncIterator[str]:
    """Start the world and serve it; the address. Tokens: `op` of an operator, `view` of a viewer."""
    await world.start()
    services = WebServices(
        journal=world.database.journal,
        incidents=world.database.incidents,
        clock=wall,
        tokens=Tokens.of(operator="op", viewer="view"),
        metrics=build_metrics(),
        targets=lambda: world.rules.targets,
        versions=lambda name: world.workload.read(),
        rules_state=list,
        readiness=lambda: asyncio.sleep(0, (True, {})),
        render_report=render_report,
        report_document=report_document,
        people=PeopleServices(world.commands, world.orders, world.database.people),
        previewer=world.previewer,
    )
    server = LoopbackServer(build_app(services))
    await server.start()
    try:
        yield server.url
    finally:
        await server.stop()
