"""The journal's statements. Written and read without a conversion layer: an append costs microseconds."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Connection, and_, delete, func, select, update

from responder.ports import Entry, EntryKind
from responder.stores.codec import decode_signals, from_micros, to_micros
from responder.stores.schema import journal, meta, snapshot

# As many rows as a statement can hold at little cost. One statement per batch, not one per row: the interpreter's lock is
# handed over with each, and a busy event loop gives it back only after milliseconds.
ROWS_PER_STATEMENT = 64

_COLUMNS = 4
_NOBODYS = -1
_ROWS_PER_PRUNE = 500
_PRUNED_TO = "journal_pruned_to"
_INSERT = "INSERT INTO journal (id, at, kind, body) VALUES "
_INSERT_ROWS = {rows: _INSERT + ", ".join(["(?, ?, ?, ?)"] * rows) for rows in range(1, ROWS_PER_STATEMENT + 1)}
_KINDS = {kind.value: kind for kind in EntryKind}
_READ = "SELECT id, at, kind, body FROM journal WHERE id > ? ORDER BY id LIMIT ?"


def last_id(connection: Connection) -> int:
    """The highest id ever given, 0 at first; pruned entries count."""
    kept = connection.scalar(select(func.max(journal.c.id))) or 0
    pruned = connection.scalar(select(meta.c.value).where(meta.c.name == _PRUNED_TO)) or 0
    return max(kept, pruned)


def insert_rows(connection: Connection, rows: Sequence[int | str | bytes]) -> None:
    """rows: id, at (microseconds), kind, body of every entry, one after the other."""
    for start in range(0, len(rows), ROWS_PER_STATEMENT * _COLUMNS):
        part = tuple(rows[start : start + ROWS_PER_STATEMENT * _COLUMNS])
        connection.exec_driver_sql(_INSERT_ROWS[len(part) // _COLUMNS], part)


def probe(connection: Connection) -> None:
    """Write an entry that nobody ever sees and take it back, in one transaction: its commit goes to disk like any other."""
    insert_rows(connection, (_NOBODYS, 0, EntryKind.TICK.value, b""))
    connection.execute(delete(journal).where(journal.c.id == _NOBODYS))


def read(connection: Connection, after: int, limit: int) -> list[Entry]:
    rows = connection.exec_driver_sql(_READ, (after, limit)).all()
    return [_entry(entry_id, at, kind, body) for entry_id, at, kind, body in rows]


def _entry(entry_id: int, at: int, kind: str, body: bytes) -> Entry:
    """One that can't be read must not hide all that come after it, now and at every start."""
    try:
        return Entry(entry_id, from_micros(at), _KINDS[kind], decode_signals(body))
    except (LookupError, TypeError, ValueError):
        return Entry(entry_id, from_micros(at), EntryKind.UNREADABLE)


def prune_stretch(connection: Connection, after: int, before: datetime) -> tuple[int, int]:
    """Prune among the next few entries that the snapshot covers; return how many, and the last one's id."""
    covered = select(func.max(snapshot.c.entry_id)).scalar_subquery()
    stretch = select(journal.c.id, journal.c.at).where(journal.c.id > after, journal.c.id <= covered)
    rows = connection.execute(stretch.order_by(journal.c.id).limit(_ROWS_PER_PRUNE)).all()
    old = [row.id for row in rows if row.at < to_micros(before)]
    if not old:
        return 0, after
    chosen = and_(journal.c.id >= old[0], journal.c.id <= old[-1], journal.c.at < to_micros(before))
    connection.execute(delete(journal).where(chosen))
    connection.execute(update(meta).where(meta.c.name == _PRUNED_TO, meta.c.value < old[-1]).values(value=old[-1]))
    return len(old), old[-1]
