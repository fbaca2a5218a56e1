"""Acknowledged means on disk: under load, with a failing disk, and when the process is killed."""

from __future__ import annotations

import asyncio
import resource
import signal as signals
import sqlite3
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import Connection, event

from responder.engine.readiness import CHECKED_FOR, Readiness
from responder.errors import JournalUnavailableError
from responder.ports import Entry, EntryKind
from responder.stores.connection import ConnectionThread
from responder.stores.database import Database, open_database
from responder.stores.journal import JournalLimits, SqlJournal
from responder.stores.schema import prepare
from responder.stores.sqlite import BEGIN, create_sqlite_engine
from responder.stores.tail import Tail
from tests.harness.databases import NOW, at, happening, incident, signal

LIMITS = JournalLimits(max_entries=10, max_bytes=10_000, patience=timedelta(seconds=60))


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    opened = await open_database(f"sqlite:///{tmp_path}/responder.db")
    yield opened
    await opened.close()


class Bench:
    """A journal whose disk can be stopped, and whose commits are counted."""

    def __init__(self, path: Path, limits: JournalLimits) -> None:
        self.commits: list[int] = []
        self._inserted = 0
        self._go_on = threading.Event()
        engine = create_sqlite_engine(path)
        event.listen(engine, "after_cursor_execute", self._count)
        self._writer = ConnectionThread("writer", engine.connect, BEGIN)
        self._reader = ConnectionThread("reader", engine.connect)
        with engine.connect() as connection:
            prepare(connection, str(path))
        self.journal = SqlJournal(self._writer, self._reader, 0, limits)

    def _count(self, connection: Connection, _cursor: object, statement: str, *_: object) -> None:
        if statement.startswith("INSERT INTO journal"):
            self._inserted += statement.count("(?")
        driver = connection.connection.driver_connection
        assert isinstance(driver, sqlite3.Connection)
        if self._inserted and not driver.in_transaction:
            self.commits.append(self._inserted)
            self._inserted = 0

    async def stop_the_disk(self) -> None:
        stopped = asyncio.get_running_loop().create_future()

        def hold() -> None:
            stopped.get_loop().call_soon_threadsafe(stopped.set_result, None)
            self._go_on.wait(timeout=60)

        self._go_on.clear()
        self._writer.submit(hold)
        await stopped

    def let_it_go_on(self) -> None:
        self._go_on.set()

    async def close(self) -> None:
        self._go_on.set()
        self.journal.close()
        await self._reader.close()
        await self._writer.close()


@pytest.fixture
async def bench(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Bench]:
    made = Bench(tmp_path / "responder.db", getattr(request, "param", JournalLimits(patience=timedelta(seconds=60))))
    yield made
    await made.close()


async def queue(bench: Bench, count: int) -> list[asyncio.Task[int]]:
    tasks = [asyncio.create_task(bench.journal.append(EntryKind.TICK, at(n))) for n in range(count)]
    await asyncio.sleep(0)
    return tasks


@pytest.mark.parametrize("waiting", [1, 2, 63, 64, 65, 500])
async def test_everything_that_waits_is_committed_together(bench: Bench, waiting: int) -> None:
    await bench.stop_the_disk()
    appends = await queue(bench, waiting)
    bench.let_it_go_on()
    assert await asyncio.gather(*appends) == list(range(1, waiting + 1))
    assert bench.commits == [waiting]


async def test_under_load_commits_are_far_fewer_than_appends(bench: Bench) -> None:
    async def sender() -> None:
        for n in range(20):
            await bench.journal.append(EntryKind.SIGNALS, at(n), [signal()])

    await asyncio.gather(*(sender() for _ in range(64)))
    entries = await bench.journal.read(0, 64 * 20)
    assert sum(len(entry.signals) for entry in entries) == 64 * 20
    assert sum(bench.commits) == len(entries)
    assert len(bench.commits) < 64 * 20 / 4


async def test_deliveries_that_wait_together_share_an_entry_but_no_tick_and_no_giant_does(bench: Bench) -> None:
    giant = signal("giant", annotations={"description": "x" * 300_000})
    await bench.stop_the_disk()
    deliveries = [[signal("a"), signal("b")], [signal("c")], [], [giant], [signal("d")], [signal("e")]]
    appends = [asyncio.create_task(bench.journal.append(EntryKind.SIGNALS, at(n), one)) for n, one in enumerate(deliveries[:4])]
    appends.append(asyncio.create_task(bench.journal.append(EntryKind.TICK, at(4))))
    appends += [
        asyncio.create_task(bench.journal.append(EntryKind.SIGNALS, at(9 - n), one)) for n, one in enumerate(deliveries[4:])
    ]
    await asyncio.sleep(0)
    bench.let_it_go_on()
    assert await asyncio.gather(*appends) == [1, 1, 1, 2, 3, 4, 4]
    entries = await bench.journal.read(0, 10)
    assert [[one.key for one in entry.signals] for entry in entries] == [["a", "b", "c"], ["giant"], [], ["d", "e"]]
    assert [(entry.kind, entry.at) for entry in entries] == [
        (EntryKind.SIGNALS, at(2)),
        (EntryKind.SIGNALS, at(3)),
        (EntryKind.TICK, at(4)),
        (EntryKind.SIGNALS, at(9)),
    ]
    assert await bench.journal.wait(0, timedelta(0)) == entries


@pytest.mark.parametrize("bench", [LIMITS], indirect=True)
async def test_a_full_queue_refuses_at_once_and_takes_again_when_it_has_room(bench: Bench) -> None:
    await bench.stop_the_disk()
    appends = await queue(bench, 10)
    with pytest.raises(JournalUnavailableError, match="can't keep up") as refusal:
        await bench.journal.append(EntryKind.TICK, NOW)
    assert refusal.value.retry_after is not None
    bench.let_it_go_on()
    await asyncio.gather(*appends)
    assert await bench.journal.append(EntryKind.TICK, NOW) == 11


@pytest.mark.parametrize("bench", [LIMITS], indirect=True)
async def test_the_queue_is_bounded_in_bytes_too(bench: Bench) -> None:
    await bench.stop_the_disk()
    large = signal(annotations={"description": "x" * 6000})
    waiting = asyncio.create_task(bench.journal.append(EntryKind.SIGNALS, NOW, [large]))
    await asyncio.sleep(0)
    with pytest.raises(JournalUnavailableError, match="can't keep up"):
        await bench.journal.append(EntryKind.SIGNALS, NOW, [large])
    bench.let_it_go_on()
    await waiting
    assert await bench.journal.append(EntryKind.SIGNALS, NOW, [large]) == 2


@pytest.mark.parametrize("bench", [JournalLimits(patience=timedelta(milliseconds=20))], indirect=True)
async def test_a_disk_that_hangs_is_answered_in_time_and_what_was_queued_is_not_lost(bench: Bench) -> None:
    await bench.stop_the_disk()
    appends = await queue(bench, 3)
    outcomes = await asyncio.gather(*appends, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [JournalUnavailableError] * 3
    bench.let_it_go_on()
    assert [entry.id for entry in await bench.journal.wait(0, None)] == [1, 2, 3]
    assert await bench.journal.append(EntryKind.TICK, NOW) == 4


@contextmanager
def full_disk(tmp_path: Path) -> Iterator[None]:
    """Files can't grow beyond what the write-ahead log has now: writes fail with EFBIG."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, ((tmp_path / "responder.db-wal").stat().st_size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


async def test_when_the_disk_fails_nothing_is_acknowledged_and_when_it_is_back_all_is_well(
    database: Database, tmp_path: Path
) -> None:
    assert signals.getsignal(signals.SIGXFSZ) == signals.SIG_IGN, "Python ignores it, so a write fails instead"
    first = incident(1)
    await database.incidents.open(first)
    acknowledged = [await database.journal.append(EntryKind.SIGNALS, NOW, [signal()])]
    large = [signal(annotations={"description": "x" * 10_000})]
    with full_disk(tmp_path):
        refused = await asyncio.gather(
            *(database.journal.append(EntryKind.SIGNALS, NOW, large) for _ in range(100)), return_exceptions=True
        )
        with pytest.raises(JournalUnavailableError):
            await database.incidents.save(first, [happening("noted")])
        assert [entry.id for entry in await database.journal.read(0, 10)] == acknowledged
    assert [type(outcome) for outcome in refused] == [JournalUnavailableError] * 100
    acknowledged += await asyncio.gather(*(database.journal.append(EntryKind.SIGNALS, NOW, large) for _ in range(100)))
    await database.incidents.save(first, [happening("noted")])
    entries = await database.journal.read(0, 1000)
    assert sorted(set(acknowledged)) == [entry.id for entry in entries] == list(range(1, len(entries) + 1))
    assert sum(len(entry.signals) for entry in entries) == 101
    assert await database.incidents.events("inc_1") == [happening("noted")]


async def test_whether_the_database_can_be_written_is_found_out_without_leaving_anything(
    database: Database, tmp_path: Path
) -> None:
    first = await database.journal.append(EntryKind.TICK, NOW)
    await database.probe()
    with full_disk(tmp_path), pytest.raises(JournalUnavailableError):
        await database.probe()
    await database.probe()
    assert [entry.id for entry in await database.journal.read(-10, 10)] == [first]
    assert await database.journal.append(EntryKind.TICK, NOW) == first + 1


async def test_the_service_is_not_ready_while_the_disk_is_full_and_ready_again_by_itself(
    database: Database, tmp_path: Path
) -> None:
    now = [NOW]
    readiness = Readiness(is_folded=lambda: True, position=lambda: 7, probe=database.probe, clock=lambda: now[0])

    async def ask() -> tuple[bool, Mapping[str, object]]:
        now[0] += CHECKED_FOR
        return await readiness.look()

    assert await ask() == (True, {"journal_position": 7})
    with full_disk(tmp_path):
        assert await ask() == (False, {"journal_position": 7, "problem": "the database can't be written"})
    assert await ask() == (True, {"journal_position": 7})


async def test_a_database_that_hangs_is_asked_once_and_ready_when_it_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("responder.engine.readiness.ANSWER_WITHIN", timedelta(milliseconds=10))
    answer, asked, now = asyncio.Event(), [0], [NOW]

    async def probe() -> None:
        asked[0] += 1
        await answer.wait()

    readiness = Readiness(is_folded=lambda: True, position=lambda: 7, probe=probe, clock=lambda: now[0])
    for _ in range(3):
        now[0] += CHECKED_FOR
        assert not (await readiness.look())[0]
    assert asked == [1]
    answer.set()
    now[0] += CHECKED_FOR
    assert (await readiness.look())[0]
    assert (await readiness.look())[0]
    assert asked == [1], "within the same second nobody is asked again"


async def test_a_full_database_refuses_then_recovers(database: Database) -> None:
    await database._writer.run(lambda connection: connection.exec_driver_sql("PRAGMA max_page_count = 1"))
    with pytest.raises(JournalUnavailableError, match="full"):
        for _ in range(10):
            await database.journal.append(EntryKind.SIGNALS, NOW, [signal(annotations={"description": "x" * 10_000})])
    on_disk = [entry.id for entry in await database.journal.read(0, 100)]
    assert await database.journal.append(EntryKind.TICK, NOW) == len(on_disk) + 1


async def test_a_commit_whose_end_nobody_heard_of_costs_no_later_entry(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    execute = bench._writer.execute

    def unheard(work: Callable[[Connection], int]) -> int:
        monkeypatch.setattr(bench._writer, "execute", execute)
        execute(work)
        raise JournalUnavailableError("the database went away")

    monkeypatch.setattr(bench._writer, "execute", unheard)
    with pytest.raises(JournalUnavailableError, match="went away"):
        await bench.journal.append(EntryKind.TICK, NOW)
    assert await bench.journal.append(EntryKind.TICK, NOW) == 2
    assert [entry.id for entry in await bench.journal.read(0, 10)] == [1, 2]


async def test_a_lock_held_by_another_tool_is_a_refusal_not_a_hang(database: Database, tmp_path: Path) -> None:
    tool = sqlite3.connect(tmp_path / "responder.db", isolation_level=None)
    tool.execute("BEGIN IMMEDIATE")
    with pytest.raises(JournalUnavailableError, match="locked"):
        await database.journal.append(EntryKind.TICK, NOW)
    tool.execute("ROLLBACK")
    tool.close()
    assert await database.journal.append(EntryKind.TICK, NOW) == 1


@pytest.mark.parametrize("put_another", [False, True], ids=["deleted", "replaced by another"])
async def test_nothing_is_acknowledged_into_a_file_that_nobody_will_open_again(
    database: Database, tmp_path: Path, put_another: bool
) -> None:
    path = tmp_path / "responder.db"
    await database.journal.append(EntryKind.TICK, NOW)
    path.rename(tmp_path / "aside")
    if put_another:
        path.write_bytes((tmp_path / "aside").read_bytes())
    with pytest.raises(JournalUnavailableError, match=r"responder\.db was deleted or replaced; restart Responder"):
        await database.journal.append(EntryKind.TICK, NOW)
    with pytest.raises(JournalUnavailableError, match="restart Responder"):
        await database.incidents.save(incident(), [happening("noted")])
    (tmp_path / "aside").rename(path)
    assert await database.journal.append(EntryKind.TICK, NOW) == 2


def test_an_entry_that_reached_the_disk_unnoticed_is_read_from_there() -> None:
    tail = Tail(0, max_entries=10, max_bytes=1000)
    tail.extend([Entry(1, NOW, EntryKind.TICK)], [0])
    tail.extend([Entry(3, NOW, EntryKind.TICK)], [0])
    assert tail.after(1) is None
    assert [entry.id for entry in tail.after(2) or ()] == [3]


def test_the_tail_is_bounded_by_entries_and_bytes() -> None:
    tail = Tail(0, max_entries=3, max_bytes=100)
    tail.extend([Entry(n, NOW, EntryKind.TICK) for n in range(1, 6)], [10] * 5)
    assert (tail.after(1), len(tail.after(2) or ())) == (None, 3)
    tail.extend([Entry(6, NOW, EntryKind.TICK)], [85])
    assert (tail.after(3), len(tail.after(4) or ())) == (None, 2)
    tail.extend([Entry(7, NOW, EntryKind.TICK)], [101])
    assert (tail.after(6), tail.after(7), tail.last) == (None, [], 7)


async def test_a_reader_behind_the_tail_reads_the_table(tmp_path: Path) -> None:
    limits = JournalLimits(tail_entries=2)
    database = await open_database(f"sqlite:///{tmp_path}/responder.db", limits=limits)
    ids = [await database.journal.append(EntryKind.SIGNALS, at(n), [signal(str(n))]) for n in range(6)]
    behind = await database.journal.wait(ids[0], None)
    assert [entry.signals[0].key for entry in behind] == ["1", "2", "3", "4", "5"]
    assert (await database.journal.wait(ids[3], None)) == behind[3:]
    await database.close()


def start(script: str, url: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", script, url], stdout=subprocess.PIPE, text=True)


APPENDER = """
import asyncio, os, sys
from responder.ports import EntryKind
from responder.stores.database import open_database
from tests.harness.databases import NOW, signal

async def sender(database, name):
    number = 0
    while True:
        number += 1
        key = f"{name}/{number}"
        entry = await database.journal.append(EntryKind.SIGNALS, NOW, [signal(key)])
        os.write(1, f"{entry} {key}\\n".encode())

async def main():
    database = await open_database(sys.argv[1])
    await asyncio.gather(*(sender(database, f"{os.getpid()}-{n}") for n in range(16)))

asyncio.run(main())
"""


async def test_what_was_acknowledged_before_a_kill_is_there_after_it(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/responder.db"
    acknowledged: set[tuple[int, str]] = set()
    for enough in (1, 300, 1500):
        appender = start(APPENDER, url)
        assert appender.stdout is not None
        lines = [await asyncio.to_thread(appender.stdout.readline) for _ in range(enough)]
        appender.kill()
        rest, _ = await asyncio.to_thread(appender.communicate)
        for line in [*lines, *rest.splitlines()]:
            entry, key = line.split()
            assert (int(entry), key) not in acknowledged
            acknowledged.add((int(entry), key))
        database = await open_database(url)
        entries = await database.journal.read(0, 1_000_000)
        on_disk = {(entry.id, one.key) for entry in entries for one in entry.signals}
        await database.close()
        assert acknowledged <= on_disk
        assert [entry.id for entry in entries] == list(range(1, len(entries) + 1))
        assert len(on_disk) - len(acknowledged) <= 16 * enough, "only what was in flight may be there unacknowledged"
