"""What the conditions with a memory are fed with, and what each of them can tell."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple, Protocol

Row = list[object]
"""What a snapshot keeps of one entry. Times are microseconds."""


class Sighting(NamedTuple):
    """An episode that began, a point event, or a sign of life.

    at: when it happened, as far as plausible (never later than heard). heard: when we were told.
    counts: False for what is only a sign of life. passed: verdict of a check, None for anything else.
    alert_id: source and key. identity: of the episode or event; the same one counts once.
    """

    at: datetime
    heard: datetime
    counts: bool
    passed: bool | None
    alert_id: tuple[str, str]
    identity: tuple[str, str, datetime]
    labels: Mapping[str, str]


class Finding(NamedTuple):
    """What a condition says at a moment. since: from when it holds. again: when this may change by itself; None for never.

    is_empty: there is nothing to remember any more.
    """

    holds: bool
    number: float
    words: str
    since: datetime
    again: datetime | None
    is_empty: bool


class Memory(Protocol):
    """What one condition remembers of one group."""

    def take(self, sighting: Sighting) -> bool:
        """False when this one does not count, or was counted before."""
        ...

    def look(self, at: datetime) -> Finding:
        """The state of things then. Moments only ever grow."""
        ...

    def rows(self) -> list[Row]: ...

    def load(self, rows: list[Row]) -> None: ...
