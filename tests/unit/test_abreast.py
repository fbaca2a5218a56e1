"""What is done side by side, and what in order."""

from __future__ import annotations

import asyncio

import pytest

from responder.engine.abreast import abreast


class Doing:
    """Notes what is begun, and waits for the gate."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.begun: list[str] = []
        self.done: list[str] = []

    async def __call__(self, thing: str) -> None:
        self.begun.append(thing)
        await self.gate.wait()
        if thing.endswith("!"):
            raise ValueError(thing)
        self.done.append(thing)

    async def settle(self) -> None:
        for _ in range(10):
            await asyncio.sleep(0)


def first_letter(thing: str) -> str:
    return thing[0]


async def test_what_is_about_different_things_is_done_side_by_side_and_the_rest_in_order() -> None:
    doing = Doing()
    task = asyncio.create_task(abreast(["a1", "b1", "a2", "b2", "a3"], first_letter, doing))
    await doing.settle()
    assert doing.begun == ["a1", "b1"]
    doing.gate.set()
    await task
    assert [one for one in doing.done if one[0] == "a"] == ["a1", "a2", "a3"]
    assert sorted(doing.done) == ["a1", "a2", "a3", "b1", "b2"]


async def test_of_very_many_only_some_are_under_way() -> None:
    doing = Doing()
    task = asyncio.create_task(abreast([str(number) for number in range(100)], str, doing))
    await doing.settle()
    assert doing.begun == [str(number) for number in range(16)]
    doing.gate.set()
    await task
    assert len(doing.done) == 100


async def test_a_failure_is_raised_as_it_is() -> None:
    doing = Doing()
    doing.gate.set()
    with pytest.raises(ValueError, match="b!"):
        await abreast(["a", "b!", "c"], str, doing)


async def test_nothing_is_nothing() -> None:
    await abreast([], str, Doing())
