"""A thread that owns one database connection: jobs go through it in order, so nothing else needs a lock."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import DatabaseError, DBAPIError, OperationalError

from responder.errors import JournalUnavailableError

T = TypeVar("T")

_TRANSACTIONS_AT_ONCE = 16  # an append to the journal waits for as many


@dataclass(frozen=True, slots=True)
class _Transaction:
    work: Callable[[Connection], Any]
    outcome: Future[Any]


class ConnectionThread:
    """Runs jobs one after the other. A failing job leaves no trace and harms no other.

    Transactions that wait for it are committed together: one of them waits no longer for the disk than all.

    After a failure of the storage itself the connection is replaced, so that nothing of the failure outlives it.
    """

    def __init__(
        self, name: str, connect: Callable[[], Connection], begin: str = "BEGIN", check: Callable[[], None] = lambda: None
    ) -> None:
        """connect must give a connection in autocommit mode; begin starts a transaction on it.

        check is called before each job; what it raises is the job's outcome.
        """
        self._check = check
        self._connect = connect
        self._begin = begin
        self._connection: Connection | None = None
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix=name)
        self._transactions: deque[_Transaction] = deque()
        self._commit_is_due = False
        self._closed = False

    def submit(self, job: Callable[[], None]) -> None:
        """Queue a job that answers for its own outcome. Raises JournalUnavailableError when closed."""
        self._refuse_when_closed()
        self._executor.submit(job)

    async def run(self, work: Callable[[Connection], T]) -> T:
        """Raises JournalUnavailableError when the storage fails."""
        self._refuse_when_closed()
        return await asyncio.get_running_loop().run_in_executor(self._executor, self.execute, work)

    async def transact(self, work: Callable[[Connection], T]) -> T:
        """Like run, in a transaction of its own. Cancelling waits for its end: whoever goes on from there must see it."""
        self._refuse_when_closed()
        outcome: Future[T] = Future()
        self._transactions.append(_Transaction(work, outcome))
        if not self._commit_is_due:
            self._commit_is_due = True
            self._executor.submit(self._commit)
        job = asyncio.wrap_future(outcome)
        try:
            return await asyncio.shield(job)
        except asyncio.CancelledError:
            await asyncio.gather(asyncio.shield(job), return_exceptions=True)
            raise

    async def close(self) -> None:
        """Finish what is queued, then close the connection."""
        if self._closed:
            return
        self._closed = True
        await asyncio.get_running_loop().run_in_executor(self._executor, self._finish)
        self._executor.shutdown(wait=False)

    def execute(self, work: Callable[[Connection], T]) -> T:
        """Only for jobs: on the thread itself."""
        self._check()
        try:
            if self._connection is None:
                self._connection = self._connect()
            return work(self._connection)
        except DBAPIError as error:
            if not is_storage_failure(error):
                raise
            self._drop_connection()
            raise JournalUnavailableError(f"the database can't be used: {error.orig}") from error

    def _commit(self) -> None:
        """On the thread itself: some of what has been asked for by now. The rest has to queue again."""
        self._commit_is_due = False  # before taking: what is asked for from here on is another commit's
        batch = [self._transactions.popleft() for _ in range(min(len(self._transactions), _TRANSACTIONS_AT_ONCE))]
        if self._transactions and not self._closed:
            self._executor.submit(self._commit)
        if batch and not self._is_committed(batch):
            for one in batch:  # the fault of one of them, perhaps
                self._is_committed([one])

    def _finish(self) -> None:
        while self._transactions:
            self._commit()
        self._drop_connection()

    def _is_committed(self, batch: list[_Transaction]) -> bool:
        """False when nothing was, and nobody was told."""
        try:
            done = self.execute(lambda connection: self.in_transaction(connection, lambda _: _carry_out(connection, batch)))
        except BaseException as error:  # noqa: BLE001 (told to who asked for it)
            if len(batch) > 1:
                return False
            for one in batch:
                one.outcome.set_exception(error)
        else:
            for tell in done:
                tell()
        return True

    def in_transaction(self, connection: Connection, work: Callable[[Connection], T]) -> T:
        connection.exec_driver_sql(self._begin)
        done = False
        try:
            result = work(connection)
            connection.exec_driver_sql("COMMIT")
            done = True
        finally:
            if not done:
                self._undo(connection)
        return result

    def _undo(self, connection: Connection) -> None:
        try:
            connection.exec_driver_sql("ROLLBACK")
        except DBAPIError:  # nothing is open any more: a failing commit may roll back by itself
            self._drop_connection()

    def _drop_connection(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.invalidate()
            connection.close()

    def _refuse_when_closed(self) -> None:
        if self._closed:
            raise JournalUnavailableError("the database is closed")


def is_storage_failure(error: DBAPIError) -> bool:
    """Disk full, I/O error, locked, damaged file; not a wrong statement or a violated constraint."""
    return isinstance(error, OperationalError) or type(error) is DatabaseError


def _carry_out(connection: Connection, batch: list[_Transaction]) -> list[Callable[[], None]]:
    """Do the work of each; one that fails leaves no trace. Returns what tells them their outcomes, once these are on disk."""
    if len(batch) == 1:
        return [partial(batch[0].outcome.set_result, batch[0].work(connection))]
    told: list[Callable[[], None]] = []
    for one in batch:
        connection.exec_driver_sql("SAVEPOINT one")
        try:
            told.append(partial(one.outcome.set_result, one.work(connection)))
        except Exception as error:
            if isinstance(error, DBAPIError) and is_storage_failure(error):
                raise
            connection.exec_driver_sql("ROLLBACK TO one")
            told.append(partial(one.outcome.set_exception, error))
        connection.exec_driver_sql("RELEASE one")
    return told
