"""`ratio`: the share of failed checks within a window."""

from __future__ import annotations

from bisect import insort
from datetime import datetime
from typing import NamedTuple

from responder.domain.condition import RatioCondition
from responder.engine import reasons
from responder.engine.conditions.moments import pack, unpack
from responder.engine.conditions.sighting import Finding, Row, Sighting
from responder.engine.watches import later

KEPT = 10_000
"""How many checks are kept at most; the oldest go first."""


class _Check(NamedTuple):
    at: datetime
    identity: tuple[str, str, datetime]
    failed: bool


class Ratio:
    """The checks of the window, oldest first."""

    def __init__(self, condition: RatioCondition) -> None:
        self._condition = condition
        self._checks: list[_Check] = []
        self._known: set[tuple[str, str, datetime]] = set()
        self._failed = 0

    def take(self, sighting: Sighting) -> bool:
        if not sighting.counts or sighting.passed is None or sighting.identity in self._known:
            return False
        if later(sighting.at, self._condition.within) <= sighting.heard:
            return False
        check = _Check(sighting.at, sighting.identity, not sighting.passed)
        if self._checks and check < self._checks[-1]:
            insort(self._checks, check)
        else:
            self._checks.append(check)
        self._known.add(sighting.identity)
        self._failed += not sighting.passed
        if len(self._checks) > KEPT:
            self._drop(1)
        return True

    def look(self, at: datetime) -> Finding:
        condition = self._condition
        begin = at - condition.within
        gone = 0
        for check in self._checks:
            if check.at > begin:
                break
            gone += 1
        # What has just left the window may have changed the ratio then; otherwise the newest check did.
        since = later(self._checks[gone - 1].at, condition.within) if gone else None
        if gone:
            self._drop(gone)
        total = len(self._checks)
        if not total:
            return Finding(False, 0, reasons.too_few(0, condition.least, condition.within), at, None, is_empty=True)
        newest = self._checks[-1].at
        since = newest if since is None else max(newest, since)
        again = later(self._checks[0].at, condition.within)
        ratio = self._failed / total
        if total < condition.least:
            words = reasons.too_few(total, condition.least, condition.within)
            return Finding(False, ratio, words, since, again, is_empty=False)
        words = reasons.ratio_of(ratio, condition.above, self._failed, total, condition.within)
        return Finding(ratio > condition.above, ratio, words, since, again, is_empty=False)

    def _drop(self, count: int) -> None:
        for check in self._checks[:count]:
            self._known.discard(check.identity)
            self._failed -= check.failed
        del self._checks[:count]

    def rows(self) -> list[Row]:
        return [[pack(at), source, key, pack(start), failed] for at, (source, key, start), failed in self._checks]

    def load(self, rows: list[Row]) -> None:
        for at, source, key, start, failed in rows:
            check = _Check(unpack(at), (str(source), str(key), unpack(start)), bool(failed))
            self._checks.append(check)
            self._known.add(check.identity)
            self._failed += check.failed
