"""Which observations were seen before: some senders deliver one twice, and anybody can send a signed body again."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta

SEEN_FOR = timedelta(hours=24)
"""How long an id is remembered. A point event that is older can't be told from a repeat."""
SEEN_LIMIT = 20_000
"""How many ids are remembered at most; the oldest go first."""

SignalId = tuple[str, str]
"""(source, id)"""


class SeenIds:
    """The ids of the last `SEEN_FOR`, each counted from when it was first seen."""

    def __init__(self, limit: int = SEEN_LIMIT) -> None:
        self._limit = limit
        self._seen: OrderedDict[SignalId, datetime] = OrderedDict()

    def is_new(self, source: str, signal_id: str, now: datetime) -> bool:
        """Whether this id was not seen before; from now on it was."""
        self._forget(now)
        if (source, signal_id) in self._seen:
            return False
        self.put((source, signal_id), now)
        return True

    def put(self, signal_id: SignalId, first_seen: datetime) -> None:
        self._seen[signal_id] = first_seen
        if len(self._seen) > self._limit:
            self._seen.popitem(last=False)

    def put_all(self, seen: Iterable[tuple[SignalId, datetime]]) -> None:
        """Oldest first."""
        for signal_id, first_seen in seen:
            self.put(signal_id, first_seen)

    def _forget(self, now: datetime) -> None:
        while self._seen:
            oldest, first_seen = next(iter(self._seen.items()))
            if now - first_seen <= SEEN_FOR:
                return
            del self._seen[oldest]

    def __iter__(self) -> Iterator[tuple[SignalId, datetime]]:
        """Oldest first."""
        return iter(self._seen.items())

    def __len__(self) -> int:
        return len(self._seen)
