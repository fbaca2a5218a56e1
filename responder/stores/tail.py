"""The newest journal entries, kept in memory for readers that are caught up."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from itertools import islice

from responder.ports import Entry


class Tail:
    """Holds the last entries without a gap, bounded by count and by encoded bytes.

    last: id of the newest entry on disk, 0 when there is none.
    """

    def __init__(self, last: int, max_entries: int, max_bytes: int) -> None:
        self.last = last
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._entries: deque[Entry] = deque()
        self._sizes: deque[int] = deque()
        self._bytes = 0

    def extend(self, entries: Sequence[Entry], sizes: Sequence[int]) -> None:
        """sizes: encoded bytes of each entry. Ids ascend by one within a batch; a jump before it empties the tail."""
        if entries[0].id != self.last + 1:
            self._entries.clear()
            self._sizes.clear()
            self._bytes = 0
        self._entries.extend(entries)
        self._sizes.extend(sizes)
        self._bytes += sum(sizes)
        self.last = entries[-1].id
        while len(self._entries) > self._max_entries or self._bytes > self._max_bytes:
            self._drop_oldest()

    def after(self, entry_id: int) -> list[Entry] | None:
        """Every entry with a larger id; None when the tail does not reach back that far."""
        wanted = self.last - entry_id
        if wanted > len(self._entries):
            return None
        found = list(islice(reversed(self._entries), max(wanted, 0)))
        found.reverse()
        return found

    def forget(self, up_to: int) -> None:
        """Drop what has been pruned."""
        while self._entries and self._entries[0].id <= up_to:
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        self._entries.popleft()
        self._bytes -= self._sizes.popleft()
