"""Only the newest of what comes faster than it is dealt with."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from typing import TypeVar

T = TypeVar("T")


async def newest(changes: AsyncGenerator[T]) -> AsyncGenerator[T]:
    """What comes while the one before is in hand is left out, but for the last of it. Ends, or fails, as `changes` does."""
    waiting: asyncio.Queue[T] = asyncio.Queue(1)

    async def take() -> None:
        async with contextlib.aclosing(changes):
            async for one in changes:
                if waiting.full():
                    waiting.get_nowait()
                waiting.put_nowait(one)

    taking = asyncio.create_task(take())
    upcoming: asyncio.Task[T] | None = None
    try:
        while True:
            upcoming = asyncio.create_task(waiting.get())
            await asyncio.wait((taking, upcoming), return_when=asyncio.FIRST_COMPLETED)
            if not upcoming.done():
                await asyncio.sleep(0)  # what was put in right before the end
            if not upcoming.done():
                taking.result()
                return
            yield upcoming.result()
    finally:
        tasks = [task for task in (taking, upcoming) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
