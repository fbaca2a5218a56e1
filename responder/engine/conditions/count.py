"""`count`: more than so many began within a window."""

from __future__ import annotations

from bisect import bisect_left, insort
from datetime import datetime
from typing import Any

from responder.domain.condition import CountCondition
from responder.engine import reasons
from responder.engine.conditions.moments import pack, unpack
from responder.engine.conditions.sighting import Finding, Row, Sighting
from responder.engine.watches import later

KEPT = 1000
"""How many are kept at most beyond those that decide; the number shown never exceeds what is kept."""

_Key = tuple[Any, ...]


class Count:
    """The latest time of each that is counted: an episode, an event, or a value of the label `distinct`; and all in order."""

    def __init__(self, condition: CountCondition) -> None:
        self._condition = condition
        self._kept = condition.above + 1 + KEPT
        self._latest: dict[_Key, datetime] = {}
        self._order: list[tuple[datetime, _Key]] = []

    def take(self, sighting: Sighting) -> bool:
        if not sighting.counts or sighting.passed or later(sighting.at, self._condition.within) <= sighting.heard:
            return False
        distinct = self._condition.distinct
        key: _Key = sighting.identity if distinct is None else (sighting.labels.get(distinct, ""),)
        known = self._latest.get(key)
        if known is not None:
            if known >= sighting.at:
                return False
            del self._order[bisect_left(self._order, (known, key))]
        self._put(key, sighting.at)
        if len(self._order) > self._kept:
            self._drop(1)
        return True

    def look(self, at: datetime) -> Finding:
        condition = self._condition
        begin = at - condition.within
        gone = 0
        for seen, _ in self._order:
            if seen > begin:
                break
            gone += 1
        if gone:
            self._drop(gone)
        number = len(self._order)
        holds = number > condition.above
        words = reasons.count_of(number, condition.above, condition.within, condition.distinct)
        if not number:
            return Finding(False, 0, words, at, None, is_empty=True)
        newest = self._order[-1][0]
        deciding = self._order[-1 - condition.above][0] if holds else newest
        return Finding(holds, number, words, newest, later(deciding, condition.within), is_empty=False)

    def _put(self, key: _Key, at: datetime) -> None:
        self._latest[key] = at
        if self._order and at <= self._order[-1][0]:
            insort(self._order, (at, key))
        else:
            self._order.append((at, key))

    def _drop(self, count: int) -> None:
        for _, key in self._order[:count]:
            del self._latest[key]
        del self._order[:count]

    def rows(self) -> list[Row]:
        return [[*(pack(part) if isinstance(part, datetime) else part for part in key), pack(at)] for at, key in self._order]

    def load(self, rows: list[Row]) -> None:
        for *key, at in rows:
            self._put(tuple([unpack(part) if isinstance(part, int) else part for part in key]), unpack(at))
