"""A database opened for reading only, also while the service is running on it: what was accepted, and what came of it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from sqlalchemy import Connection, Engine, StaticPool, create_engine, func, select
from sqlalchemy.exc import DBAPIError

from responder.domain.incident import Incident
from responder.errors import SettingsError
from responder.ports import Entry
from responder.stores import journal_table, schema
from responder.stores.codec import from_document, from_micros
from responder.stores.database import path_of
from responder.stores.schema import incidents, journal

_ENTRIES_PER_READ = 2_000  # each read is a transaction of its own: a long one would keep the write-ahead log from shrinking


@dataclass(frozen=True, slots=True)
class Span:
    """What the journal holds. first_at, last_at: None when it is empty."""

    entries: int
    first_at: datetime | None
    last_at: datetime | None


class Record:
    """Synchronous, for commands. Sees what was committed when it looks."""

    def __init__(self, engine: Engine, connection: Connection) -> None:
        self._engine = engine
        self._connection = connection

    def span(self) -> Span:
        query = select(func.count(), func.min(journal.c.at), func.max(journal.c.at))
        count, first, last = self._connection.execute(query).one()
        return Span(count, None if first is None else from_micros(first), None if last is None else from_micros(last))

    def entries(self) -> Iterator[Entry]:
        """The whole journal, in order."""
        after = 0
        while rows := journal_table.read(self._connection, after, _ENTRIES_PER_READ):
            yield from rows
            after = rows[-1].id

    def incidents(self, since: datetime, until: datetime) -> list[Incident]:
        """Those opened in that time, both ends included; oldest first."""
        query = select(incidents.c.document).where(incidents.c.opened_at >= since, incidents.c.opened_at <= until)
        query = query.order_by(incidents.c.opened_at, incidents.c.number)
        return [from_document(Incident, document) for document in self._connection.scalars(query)]

    def close(self) -> None:
        self._connection.close()
        self._engine.dispose()


def open_record(url: str) -> Record:
    """url: as for `open_database`. Raises SettingsError when it is no database of ours."""
    path = path_of(url)
    if not path.is_file():
        raise SettingsError(f"there is no database {path}")
    try:
        return _open(path, "mode=ro")
    except DBAPIError as error:
        if path.with_name(path.name + "-wal").exists():
            raise SettingsError(f"{path} can't be read: {error.orig}") from error
    try:
        return _open(path, "immutable=1")  # in a folder that can't be written, and nobody else has it open
    except DBAPIError as error:
        raise SettingsError(f"{path} can't be read: {error.orig}") from error


def _open(path: Path, mode: str) -> Record:
    address = f"{path.absolute().as_uri()}?{mode}"
    engine = create_engine(
        "sqlite://",
        creator=lambda: sqlite3.connect(address, uri=True, isolation_level=None, check_same_thread=False),
        poolclass=StaticPool,
        isolation_level="AUTOCOMMIT",
    )
    connection = engine.connect()
    try:
        connection.exec_driver_sql("PRAGMA busy_timeout = 5000")
        connection.exec_driver_sql("PRAGMA query_only = ON")
        schema.check(connection, str(path))
    except BaseException:
        connection.close()
        engine.dispose()
        raise
    return Record(engine, connection)
