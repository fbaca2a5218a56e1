"""A deadline for reading bodies."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from datetime import timedelta
from typing import TypeVar

T = TypeVar("T")


class ReadingDeadline:
    """Ends reads that take longer than `within` (up to twice as long: it looks once per `within`).

    One timer for all requests, because `asyncio.timeout` for each costs more than reading the alert does.
    """

    def __init__(self, within: timedelta) -> None:
        self._within = within.total_seconds()
        self._since: dict[asyncio.Task[object], float] = {}
        self._overdue: set[asyncio.Task[object]] = set()
        self._timer: asyncio.TimerHandle | None = None

    async def keep(self, reading: Awaitable[T]) -> T:
        """Await `reading`. Raises TimeoutError when the deadline, and nobody else, ended it."""
        loop = asyncio.get_running_loop()
        task = asyncio.current_task(loop)
        assert task is not None
        self._since[task] = loop.time()
        if self._timer is None:
            self._timer = loop.call_later(self._within, self._look)
        try:
            return await reading
        except asyncio.CancelledError:
            if task in self._overdue and task.uncancel() == 0:
                raise TimeoutError from None
            raise
        finally:
            del self._since[task]
            self._overdue.discard(task)

    def _look(self) -> None:
        loop = asyncio.get_running_loop()
        limit = loop.time() - self._within
        for task, since in self._since.items():
            if since <= limit and task not in self._overdue:
                self._overdue.add(task)
                task.cancel()
        self._timer = loop.call_later(self._within, self._look) if self._since else None
