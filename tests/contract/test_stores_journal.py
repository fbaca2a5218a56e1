"""The journal's contract: order, waiting, snapshot, retention, and what a restart finds."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from responder.domain.signal import SignalStatus
from responder.errors import InvalidInputError, JournalUnavailableError
from responder.ports import Entry, EntryKind
from responder.stores.database import Database
from tests.harness.databases import DATABASES, NOW, OpenDatabase, at, signal

AT_ONCE = timedelta(0)


@pytest.fixture(params=DATABASES)
def open_it(request: pytest.FixtureRequest) -> OpenDatabase:
    return DATABASES[request.param]


@pytest.fixture
async def database(open_it: OpenDatabase, tmp_path: Path) -> AsyncIterator[Database]:
    async with open_it(tmp_path) as opened:
        yield opened


async def fill(database: Database, count: int, minutes: float = 0) -> list[int]:
    return [await database.journal.append(EntryKind.SIGNALS, at(minutes), [signal(f"alert-{n}")]) for n in range(count)]


async def test_what_was_appended_is_read_back_in_order(database: Database) -> None:
    first = await database.journal.append(EntryKind.SIGNALS, NOW, [signal("a"), signal("b", status=SignalStatus.RESOLVED)])
    second = await database.journal.append(EntryKind.TICK, at(1))
    third = await database.journal.append(EntryKind.ACTED, at(1), [signal("app")])
    assert await database.journal.read(0, 10) == [
        Entry(first, NOW, EntryKind.SIGNALS, (signal("a"), signal("b", status=SignalStatus.RESOLVED))),
        Entry(second, at(1), EntryKind.TICK),
        Entry(third, at(1), EntryKind.ACTED, (signal("app"),)),
    ]


async def test_read_starts_after_the_id_and_keeps_to_the_limit(database: Database) -> None:
    ids = await fill(database, 5)
    assert [entry.id for entry in await database.journal.read(ids[1], 2)] == ids[2:4]
    assert await database.journal.read(ids[-1], 2) == []


async def test_concurrent_appends_get_ascending_ids_without_gaps_and_keep_each_senders_order(database: Database) -> None:
    async def sender(name: int) -> list[int]:
        return [await database.journal.append(EntryKind.SIGNALS, NOW, [signal(f"{name}/{n}")]) for n in range(20)]

    given = await asyncio.gather(*(sender(name) for name in range(30)))
    entries = await database.journal.read(0, 1000)
    ids = [entry.id for entry in entries]
    assert ids == sorted({entry_id for of_one in given for entry_id in of_one}) == list(range(1, len(ids) + 1))
    kept = [(entry.id, one.key) for entry in entries for one in entry.signals]
    assert len(kept) == 600
    for name, of_one in enumerate(given):
        mine = [(entry_id, key) for entry_id, key in kept if key.startswith(f"{name}/")]
        assert mine == [(entry_id, f"{name}/{n}") for n, entry_id in enumerate(of_one)]


async def test_a_waiting_reader_sees_every_entry_once_and_in_order(database: Database) -> None:
    async def follow() -> tuple[list[int], int]:
        seen: list[int] = []
        signals = 0
        while signals < 200:
            entries = await database.journal.wait(seen[-1] if seen else 0, None)
            seen += [entry.id for entry in entries]
            signals += sum(len(entry.signals) for entry in entries)
        return seen, signals

    reader = asyncio.create_task(follow())
    given = await asyncio.gather(*(fill(database, 10) for _ in range(20)))
    assert await reader == (sorted({entry_id for ids in given for entry_id in ids}), 200)


async def test_wait_ends_with_nothing_when_the_time_is_over(database: Database) -> None:
    ids = await fill(database, 1)
    assert await database.journal.wait(ids[-1], timedelta(milliseconds=1)) == []


async def test_wait_hands_out_the_very_signals_that_came_in(database: Database) -> None:
    received = signal()
    await database.journal.append(EntryKind.SIGNALS, NOW, [received])
    (entry,) = await database.journal.wait(0, AT_ONCE)
    assert entry.signals[0] is received


async def test_after_a_restart_entries_are_there_at_once_even_without_time_to_wait(open_it: OpenDatabase, tmp_path: Path) -> None:
    async with open_it(tmp_path) as before:
        ids = await fill(before, 3)
        expected = await before.journal.wait(0, AT_ONCE)
    async with open_it(tmp_path) as after:
        assert await after.journal.wait(0, AT_ONCE) == expected
        (new,) = await fill(after, 1)
        assert new > ids[-1]
        assert [entry.id for entry in await after.journal.wait(ids[0], AT_ONCE)] == [*ids[1:], new]


async def test_a_signal_that_is_not_unicode_is_refused_and_nothing_is_written(database: Database) -> None:
    with pytest.raises(InvalidInputError, match="can't be written"):
        await database.journal.append(EntryKind.SIGNALS, NOW, [signal(labels={"alertname": "\ud800"})])
    assert await database.journal.read(0, 10) == []


async def test_a_cancelled_append_harms_nobody(database: Database) -> None:
    tasks = [asyncio.create_task(database.journal.append(EntryKind.TICK, at(n))) for n in range(5)]
    await asyncio.sleep(0)
    tasks[1].cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(results[1], asyncio.CancelledError)
    on_disk = {entry.id for entry in await database.journal.read(0, 10)}
    assert {result for result in results if isinstance(result, int)} <= on_disk


async def test_a_closed_journal_refuses_and_wakes_those_who_wait(open_it: OpenDatabase, tmp_path: Path) -> None:
    async with open_it(tmp_path) as database:
        waiter = asyncio.create_task(database.journal.wait(0, None))
        await asyncio.sleep(0)
    with pytest.raises(JournalUnavailableError, match="closed"):
        await waiter
    with pytest.raises(JournalUnavailableError, match="closed"):
        await database.journal.append(EntryKind.TICK, NOW)


async def test_closing_writes_what_is_queued(open_it: OpenDatabase, tmp_path: Path) -> None:
    async with open_it(tmp_path) as database:
        tasks = [asyncio.create_task(database.journal.append(EntryKind.TICK, at(n))) for n in range(20)]
        await asyncio.sleep(0)
    ids = await asyncio.gather(*tasks)
    async with open_it(tmp_path) as database:
        assert [entry.id for entry in await database.journal.read(0, 100)] == sorted(ids)


async def test_a_snapshot_belongs_to_its_rulebook_and_replaces_the_previous_one(database: Database) -> None:
    await database.journal.save_snapshot(5, "old", b"state 5")
    await database.journal.save_snapshot(9, "new", b"state \x00 9")
    assert await database.journal.load_snapshot("new") == (9, b"state \x00 9")
    assert await database.journal.load_snapshot("old") is None


async def test_pruning_takes_what_is_old_and_covered_by_the_snapshot(database: Database) -> None:
    old = await fill(database, 600, minutes=0)
    new = await fill(database, 3, minutes=10)
    assert await database.journal.prune(at(5)) == 0, "without a snapshot everything is needed"
    await database.journal.save_snapshot(old[550], "digest", b"")
    assert await database.journal.prune(at(5)) == 551
    assert [entry.id for entry in await database.journal.read(0, 100)] == [*old[551:], *new]
    await database.journal.save_snapshot(new[-1], "digest", b"")
    assert await database.journal.prune(at(5)) == 49
    assert [entry.id for entry in await database.journal.wait(0, AT_ONCE)] == new


async def test_one_entry_from_the_future_does_not_stop_pruning(database: Database) -> None:
    (odd,) = await fill(database, 1, minutes=100_000)
    old = await fill(database, 5)
    await database.journal.save_snapshot(old[-1], "digest", b"")
    assert await database.journal.prune(at(5)) == 5
    assert [entry.id for entry in await database.journal.read(0, 10)] == [odd]


async def test_ids_of_pruned_entries_are_never_given_again(open_it: OpenDatabase, tmp_path: Path) -> None:
    async with open_it(tmp_path) as database:
        ids = await fill(database, 3)
        await database.journal.save_snapshot(ids[-1], "digest", b"")
        assert await database.journal.prune(at(5)) == 3
        await database.journal.save_snapshot(0, "another digest", b"")
    async with open_it(tmp_path) as database:
        waiter = asyncio.create_task(database.journal.wait(0, None))
        (new,) = await fill(database, 1)
        assert new == ids[-1] + 1
        assert [entry.id for entry in await waiter] == [new]


async def test_an_entry_that_can_not_be_read_back_does_not_hide_the_others(tmp_path: Path) -> None:
    async with DATABASES["sqlite"](tmp_path) as database:
        await fill(database, 4)
    with closing(sqlite3.connect(tmp_path / "responder.db")) as raw, raw:
        raw.execute("UPDATE journal SET kind = 'of_a_newer_version' WHERE id = 2")
        raw.execute("UPDATE journal SET body = '[[]]' WHERE id = 3")
    async with DATABASES["sqlite"](tmp_path) as database:
        entries = await database.journal.read(0, 10)
    assert [entry.kind.value for entry in entries] == ["signals", "unreadable", "unreadable", "signals"]
    assert [entry.at for entry in entries] == [NOW] * 4
