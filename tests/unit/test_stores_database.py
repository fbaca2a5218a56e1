"""Opening a database: what is refused, and with which words."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import Connection

from responder.domain.people import Hold
from responder.errors import JournalUnavailableError, SettingsError
from responder.ports import EntryKind
from responder.stores import database
from responder.stores.database import open_database
from responder.stores.record import open_record
from responder.stores.schema import SCHEMA_VERSION
from tests.harness.databases import NOW, at, signal

UNUSABLE = {
    "another engine": "postgresql://bob:s3cret@db/responder",
    "a driver": "sqlite+aiosqlite:///s3cret.db",
    "no scheme": "s3cret.db",
    "nothing": "",
    "memory": "sqlite://",
    "memory by name": "sqlite:///:memory:",
    "a host": "sqlite://s3cret/responder.db",
    "options": "sqlite:///s3cret.db?mode=ro",
    "a folder": "sqlite:////tmp/s3cret/",
}


@pytest.mark.parametrize("url", UNUSABLE.values(), ids=UNUSABLE.keys())
async def test_a_url_that_names_no_sqlite_file_is_refused_without_showing_it(url: str) -> None:
    with pytest.raises(SettingsError, match="RESPONDER_DATABASE_URL") as refusal:
        await open_database(url)
    assert "s3cret" not in str(refusal.value)


async def test_a_relative_path_starts_in_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    database = await open_database("sqlite:///responder.db")
    await database.close()
    assert (tmp_path / "responder.db").is_file()


async def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=f"there is no folder {tmp_path}/missing"):
        await open_database(f"sqlite:///{tmp_path}/missing/responder.db")


async def test_a_folder_that_can_not_be_written_is_named() -> None:
    with pytest.raises(SettingsError, match=r"/proc/responder\.db\.lock can't be written"):
        await open_database("sqlite:////proc/responder.db")


async def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    (tmp_path / "responder.db").write_text("not a database, but long enough to be looked at " * 100)
    with pytest.raises(SettingsError, match=r"responder\.db can't be opened: file is not a database"):
        await open_database(f"sqlite:///{tmp_path}/responder.db")


async def test_a_start_waits_for_somebody_who_has_the_database_locked(tmp_path: Path) -> None:
    """A backup, say. To give up would mean to be started again after pauses that grow."""
    url = f"sqlite:///{tmp_path}/responder.db"
    await (await open_database(url)).close()
    other = sqlite3.connect(tmp_path / "responder.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    opening = asyncio.create_task(open_database(url))
    await asyncio.sleep(1)  # longer than a statement waits
    other.execute("ROLLBACK")
    other.close()
    await (await opening).close()


async def test_a_start_does_not_wait_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "BUSY_WITHIN", timedelta(0))
    url = f"sqlite:///{tmp_path}/responder.db"
    await (await open_database(url)).close()
    with contextlib.closing(sqlite3.connect(tmp_path / "responder.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(SettingsError, match=r"responder\.db can't be opened: database is locked"):
            await open_database(url)
    await (await open_database(url)).close()


async def test_somebody_elses_database_is_left_alone(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "responder.db") as other:
        other.execute("CREATE TABLE customers (name TEXT)")
    with pytest.raises(SettingsError, match="somebody else's tables"):
        await open_database(f"sqlite:///{tmp_path}/responder.db")


@pytest.mark.parametrize(("version", "advice"), [(0, "start with a new file"), (SCHEMA_VERSION + 1, "run a newer Responder")])
async def test_another_schema_version_is_refused(tmp_path: Path, version: int, advice: str) -> None:
    url = f"sqlite:///{tmp_path}/responder.db"
    await (await open_database(url)).close()
    with sqlite3.connect(tmp_path / "responder.db") as other:
        other.execute("UPDATE meta SET value = ? WHERE name = 'schema_version'", (version,))
    with pytest.raises(SettingsError, match=f"schema version {version}, .*{advice}"):
        await open_database(url)
    with sqlite3.connect(tmp_path / "responder.db") as other:
        other.execute("UPDATE meta SET value = ? WHERE name = 'schema_version'", (SCHEMA_VERSION,))
    await (await open_database(url)).close()


async def test_a_database_of_the_first_version_is_brought_up_in_place(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/responder.db"
    old = await open_database(url)
    await old.journal.append(EntryKind.SIGNALS, at(0), [signal("a")])
    await old.close()
    with sqlite3.connect(tmp_path / "responder.db") as other:
        for table in ("suppressions", "hold", "audit", "kept_answers", "troubles"):
            other.execute(f"DROP TABLE {table}")
        other.execute("UPDATE meta SET value = 1 WHERE name = 'schema_version'")
    open_record(url).close()  # reading alone changes nothing
    upgraded = await open_database(url)
    assert [entry.signals for entry in await upgraded.journal.read(0, 10)] == [(signal("a"),)]
    await upgraded.people.put_hold(Hold(True, "release day", "ann", NOW))
    assert (await upgraded.people.hold()).held
    await upgraded.close()
    with sqlite3.connect(tmp_path / "responder.db") as other:
        assert other.execute("SELECT value FROM meta WHERE name = 'schema_version'").fetchone() == (SCHEMA_VERSION,)


async def test_two_databases_on_one_file_are_refused_until_the_first_is_closed(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/responder.db"
    first = await open_database(url)
    (tmp_path / "link.db").symlink_to(tmp_path / "responder.db")
    for again in (url, f"sqlite:///{tmp_path}/link.db"):
        with pytest.raises(SettingsError, match="in use by another Responder"):
            await open_database(again)
    await first.close()
    await first.close()
    await (await open_database(url)).close()


async def test_a_lock_that_somebody_deleted_is_taken_again_before_the_next_write(tmp_path: Path) -> None:
    """At three in the morning it looks like what a dead process has left behind."""
    url = f"sqlite:///{tmp_path}/responder.db"
    first = await open_database(url)
    (tmp_path / "responder.db.lock").unlink()
    await first.probe()
    with pytest.raises(SettingsError, match="in use by another Responder"):
        await open_database(url)
    await first.close()
    await (await open_database(url)).close()


async def test_of_two_on_one_file_the_first_writes_nothing_more(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/responder.db"
    first = await open_database(url)
    (tmp_path / "responder.db.lock").unlink()
    second = await open_database(url)
    with pytest.raises(JournalUnavailableError, match="lock was deleted or replaced; restart Responder"):
        await first.probe()
    await second.probe()
    await second.close()
    with pytest.raises(JournalUnavailableError):  # what the second has done, the first does not know
        await first.probe()
    await first.close()


def start(script: str, url: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", script, url], stdout=subprocess.PIPE, text=True)


HOLDER = """
import asyncio, sys
from responder.stores.database import open_database
from responder.stores.record import open_record
from responder.stores.schema import SCHEMA_VERSION

async def hold():
    database = await open_database(sys.argv[1])
    print("open", flush=True)
    await asyncio.Event().wait()

asyncio.run(hold())
"""


async def test_a_second_process_is_refused_until_the_first_is_killed(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/responder.db"
    holder = start(HOLDER, url)
    try:
        assert holder.stdout is not None
        assert await asyncio.to_thread(holder.stdout.readline) == "open\n"
        with pytest.raises(SettingsError, match=f"in use by another Responder .process {holder.pid}."):
            await open_database(url)
    finally:
        holder.kill()
        holder.communicate()
    await (await open_database(url)).close()


async def test_the_file_gives_back_what_pruning_has_freed(tmp_path: Path) -> None:
    database = await open_database(f"sqlite:///{tmp_path}/responder.db")
    for _ in range(300):
        last = await database.journal.append(EntryKind.SIGNALS, NOW, [signal(annotations={"description": "x" * 10_000})])
    await database.journal.save_snapshot(last, "digest", b"")
    assert await database.journal.prune(NOW + timedelta(seconds=1)) == 300
    await database.close()
    assert (tmp_path / "responder.db").stat().st_size < 300_000
    assert not (tmp_path / "responder.db-wal").exists()


async def test_a_backup_that_is_taken_while_it_is_in_use_can_be_started_from(tmp_path: Path) -> None:
    """docs/operations.md says how; a plain copy would miss what is still in the write-ahead log."""
    database = await open_database(f"sqlite:///{tmp_path}/responder.db")
    last = await database.journal.append(EntryKind.SIGNALS, NOW, [signal()])
    with sqlite3.connect(tmp_path / "responder.db") as source, sqlite3.connect(tmp_path / "backup.db") as kept:
        source.backup(kept)
    source.close()
    kept.close()
    after = await database.journal.append(EntryKind.TICK, at(1))
    await database.close()
    restored = await open_database(f"sqlite:///{tmp_path}/backup.db")
    assert [entry.id for entry in await restored.journal.read(0, 10)] == [last]
    assert await restored.journal.append(EntryKind.TICK, at(2)) == after
    await restored.close()


async def test_every_connection_waits_for_the_disk(tmp_path: Path) -> None:
    database = await open_database(f"sqlite:///{tmp_path}/responder.db")
    names = ("journal_mode", "synchronous", "foreign_keys", "auto_vacuum")

    def read(connection: Connection) -> dict[str, object]:
        return {name: connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in names}

    settings = await database._writer.run(read)
    await database.close()
    assert settings == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "auto_vacuum": 2}


async def test_reads_do_not_wait_for_the_writer(tmp_path: Path) -> None:
    database = await open_database(f"sqlite:///{tmp_path}/responder.db")
    await database.journal.append(EntryKind.TICK, at(0))
    release = asyncio.Event()
    held = asyncio.get_running_loop()

    def hold() -> None:
        asyncio.run_coroutine_threadsafe(release.wait(), held).result()

    database._writer.submit(hold)
    appended = asyncio.create_task(database.journal.append(EntryKind.TICK, at(1)))
    assert len(await database.journal.read(0, 10)) == 1
    assert await database.incidents.list() == []
    release.set()
    assert await appended == 2
    await database.close()
