"""Many things of one kind, each done by itself: side by side where they don't concern one another, else in order."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Iterable
from typing import TypeVar

T = TypeVar("T")

_AT_ONCE = 16


async def abreast(things: Iterable[T], about: Callable[[T], Hashable], do: Callable[[T], Awaitable[object]]) -> None:
    """Returns when all are done. Those about the same are done one after another, and all are begun in their order.

    Raises what the first that fails raises; what was not begun by then is not done.
    """
    rows: dict[Hashable, list[T]] = {}
    for thing in things:
        rows.setdefault(about(thing), []).append(thing)
    left = iter(rows.values())

    async def work_off() -> None:
        for row in left:  # shared: each row is taken by one
            for thing in row:
                await do(thing)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(min(_AT_ONCE, len(rows))):
                group.create_task(work_off())
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None
