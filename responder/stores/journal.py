"""The journal: what is queued is committed together, with one fsync, and acknowledged only then."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

from sqlalchemy import Connection, delete, insert, select

from responder.domain.signal import Signal
from responder.errors import JournalUnavailableError
from responder.ports import Entry, EntryKind
from responder.stores import journal_table
from responder.stores.codec import encode_signals, to_micros
from responder.stores.connection import ConnectionThread
from responder.stores.schema import snapshot
from responder.stores.sqlite import give_back_space
from responder.stores.tail import Tail

_ROWS_PER_READ = 256  # when wait() has to read the table
_ENTRY_BYTES = 256 * 1024  # as much as deliveries may share an entry; a larger delivery has one to itself


@dataclass(frozen=True, slots=True)
class JournalLimits:
    """max_*: what may wait for the disk. tail_*: what is kept in memory for the reader. Bytes are encoded bytes.

    patience: how long an append may wait for the disk; Sentry waits for one second.
    """

    max_entries: int = 4096
    max_bytes: int = 32 * 1024 * 1024
    patience: timedelta = timedelta(milliseconds=700)
    tail_entries: int = 2048
    tail_bytes: int = 512 * 1024


@dataclass(slots=True)
class _Pending:
    future: asyncio.Future[int]
    since: float
    at: datetime
    kind: EntryKind
    signals: tuple[Signal, ...]
    body: bytes


class _Group:
    """Appends that become one entry."""

    def __init__(self) -> None:
        self.members: list[_Pending] = []
        self.size = 0

    @property
    def at(self) -> datetime:
        return max(member.at for member in self.members)

    @property
    def kind(self) -> EntryKind:
        return self.members[0].kind

    def takes(self, pending: _Pending) -> bool:
        both = self.kind is pending.kind is EntryKind.SIGNALS
        return both and self.size + len(pending.body) <= _ENTRY_BYTES

    def add(self, pending: _Pending) -> None:
        self.members.append(pending)
        self.size += len(pending.body)

    def body(self) -> bytes:
        """Encoded signals are a JSON list: joining lists is joining what stands between their brackets."""
        if len(self.members) == 1:
            return self.members[0].body
        return b"[" + b",".join([member.body[1:-1] for member in self.members if member.body]) + b"]"

    def entry(self, entry_id: int) -> Entry:
        return Entry(entry_id, self.at, self.kind, tuple([one for member in self.members for one in member.signals]))


class SqlJournal:
    """See `ports.Journal`. All methods are for the event loop it was made on.

    An append that is refused is either not on disk, or (disk too slow for `patience`) may still get there: the sender
    will send it again, and the same signal twice changes nothing.
    """

    def __init__(self, writer: ConnectionThread, reader: ConnectionThread, last: int, limits: JournalLimits) -> None:
        """last: from `journal_table.last_id`."""
        self._writer = writer
        self._reader = reader
        self._limits = limits
        self._loop = asyncio.get_running_loop()
        self._tail = Tail(last, limits.tail_entries, limits.tail_bytes)
        self._arrivals: set[asyncio.Future[None]] = set()
        self._unsettled: deque[_Pending] = deque()  # loop only: everything not yet acknowledged or refused, oldest first
        self._bytes = 0
        self._patience_check: asyncio.TimerHandle | None = None
        self._queue: deque[_Pending] = deque()  # loop appends, writer takes
        self._commit_is_due = False
        self._next_id: int | None = last + 1  # writer only; None: ask the database
        self._closed = False

    # --- append: on the event loop -----------------------------------------------------------------------------------

    async def append(self, kind: EntryKind, at: datetime, signals: Sequence[Signal] = ()) -> int:
        signals = tuple(signals)
        body = encode_signals(signals)
        if self._closed:
            raise JournalUnavailableError("the journal is closed")
        if len(self._unsettled) >= self._limits.max_entries or self._bytes + len(body) > self._limits.max_bytes:
            raise JournalUnavailableError("the journal can't keep up", retry_after=timedelta(seconds=1))
        pending = _Pending(self._loop.create_future(), self._loop.time(), at, kind, signals, body)
        self._unsettled.append(pending)
        self._bytes += len(body)
        self._queue.append(pending)
        if not self._commit_is_due:
            self._commit_is_due = True
            self._loop.call_soon(self._start_commit)
            if self._patience_check is None:
                self._patience_check = self._loop.call_later(self._limits.patience.total_seconds(), self._check_patience)
        return await pending.future

    def _start_commit(self) -> None:
        """After everything that is ready to run has appended: fewer, larger batches, and fewer hand-overs between threads."""
        try:
            self._writer.submit(self._commit)
        except JournalUnavailableError as error:
            self._settle(self._take_queue(), None, str(error))

    def _settle(self, groups: Sequence[_Group], first_id: int | None, problem: str) -> None:
        """groups: one for each entry. first_id: of the first, None when they are not on disk."""
        entries: list[Entry] = []
        for number, group in enumerate(groups):
            for pending in group.members:
                self._bytes -= len(self._unsettled.popleft().body)
                if first_id is None:
                    _refuse(pending, problem)
                elif not pending.future.done():
                    pending.future.set_result(first_id + number)
            if first_id is not None:
                entries.append(group.entry(first_id + number))
        if entries:
            self._tail.extend(entries, [group.size for group in groups])
            self._wake()

    def _check_patience(self) -> None:
        patience, now = self._limits.patience.total_seconds(), self._loop.time()
        self._patience_check = None
        for pending in self._unsettled:
            if pending.since + patience > now:
                self._patience_check = self._loop.call_at(pending.since + patience, self._check_patience)
                return
            _refuse(pending, "the disk is too slow")

    def _wake(self) -> None:
        for arrival in self._arrivals:
            if not arrival.done():
                arrival.set_result(None)

    # --- commit: on the writer's thread ------------------------------------------------------------------------------

    def _commit(self) -> None:
        self._commit_is_due = False  # before taking: an entry queued from here on asks for another commit
        groups = self._take_queue()
        if not groups:
            return
        first_id, problem = None, "the journal can't be written"
        try:
            first_id = self._writer.execute(lambda connection: self._insert(connection, groups))
        except JournalUnavailableError as error:
            problem = f"the journal can't be written: {error}"
        finally:
            self._next_id = None if first_id is None else first_id + len(groups)
            self._loop.call_soon_threadsafe(self._settle, groups, first_id, problem)

    def _take_queue(self) -> list[_Group]:
        """Deliveries that wait together share an entry, which makes them a third cheaper; ticks stay by themselves."""
        groups: list[_Group] = []
        while self._queue:
            pending = self._queue.popleft()
            if not (groups and groups[-1].takes(pending)):
                groups.append(_Group())
            groups[-1].add(pending)
        return groups

    def _insert(self, connection: Connection, groups: Sequence[_Group]) -> int:
        first_id = journal_table.last_id(connection) + 1 if self._next_id is None else self._next_id
        rows: list[int | str | bytes] = []
        for entry_id, group in enumerate(groups, first_id):
            rows += (entry_id, to_micros(group.at), group.kind.value, group.body())
        if len(groups) <= journal_table.ROWS_PER_STATEMENT:
            journal_table.insert_rows(connection, rows)  # one statement is a transaction by itself
        else:
            self._writer.in_transaction(connection, partial(journal_table.insert_rows, rows=rows))
        return first_id

    # --- reading -----------------------------------------------------------------------------------------------------

    async def read(self, after: int, limit: int) -> list[Entry]:
        return await self._reader.run(partial(journal_table.read, after=after, limit=limit))

    async def wait(self, after: int, timeout: timedelta | None) -> list[Entry]:
        deadline = None if timeout is None else self._loop.time() + timeout.total_seconds()
        while True:
            last = self._tail.last
            if after < last:
                found = self._tail.after(after)
                if found is None:
                    found = await self.read(after, _ROWS_PER_READ)
                if found:
                    return found
                after = last  # all of them were pruned
            elif not await self._arrival(deadline):
                return []

    async def _arrival(self, deadline: float | None) -> bool:
        if self._closed:
            raise JournalUnavailableError("the journal is closed")
        arrival = self._loop.create_future()
        self._arrivals.add(arrival)
        try:
            async with asyncio.timeout_at(deadline):
                await arrival
        except TimeoutError:
            return False
        finally:
            self._arrivals.discard(arrival)
        return True

    def close(self) -> None:
        """Refuse further appends and wake those who wait; what is queued is still written."""
        self._closed = True
        self._wake()

    # --- snapshot and retention --------------------------------------------------------------------------------------

    async def save_snapshot(self, entry_id: int, digest: str, body: bytes) -> None:
        def replace(connection: Connection) -> None:
            connection.execute(delete(snapshot))
            connection.execute(insert(snapshot).values(entry_id=entry_id, digest=digest, body=body))

        await self._writer.transact(replace)

    async def load_snapshot(self, digest: str) -> tuple[int, bytes] | None:
        query = select(snapshot.c.entry_id, snapshot.c.body).where(snapshot.c.digest == digest)
        row = await self._reader.run(lambda connection: connection.execute(query).first())
        return None if row is None else (row.entry_id, row.body)

    async def prune(self, before: datetime) -> int:
        """In small transactions, so that appends get their turn. Stops at the first stretch with nothing old in it."""
        pruned, cursor = 0, 0
        while True:
            step = partial(journal_table.prune_stretch, after=cursor, before=before)
            deleted, cursor = await self._writer.transact(step)
            if not deleted:
                break
            pruned += deleted
            self._tail.forget(cursor)
        if pruned:
            await give_back_space(self._writer)
        return pruned


def _refuse(pending: _Pending, problem: str) -> None:
    if not pending.future.done():
        pending.future.set_exception(JournalUnavailableError(problem, retry_after=timedelta(seconds=5)))
