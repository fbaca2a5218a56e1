"""One queue for everything that happens because time passes, so that it happens in the order of time."""

from __future__ import annotations

import heapq
from datetime import datetime
from typing import Any, Protocol

_SMALLEST_LIMIT = 1024


class Timed(Protocol):
    """wake: when it wants to be woken, None when it does not."""

    wake: datetime | None


class Timers:
    """At the same instant the lower rank comes first, then the lower order; owners of one rank have orders of one kind."""

    def __init__(self) -> None:
        self._heap: list[tuple[datetime, int, Any, int, Timed]] = []
        self._numbers = 0  # keep owners from being compared
        self._limit = _SMALLEST_LIMIT

    def set(self, owner: Timed, at: datetime, rank: int, order: Any) -> None:
        """Wake the owner then, and not when it wanted to before. An owner whose `wake` becomes None is forgotten."""
        owner.wake = at
        self._numbers += 1
        heapq.heappush(self._heap, (at, rank, order, self._numbers, owner))
        if len(self._heap) > self._limit:
            self._heap = [entry for entry in self._heap if entry[4].wake == entry[0]]
            heapq.heapify(self._heap)
            self._limit = max(_SMALLEST_LIMIT, 2 * len(self._heap))

    def next(self) -> datetime | None:
        heap = self._heap
        while heap and heap[0][4].wake != heap[0][0]:
            heapq.heappop(heap)
        return heap[0][0] if heap else None

    def pop(self, now: datetime) -> tuple[datetime, int, Any] | None:
        """The next one that is due: when, rank and owner. Its `wake` is None afterwards."""
        heap = self._heap
        while heap and heap[0][0] <= now:
            at, rank, _, _, owner = heapq.heappop(heap)
            if owner.wake == at:
                owner.wake = None
                return at, rank, owner
        return None

    def __len__(self) -> int:
        return len(self._heap)
