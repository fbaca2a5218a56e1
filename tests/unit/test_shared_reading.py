"""Who shares whose reading: nobody gets one that was begun before it asked."""

from __future__ import annotations

import asyncio

import pytest

from responder.clients.shared_reading import SharedReadings


class Source:
    """Readings are numbered as they begin, and end when they are let go."""

    def __init__(self) -> None:
        self.readings = SharedReadings()
        self.begun = 0
        self.gates: list[asyncio.Event] = []
        self.error: Exception | None = None

    async def _reading(self) -> int:
        self.begun += 1
        number = self.begun
        gate = asyncio.Event()
        self.gates.append(gate)
        await gate.wait()
        if self.error is not None:
            raise self.error
        return number

    async def ask(self, what: str = "quotas") -> asyncio.Task[int]:
        asked = asyncio.create_task(self.readings.read(what, self._reading))
        await self.settle()
        return asked

    async def settle(self) -> None:
        for _ in range(10):
            await asyncio.sleep(0)


@pytest.fixture
def source() -> Source:
    return Source()


async def test_who_asks_while_a_reading_is_under_way_gets_the_next_one(source: Source) -> None:
    first, second, third = [await source.ask() for _ in range(3)]
    assert source.begun == 1
    source.gates[0].set()
    await source.settle()
    source.gates[1].set()
    assert [await first, await second, await third] == [1, 2, 2]
    assert source.begun == 2


async def test_those_who_ask_at_the_same_moment_share_one(source: Source) -> None:
    asked = [asyncio.create_task(source.readings.read("quotas", source._reading)) for _ in range(5)]
    await source.settle()
    source.gates[0].set()
    assert [await one for one in asked] == [1] * 5


async def test_other_things_are_read_side_by_side(source: Source) -> None:
    await source.ask("quotas")
    await source.ask("budgets")
    assert source.begun == 2
    for gate in source.gates:
        gate.set()


async def test_an_error_is_for_those_who_share_it_and_no_others(source: Source) -> None:
    first, second = [await source.ask() for _ in range(2)]
    source.error = ValueError("no")
    source.gates[0].set()
    with pytest.raises(ValueError, match="no"):
        await first
    source.error = None
    await source.settle()
    source.gates[1].set()
    assert await second == 2


async def test_one_that_gives_up_takes_nothing_from_the_others(source: Source) -> None:
    first, second, third = [await source.ask() for _ in range(3)]
    first.cancel()
    second.cancel()
    source.gates[0].set()
    await source.settle()
    source.gates[1].set()
    assert await third == 2


async def test_a_reading_that_hangs_holds_up_the_next_one_only_for_a_while(
    source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("responder.clients.shared_reading._PATIENCE", 0.01)
    await source.ask()
    second = await source.ask()
    async with asyncio.timeout(20):
        while source.begun < 2:  # noqa: ASYNC110 - begun by a timer
            await asyncio.sleep(0.001)
        source.gates[1].set()
        assert await second == 2
    source.gates[0].set()


async def test_nothing_is_remembered_when_all_have_their_answers(source: Source) -> None:
    first = await source.ask()
    source.gates[0].set()
    await first
    assert (source.readings._under_way, source.readings._upcoming) == ({}, {})
