"""`consecutive`: so many failed checks in a row."""

from __future__ import annotations

from datetime import datetime, timedelta

from responder.domain.condition import ConsecutiveCondition
from responder.engine import reasons
from responder.engine.conditions.moments import pack, unpack
from responder.engine.conditions.sighting import Finding, Row, Sighting
from responder.engine.watches import later

FORGOTTEN_AFTER = timedelta(hours=24)
"""A row of failures that nothing was added to for so long is no row any more."""


class Streak:
    """The failures since the last check that passed, as many as decide. life: how long the last one counts as going on."""

    def __init__(self, condition: ConsecutiveCondition, life: timedelta) -> None:
        self._wanted = condition.count
        self._life = life
        self._forgotten_after = max(FORGOTTEN_AFTER, life)
        self._failures: dict[tuple[str, str, datetime], datetime] = {}
        self._passed: datetime | None = None

    def take(self, sighting: Sighting) -> bool:
        if not sighting.counts or sighting.passed is None:
            return False
        if sighting.passed:
            if self._passed is not None and sighting.at <= self._passed:
                return False
            self._passed = sighting.at
            self._failures = {key: at for key, at in self._failures.items() if at > sighting.at}
            return True
        if sighting.identity in self._failures or (self._passed is not None and sighting.at <= self._passed):
            return False
        self._failures[sighting.identity] = sighting.at
        if len(self._failures) > self._wanted:
            del self._failures[min(self._failures, key=lambda key: (self._failures[key], key))]
        return True

    def look(self, at: datetime) -> Finding:
        last = max(self._failures.values(), default=None)
        if last is not None and later(last, self._forgotten_after) <= at:
            self._failures.clear()
            last = None
        number = len(self._failures)
        words = reasons.streak_of(number, self._wanted)
        if last is None:
            passed = self._passed
            if passed is not None and later(passed, FORGOTTEN_AFTER) <= at:
                passed = self._passed = None
            again = None if passed is None else later(passed, FORGOTTEN_AFTER)
            return Finding(False, 0, words, at, again, is_empty=passed is None)
        over = later(last, self._life)
        holds = number >= self._wanted and over > at
        again = over if holds else later(last, self._forgotten_after)
        return Finding(holds, number, words, last, again, is_empty=False)

    def rows(self) -> list[Row]:
        passed: Row = [None if self._passed is None else pack(self._passed)]
        return [passed, *([source, key, pack(start), pack(at)] for (source, key, start), at in self._failures.items())]

    def load(self, rows: list[Row]) -> None:
        [passed], *failures = rows
        self._passed = None if passed is None else unpack(passed)
        for source, key, start, at in failures:
            self._failures[str(source), str(key), unpack(start)] = unpack(at)
