"""What runs side by side for as long as the service lives."""

from __future__ import annotations

import asyncio
import socket
import time
from dataclasses import dataclass, field

import structlog

from responder.engine.assembly import Engine
from responder.engine.ledger_keeper import LedgerKeeper
from responder.engine.outbox import OutboxWorker
from responder.engine.readings import Reader
from responder.errors import JournalUnavailableError
from responder.wiring.service import Service
from responder.wiring.upkeep import Upkeep

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tasks:
    """started: when the process began to start, by `time.monotonic`. ready: set when the start is over, well or not."""

    service: Service
    engine: Engine
    reader: Reader
    outbox: OutboxWorker
    keeper: LedgerKeeper
    upkeep: Upkeep
    started: float
    ready: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self, listener: socket.socket) -> None:
        """Until the server was asked to stop. The intake answers while the journal is still being folded."""
        server = self.service.server
        serve = asyncio.create_task(server.serve(sockets=[listener]), name="server")
        try:
            async with asyncio.TaskGroup() as group:
                engine = group.create_task(self._run_engine(), name="engine")
                await asyncio.wait({serve, engine}, return_when=asyncio.FIRST_COMPLETED)
                engine.cancel()
        finally:
            self.ready.set()
            server.should_exit = True
            [ended] = await asyncio.gather(serve, return_exceptions=True)
            await self._keep_state()
        if ended is not None:  # nobody asked it to stop: say so, so that whoever supervises us starts us again
            raise ended

    async def _keep_state(self) -> None:
        try:
            await self.engine.brain.snapshot()
        except JournalUnavailableError as error:
            _log.warning("snapshot_not_kept", error=str(error), consequence="the next start takes longer")

    async def _run_engine(self) -> None:
        await self.engine.brain.recover()
        self.ready.set()
        seconds = round(time.monotonic() - self.started, 3)
        _log.info("ready", url=self.service.url, seconds=seconds, rules=len(self.service.rulebook.rules))
        async with asyncio.TaskGroup() as group:
            group.create_task(self.engine.brain.run(), name="brain")
            group.create_task(self.reader.run(), name="readings")
            group.create_task(self.outbox.run(), name="outbox")
            group.create_task(self.keeper.run(self.service.rulebook.targets), name="ledger")
            group.create_task(self.engine.checkpoints.run(), name="checkpoints")
            group.create_task(self.engine.follow_up.run(), name="follow-up")
            group.create_task(self.upkeep.run(), name="upkeep")
