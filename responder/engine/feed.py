"""The changes of incidents as they happen, for any number of listeners, with bounded memory.

The last changes are kept, so that a listener whose connection broke goes on where it was. Who is too slow, or asks for what is
kept no longer (after a restart, too), is told that something is missing: it reads the incidents anew and goes on from there.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from responder.domain.feed import Change
from responder.domain.incident import Incident, IncidentEvent

KEPT = 1000
BUFFERED = 200  # changes per listener
MOST_LISTENERS = 100


class Listener:
    """`missed`: changes were lost to it; set until `take` has said so."""

    def __init__(self, waiting: Sequence[Change], *, missed: bool) -> None:
        self._waiting = deque(waiting)
        self._missed = missed
        self._changed = asyncio.Event()
        self._over = False

    async def take(self) -> tuple[bool, list[Change]] | None:
        """Wait until there is something: whether changes were lost before these, and the changes. None: there will be no more."""
        while not self._waiting and not self._missed:
            if self._over:
                return None
            self._changed.clear()
            await self._changed.wait()
        missed, self._missed = self._missed, False
        taken = list(self._waiting)
        self._waiting.clear()
        return missed, taken

    def end(self) -> None:
        self._over = True
        self._changed.set()

    def put(self, change: Change) -> None:
        if len(self._waiting) >= BUFFERED:
            self._waiting.clear()
            self._missed = True
        self._waiting.append(change)
        self._changed.set()


class Feed:
    """life: of this process, so that numbers of another one are not taken for ours."""

    def __init__(self, life: str) -> None:
        self._life = life
        self._number = 0
        self._kept: deque[Change] = deque(maxlen=KEPT)
        self._listeners: set[Listener] = set()

    @property
    def is_full(self) -> bool:
        return len(self._listeners) >= MOST_LISTENERS

    def note(self, incident: Incident, events: Sequence[IncidentEvent]) -> None:
        """An incident as it is on record now, and what was added to its story."""
        self._number += 1
        change = Change(f"{self._life}-{self._number}", incident, tuple(events))
        self._kept.append(change)
        for listener in self._listeners:
            listener.put(change)

    def close(self) -> None:
        """Nothing more will be told."""
        for listener in self._listeners:
            listener.end()

    @contextmanager
    def listening(self, after: str = "") -> Iterator[Listener]:
        """after: id of the last change that was heard; "" begins now."""
        waiting, missed = self._since(after)
        listener = Listener(waiting, missed=missed)
        self._listeners.add(listener)
        try:
            yield listener
        finally:
            self._listeners.discard(listener)

    def _since(self, after: str) -> tuple[list[Change], bool]:
        if not after:
            return [], False
        life, _, text = after.rpartition("-")
        if life != self._life or not (text.isascii() and text.isdigit() and len(text) < 16) or int(text) > self._number:
            return [], True
        wanted = self._number - int(text)
        if wanted > min(len(self._kept), BUFFERED):
            return [], True
        return list(self._kept)[len(self._kept) - wanted :], False
