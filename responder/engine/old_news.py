"""After a long silence an alert on record may be over: its `resolved` found nobody. It gets time to come again."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from responder.domain.decision import Decision
from responder.domain.incident import Incident
from responder.domain.rulebook import Response
from responder.engine.second_look import Place, places_of

LONG_SILENCE = timedelta(minutes=10)  # nothing heard for this long before a start: a `resolved` may have been missed
NEWS_WITHIN = timedelta(minutes=5, seconds=30)  # Alertmanager repeats what it could not deliver at each group_interval (5m)


@dataclass(frozen=True, slots=True)
class Doubt:
    """Trouble that began before `since` is doubted until `until`. vouched: places that the sender, asked since, says fire."""

    since: datetime
    until: datetime
    vouched: Collection[Place] = ()

    def covers(self, decision: Decision, now: datetime) -> bool:
        if decision.response is Response.NOTIFY or decision.began_at is None:
            return False
        if self._is_vouched([(decision.rule, decision.group, decision.target)]):
            return False
        return decision.began_at < self.since and now < self.until

    def is_old_news(self, incident: Incident) -> bool:
        """An open incident that nothing was done for yet, and whose alert may be over. An order needs no alert."""
        if incident.order is not None or incident.acted_at is not None:
            return False
        return not self._is_vouched(places_of(incident))

    def _is_vouched(self, places: Iterable[Place]) -> bool:
        return any(place in self.vouched for place in places)


def doubt_after(last_heard: datetime | None, now: datetime) -> Doubt | None:
    """last_heard: when the newest signals on record came; None when there are none."""
    if last_heard is None or now - last_heard <= LONG_SILENCE:
        return None
    return Doubt(now, now + NEWS_WITHIN)
