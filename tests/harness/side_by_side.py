"""Long stories that mostly wait, lived through side by side on one event loop, each with a test of its own that tells its end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Self


class SideBySide:
    """most: stories at a time."""

    def __init__(self, most: int) -> None:
        self._turns = asyncio.Semaphore(most)
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def begin(self, name: str, story: Callable[[], Awaitable[None]]) -> None:
        async def in_turn() -> None:
            async with self._turns:
                await story()

        self._tasks[name] = asyncio.create_task(in_turn(), name=name)

    async def end_of(self, name: str) -> None:
        """Wait for the end of a story; raises what it raised."""
        await self._tasks[name]

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
