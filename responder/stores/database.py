"""Opening the database that a URL names."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

import structlog
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError
from tenacity import Retrying, retry_if_exception, stop_after_delay, wait_fixed

from responder.errors import SettingsError
from responder.ports import Incidents, Journal, Ledger, Outbox, People
from responder.stores import journal_table, schema, sqlite
from responder.stores.connection import ConnectionThread
from responder.stores.incidents import SqlIncidents
from responder.stores.journal import JournalLimits, SqlJournal
from responder.stores.ledger import SqlLedger
from responder.stores.outbox import SqlOutbox
from responder.stores.people import SqlPeople

BUSY_WITHIN = timedelta(seconds=30)
"""How long a start waits for a database that somebody else has locked."""

_BUSY_PAUSE = timedelta(milliseconds=100)
_log = structlog.get_logger("responder.stores")


class Database:
    """An open database: one thread that writes, one that reads, the stores. Belongs to the event loop that opened it."""

    journal: Journal
    incidents: Incidents
    outbox: Outbox
    ledger: Ledger
    people: People

    def __init__(self, engine: Engine, lock: sqlite.FileLock, last_entry: int, limits: JournalLimits) -> None:
        self._lock = lock
        self._file = sqlite.SameFile(lock.database)
        self._writer = ConnectionThread("responder-writer", engine.connect, sqlite.BEGIN, self._check)
        self._reader = ConnectionThread("responder-reader", engine.connect)
        self._journal = SqlJournal(self._writer, self._reader, last_entry, limits)
        self.journal = self._journal
        self.incidents = SqlIncidents(self._writer, self._reader)
        self.outbox = SqlOutbox(self._writer, self._reader)
        self.ledger = SqlLedger(self._writer, self._reader)
        self.people = SqlPeople(self._writer, self._reader)

    def _check(self) -> None:
        """That what is written now is neither lost nor written beside somebody else. Raises JournalUnavailableError."""
        self._file.check()
        self._lock.check()

    async def connect(self) -> None:
        """Connect both threads now. While the reader is connected, a reconnecting writer finds the write-ahead log in place."""
        await self._reader.run(journal_table.last_id)
        await self._writer.run(journal_table.last_id)

    async def probe(self) -> None:
        """Write something to the disk and take it back. Raises JournalUnavailableError."""
        await self._writer.transact(journal_table.probe)

    async def close(self) -> None:
        """Write what is queued, then let go of the file. Further calls do nothing."""
        self._journal.close()
        await self._reader.close()
        await self._writer.close()
        self._lock.release()


async def open_database(url: str, *, limits: JournalLimits | None = None) -> Database:
    """`sqlite:///relative/path` or `sqlite:////absolute/path`. Raises SettingsError, which never shows the URL."""
    path = path_of(url)
    engine, lock, last_entry = await asyncio.to_thread(_open_file, path)
    database = Database(engine, lock, last_entry, limits or JournalLimits())
    try:
        await database.connect()
    except BaseException:
        await database.close()
        raise
    return database


def path_of(url: str) -> Path:
    scheme, separator, rest = url.partition("://")
    if not separator or scheme != "sqlite":
        raise SettingsError("the database (RESPONDER_DATABASE_URL): only SQLite is supported, for example sqlite:///responder.db")
    name = rest.removeprefix("/")
    if name == rest or not name or name.endswith("/") or "?" in name or name.startswith(":memory:"):
        raise SettingsError(
            "RESPONDER_DATABASE_URL: name a file, without options: sqlite:///responder.db or sqlite:////var/lib/responder/responder.db"
        )
    return Path(name).resolve()


def _open_file(path: Path) -> tuple[Engine, sqlite.FileLock, int]:
    lock = sqlite.FileLock(path)
    # Whoever copies or looks at the file lets go of it soon; giving up would leave it to a supervisor's ever longer pauses.
    waiting = Retrying(
        retry=retry_if_exception(sqlite.is_busy),
        stop=stop_after_delay(BUSY_WITHIN),
        wait=wait_fixed(_BUSY_PAUSE),
        before=lambda state: _log.warning("database_busy", path=str(path)) if state.attempt_number == 2 else None,
        reraise=True,
    )
    try:
        engine = sqlite.create_sqlite_engine(path)
        return engine, lock, waiting(_prepare_once, engine, path)
    except DBAPIError as error:
        lock.release()
        raise SettingsError(f"RESPONDER_DATABASE_URL: {path} can't be opened: {error.orig}") from error
    except BaseException:
        lock.release()
        raise


def _prepare_once(engine: Engine, path: Path) -> int:
    with engine.connect() as connection:
        return _prepare(connection, path)


def _prepare(connection: Connection, path: Path) -> int:
    mode = connection.exec_driver_sql("PRAGMA journal_mode").scalar()
    if mode != "wal":
        raise SettingsError(f"RESPONDER_DATABASE_URL: {path} is on a file system without write-ahead logging; use a local disk")
    connection.exec_driver_sql(sqlite.BEGIN)
    schema.prepare(connection, str(path))
    connection.exec_driver_sql("COMMIT")
    return journal_table.last_id(connection)
