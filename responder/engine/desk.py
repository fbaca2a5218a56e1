"""The incident desk: opens, joins, changes and closes incidents, and puts what must be told into the outbox.

Every change is one transaction: incident, events and messages together. A change is a function of the incident on record, so that
a run and a joining alert never overwrite each other.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import structlog

from responder.domain.decision import Decision
from responder.domain.incident import Incident, IncidentEvent, IncidentStatus
from responder.domain.notification import Moment
from responder.domain.rulebook import Response, Rulebook
from responder.domain.target import Mode
from responder.engine.announcer import REFRESH, Announcer, Tell
from responder.engine.restraint import Stay
from responder.ports import Clock, Incidents, OpenResult, OutboxEntry

_log = structlog.get_logger(__name__)


class _ClosedMeanwhileError(Exception):
    """The incident closed before the decision could join it: open a new one."""


_MOST_OPEN = 1000
_LATEST = 50  # incidents, looked through for a person's no


class IncidentDesk:
    """All writes to incidents go through here.

    on_outbox: called after something was put into the outbox. on_closed: called with every incident that closed.
    on_changed: called with every incident as it is on record now, and what was added to its story, after each change; it must
    not wait.
    """

    def __init__(
        self,
        *,
        incidents: Incidents,
        rulebook: Callable[[], Rulebook],
        clock: Clock,
        new_id: Callable[[datetime], str],
        announcer: Announcer,
        on_outbox: Callable[[], None],
        on_closed: Callable[[Incident], None] = lambda _: None,
        on_changed: Callable[[Incident, Sequence[IncidentEvent]], None] = lambda _incident, _events: None,
    ) -> None:
        self._incidents = incidents
        self._rulebook = rulebook
        self._clock = clock
        self._new_id = new_id
        self._announcer = announcer
        self._on_outbox = on_outbox
        self._on_closed = on_closed
        self._on_changed = on_changed
        self._locks: dict[str, asyncio.Lock] = {}
        self._progress: dict[str, str] = {}
        self._stops: dict[str, asyncio.Event] = {}

    async def respond(self, decision: Decision, stay: Stay | None = None) -> Incident:
        """Act on a decision to respond: a new incident, or the one that handled or handles it, its own or one it joined.

        stay: why nothing is done about it now; that is recorded apart, so that it can be acted on later.
        """
        while (known := await self._incidents.find(decision.identity)) is None:
            if stay is not None and not (stay.status is IncidentStatus.REFUSED and await self._is_busy(decision.target)):
                return await self._put_off(decision, stay)
            incident = self._new_incident(decision)
            event = IncidentEvent(incident.opened_at, "opened", decision.reason, {"value": decision.value})
            result, recorded = await self.open(incident, [event], self._opening(incident, decision))
            if result is OpenResult.BUSY:
                await self._join(recorded, decision)
            else:
                return recorded
        return known

    async def open(
        self, incident: Incident, events: Sequence[IncidentEvent], tell: Sequence[Tell] = ()
    ) -> tuple[OpenResult, Incident]:
        """Open an incident, unless its identity is known or its target is busy. Returns what is now on record."""
        incident, outbox = self._announcer.entries(incident, tell)
        result, recorded = await self._incidents.open(incident, events, outbox)
        if result is OpenResult.OPENED:
            _log.info("incident_opened", incident=recorded.id, rule=recorded.rule, target=recorded.target, reason=recorded.reason)
            self._told(outbox)
            self._on_changed(recorded, events)
            if not recorded.is_open:
                self._on_closed(recorded)
        return result, recorded

    async def _put_off(self, decision: Decision, stay: Stay) -> Incident:
        """A closed record of its own. Of a suppression nobody is told; of a hold everybody, since nobody else acts."""
        identity = stay.identity(decision.identity)
        known = await self._incidents.find(identity)
        if known is not None:
            return known
        reason = f"{stay.reason} ({decision.reason})"
        drawn = replace(
            self._new_incident(decision), identity=identity, status=stay.status, reason=reason, closed_at=self._clock()
        )
        tell = []
        if stay.status is IncidentStatus.REFUSED:
            tell = [Tell(Moment.NOTICE, f"{_sentence(decision.reason)} Not rolled back: {stay.reason}.", closes=True)]
        event = self.event(stay.status.value, reason, value=decision.value)
        _, recorded = await self.open(drawn, [event], tell)
        return recorded

    async def _is_busy(self, target: str) -> bool:
        """Whether the target has an open incident, which a decision joins whatever holds us back."""
        return bool(target) and bool(await self._incidents.list(target=target, open_only=True, limit=1))

    async def find(self, identity: str) -> Incident | None:
        return await self._incidents.find(identity)

    async def keeps_a_no(self, decision: Decision) -> bool:
        """Whether people have said no to this very alert, when its rule, its target or its group had another name.

        That is then on record for the new name, too: what they said was about the alert, not about the rulebook.
        """
        target = self._rulebook().targets.get(decision.target)
        if target is None or decision.response is Response.NOTIFY or await self.find(decision.identity) is not None:
            return False
        for one in await self._incidents.list(limit=_LATEST):
            same = (one.workload, one.began_at, one.trigger_labels) == (
                target.key,
                decision.began_at,
                dict(decision.trigger_labels),
            )
            if same and not one.is_open and _has_been_told_no(one):
                await self._join(one, decision)
                return True
        return False

    def new_id(self, now: datetime) -> str:
        return self._new_id(now)

    def _opening(self, incident: Incident, decision: Decision) -> Sequence[Tell]:
        if not incident.is_open:
            return (Tell(Moment.NOTICE, _sentence(decision.reason), closes=True),)
        if self._rulebook().targets[incident.target].mode is Mode.ARMED:
            return (Tell(Moment.OPENED, _sentence(decision.reason) + " Checking whether a rollback is safe."),)
        return ()

    def _new_incident(self, decision: Decision) -> Incident:
        now = self._clock()
        notify_only = decision.response is Response.NOTIFY
        rule = next((rule for rule in self._rulebook().rules if rule.name == decision.rule), None)
        return Incident(
            id=self._new_id(now),
            identity=decision.identity,
            target=decision.target,
            workload=target.key if (target := self._rulebook().targets.get(decision.target)) is not None else "",
            rule=decision.rule,
            group=decision.group,
            severity=decision.severity,
            status=IncidentStatus.NOTIFIED if notify_only else IncidentStatus.RUNNING,
            reason=decision.reason,
            opened_at=now,
            closed_at=now if notify_only else None,
            groups=((decision.rule, decision.group),),
            plan=None if notify_only or rule is None else self._rulebook().plan_of(rule),
            asks=rule.approval if rule is not None and decision.response is Response.APPROVE else None,
            grace=rule.grace if rule is not None and not notify_only else timedelta(0),
            trigger_labels=dict(decision.trigger_labels),
            trigger_annotations=dict(decision.trigger_annotations),
            trigger_link=decision.trigger_link,
            value=decision.value,
            began_at=decision.began_at,
        )

    async def _join(self, incident: Incident, decision: Decision) -> None:
        pair = (decision.rule, decision.group)

        def joined(known: Incident) -> Incident:
            if incident.is_open and not known.is_open:
                raise _ClosedMeanwhileError
            groups = known.groups if pair in known.groups else (*known.groups, pair)
            identities = known.joined if decision.identity in known.joined else (*known.joined, decision.identity)
            return replace(known, groups=groups, joined=identities)

        event = IncidentEvent(self._clock(), "joined", f"{decision.rule} fires too: {decision.reason}")
        with contextlib.suppress(_ClosedMeanwhileError):
            await self.change(incident.id, joined, [event])
        _log.info("incident_joined", incident=incident.id, rule=decision.rule, group=decision.group)

    async def change(
        self,
        incident_id: str,
        edit: Callable[[Incident], Incident],
        events: Sequence[IncidentEvent] = (),
        tell: Sequence[Tell] = (),
    ) -> Incident:
        """Apply `edit` to the incident on record and save it with its events and messages. Returns what was saved."""
        async with self._lock(incident_id):
            known = await self._incidents.get(incident_id)
            if known is None:
                raise LookupError(f"incident {incident_id} is gone")
            edited = edit(known)
            if known.is_open and not edited.is_open:
                edited = replace(edited, closed_at=self._clock())
            edited, outbox = self._announcer.of_change(known, edited, tell)
            await self._incidents.save(edited, events, outbox)
        self._told(outbox)
        self._on_changed(edited, events)
        if edited.cancel is not None:
            self.stop_of(incident_id).set()
        if known.is_open and not edited.is_open:
            _log.info("incident_closed", incident=edited.id, status=edited.status.value, reason=edited.reason)
            self._on_closed(edited)
        if not edited.is_open:
            self._locks.pop(incident_id, None)
            self._progress.pop(incident_id, None)
            self._stops.pop(incident_id, None)
        return edited

    async def get(self, incident_id: str) -> Incident | None:
        return await self._incidents.get(incident_id)

    def stop_of(self, incident_id: str) -> asyncio.Event:
        """Set as soon as a change of this open incident says that somebody asked it to stop."""
        return self._stops.setdefault(incident_id, asyncio.Event())

    def note_progress(self, incident_id: str, step: str, text: str) -> None:
        """Remember how far a step is, for whoever looks now. Not durable."""
        self._progress[incident_id] = f"{step}: {text}"

    def progress_of(self, incident_id: str) -> str:
        """The latest progress of an open incident, "" when there is none."""
        return self._progress.get(incident_id, "")

    def event(self, kind: str, text: str, **data: object) -> IncidentEvent:
        return IncidentEvent(self._clock(), kind, text, data)

    def _lock(self, incident_id: str) -> asyncio.Lock:
        return self._locks.setdefault(incident_id, asyncio.Lock())

    async def refresh(self) -> None:
        """Bring the messages of all open incidents up to date: the hold was turned."""
        if self._announcer.keeps_up_to_date:
            for incident in await self._incidents.list(open_only=True, limit=_MOST_OPEN):
                await self.change(incident.id, lambda known: known, tell=[REFRESH])

    def _told(self, outbox: Sequence[OutboxEntry]) -> None:
        if outbox:
            self._on_outbox()


def _has_been_told_no(incident: Incident) -> bool:
    denied = (one.denied for one in incident.approvals)
    return incident.cancel is not None or any(word is not None and word.by for word in denied)


def _sentence(text: str) -> str:
    text = text[:1].upper() + text[1:]
    return text if text.endswith((".", "!", "?")) else text + "."
