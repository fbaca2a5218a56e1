"""What is left out when changes come faster than they are dealt with, and how it ends."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator

import pytest

from responder.targets.newest import newest


class Changes:
    """Yields what is put in; an exception is raised, None ends it."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[int | Exception | None] = asyncio.Queue()
        self.closed = False

    async def come(self, *changes: int | Exception | None) -> None:
        for change in changes:
            self.queue.put_nowait(change)
        for _ in range(10):
            await asyncio.sleep(0)

    async def all(self) -> AsyncGenerator[int]:
        try:
            while (change := await self.queue.get()) is not None:
                if isinstance(change, Exception):
                    raise change
                yield change
        finally:
            self.closed = True


@pytest.fixture
def changes() -> Changes:
    return Changes()


async def test_every_change_is_seen_by_who_keeps_up(changes: Changes) -> None:
    async with contextlib.aclosing(newest(changes.all())) as seen:
        for number in range(3):
            await changes.come(number)
            assert await anext(seen) == number


async def test_what_comes_meanwhile_is_left_out_but_for_the_last(changes: Changes) -> None:
    async with contextlib.aclosing(newest(changes.all())) as seen:
        await changes.come(1)
        assert await anext(seen) == 1
        await changes.come(2, 3, 4)
        assert await anext(seen) == 4


async def test_the_last_change_before_the_end_is_seen(changes: Changes) -> None:
    await changes.come(1, None)
    async with contextlib.aclosing(newest(changes.all())) as seen:
        assert [one async for one in seen] == [1]
    assert changes.closed


async def test_it_fails_as_the_changes_do(changes: Changes) -> None:
    async with contextlib.aclosing(newest(changes.all())) as seen:
        await changes.come(ValueError("no"))
        with pytest.raises(ValueError, match="no"):
            await anext(seen)


async def test_closing_it_closes_the_changes(changes: Changes) -> None:
    async with contextlib.aclosing(newest(changes.all())) as seen:
        await changes.come(1)
        await anext(seen)
        assert not changes.closed
    assert changes.closed
