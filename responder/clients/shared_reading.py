"""Readings of the same that several ask for at the same time are made once, as fresh as if each had made its own."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Any, TypeVar

T = TypeVar("T")

_PATIENCE = 1.0  # seconds that a reading under way may hold up the next one


class SharedReadings:
    """Who asks while a reading is under way does not get that one, which may have looked before: it shares the next one.

    So what anybody gets was begun after it asked. Nobody may change what is shared.
    """

    def __init__(self) -> None:
        self._under_way: dict[Hashable, asyncio.Task[Any]] = {}
        self._upcoming: dict[Hashable, asyncio.Task[Any]] = {}

    async def read(self, what: Hashable, reading: Callable[[], Awaitable[T]]) -> T:
        """Raises what the reading raises. Cancelling one of those who wait leaves the others alone."""
        shared: asyncio.Task[T] | None = self._upcoming.get(what)
        if shared is None:
            shared = asyncio.create_task(self._make(what, reading))
            shared.add_done_callback(_note_error)
            self._upcoming[what] = shared
        return await asyncio.shield(shared)

    async def _make(self, what: Hashable, reading: Callable[[], Awaitable[T]]) -> T:
        before = self._under_way.get(what)
        if before is not None:
            await asyncio.wait((before,), timeout=_PATIENCE)
        own = self._under_way[what] = self._upcoming.pop(what)
        try:
            return await reading()
        finally:
            if self._under_way.get(what) is own:
                del self._under_way[what]


def _note_error(task: asyncio.Task[Any]) -> None:
    """Those who waited may all be gone."""
    if not task.cancelled():
        task.exception()
