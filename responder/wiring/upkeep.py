"""Side work, done again and again: rollbacks must not depend on any of it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import timedelta

import structlog

from responder.domain.incident import OPEN_STATUSES
from responder.domain.report import render_report
from responder.engine.brain import Brain
from responder.engine.held_back import HeldBackRules
from responder.settings.service import Settings
from responder.stores.database import Database
from responder.stores.report_files import ReportFiles
from responder.telemetry import Metrics
from responder.web.people_file import PeopleFile
from responder.web.slack_promises import SlackPromises
from responder.wiring.clock import wall_clock

_log = structlog.get_logger(__name__)
_GAUGES_EVERY = timedelta(seconds=15)
_TOKENS_LOOKED_AT_EVERY = timedelta(seconds=2)
_REPORTS_EVERY = timedelta(seconds=5)
_PROMISES_EVERY = timedelta(minutes=1)
_HELD_BACK_EVERY = timedelta(minutes=1)
_MAINTENANCE_EVERY = timedelta(hours=1)
_ANSWERS_KEPT_FOR = timedelta(days=1)  # a command repeated later than this is a new one


class Upkeep:
    """people_file: None when nobody has a token of their own. promises: of what is said in Slack later."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        brain: Brain,
        metrics: Metrics,
        *,
        people_file: PeopleFile | None,
        held_back: HeldBackRules,
        promises: SlackPromises | None,
    ) -> None:
        self._settings = settings
        self._database = database
        self._brain = brain
        self._metrics = metrics
        self._people_file = people_file
        self._held_back = held_back
        self._promises = promises

    async def run(self) -> None:
        """Ends only by cancellation."""
        async with asyncio.TaskGroup() as group:
            if self._people_file is not None:
                look = _every(_TOKENS_LOOKED_AT_EVERY, self._people_file.look, first=_TOKENS_LOOKED_AT_EVERY)
                group.create_task(look, name="tokens")
            if self._settings.reports_dir is not None:
                files = ReportFiles(self._settings.reports_dir, self._database.incidents, render_report)
                group.create_task(_every(_REPORTS_EVERY, files.write_reports, first=timedelta(0)), name="reports")
            if self._promises is not None:
                group.create_task(_every(_PROMISES_EVERY, self._promises.catch_up, first=timedelta(0)), name="promises")
            group.create_task(_every(_GAUGES_EVERY, self._count, first=timedelta(0)), name="gauges")
            group.create_task(_every(_HELD_BACK_EVERY, self._held_back.tell, first=_HELD_BACK_EVERY), name="held back")
            group.create_task(_every(_MAINTENANCE_EVERY, self._maintain, first=_MAINTENANCE_EVERY), name="maintenance")

    async def _count(self) -> None:
        await count_open(self._database, self._metrics)

    async def _maintain(self) -> None:
        """Nothing grows without bound."""
        await self._brain.snapshot()
        now = wall_clock()
        entries = await self._database.journal.prune(now - timedelta(days=self._settings.journal_retention_days))
        closed = await self._database.incidents.prune(now - timedelta(days=self._settings.incident_retention_days))
        said = await self._database.people.prune(
            answers_before=now - _ANSWERS_KEPT_FOR, others_before=now - timedelta(days=self._settings.incident_retention_days)
        )
        _log.info("pruned", journal_entries=entries, incidents=closed, said=said)


async def _every(pause: timedelta, work: Callable[[], Awaitable[None]], *, first: timedelta) -> None:
    """Whatever breaks the work, it is done again. first: the pause before the first time."""
    await asyncio.sleep(first.total_seconds())
    while True:
        try:
            await work()
        except Exception:  # noqa: BLE001 (the boundary of side work: rollbacks must not depend on it)
            _log.exception("side_work_failed", work=work.__name__.strip("_"))
        await asyncio.sleep(pause.total_seconds())


async def count_open(database: Database, metrics: Metrics) -> None:
    """Bring the gauges of open incidents and waiting messages up to date."""
    found = await database.incidents.list(open_only=True, limit=10_000)
    counted = Counter(incident.status for incident in found)
    for status in OPEN_STATUSES:
        metrics.incidents.labels(status.value).set(counted[status])
    metrics.outbox_pending.set(await database.outbox.pending())
