"""What the guards are given to judge."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from responder.domain.guards import judge
from responder.domain.target import GuardSettings, Target, WorkloadRef
from responder.domain.version import LedgerEntry, RolloutPhase, RolloutStatus, Version, WorkloadState
from responder.engine.facts import FactFinder
from responder.engine.proofs import proofs
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


def entry(version: Version, **known: object) -> LedgerEntry:
    return LedgerEntry(TARGET.key, version.fingerprint, version.version, version.revision, version.created_at, **known)  # type: ignore[arg-type]


STALE = {  # what the ledger knew of v1 before v2 came; then why v1 is proven, or why not
    "a version from before the ledger was current for long": (entry(V1, observed=False), True, "it ran for 55m"),
    "the ledger saw it available for long enough": (
        entry(V1, available_from=at(-40), available_to=at(-20), available_open=True),
        True,
        "it ran for 20m",
    ),
    "nobody saw it available between the last look and the deploy": (
        entry(V1, available_from=at(-40), available_to=at(-39), available_open=True),
        False,
        "fully available for 1m only",
    ),
    "the ledger never saw it available": (entry(V1), False, "not known to have been fully available"),
}


@pytest.mark.parametrize(("known", "proven", "why"), STALE.values(), ids=STALE.keys())
async def test_an_alert_right_after_a_deploy_is_judged_as_if_the_ledger_had_just_looked(
    database: Database, known: LedgerEntry, proven: bool, why: str
) -> None:
    await database.ledger.put(known)
    finder = FactFinder(OneWorkload(), database.ledger, database.incidents, lambda: NOW)  # type: ignore[arg-type]
    _, choice = judge(await finder.gather(TARGET, incident(), still_firing=True))
    assert (choice.version == V1) is proven
    assert why in choice.reason
    assert await database.ledger.entries(TARGET.key) == [known], "what is judged is not written down"


async def test_the_list_of_versions_shows_the_proof_that_the_guards_see(database: Database) -> None:
    await database.ledger.put(entry(V1, observed=False))
    state = await OneWorkload().read()
    shown = await proofs(database.ledger, TARGET, state)
    assert shown[V1.fingerprint].holds, shown[V1.fingerprint].reason
