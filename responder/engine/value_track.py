"""The numbers that rules look at, those from queries included, over time, thinned out as they come: for plots."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime

from responder.domain.condition import ValueCondition
from responder.domain.matcher import all_match
from responder.domain.query import Query
from responder.domain.reading import finite, read_number, times_baseline
from responder.domain.rulebook import Rule, Rulebook
from responder.domain.signal import Signal, SignalStatus
from responder.domain.wording import one_line
from responder.ports import Entry, EntryKind

SERIES_LIMIT = 12
POINTS_LIMIT = 2_000
_KNOWN_LIMIT = 200_000

Point = tuple[datetime, float | None]
"""None: the alert is over, or there is no number."""


@dataclass(slots=True)
class Series:
    """One alert as one rule sees it."""

    name: str
    points: list[Point] = field(default_factory=list)

    def add(self, at: datetime, number: float | None) -> None:
        points = self.points
        if len(points) > 1 and points[-1][1] == number and points[-2][1] == number:
            points[-1] = (at, number)  # a level stretch is its two ends
            return
        points.append((at, number))
        if len(points) >= 2 * POINTS_LIMIT:
            self.points = thinned(points)


def thinned(points: list[Point]) -> list[Point]:
    """Half as many: of four neighbours the lowest and the highest stay, and every gap."""
    kept: list[Point] = []
    for first in range(0, len(points), 4):
        part = points[first : first + 4]
        numbers = [point for point in part if point[1] is not None]
        chosen = {id(point) for point in part if point[1] is None}
        if numbers:
            chosen |= {id(min(numbers, key=_number)), id(max(numbers, key=_number))}
        kept += [point for point in part if id(point) in chosen]
    return kept


def _number(point: Point) -> float:
    return point[1] if point[1] is not None else 0.0


@dataclass(slots=True)
class Track:
    """What one rule looked at. others: alerts that there was no room for."""

    rule: Rule
    series: dict[tuple[str, str], Series] = field(default_factory=dict)
    others: set[tuple[str, str]] = field(default_factory=set)

    @property
    def condition(self) -> ValueCondition | None:
        """None: the rule looks at no single number; its points are 1 while the alert fires, else 0."""
        return self.rule.condition if isinstance(self.rule.condition, ValueCondition) else None


class ValueTracks:
    """Sees every entry of a replay. An alert's rules are looked up once: its labels are taken for fixed."""

    def __init__(self, rulebook: Rulebook, since: datetime | None = None) -> None:
        self.tracks = {rule.name: Track(rule) for rule in rulebook.rules}
        self._since = since
        self._known: dict[tuple[str, str], list[Track]] = {}
        self._asking = [track for track in self.tracks.values() if _query_of(track) is not None]

    def note(self, entry: Entry) -> None:
        if self._since is not None and entry.at < self._since:
            return
        if entry.kind is EntryKind.READING:
            for signal in entry.signals:
                self._read(signal, entry.at)
        for signal in entry.signals if entry.kind is EntryKind.SIGNALS else ():
            for track in self._tracks_of(signal):
                self._add(track, signal, entry.at)

    def _read(self, signal: Signal, at: datetime) -> None:
        """What Prometheus said, for the rules that could have asked."""
        for track in self._asking:
            query = _query_of(track)
            if query is not None and query.made(signal.key):
                self._series(track, (signal.source, signal.key), lambda key=signal.key: one_line(key, 60), at, signal.value)  # type: ignore[misc]

    def _tracks_of(self, signal: Signal) -> Iterable[Track]:
        alert = (signal.source, signal.key)
        found = self._known.get(alert)
        if found is None:
            if len(self._known) >= _KNOWN_LIMIT:
                self._known.clear()
            tracks = [track for track in self.tracks.values() if _query_of(track) is None]
            found = [track for track in tracks if all_match(track.rule.matchers, signal.labels)]
            self._known[alert] = found
        return found

    def _add(self, track: Track, signal: Signal, at: datetime) -> None:
        if track.condition is not None:
            number = None if signal.status is SignalStatus.RESOLVED else number_of(signal, track.condition)
        elif signal.status is SignalStatus.OCCURRED:
            number = 0.0 if signal.passed else 1.0
        else:
            number = 0.0 if signal.status is SignalStatus.RESOLVED else 1.0
        self._series(track, (signal.source, signal.key), lambda: _name(signal), at, number)

    @staticmethod
    def _series(track: Track, key: tuple[str, str], name: Callable[[], str], at: datetime, number: float | None) -> None:
        series = track.series.get(key)
        if series is None:
            if len(track.series) >= SERIES_LIMIT:
                if len(track.others) < _KNOWN_LIMIT:
                    track.others.add(key)
                return
            series = track.series[key] = Series(name())
        series.add(at, number)


def _query_of(track: Track) -> Query | None:
    return None if track.condition is None else track.condition.query


def number_of(signal: Signal, condition: ValueCondition) -> float | None:
    """The number that the condition looks at; as a multiple of its baseline where the alert carries one."""
    kind, _, name = condition.source.partition(".")
    if kind == "annotations":
        number = read_number(signal.annotations.get(name))
    elif kind == "labels":
        number = read_number(signal.labels.get(name))
    else:
        number = finite(signal.value)
    if condition.baseline is not None and condition.baseline.annotation is not None:
        return times_baseline(number, read_number(signal.annotations.get(condition.baseline.annotation)))
    return number


def bounds_of(condition: ValueCondition | None) -> list[float]:
    """The bounds to compare `number_of` with; [] when they are multiples of a baseline that only the evaluator knows."""
    if condition is None:
        return []
    if condition.baseline is not None and (condition.baseline.annotation is None or condition.query is not None):
        return []
    return [each for each in (condition.above, condition.below, *(condition.between or ())) if each is not None]


def _name(signal: Signal) -> str:
    where = signal.labels.get("pod") or signal.labels.get("instance") or signal.labels.get("deployment") or signal.key
    return one_line(f"{signal.labels.get('alertname', signal.source)} {where}", 60)
