"""What the evaluator remembers about alerts: those that fire, and for a while those that ended."""

from __future__ import annotations

from collections import OrderedDict
from datetime import datetime, timedelta
from sys import intern

from responder.domain.condition import Verdict
from responder.engine.rule_table import Reading, Watch

AlertId = tuple[str, str]
"""(source, key)"""

ENDED_FOR = timedelta(hours=24)
"""How long an ended episode is remembered, so that a late firing of it changes nothing."""
ENDED_LIMIT = 50_000
"""How many ended episodes are remembered at most; the oldest go first."""


class Member:
    """An alert's place in one group. since: from when its verdict counts. A CALM member stands outside the group."""

    __slots__ = ("alert", "group", "since", "target", "value", "verdict", "watch")

    def __init__(self, alert: Alert, watch: Watch, target: str, group: str, since: datetime) -> None:
        self.alert = alert
        self.watch = watch
        self.target = target
        self.group = group
        self.since = since
        self.verdict = Verdict.CALM
        self.value: float | None = None


class Alert:
    """The firing episode of one alert. start: its startsAt; when the sender gave none (not dated), when it was first received."""

    __slots__ = ("dated", "id", "labels", "link", "members", "start", "texts", "value")

    def __init__(self, alert_id: AlertId, start: datetime, *, dated: bool, reading: Reading) -> None:
        self.id = alert_id
        self.start = start
        self.dated = dated
        self.members: tuple[Member, ...] = ()
        self.take(reading)

    def take(self, reading: Reading) -> None:
        """Keep the latest words. Interned: ten thousand alerts of one rule share names, most values and texts."""
        self.labels = {intern(name): intern(value) for name, value in reading.labels.items()}
        self.texts = tuple([intern(text) if text else text for text in reading.texts])
        self.value = reading.value
        self.link = intern(reading.link)

    @property
    def reading(self) -> Reading:
        return Reading(self.labels, self.texts, self.value, self.link)


class EndedEpisodes:
    """Alerts that are over: start of the episode and when its end was seen. Bounded by age and by number."""

    def __init__(self) -> None:
        self._ended: OrderedDict[AlertId, tuple[datetime, datetime]] = OrderedDict()

    def start_of(self, alert_id: AlertId) -> datetime | None:
        found = self._ended.get(alert_id)
        return found[0] if found else None

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
