"""`absent`: a dead man's switch."""

from __future__ import annotations

from datetime import datetime, timedelta

from responder.domain.condition import AbsentCondition
from responder.engine import reasons
from responder.engine.conditions.moments import pack, unpack
from responder.engine.conditions.sighting import Finding, Row, Sighting
from responder.engine.watches import later

_MICROSECOND = timedelta(microseconds=1)


class Absence:
    """When something was last heard. It holds once that is too long ago.

    What counts is when it was heard, not when it says it happened: an alert that goes on says the same `startsAt` each time.
    Time in which nobody listened is no silence.
    """

    def __init__(self, condition: AbsentCondition) -> None:
        self._after = condition.after
        self._last: datetime | None = None
        self._was_heard = False
        self._missed = timedelta(0)

    def begin(self, at: datetime) -> None:
        """Wait from now on, though nothing was heard yet."""
        if self._last is None:
            self._last = at

    def take(self, sighting: Sighting) -> bool:
        if self._was_heard and self._last is not None and sighting.heard <= self._last:
            return False
        self._last = sighting.heard if self._last is None else max(self._last, sighting.heard)
        self._was_heard = True
        self._missed = timedelta(0)
        return True

    def miss(self, stretch: timedelta) -> None:
        """Nobody listened for so long since it was last heard."""
        self._missed += stretch

    def look(self, at: datetime) -> Finding:
        if self._last is None:
            return Finding(False, 0, "", at, None, is_empty=True)
        over = later(self._last, self._after + self._missed)
        holds = over <= at
        words = reasons.absence(self._last, at, self._after, is_absent=holds, heard=self._was_heard, missed=self._missed)
        return Finding(holds, (at - self._last).total_seconds(), words, over, None if holds else over, is_empty=False)

    def rows(self) -> list[Row]:
        return [] if self._last is None else [[pack(self._last), self._was_heard, self._missed // _MICROSECOND]]

    def load(self, rows: list[Row]) -> None:
        for last, was_heard, missed in rows:
            self._last, self._was_heard, self._missed = unpack(last), bool(was_heard), int(str(missed)) * _MICROSECOND
