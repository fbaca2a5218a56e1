"""Freeze windows: times, declared in the rulebook, in which nothing is rolled back by itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from responder.domain.rulebook import Freeze, Rulebook

_MINUTE = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Frozen:
    """A window that is going on. start, until: its own, UTC."""

    freeze: Freeze
    start: datetime
    until: datetime


class Freezes:
    """rulebook: the one in force, looked up at the time of use."""

    def __init__(self, rulebook: Callable[[], Rulebook]) -> None:
        self._rulebook = rulebook

    def over(self, targets: Iterable[str], now: datetime, *, asks: bool) -> Frozen | None:
        """The window over any of these targets that ends last. asks: of those that ask, or of those that refuse."""
        names = set(targets)
        found = [
            frozen
            for frozen in self.going_on(now)
            if frozen.freeze.asks is asks and (not frozen.freeze.targets or names & set(frozen.freeze.targets))
        ]
        return max(found, key=lambda frozen: frozen.until, default=None)

    def going_on(self, now: datetime) -> list[Frozen]:
        windows = (window_at(freeze, now) for freeze in self._rulebook().freezes)
        return [window for window in windows if window is not None]


def window_at(freeze: Freeze, now: datetime) -> Frozen | None:
    """The window that `now` lies in. One that begins while another of its kind goes on makes that longer."""
    from cronsim import CronSim

    zone = ZoneInfo(freeze.timezone)
    # The search goes back from, and without, the next minute: so the present one counts.
    minute = now.astimezone(zone).replace(second=0, microsecond=0)
    following = (minute.astimezone(UTC) + _MINUTE).astimezone(zone)
    try:
        start = next(CronSim(freeze.cron, following, reverse=True)).astimezone(UTC)
    except StopIteration:
        return None
    until = start + freeze.duration
    return Frozen(freeze, start, until) if start <= now < until else None
