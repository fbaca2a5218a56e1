"""The number of rollbacks is kept exactly, also when all of them were decided at the same moment."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from responder.domain.incident import Incident, Order
from responder.domain.target import Limits, RollbackLimit, Target, WorkloadRef
from responder.engine.blast_radius import BlastRadius
from responder.errors import RefusedError
from responder.stores.database import Database
from tests.harness.databases import NOW, incident, sqlite_database

LIMITS = Limits(RollbackLimit(3, timedelta(hours=1)), RollbackLimit(2, timedelta(hours=1)))


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    async with sqlite_database(tmp_path) as database:
        yield database


def target(name: str, namespace: str) -> Target:
    return Target(name, WorkloadRef(namespace, name), ())


def radius(database: Database) -> BlastRadius:
    return BlastRadius(database.ledger, lambda: NOW, lambda: LIMITS)


async def begun(one: BlastRadius, about: Incident, where: Target) -> str:
    """Why it may not begin; "" when it has."""
    try:
        await one.take(about, where)
    except RefusedError as error:
        return str(error)
    return ""


def incidents(count: int) -> list[Incident]:
    return [replace(incident(), id=f"inc_{number}") for number in range(count)]


async def test_of_a_hundred_at_once_as_many_begin_as_there_may_be(database: Database) -> None:
    one = radius(database)
    answers = await asyncio.gather(
        *(begun(one, about, target(about.id, f"n{number}")) for number, about in enumerate(incidents(100)))
    )
    assert answers.count("") == 3
    assert set(answers) - {""} == {"3 rollbacks over all targets in the last 1h, limit 3"}


async def test_in_one_namespace_there_are_fewer(database: Database) -> None:
    one = radius(database)
    answers = [await begun(one, about, target(about.id, "shop")) for about in incidents(3)]
    assert answers == ["", "", "2 rollbacks in namespace shop in the last 1h, limit 2"]


async def test_what_is_on_record_counts_once_and_after_a_restart(database: Database) -> None:
    one = radius(database)
    for about in incidents(2):
        assert await begun(one, about, target("app", "shop")) == ""
        await database.ledger.mark_bad(target("app", "shop").key, f"material of {about.id}", NOW, about.id)
    assert len(await one.past("inc_other")) == 2
    assert len(await radius(database).past("inc_other")) == 2


async def test_an_incident_does_not_stand_in_its_own_way(database: Database) -> None:
    one = radius(database)
    [about] = incidents(1)
    for name in ("a", "b", "c", "d"):
        assert await begun(one, about, target(name, "shop")) == "", "one plan is not left half done"
        assert await begun(one, about, target(name, "shop")) == "", "and a resumed run may go on"
    other = replace(about, id="inc_other")
    assert "4 rollbacks over all targets" in await begun(one, other, target("e", "elsewhere"))


async def test_a_person_may_answer_for_one_more_and_it_counts(database: Database) -> None:
    one = radius(database)
    for about in incidents(3):
        await one.take(about, target(about.id, about.id))
    forced = replace(incident(), id="inc_forced", order=Order("ann", "fire", override=("blast_radius",)))
    assert await begun(one, replace(forced, order=Order("ann", "fire")), target("x", "x")) != ""
    assert await begun(one, forced, target("x", "x")) == ""
    assert [one.ordered for one in await one.past("inc_other")].count(True) == 1
