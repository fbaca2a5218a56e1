"""Calls other people when nobody has an incident in hand. What was told is on record, so a restart tells no level twice.

Levels that came due while nobody ran are told at the next start, up to a day late.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from dataclasses import replace
from datetime import datetime, timedelta

import structlog

from responder.domain.escalation import (
    counted_from,
    describe_call,
    due_levels,
    ends_with_its_alert,
    levels_for,
    next_level_at,
)
from responder.domain.incident import Incident, IncidentEvent
from responder.domain.notification import Moment
from responder.domain.rulebook import EscalationLevel, Rulebook
from responder.domain.target import Mode
from responder.domain.wording import spell_duration
from responder.engine.announcer import Tell
from responder.engine.desk import IncidentDesk
from responder.engine.steady import LOOK_AGAIN
from responder.errors import JournalUnavailableError, ResponderError
from responder.ports import Clock, Incidents

_log = structlog.get_logger(__name__)

_PAGE = 20
_LATEST = timedelta(days=1)
_TRY_AGAIN = timedelta(seconds=10)  # when the database can't be written
HOLD_OFF = timedelta(seconds=5)  # the guards look first: what is observed, suppressed or over calls nobody


class _NobodyNeededError(Exception):
    """Somebody has it in hand meanwhile, or it was told."""


class Escalator:
    """configured: names of the notifiers that can be told. has_cleared: whether all alerts of an incident are over."""

    def __init__(
        self,
        *,
        desk: IncidentDesk,
        incidents: Incidents,
        rulebook: Callable[[], Rulebook],
        configured: Collection[str],
        has_cleared: Callable[[Incident], bool],
        clock: Clock,
        hold_off: timedelta = HOLD_OFF,
    ) -> None:
        self._desk = desk
        self._incidents = incidents
        self._rulebook = rulebook
        self._configured = configured
        self._has_cleared = has_cleared
        self._clock = clock
        self._hold_off = hold_off
        self._known: dict[str, Incident] = {}
        self._not_before: dict[str, datetime] = {}
        self._changed = asyncio.Event()
        self._is_stale = True

    def note(self, incident: Incident) -> None:
        """An incident as it is on record now."""
        if self._concerns(incident):
            self._known[incident.id] = incident
        else:
            self._forget(incident.id)
        self._changed.set()

    def look(self) -> None:
        """The rulebook is another one."""
        self._is_stale = True
        self._changed.set()

    async def run(self) -> None:
        """Find whom nobody has in hand, then call when it is time. Ends only by cancellation."""
        while True:
            self._changed.clear()
            if self._is_stale:
                await self._recall()
            now = self._clock()
            moments = []
            for incident in list(self._known.values()):
                at = self._due_at(incident)
                if at is None:
                    self._forget(incident.id)
                elif at > now:
                    moments.append(at)
                else:
                    await self._call_safely(incident.id)
                    again = self._not_before.get(incident.id)
                    if again is not None and again > now:
                        moments.append(again)
            if not self._changed.is_set():
                await self._wait(min(moments, default=None))

    def _concerns(self, incident: Incident) -> bool:
        target = self._rulebook().targets.get(incident.target)
        return counted_from(incident) is not None and (target is None or target.mode is Mode.ARMED)

    def _due_at(self, incident: Incident) -> datetime | None:
        at = next_level_at(incident, self._rulebook().escalation)
        if at is None:
            return None
        return max(at, incident.opened_at + self._hold_off, self._not_before.get(incident.id, at))

    def _forget(self, incident_id: str) -> None:
        self._known.pop(incident_id, None)
        self._not_before.pop(incident_id, None)

    async def _wait(self, until: datetime | None) -> None:
        rest = None if until is None else max(0.0, min(until - self._clock(), LOOK_AGAIN).total_seconds())
        try:
            async with asyncio.timeout(rest):
                await self._changed.wait()
        except TimeoutError:
            return

    async def _recall(self) -> None:
        self._is_stale = False
        if not self._rulebook().escalation:
            return
        longest = max((level.after for level in self._rulebook().escalation), default=timedelta(0))
        oldest = self._clock() - longest - _LATEST
        try:
            await self._note_since(oldest)
        except ResponderError as error:
            _log.error("escalations_not_recalled", error=str(error), consequence="only new incidents escalate")

    async def _note_since(self, oldest: datetime) -> None:
        before: str | None = None
        while page := await self._incidents.list(before=before, limit=_PAGE):
            for incident in page:
                if incident.opened_at >= oldest or incident.is_open:
                    self.note(incident)
            before = page[-1].id
            if page[-1].opened_at < oldest:
                return
            await asyncio.sleep(0)  # reading documents takes time: let others in between

    async def _call_safely(self, incident_id: str) -> None:
        try:
            await self._call(incident_id)
        except _NobodyNeededError:
            self._forget(incident_id)
        except JournalUnavailableError as error:
            _log.error("escalation_not_recorded", incident=incident_id, error=str(error))
            self._not_before[incident_id] = self._clock() + _TRY_AGAIN
        except Exception:  # noqa: BLE001 (the boundary of side work: rollbacks must not depend on it)
            _log.exception("escalation_crashed", incident=incident_id)
            self._forget(incident_id)

    async def _call(self, incident_id: str) -> None:
        known = await self._desk.get(incident_id)
        if known is None or (ends_with_its_alert(known) and self._has_cleared(known)):
            raise _NobodyNeededError
        now = self._clock()
        levels = self._rulebook().escalation
        due = due_levels(known, levels, now)
        if not due:
            raise _NobodyNeededError
        order = levels_for(known, levels)
        numbers = [(level, order.index(level) + 1) for level in due]

        def told(recorded: Incident) -> Incident:
            if due_levels(recorded, levels, now) != due:
                raise _NobodyNeededError
            return replace(recorded, escalated=(*recorded.escalated, *(level.after for level in due)))

        events = [self._event(level, number, len(order)) for level, number in numbers]
        tell = [one for level, number in numbers for one in self._messages(known, level, number, len(order), now)]
        await self._desk.change(incident_id, told, events, tell)
        for event in events:
            _log.warning("escalated", incident=incident_id, text=event.text)

    def _event(self, level: EscalationLevel, number: int, of: int) -> IncidentEvent:
        told = [name for name in level.tell if name in self._configured]
        missing = [name for name in level.tell if name not in self._configured]
        text = f"level {number} of {of}, after {spell_duration(level.after)}: told {', '.join(told) or 'nobody'}"
        if missing:
            text += f"; not configured: {', '.join(missing)}"
        if level.contacts:
            text += f"; contacts: {', '.join(level.contacts)}"
        after = int(level.after.total_seconds())
        return self._desk.event("escalated", text, level=number, after_seconds=after, told=told, missing=missing)

    def _messages(self, incident: Incident, level: EscalationLevel, number: int, of: int, now: datetime) -> list[Tell]:
        text = describe_call(incident, level, number, of, now)
        title = f"{incident.target or incident.rule}: somebody is needed (level {number} of {of})"
        return [
            Tell(
                Moment.NOTICE,
                text,
                title,
                name,
                closes=False,
                addresses=level.addresses if name == "email" else (),
                contacts=level.contacts,
            )
            for name in level.tell
        ]
