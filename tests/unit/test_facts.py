"""What the guards are given to judge."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from responder.domain.guards import judge
from responder.domain.target import GuardSettings, Target, WorkloadRef
from responder.domain.version import RolloutPhase, RolloutStatus, Version, WorkloadState
from responder.engine.facts import FactFinder
from responder.stores.database import Database
from tests.harness.databases import NOW, at, incident, sqlite_database

TARGET = Target("app", WorkloadRef("shop", "app"), (), guards=GuardSettings(proven_for=timedelta(minutes=10)))
V1 = Version("v1", "1", "material-1", "digest-1", created_at=at(-60))
V2 = Version("v2", "2", "material-2", "digest-2", created_at=at(-5), current=True)


class OneWorkload:
    """Stands for the target; what it runs was rolled out before the service began."""

    def of(self, _: Target) -> OneWorkload:
        return self

    async def read(self) -> WorkloadState:
        return WorkloadState("uid-1", 1, V2, (V2, V1), RolloutStatus(RolloutPhase.COMPLETE, "3 of 3"), NOW)


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    async with sqlite_database(tmp_path) as database:
        yield database


async def test_an_alert_that_comes_before_the_ledger_has_looked_is_judged_by_the_targets_own_history(database: Database) -> None:
    finder = FactFinder(OneWorkload(), database.ledger, database.incidents, lambda: NOW)  # type: ignore[arg-type]
    _, choice = judge(await finder.gather(TARGET, incident(), still_firing=True))
    assert choice.version == V1, choice.reason
