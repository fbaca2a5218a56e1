"""A thread that owns one database connection: jobs go through it in order, so nothing else needs a lock."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import DatabaseError, DBAPIError, OperationalError

from responder.errors import JournalUnavailableError

T = TypeVar("T")


class ConnectionThread:
    """Runs jobs one after the other. A failing job leaves no trace and harms no other.

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
        loop = asyncio.get_running_loop()
        job = loop.run_in_executor(self._executor, self.execute, lambda connection: self.in_transaction(connection, work))
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
        await asyncio.get_running_loop().run_in_executor(self._executor, self._drop_connection)
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
