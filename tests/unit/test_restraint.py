"""What keeps the engine from acting: a word counts when it is on record, and not before."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from pathlib import Path

import pytest

from responder.domain.incident import Word
from responder.domain.matcher import parse_matcher
from responder.domain.people import Hold, Suppression
from responder.domain.rulebook import Rulebook
from responder.engine.freezes import Freezes
from responder.engine.restraint import Restraint
from responder.errors import JournalUnavailableError
from responder.stores.database import Database
from tests.harness.databases import NOW, sqlite_database

HELD, FREE = Hold(True, "migration", "ann", NOW), Hold(False, "done", "ann", NOW)
LATER = NOW + timedelta(hours=1)


def suppression(name: str = "sup_1", matcher: str = 'target="app"') -> Suppression:
    return Suppression(name, (parse_matcher(matcher),), LATER, "load test", "ann", NOW)


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    async with sqlite_database(tmp_path) as database:
        yield database


@pytest.fixture
async def restraint(database: Database) -> Restraint:
    restraint = Restraint(database.people, Freezes(Rulebook))
    await restraint.load()
    return restraint


DEEDS: dict[str, tuple[str, Callable[[Restraint], Awaitable[object]]]] = {
    "a hold": ("put_hold", lambda restraint: restraint.turn_hold(HELD)),
    "letting go": ("put_hold", lambda restraint: restraint.turn_hold(FREE)),
    "a suppression": ("put_suppression", lambda restraint: restraint.suppress(suppression("sup_2"))),
    "the end of a suppression": ("put_suppression", lambda restraint: restraint.end("sup_1", Word("ann", NOW, ""))),
}


@pytest.mark.parametrize(("write", "deed"), DEEDS.values(), ids=DEEDS.keys())
async def test_what_can_not_be_put_on_record_changes_nothing(
    write: str,
    deed: Callable[[Restraint], Awaitable[object]],
    restraint: Restraint,
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await restraint.suppress(suppression())
    if deed is DEEDS["letting go"][1]:
        await restraint.turn_hold(HELD)
    before = (restraint.hold, restraint.suppressions(NOW), restraint.is_lifted)

    async def away(_: object) -> None:
        raise JournalUnavailableError("the disk is full")

    monkeypatch.setattr(database.people, write, away)
    with pytest.raises(JournalUnavailableError):
        await deed(restraint)
    assert (restraint.hold, restraint.suppressions(NOW), restraint.is_lifted) == before


async def test_the_same_word_about_the_hold_again_leaves_who_said_it_first(restraint: Restraint, database: Database) -> None:
    await restraint.turn_hold(HELD)
    again = await restraint.turn_hold(Hold(True, "lunch", "bob", LATER))
    assert (again, restraint.hold, await database.people.hold()) == (HELD, HELD, HELD)
    assert not restraint.is_lifted


async def test_a_hold_that_begins_forgets_not_that_something_was_lifted_before(restraint: Restraint) -> None:
    await restraint.suppress(suppression())
    await restraint.end("sup_1", Word("ann", NOW, ""))
    await restraint.turn_hold(HELD)
    assert (await restraint.pass_time(NOW))[0] is True
    assert (await restraint.pass_time(NOW))[0] is False, "once"


async def test_only_a_hold_that_was_let_go_closes_the_breaker(restraint: Restraint) -> None:
    assert restraint.lifted_at is None, "nobody ever held anything"
    await restraint.turn_hold(HELD)
    assert restraint.lifted_at is None, "it still holds"
    await restraint.turn_hold(Hold(False, "", "ann", LATER))
    assert restraint.lifted_at == LATER


@pytest.mark.parametrize("matcher", ['target="app"', 'target="https://shop.example"', 'rule="errors"', 'rule="api-5xx"'])
async def test_a_label_that_has_the_name_of_one_of_ours_may_be_meant_as_well_as_ours(restraint: Restraint, matcher: str) -> None:
    await restraint.suppress(suppression(matcher=matcher))
    alert = {"target": "https://shop.example", "rule": "api-5xx"}
    stay = restraint.silence(alert, "app", "errors", NOW)
    assert stay is not None
    assert restraint.silence({"target": "https://other.example"}, "db", "latency", NOW) is None
