"""Which targets the ledger keeper watches when the declared ones change."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from responder.domain.target import Target, WorkloadRef
from responder.domain.version import WorkloadState
from responder.engine.ledger_keeper import LedgerKeeper
from tests.harness.databases import sqlite_database
from tests.unit.version_values import NOW, state, target, version


@dataclass
class Places:
    """Counts the watches of each workload that were begun, and those that go on. changed: whenever one begins or ends."""

    begun: list[str] = field(default_factory=list)
    watched: list[str] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def of(self, target: Target) -> Place:
        return Place(self, target.workload.name)

    async def are(self, *names: str) -> None:
        async with asyncio.timeout(10):
            while sorted(self.watched) != sorted(names):
                self.changed.clear()
                await self.changed.wait()


@dataclass
class Place:
    places: Places
    name: str

    async def read(self) -> WorkloadState:
        return state(version("v1", 1, -1, current=True))

    async def watch(self) -> AsyncIterator[WorkloadState]:
        self.places.begun.append(self.name)
        self.places.watched.append(self.name)
        self.places.changed.set()
        try:
            yield await self.read()
            await asyncio.Event().wait()
        finally:
            self.places.watched.remove(self.name)
            self.places.changed.set()


def declared(**workloads: str) -> dict[str, Target]:
    return {name: replace(target(), name=name, workload=WorkloadRef("shop", place)) for name, place in workloads.items()}


@pytest.fixture
async def places(tmp_path: Path) -> AsyncIterator[tuple[Places, LedgerKeeper]]:
    async with sqlite_database(tmp_path) as database:
        places = Places()
        keeper = LedgerKeeper(places, database.ledger, lambda: NOW)  # type: ignore[arg-type]
        task = asyncio.create_task(keeper.run(declared(app="app", db="db")))
        await places.are("app", "db")
        yield places, keeper
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert places.watched == []


async def test_a_new_target_is_watched_and_the_others_without_a_gap(places: tuple[Places, LedgerKeeper]) -> None:
    watched, keeper = places
    keeper.follow(declared(app="app", db="db", web="web"))
    await watched.are("app", "db", "web")
    assert sorted(watched.begun) == ["app", "db", "web"]


async def test_a_target_that_is_gone_is_watched_no_more(places: tuple[Places, LedgerKeeper]) -> None:
    watched, keeper = places
    keeper.follow(declared(db="db"))
    await watched.are("db")


async def test_a_target_that_moved_is_watched_at_its_new_place(places: tuple[Places, LedgerKeeper]) -> None:
    watched, keeper = places
    keeper.follow(declared(app="app-2", db="db"))
    await watched.are("app-2", "db")
