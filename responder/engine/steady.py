"""Time that really passes: the machine's clock may be set back or forward while something waits."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta

from responder.ports import Clock

LOOK_AGAIN = timedelta(seconds=15)
"""The longest sleep towards a moment of the wall clock, which may have been set forward meanwhile."""


def steady(clock: Clock) -> Clock:
    """A clock that shows what the other one shows now, and goes on from there whatever becomes of that one.

    It stands still while the machine is suspended: nobody could act then.
    """
    began, time = clock(), asyncio.get_running_loop().time
    at = time()
    return lambda: began + timedelta(seconds=time() - at)


class Alarm:
    """Says when a moment has come: by the wall clock, or because as much time has passed as was left when it was first asked."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._moment: datetime | None = None
        self._steady = clock

    def left(self, moment: datetime) -> timedelta:
        """How long to sleep before asking again. Asked about another moment, it forgets the one before."""
        if moment != self._moment:
            self._moment, self._steady = moment, steady(self._clock)
        return max(timedelta(0), min(moment - max(self._clock(), self._steady()), LOOK_AGAIN))

    def rings(self, moment: datetime) -> bool:
        now = self._clock()
        return now >= moment or (moment == self._moment and self._steady() >= moment)
