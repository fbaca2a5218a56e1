"""How many commands one person or tool may give in a row. Never for webhooks: a sender that is told 429 does not come again."""

from __future__ import annotations

import math
from datetime import datetime, timedelta

from responder.web.problems import Problem

_MINUTE = timedelta(minutes=1)


class CommandRate:
    """A bucket for each name: full, it holds what may come in a minute, and it fills up again within one.

    per_minute: 0 for no limit.
    """

    def __init__(self, per_minute: int) -> None:
        self._per_minute = per_minute
        self._left: dict[str, tuple[float, datetime]] = {}

    def check(self, name: str, now: datetime) -> None:
        """Count one command. Raises ProblemError (429) with the time to wait when there are too many."""
        if not self._per_minute:
            return
        left, since = self._left.get(name, (float(self._per_minute), now))
        gone = max(now - since, timedelta(0))  # a clock that is set back gives nothing and takes nothing
        left = min(float(self._per_minute), left + gone / _MINUTE * self._per_minute)
        if left < 1:
            self._left[name] = left, now
            seconds = max(1, math.ceil((1 - left) * 60 / self._per_minute))
            detail = f"{name} gives more than {self._per_minute} commands a minute"
            raise Problem(429, detail, headers=(("Retry-After", str(seconds)),)).error()
        self._left[name] = left - 1, now
        if len(self._left) > 1000:  # who has not come for a minute has a full bucket anyway
            self._left = {key: kept for key, kept in self._left.items() if now - kept[1] < _MINUTE}
