"""Baselines from a signal's own past: the median of what it measured while it was calm."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterator
from datetime import datetime, timedelta
from statistics import median

LIMIT = 10_000
"""How many signals' pasts are kept at most; those not heard of for longest go first."""
SLOTS = 60
"""A window is divided into so many parts, and the first number of each is kept: a pair that says everything twice counts once."""
LEAST = 5
"""With fewer numbers there is no baseline."""

HistoryKey = tuple[int, str, str]
"""(index of the watch, source, key of the alert)"""


class Histories:
    """Numbers by signal, oldest first."""

    def __init__(self) -> None:
        self._numbers: OrderedDict[HistoryKey, deque[tuple[datetime, float]]] = OrderedDict()

    def baseline(self, key: HistoryKey, window: timedelta, at: datetime) -> float | None:
        """The median of the window that ends just before now; None while too little is known.

        What is told twice in one instant is no past of its own.
        """
        numbers = self._numbers.get(key)
        if numbers is None:
            return None
        while numbers and numbers[0][0] <= at - window:
            numbers.popleft()
        past = [number for seen, number in numbers if seen < at]
        return median(past) if len(past) >= LEAST else None

    def look(self, key: HistoryKey, window: timedelta, at: datetime) -> float | None:
        """Like `baseline`, without forgetting anything."""
        numbers = [number for seen, number in self._numbers.get(key, ()) if at - window < seen < at]
        return median(numbers) if len(numbers) >= LEAST else None

    def add(self, key: HistoryKey, window: timedelta, at: datetime, number: float) -> None:
        numbers = self._numbers.setdefault(key, deque(maxlen=SLOTS))
        self._numbers.move_to_end(key)
        if numbers and at - numbers[-1][0] < window / SLOTS:
            return
        numbers.append((at, number))
        if len(self._numbers) > LIMIT:
            self._numbers.popitem(last=False)

    def items(self) -> Iterator[tuple[HistoryKey, deque[tuple[datetime, float]]]]:
        return iter(self._numbers.items())

    def put(self, key: HistoryKey, numbers: list[tuple[datetime, float]]) -> None:
        self._numbers[key] = deque(numbers, maxlen=SLOTS)
