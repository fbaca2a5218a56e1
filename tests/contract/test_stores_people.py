"""What people said, as the store keeps it: also after the database is opened again."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from responder.domain.incident import Word
from responder.domain.matcher import parse_matcher
from responder.domain.people import AuditEntry, Hold, KeptAnswer, Suppression
from tests.harness.databases import DATABASES, NOW, OpenDatabase, at

MATCHERS = (parse_matcher('alertname=~"High.*"'), parse_matcher('note!="a \\"quoted\\"\\nline"'))
QUIET = Suppression("sup_1", MATCHERS, at(60), "load test", "ann", NOW)


@pytest.fixture(params=DATABASES)
def open_it(request: pytest.FixtureRequest) -> OpenDatabase:
    return DATABASES[request.param]


async def test_a_suppression_comes_back_as_it_was_until_it_has_ended(open_it: OpenDatabase, tmp_path: Path) -> None:
    async with open_it(tmp_path) as database:
        await database.people.put_suppression(QUIET)
        await database.people.put_suppression(replace(QUIET, id="sup_2", created_at=at(1)))
    async with open_it(tmp_path) as database:
        assert await database.people.suppressions() == [replace(QUIET, id="sup_2", created_at=at(1)), QUIET]
        ended = replace(QUIET, ended=Word("bob", at(2), "done"), warned=True)
        await database.people.put_suppression(ended)
        assert [one.id for one in await database.people.suppressions()] == ["sup_2"]
        assert ended in await database.people.suppressions(ended=True)


async def test_the_hold_is_off_until_somebody_turns_it_on(open_it: OpenDatabase, tmp_path: Path) -> None:
    async with open_it(tmp_path) as database:
        assert await database.people.hold() == Hold()
        await database.people.put_hold(Hold(True, "migration", "ann", NOW))
        await database.people.put_hold(Hold(True, "longer", "bob", at(1)))
    async with open_it(tmp_path) as database:
        assert await database.people.hold() == Hold(True, "longer", "bob", at(1))


async def test_the_audit_log_is_read_newest_first_in_pages(open_it: OpenDatabase, tmp_path: Path) -> None:
    entries = [AuditEntry(at(minute), "ann", "hold", "hold", "done", f"entry {minute}", {"n": minute}) for minute in range(5)]
    async with open_it(tmp_path) as database:
        for entry in entries:
            await database.people.note(entry)
        first = await database.people.audit(limit=2)
        assert [entry for _, entry in first] == [entries[4], entries[3]]
        rest = await database.people.audit(before=first[-1][0])
        assert [entry for _, entry in rest] == entries[2::-1]


async def test_an_answer_is_kept_under_its_key(open_it: OpenDatabase, tmp_path: Path) -> None:
    async with open_it(tmp_path) as database:
        assert await database.people.kept_answer("k") is None
        await database.people.keep_answer("k", KeptAnswer("digest", 202, b"{}"), NOW)
        assert await database.people.kept_answer("k") == KeptAnswer("digest", 202, b"{}")


async def test_answers_that_are_still_owed_are_found_oldest_first(open_it: OpenDatabase, tmp_path: Path) -> None:
    async with open_it(tmp_path) as database:
        people, owed = database.people, KeptAnswer("", 102, b"{}")
        await people.keep_answer("later", owed, at(1))
        await people.keep_answer("sooner", owed, NOW)
        await people.keep_answer("given", owed, NOW)
        await people.keep_answer("given", KeptAnswer("", 200, b""), NOW)
        assert await people.open_answers(102) == [("sooner", owed), ("later", owed)]


async def test_what_is_old_is_pruned_and_what_is_in_force_stays(open_it: OpenDatabase, tmp_path: Path) -> None:
    async with open_it(tmp_path) as database:
        people = database.people
        await people.put_suppression(QUIET)
        await people.put_suppression(replace(QUIET, id="sup_old", ended=Word("", at(1))))
        await people.note(AuditEntry(at(1), "ann", "hold", "hold", "done", "old"))
        await people.note(AuditEntry(at(30), "ann", "hold", "hold", "done", "new"))
        await people.keep_answer("old", KeptAnswer("d", 200, b""), at(1))
        await people.keep_answer("new", KeptAnswer("d", 200, b""), at(30))
        assert await people.prune(answers_before=at(10), others_before=NOW + timedelta(minutes=10)) == 3
        assert [one.id for one in await people.suppressions(ended=True)] == ["sup_1"]
        assert [entry.text for _, entry in await people.audit()] == ["new"]
        assert await people.kept_answer("old") is None
        assert await people.kept_answer("new") is not None
