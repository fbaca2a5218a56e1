"""The incidents that are led now: each by one task, however often it is asked for."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from responder.domain.incident import Incident
from responder.engine.conductor import Conductor

_log = structlog.get_logger(__name__)


class Runs:
    """on_led: awaited when an incident was led as far as it goes."""

    def __init__(self, conductor: Conductor, on_led: Callable[[], Awaitable[None]]) -> None:
        self._conductor = conductor
        self._on_led = on_led
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def lead(self, incident: Incident) -> None:
        """See to it that somebody leads this incident: it may have been opened by an attempt that looked as if it had failed."""
        if incident.id in self._tasks:
            return
        task = asyncio.create_task(self._conduct(incident.id), name=f"run {incident.id}")
        self._tasks[incident.id] = task
        task.add_done_callback(lambda ended: self._let_go(incident.id, ended))

    def expect(self, incident: Incident) -> None:
        """It was open before the start, and will be led."""
        self._conductor.expect(incident)

    async def stop(self) -> None:
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _conduct(self, incident_id: str) -> None:
        await self._conductor.conduct(incident_id)
        await self._on_led()

    def _let_go(self, incident_id: str, run: asyncio.Task[None]) -> None:
        self._tasks.pop(incident_id, None)
        if not run.cancelled() and (error := run.exception()) is not None:
            _log.error("run_lost", incident=incident_id, exc_info=error)  # led again at the next decision that joins, or start
