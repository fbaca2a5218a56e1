"""Time limits that stand still while a person is being waited for."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from types import TracebackType


class Limit:
    """`async with Limit(duration):` raises TimeoutError when the block takes longer, pauses not counted."""

    def __init__(self, duration: timedelta) -> None:
        self._duration = duration.total_seconds()
        self._timeout = asyncio.timeout(None)
        self._left: float | None = None  # while it stands still
        self._pauses = 0

    async def __aenter__(self) -> Limit:
        await self._timeout.__aenter__()
        self._timeout.reschedule(_now() + self._duration)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self._timeout.__aexit__(kind, error, trace)

    def pause(self) -> None:
        self._pauses += 1
        when = self._timeout.when()
        if self._pauses == 1 and when is not None and not self._timeout.expired():
            self._left = max(0.0, when - _now())
            self._timeout.reschedule(None)

    def resume(self) -> None:
        self._pauses -= 1
        if self._pauses == 0 and self._left is not None:
            self._timeout.reschedule(_now() + self._left)
            self._left = None

    def shorten(self, rest: timedelta) -> None:
        """From now on there is at most so much time, whoever is being waited for."""
        when = self._timeout.when()
        latest = _now() + rest.total_seconds()
        if not self._timeout.expired():
            self._left = None
            self._timeout.reschedule(latest if when is None else min(when, latest))


@contextmanager
def paused(limits: Iterable[Limit]) -> Iterator[None]:
    """While the block runs, none of these limits does."""
    held = tuple(limits)
    for limit in held:
        limit.pause()
    try:
        yield
    finally:
        for limit in held:
            limit.resume()


def _now() -> float:
    return asyncio.get_running_loop().time()
