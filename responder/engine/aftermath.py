"""Notes when the alerts of incidents are over that closed without us: observed, refused, notified. What would have come of it
without Responder can only be told by what did.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import structlog

from responder.domain.incident import Incident, IncidentStatus
from responder.domain.wording import spell_duration
from responder.engine.desk import IncidentDesk
from responder.engine.watch import Pulse
from responder.errors import ResponderError
from responder.ports import Clock, Incidents

_log = structlog.get_logger(__name__)

_LEFT_ALONE = frozenset({IncidentStatus.OBSERVED, IncidentStatus.REFUSED, IncidentStatus.NOTIFIED})
_LOOK_BACK = timedelta(days=35)
_LONGEST_WAIT = timedelta(minutes=1)
MOST = 1000  # watched at a time; the oldest are given up


class Aftermath:
    """has_cleared: whether all alerts of an incident are over."""

    def __init__(
        self,
        *,
        desk: IncidentDesk,
        incidents: Incidents,
        has_cleared: Callable[[Incident], bool],
        pulse: Pulse,
        clock: Clock,
    ) -> None:
        self._desk = desk
        self._incidents = incidents
        self._has_cleared = has_cleared
        self._pulse = pulse
        self._clock = clock
        self._waiting: dict[str, Incident] = {}

    def note(self, incident: Incident) -> None:
        """An incident as it is on record now."""
        if incident.status in _LEFT_ALONE and incident.calm_at is None and incident.groups and incident.order is None:
            self._waiting[incident.id] = incident
            if len(self._waiting) > MOST:
                del self._waiting[min(self._waiting)]  # ids sort by time
        else:
            self._waiting.pop(incident.id, None)

    async def run(self) -> None:
        """Find those that nobody knows the end of, then look whenever something clears. Ends only by cancellation."""
        try:
            await self._recall()
        except ResponderError as error:
            _log.error("aftermath_not_recalled", error=str(error), consequence="only new incidents are followed")
        while True:
            beat = self._pulse.next()
            for incident in [one for one in self._waiting.values() if self._has_cleared(one)]:
                await self._record(incident)
            await self._pulse.wait(_LONGEST_WAIT, beat)

    async def _recall(self) -> None:
        oldest = self._clock() - _LOOK_BACK
        before: str | None = None
        looked_at = 0
        while looked_at < MOST and (page := await self._incidents.list(before=before, limit=20)):
            for incident in page:
                self.note(incident)
            looked_at += len(page)
            before = page[-1].id
            if page[-1].opened_at < oldest:
                return
            await asyncio.sleep(0)

    async def _record(self, incident: Incident) -> None:
        now = self._clock()
        lasted = spell_duration(now - (incident.began_at or incident.opened_at))
        event = self._desk.event("alert_cleared", f"the alert is over without Responder, {lasted} after it began")
        try:
            await self._desk.change(incident.id, lambda known: replace(known, calm_at=known.calm_at or now), [event])
        except ResponderError as error:
            _log.error("aftermath_not_recorded", incident=incident.id, error=str(error))
        except Exception:  # noqa: BLE001 (the boundary of side work: rollbacks must not depend on it)
            _log.exception("aftermath_crashed", incident=incident.id)
            self._waiting.pop(incident.id, None)
