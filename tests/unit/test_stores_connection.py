"""Transactions that are committed together: each is done whole or not at all, whatever becomes of the others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError, OperationalError

from responder.errors import JournalUnavailableError
from responder.stores import sqlite
from responder.stores.connection import ConnectionThread


class Table:
    """A table of numbers, each there once. begun: how many transactions were begun; opened, let_go: connections."""

    def __init__(self, folder: Path) -> None:
        self.begun = self.opened = self.let_go = 0
        self.engine = sqlite.create_sqlite_engine(folder / "numbers.db")
        self.thread = ConnectionThread("numbers", self._connect, sqlite.BEGIN)

    def _connect(self) -> Connection:
        connection = self.engine.connect()
        execute, close = connection.exec_driver_sql, connection.close
        self.opened += 1

        def counting(statement: str, *arguments: object) -> object:
            self.begun += statement == sqlite.BEGIN
            return execute(statement, *arguments)  # type: ignore[arg-type]

        def closing() -> None:
            self.let_go += 1
            close()

        connection.exec_driver_sql = counting  # type: ignore[method-assign, assignment]
        connection.close = closing  # type: ignore[method-assign]
        return connection

    async def add(self, *numbers: int) -> int:
        def work(connection: Connection) -> int:
            for number in numbers:
                connection.exec_driver_sql(f"INSERT INTO numbers VALUES ({number})")
            return sum(numbers)

        return await self.thread.transact(work)

    async def fail(self, error: Exception) -> None:
        def work(connection: Connection) -> None:
            connection.exec_driver_sql("INSERT INTO numbers VALUES (99)")
            raise error

        await self.thread.transact(work)

    async def numbers(self) -> list[int]:
        def read(connection: Connection) -> list[int]:
            return [row[0] for row in connection.exec_driver_sql("SELECT number FROM numbers ORDER BY number")]

        return await self.thread.run(read)

    async def together(self, *jobs: Callable[[], object]) -> list[object]:
        """All of them asked for before the thread gets to any."""
        gate = asyncio.Event()
        loop = asyncio.get_running_loop()
        done = asyncio.run_coroutine_threadsafe
        self.thread.submit(lambda: done(gate.wait(), loop).result())
        tasks = [asyncio.ensure_future(job()) for job in jobs]  # type: ignore[call-overload]
        await asyncio.sleep(0)
        gate.set()
        return await asyncio.gather(*tasks, return_exceptions=True)


@pytest.fixture
async def table(tmp_path: Path) -> AsyncIterator[Table]:
    table = Table(tmp_path)
    await table.thread.run(lambda connection: connection.exec_driver_sql("CREATE TABLE numbers (number INTEGER PRIMARY KEY)"))
    yield table
    await table.thread.close()
    table.engine.dispose()


async def test_what_waits_together_is_committed_together(table: Table) -> None:
    assert await table.together(*(lambda number=number: table.add(number) for number in range(10))) == list(range(10))
    assert await table.numbers() == list(range(10))
    assert table.begun == 1


async def test_of_very_many_no_commit_takes_all(table: Table) -> None:
    assert await table.together(*(lambda number=number: table.add(number) for number in range(40))) == list(range(40))
    assert table.begun == 3


async def test_all_that_waits_when_it_is_closed_is_committed_first_and_nothing_is_opened_again(table: Table) -> None:
    async with asyncio.timeout(20):
        adding = [lambda number=number: table.add(number) for number in range(40)]
        assert (await table.together(*adding, table.thread.close))[:40] == list(range(40))
    with table.engine.connect() as other:
        assert [row[0] for row in other.exec_driver_sql("SELECT number FROM numbers ORDER BY number")] == list(range(40))
    assert table.opened == table.let_go


async def test_one_that_fails_leaves_no_trace_and_harms_no_other(table: Table) -> None:
    outcomes = await table.together(
        lambda: table.add(1), lambda: table.add(2, 1), lambda: table.fail(ValueError("no")), lambda: table.add(3)
    )
    assert outcomes[0] == 1
    assert isinstance(outcomes[1], IntegrityError)
    assert isinstance(outcomes[2], ValueError)
    assert outcomes[3] == 3
    assert await table.numbers() == [1, 3]


async def test_one_that_the_storage_refuses_harms_no_other(table: Table) -> None:
    refused = OperationalError("INSERT", {}, Exception("too big"))
    outcomes = await table.together(lambda: table.add(1), lambda: table.fail(refused), lambda: table.add(3))
    assert outcomes[0] == 1
    assert isinstance(outcomes[1], JournalUnavailableError)
    assert outcomes[2] == 3
    assert await table.numbers() == [1, 3]


async def test_who_is_cut_off_has_its_transaction_ended_first(table: Table) -> None:
    cut_off = asyncio.create_task(table.add(1))
    await asyncio.sleep(0)
    cut_off.cancel()
    with pytest.raises(asyncio.CancelledError):
        await cut_off
    assert await table.numbers() == [1]
