"""A service from its settings: built, listening, at work."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from responder.actions.registry import PARAMETERS
from responder.clients.http import new_client
from responder.clients.kubernetes import KubernetesClient
from responder.rulebook.loader import load_rulebook
from responder.settings.service import Settings
from responder.stores.database import open_database
from responder.telemetry import build_metrics
from responder.web.listener import listen
from responder.wiring.assembly import Assembly
from responder.wiring.outside import Outside
from responder.wiring.service import Service


@asynccontextmanager
async def serving(settings: Settings, *, kubeconfig: str | None = None) -> AsyncIterator[Service]:
    """Build everything, listen, fold the journal, run until `stop` or until the block is left.

    kubeconfig: None looks in the usual places.
    Raises SettingsError or RulebookError before anything is touched.
    """
    started = time.monotonic()
    rulebook = load_rulebook(settings.rules, PARAMETERS)
    listener = listen(settings.host, settings.port)
    async with AsyncExitStack() as stack:
        stack.callback(listener.close)
        database = await open_database(settings.database_url.get_secret_value())
        stack.push_async_callback(database.close)
        http = await stack.enter_async_context(new_client())
        cluster = KubernetesClient(kubeconfig)
        stack.push_async_callback(cluster.close)
        metrics = build_metrics()
        metrics.rulebook_reload_ok.set(1)
        assembly = Assembly(Outside(settings, http, cluster, kubeconfig), rulebook, database, metrics)
        tasks = assembly.build(listener, started)
        service = tasks.service
        await tasks.engine.brain.note_start()
        await tasks.engine.restraint.load()  # before anybody can give a command
        service.main = asyncio.create_task(tasks.run(listener), name="service")
        try:
            await tasks.ready.wait()
            if service.main.done():
                await service.main
            yield service
        finally:
            service.stop()
            await asyncio.gather(service.main, return_exceptions=True)
