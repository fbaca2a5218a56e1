"""The keeper of the ledger: one watch per target, none of which disturbs another."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from responder.domain.ledger import best_stretch
from responder.domain.target import Target, WorkloadRef
from responder.domain.version import LedgerEntry, WorkloadState
from responder.engine.ledger_keeper import LedgerKeeper
from responder.errors import NotFoundError
from responder.stores.database import Database
from tests.harness.databases import sqlite_database
from tests.unit.version_values import NOW, PROGRESSING, state, target, version

V1 = version("v1", 1, -1, current=True)


class Watched:
    """A target whose watch shows one state and then stays silent, after failing as often as told. afresh: what a read finds."""

    def __init__(self, shown: WorkloadState, *, afresh: WorkloadState | None = None, failures: int = 0) -> None:
        self._shown = shown
        self._afresh = afresh or shown
        self._failures = failures
        self.was_read = asyncio.Event()

    async def read(self) -> WorkloadState:
        self.was_read.set()
        return self._afresh

    async def watch(self) -> AsyncIterator[WorkloadState]:
        if self._failures:
            self._failures -= 1
            raise KeyError("a bug with this object")
        yield self._shown
        await asyncio.Event().wait()


class Watching:
    def __init__(self, watched: dict[str, Watched]) -> None:
        self._watched = watched

    def of(self, target: Target) -> Watched:
        return self._watched[target.name]


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    async with sqlite_database(tmp_path) as database:
        yield database


def declared_target(name: str) -> Target:
    return replace(target(proven_for=timedelta(minutes=10)), name=name, workload=WorkloadRef("shop", name))


@asynccontextmanager
async def keeping(database: Database, clock: Callable[[], datetime], **watched: Watched) -> AsyncIterator[None]:
    keeper = LedgerKeeper(Watching(watched), database.ledger, clock)  # type: ignore[arg-type]
    declared = {name: declared_target(name) for name in watched}
    task = asyncio.create_task(keeper.run(declared))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def entry_of(database: Database, name: str, holds: Callable[[LedgerEntry], bool]) -> LedgerEntry:
    async with asyncio.timeout(10):
        while True:
            found = [entry for entry in await database.ledger.entries(declared_target(name).key) if holds(entry)]
            if found:
                return found[0]
            await asyncio.sleep(0.005)


async def test_a_bug_with_one_target_costs_neither_the_others_nor_its_own_ledger(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("responder.engine.ledger_keeper._RETRY_PAUSE", 0.01)
    async with keeping(database, lambda: NOW, app=Watched(state(V1), failures=2), db=Watched(state(V1))):
        await entry_of(database, "db", lambda entry: entry.available_open)
        await entry_of(database, "app", lambda entry: entry.available_open)


async def test_a_version_is_not_proven_by_a_state_seen_ten_minutes_ago(database: Database) -> None:
    """The watch has been silent since; only a fresh look tells whether it is still available."""
    times = iter([NOW])
    later = NOW + timedelta(minutes=11)
    silent = Watched(state(V1), afresh=state(V1, rollout=PROGRESSING))
    async with keeping(database, lambda: next(times, later), app=silent):
        async with asyncio.timeout(10):
            await silent.was_read.wait()
        entry = await entry_of(database, "app", lambda entry: not entry.available_open)
    assert entry.longest < timedelta(minutes=10)


async def test_a_version_that_is_still_available_when_its_time_has_come_is_proven(database: Database) -> None:
    times = iter([NOW])
    later = NOW + timedelta(minutes=11)

    def is_proven(entry: LedgerEntry) -> bool:
        return best_stretch([entry]) == timedelta(minutes=11)

    async with keeping(database, lambda: next(times, later), app=Watched(state(V1))):
        entry = await entry_of(database, "app", is_proven)
    assert (entry.available_from, entry.available_to, entry.available_open) == (NOW, later, True)


class Missing(Watched):
    """Declared by a name that nothing has: the watch waits for it to appear, a read says what is wrong."""

    reads = 0

    async def read(self) -> WorkloadState:
        self.reads += 1
        if self.reads == 3:
            self.was_read.set()
        raise NotFoundError('deployments.apps "app" not found')

    async def watch(self) -> AsyncIterator[WorkloadState]:
        for never in ():
            yield never
        await asyncio.Event().wait()


async def test_a_target_that_is_not_there_is_said_once(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("responder.engine.ledger_keeper._UNSEEN", 0.01)
    monkeypatch.setattr("responder.engine.ledger_keeper._RETRY_PAUSE", 0.01)
    missing = Missing(state(V1))
    with capture_logs() as logs:
        async with keeping(database, lambda: NOW, app=missing, db=Watched(state(V1))), asyncio.timeout(10):
            await entry_of(database, "db", lambda entry: entry.available_open)
            await missing.was_read.wait()
    assert [(one["event"], one["target"], one["error"]) for one in logs] == [
        ("target_unreadable", "app", 'deployments.apps "app" not found')
    ]
