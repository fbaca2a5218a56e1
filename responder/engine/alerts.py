"""What the evaluator remembers about alerts: those that fire, and for a while those that ended."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, ClassVar

from responder.domain.reading import Reading, Verdict
from responder.domain.wording import one_line
from responder.engine.watches import Watch

if TYPE_CHECKING:
    from responder.engine.measurements import Wanted

AlertId = tuple[str, str]
"""(source, key)"""

NAME_LIMIT = 80
ENDED_FOR = timedelta(hours=24)
"""How long an ended episode is remembered, so that a late firing of it changes nothing."""
ENDED_LIMIT = 50_000
"""How many ended episodes are remembered at most; the oldest go first."""
_CALM = Verdict.CALM


class Member:
    """An alert's place in one group. since: from when its verdict counts. A CALM member stands outside the group.

    wants: the queries that its verdict rests on.
    """

    __slots__ = ("alert", "group", "since", "target", "value", "verdict", "wants", "watch")
    rank: ClassVar[int] = 0

    def __init__(self, alert: Alert, watch: Watch, target: str, group: str, since: datetime) -> None:
        self.alert = alert
        self.watch = watch
        self.target = target
        self.group = group
        self.since = since
        self.verdict = _CALM
        self.value: float | None = None
        self.wants: tuple[Wanted, ...] = ()

    @property
    def age(self) -> tuple[datetime, AlertId, int]:
        """The oldest is the least. A point event may have the key of an alert that fires: it comes after it."""
        return self.since, self.alert.id, self.rank


class StandIn(Member):
    """A member that stands for more than one alert, or for one that is gone: it brings its own words."""

    __slots__ = ("words",)

    def __init__(self, alert: Alert, watch: Watch, target: str, group: str, since: datetime) -> None:
        super().__init__(alert, watch, target, group, since)
        self.words = ""

    def tell(self, words: str, value: float | None) -> None:
        self.words = words
        self.value = value


class EventMember(Member):
    """The place of a point event, which lasts only for a while. wake: when that is over; None while it is calm."""

    __slots__ = ("wake",)
    rank: ClassVar[int] = 1

    def __init__(self, alert: Alert, watch: Watch, target: str, group: str, since: datetime) -> None:
        super().__init__(alert, watch, target, group, since)
        self.wake: datetime | None = None


class Alert:
    """The firing episode of one alert. start: its startsAt; when the sender gave none (not dated), when it was first received.

    hears_repeats: deliveries that say nothing new matter to some rule. reading: the latest words.
    """

    __slots__ = ("dated", "hears_repeats", "id", "members", "reading", "start")

    def __init__(self, alert_id: AlertId, start: datetime, *, dated: bool, reading: Reading) -> None:
        self.id = alert_id
        self.start = start
        self.dated = dated
        self.members: tuple[Member, ...] = ()
        self.hears_repeats = False
        self.reading = reading

    @property
    def name(self) -> str:
        """For people."""
        return one_line(self.reading.label("alertname") or self.id[1], NAME_LIMIT)

    def join(self, members: Sequence[Member]) -> None:
        self.members = tuple(members)
        self.hears_repeats = False
        for member in members:
            if member.watch.hears_repeats:
                self.hears_repeats = True

    def words_of(self, alert_id: AlertId, start: datetime) -> Alert:
        """A copy of the present words, for a stand-in; under an identity that need not be this alert's."""
        return Alert(alert_id, start, dated=True, reading=self.reading)


class EndedEpisodes:
    """Alerts that are over: start of the episode and when its end was seen. Bounded by age and by number."""

    def __init__(self) -> None:
        self._ended: OrderedDict[AlertId, tuple[datetime, datetime]] = OrderedDict()

    def start_of(self, alert_id: AlertId) -> datetime | None:
        found = self._ended.get(alert_id)
        return found[0] if found else None

    def is_over(self, alert_id: AlertId, start: datetime) -> bool:
        """Whether an episode with this start ended before, or is older than one that did.

        A start after the moment its end was seen is a fast clock's: it says nothing about episodes since, but for its own.
        """
        found = self._ended.get(alert_id)
        return found is not None and (start == found[0] or start <= min(found))

    def remember(self, alert_id: AlertId, start: datetime, now: datetime) -> None:
        """Keeps the newest start when the alert is known already."""
        known = self._ended.pop(alert_id, None)
        self._ended[alert_id] = (max(start, known[0]) if known else start, now)
        if len(self._ended) > ENDED_LIMIT:
            self._ended.popitem(last=False)

    def forget(self, now: datetime) -> None:
        """Drop what ended more than `ENDED_FOR` ago."""
        while self._ended:
            oldest = next(iter(self._ended))
            if now - self._ended[oldest][1] <= ENDED_FOR:
                return
            del self._ended[oldest]

    def items(self) -> list[tuple[AlertId, datetime, datetime]]:
        """Oldest first: id, start, when the end was seen."""
        return [(alert_id, start, seen) for alert_id, (start, seen) in self._ended.items()]
