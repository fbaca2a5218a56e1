"""Lets runs through a few at a time, from their guards to their first change.

When two hundred are due at once and all of them go side by side, none gets anywhere before the last one does. A few at a time,
the first changes leave at once, the most urgent ones before the others, and what the guards saw is fresh when it is acted on.
"""

from __future__ import annotations

import asyncio
import heapq
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import count
from typing import Any

WIDTH = 8
PATIENCE = timedelta(seconds=1)


@dataclass(order=True, slots=True)
class _Waiting:
    urgency: tuple[Any, ...]
    number: int
    name: str = field(compare=False)
    turn: asyncio.Future[None] = field(compare=False)


class Turnstile:
    """width: how many are inside. patience: how long one inside keeps others out.

    Who takes longer than that (its target does not answer, its plan begins with a wait) goes on all the same, and another one may
    enter: nobody waits for a stuck one, and nobody can be stuck here.
    """

    def __init__(self, width: int = WIDTH, patience: timedelta = PATIENCE) -> None:
        self._width = width
        self._patience = patience
        self._inside: dict[str, asyncio.TimerHandle] = {}
        self._queue: list[_Waiting] = []
        self._numbers = count()

    async def enter(self, name: str, urgency: tuple[Any, ...], stop: asyncio.Event) -> bool:
        """Wait for this one's turn, or until it is to stop. urgency: the smallest goes first.

        False when it was its turn at once; else things may have changed meanwhile.
        """
        if stop.is_set() or name in self._inside:
            return stop.is_set()
        if len(self._inside) < self._width:
            self._admit(name)
            return False
        waiting = _Waiting(urgency, next(self._numbers), name, asyncio.get_running_loop().create_future())
        heapq.heappush(self._queue, waiting)
        stopped = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait((waiting.turn, stopped), return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            self.leave(name)
            raise
        finally:
            stopped.cancel()
            waiting.turn.cancel()  # does nothing when its turn has come
        return True

    def renew(self, name: str) -> None:
        """It gets on: it may keep others out for as long again. Does nothing when it is not inside."""
        timer = self._inside.get(name)
        if timer is not None:
            timer.cancel()
            self._admit(name)

    def leave(self, name: str) -> None:
        """It has made its first change, or will make none soon. Does nothing when it is not inside."""
        timer = self._inside.pop(name, None)
        if timer is not None:
            timer.cancel()
            self._let_in()

    def _admit(self, name: str) -> None:
        self._inside[name] = asyncio.get_running_loop().call_later(self._patience.total_seconds(), self.leave, name)

    def _let_in(self) -> None:
        while self._queue and len(self._inside) < self._width:
            waiting = heapq.heappop(self._queue)
            if not waiting.turn.done():
                self._admit(waiting.name)
                waiting.turn.set_result(None)
