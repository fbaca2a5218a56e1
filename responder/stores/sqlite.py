"""What is particular to SQLite: the file, its lock, the settings of a connection, giving space back."""

from __future__ import annotations

import fcntl
import os
import sqlite3
from pathlib import Path
from typing import Any

import structlog
from sqlalchemy import URL, Connection, Engine, NullPool, create_engine, event

from responder.errors import JournalUnavailableError, SettingsError
from responder.stores.connection import ConnectionThread

BEGIN = "BEGIN IMMEDIATE"  # take the write lock at once: a transaction that starts by reading must not fail half way

_VACUUM_PAGES = 512  # given back per job, so that appends get their turn between two

_log = structlog.get_logger("responder.stores")


class FileLock:
    """Keeps a second process off the database file. The kernel releases it when the process ends, however it ends."""

    def __init__(self, database: Path) -> None:
        """Raises SettingsError when another process holds it or the folder can't be written."""
        self.database = database
        self._path = database.with_name(database.name + ".lock")
        if not database.parent.is_dir():
            raise SettingsError(f"RESPONDER_DATABASE_URL: there is no folder {database.parent}")
        try:
            self._descriptor: int | None = self._take(os.O_CREAT)
        except OSError as error:
            raise SettingsError(f"RESPONDER_DATABASE_URL: {self._path} can't be written: {error.strerror}") from error
        self._same = SameFile(self._path)

    def check(self) -> None:
        """That it still keeps others off: who opens the database after the lock was deleted is let in, and two would lead.

        A lock that is gone is taken again. Raises JournalUnavailableError when somebody else was faster.
        """
        if self._same.is_gone():
            try:
                taken = self._take(os.O_CREAT | os.O_EXCL)
            except (OSError, SettingsError) as error:
                raise JournalUnavailableError(f"the lock {self._path} was deleted and can't be taken again: {error}") from error
            _log.warning("lock_taken_again", path=str(self._path), consequence="never delete the lock of a running service")
            self.release()
            self._descriptor, self._same = taken, SameFile(self._path)
        self._same.check()

    def _take(self, how: int) -> int:
        """The descriptor that holds it. Raises OSError, or SettingsError when another process holds it."""
        descriptor = os.open(self._path, os.O_RDWR | how, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.read(descriptor, 20).decode(errors="replace").strip()
            os.close(descriptor)
            raise SettingsError(
                f"RESPONDER_DATABASE_URL: {self.database} is in use by another Responder (process {holder or 'unknown'}); "
                "only one process may use a SQLite file"
            ) from error
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
        return descriptor

    def release(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


class SameFile:
    """Tells whether the name still leads to the file that was opened: what is written into a deleted one is lost at the end."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._opened = self._identity()

    def is_gone(self) -> bool:
        return self._identity() is None

    def check(self) -> None:
        """Raises JournalUnavailableError when it does not."""
        if self._identity() != self._opened:
            raise JournalUnavailableError(f"the file {self._path} was deleted or replaced; restart Responder")

    def _identity(self) -> tuple[int, int] | None:
        try:
            found = os.stat(self._path)  # noqa: PTH116 - once for every commit, and half as slow
        except OSError:
            return None
        return found.st_dev, found.st_ino


def is_busy(error: BaseException) -> bool:
    """Somebody else has the database locked."""
    code = getattr(getattr(error, "orig", error), "sqlite_errorcode", 0)
    return code & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)  # the rest tells why


def create_sqlite_engine(path: Path) -> Engine:
    """Connections in autocommit mode: transactions are begun by statement."""
    engine = create_engine(
        URL.create("sqlite", database=str(path)),
        isolation_level="AUTOCOMMIT",
        poolclass=NullPool,
        connect_args={"check_same_thread": False, "cached_statements": 256},
    )
    event.listen(engine, "connect", _set_up)
    return engine


def _set_up(connection: Any, _record: object) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA busy_timeout = 500")  # milliseconds; a sender waits for a second at most
    cursor.execute("PRAGMA auto_vacuum = INCREMENTAL")  # only has an effect while the file is empty
    cursor.execute("PRAGMA journal_mode = WAL")
    cursor.execute("PRAGMA synchronous = FULL")  # fsync before COMMIT returns
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.execute("PRAGMA journal_size_limit = 67108864")  # cut the write-ahead log back after a burst
    cursor.close()


async def give_back_space(writer: ConnectionThread) -> None:
    """Return the pages that pruning has freed to the file system, as far as it can be done now."""

    def step(connection: Connection) -> bool:
        driver = connection.connection.driver_connection
        try:
            # A plain execute() stops after the first page.
            driver.executescript(f"PRAGMA incremental_vacuum({_VACUUM_PAGES})")  # type: ignore[union-attr]
        except sqlite3.OperationalError:
            return False
        return bool(connection.exec_driver_sql("PRAGMA freelist_count").scalar())

    while await writer.run(step):
        pass
