"""The brain: folds the journal, lets deadlines run out, and has incidents led. One per database.

Recovery is level-triggered: after folding, a group that fires and has no incident yet is acted on; nothing else of the past is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from dataclasses import replace
from datetime import timedelta

import structlog

from responder.domain.decision import Decision, DecisionKind
from responder.domain.incident import Incident
from responder.domain.people import Suppression
from responder.domain.rulebook import Response
from responder.domain.signal import Signal, SignalStatus
from responder.engine.answers import RETRY_PAUSE, Answers, durably
from responder.engine.conductor import Conductor
from responder.engine.desk import IncidentDesk
from responder.engine.endings import announce_end
from responder.engine.evaluator import Evaluator
from responder.engine.fold import UNREADABLE, Fold
from responder.engine.old_news import Doubt, doubt_after
from responder.engine.restraint import Restraint
from responder.engine.runs import Runs
from responder.engine.second_look import Place, places_of
from responder.engine.steady import Alarm
from responder.engine.watch import Pulse
from responder.errors import JournalUnavailableError
from responder.ports import Clock, Entry, EntryKind, Incidents, Journal

_log = structlog.get_logger(__name__)
_SNAPSHOT_EVERY = 20_000  # signals and ticks
_OURSELVES = "responder"  # source of what we write into the journal ourselves


class Brain:
    """on_decision: called with every decision of the live fold, for metrics. on_folded: with the age of the newest entry folded.

    on_recalled: called with every decision found again while recovering.
    vouched: asks the sender; returns those (rule, group, target) whose alerts it says fire now.
    The evaluator belongs to the brain: nobody else feeds it.
    """

    def __init__(
        self,
        *,
        evaluator: Evaluator,
        digest: str,
        journal: Journal,
        incidents: Incidents,
        pulse: Pulse,
        clock: Clock,
        on_decision: Callable[[Decision], None] = lambda _: None,
        on_folded: Callable[[timedelta], None] = lambda _: None,
        on_recalled: Callable[[Decision], None] = lambda _: None,
        vouched: Callable[[Collection[Place]], Awaitable[Collection[Place]]] | None = None,
    ) -> None:
        self._fold = Fold(evaluator, digest, journal)
        self._journal = journal
        self._incidents = incidents
        self._pulse = pulse
        self._clock = clock
        self._alarm = Alarm(clock)
        self._on_decision = on_decision
        self._on_folded = on_folded
        self._on_recalled = on_recalled
        self._ask = vouched
        self._is_folded = False
        self._is_up_to_date = False
        self._resumed = asyncio.Event()
        self._missed: list[Decision] = []
        self._doubt: Doubt | None = None
        self._turn_lock = asyncio.Lock()  # held while decisions are in hand
        self._desk: IncidentDesk | None = None
        self._runs: Runs | None = None
        self._restraint: Restraint | None = None
        self._answers: Answers | None = None

    def employ(self, desk: IncidentDesk, conductor: Conductor, restraint: Restraint) -> None:
        """Who acts on decisions, and what holds them back. Apart from the constructor because they ask the brain what fires."""
        self._desk = desk
        self._runs = Runs(conductor, self._after_run)
        self._restraint = restraint
        self._answers = Answers(desk=desk, restraint=restraint, lead=self._lead, clock=self._clock)

    @property
    def evaluator(self) -> Evaluator:
        return self._fold.evaluator

    @property
    def position(self) -> int:
        """Id of the last journal entry folded."""
        return self._fold.position

    @property
    def is_folded(self) -> bool:
        """Whether everything on record at the start has been folded."""
        return self._is_folded

    async def is_started(self, within: timedelta) -> bool:
        """Whether the start is over, now or within this time: what was open is led again, and what people said is known."""
        try:
            async with asyncio.timeout(within.total_seconds()):
                await self._resumed.wait()
        except TimeoutError:
            return False
        return True

    @property
    def is_up_to_date(self) -> bool:
        """Whether everything folded has been acted on, too."""
        return self._is_up_to_date

    def still_firing(self, incident: Incident) -> bool:
        """Whether any alert that this incident answers for is active now."""
        return any(self._fold.evaluator.is_active(rule, group) for rule, group in incident.groups)

    def has_cleared(self, incident: Incident) -> bool:
        """Whether every alert of this incident is over. A missing number is no all-clear, nor is a rule that is gone."""
        if incident.order is not None and not incident.groups:
            return True  # a person's order needs no alert, and waits for none
        known = [(rule, group) for rule, group in incident.groups if self._fold.evaluator.knows(rule)]
        return bool(known) and all(self._fold.evaluator.is_calm(rule, group) for rule, group in known)

    async def note_rollback(self, target: str) -> None:
        """Write into the journal that the target is about to be rolled back: rules may want it to settle."""
        now = self._clock()
        labels = {"source": _OURSELVES, "target": target}
        signal = Signal(_OURSELVES, target, SignalStatus.OCCURRED, labels, {}, now, None, now)
        await self._journal.append(EntryKind.ACTED, now, (signal,))

    # --- start ---------------------------------------------------------------------------------------------------

    async def note_start(self) -> None:
        """Write down that somebody listens again. Before anything is heard: it would look as if nobody had said so for long."""
        try:
            await self._journal.append(EntryKind.STARTED, self._clock())
        except JournalUnavailableError as error:
            _log.error("start_not_kept", error=str(error), consequence="the time before counts as silence")

    async def recover(self) -> None:
        """Fold what is on record. Afterwards the state is what it would be had the process never stopped."""
        is_restored, self._missed = await self._fold.recall(self._on_recalled)
        if not is_restored:
            self._fold.unsaved = _SNAPSHOT_EVERY  # without one, what fires and clears before a crash would not be told
        self._is_folded = True

    async def resume(self) -> None:
        """Act on what fires without an incident, and go on with what was open.

        In this order: under changed rules an alert may have another name, and must have joined before its incident asks for it.
        """
        if self._runs is None or self._restraint is None:
            raise RuntimeError("the brain employs nobody")
        await self._restraint.load()
        self._doubt_old_news()
        unfinished = await self._incidents.list(open_only=True, limit=10_000)
        for incident in unfinished:
            self._runs.expect(incident)
        if self._doubt is not None and self._ask is not None:
            fires = [(one.rule, one.group, one.target) for one in self._fold.evaluator.firing()]
            vouched = await self._ask([*fires, *(place for one in unfinished for place in places_of(one))])
            self._doubt = replace(self._doubt, vouched=vouched)
        firing = {decision.identity for decision in self._fold.evaluator.firing()}
        for decision in self._missed:
            if decision.rule == UNREADABLE:
                await self._handle([decision])
            elif decision.identity not in firing:
                reason = f"fired and cleared while Responder was down: {decision.reason}"
                await self._handle([decision._replace(response=Response.NOTIFY, reason=reason)])
        await self._handle(self._fold.evaluator.firing(), again=True)
        for incident in unfinished:
            if self._doubt is not None and self._doubt.is_old_news(incident):
                continue  # nothing was changed yet: led when the doubt ends
            _log.info("incident_resumed", incident=incident.id, status=incident.status.value)
            self._lead(incident)
        self._resumed.set()
        self._is_up_to_date = True
        await self._snapshot_if_due()

    # --- live ----------------------------------------------------------------------------------------------------

    def _doubt_old_news(self) -> None:
        self._doubt = doubt_after(self._fold.last_heard, self._clock())
        if self._doubt is not None and self._fold.last_heard is not None:
            until = self._doubt.until.isoformat()
            _log.warning("long_silence", last_heard=self._fold.last_heard.isoformat(), no_old_alert_is_acted_on_until=until)

    def _is_doubted(self, decision: Decision) -> bool:
        return self._doubt is not None and self._doubt.covers(decision, self._clock())

    async def _end_doubt(self) -> None:
        """Act on what was doubted and still fires."""
        if self._doubt is not None and self._clock() >= self._doubt.until:
            self._doubt = None
            await self._handle(self._fold.evaluator.firing(), again=True)
            await durably(self._lead_all)

    async def run(self) -> None:
        """Fold new entries and let deadlines run out, until cancelled."""
        try:
            async with self._turn_lock:
                await durably(self.resume)
            while True:
                await durably(self._turn)
        finally:
            if self._runs is not None:
                await self._runs.stop()

    async def _turn(self) -> None:
        due = self._fold.evaluator.next_due()
        others = (self._doubt.until if self._doubt else None, self._restraint.next_due() if self._restraint else None)
        alarms = ((self._alarm, due), *((Alarm(self._clock), other) for other in others))
        moments = [(alarm, moment) for alarm, moment in alarms if moment is not None]
        wait = min(alarm.left(moment) for alarm, moment in moments) if moments else None
        entries = await self._journal.wait(self._fold.position, wait)
        if entries:
            async with self._turn_lock:
                await self._take(entries)
        elif due is not None and self._alarm.rings(due):
            at = max(self._clock(), due)  # the clock may have been set back
            await durably(lambda: self._journal.append(EntryKind.TICK, at))
        async with self._turn_lock:
            await self._end_doubt()
            await self._loosen()

    async def _take(self, entries: Sequence[Entry]) -> None:
        self._is_up_to_date = False
        decisions = self._fold.take(entries)
        self._on_folded(self._clock() - entries[-1].at)
        for decision in decisions:
            self._on_decision(decision)
        await self._handle(decisions)
        self._is_up_to_date = True
        await self._snapshot_if_due()

    async def _handle(self, decisions: Iterable[Decision], *, again: bool = False) -> None:
        """again: they fired before, maybe under other names."""
        moved = False
        wanted: list[Decision] = []
        for decision in decisions:
            if decision.kind in (DecisionKind.WAIT, DecisionKind.RESPOND, DecisionKind.CLEAR):
                _log.info("decision", kind=decision.kind.value, rule=decision.rule, group=decision.group, reason=decision.reason)
            if decision.kind is DecisionKind.RESPOND and not self._is_doubted(decision):
                wanted.append(decision)
            moved = moved or decision.kind in (DecisionKind.RESPOND, DecisionKind.CLEAR)
        await self._answer(wanted, again=again)
        if moved:
            self._pulse.beat()

    async def _answer(
        self, decisions: Iterable[Decision], lead: Callable[[Incident], None] | None = None, *, again: bool
    ) -> None:
        if self._answers is None:
            raise RuntimeError("the brain employs nobody")
        await self._answers.give(decisions, lead, again=again)

    # --- people --------------------------------------------------------------------------------------------------

    async def _loosen(self) -> None:
        """Act on what was held back and still fires; say which suppressions end soon."""
        if self._restraint is None:
            return
        lifted, ending = await self._restraint.pass_time(self._clock())
        try:
            if lifted:
                await self._handle(self._fold.evaluator.firing())
        except BaseException:
            self._restraint.lift_again()
            raise
        for suppression in ending:
            await durably(lambda suppression=suppression: self._announce_end(suppression))  # type: ignore[misc]

    async def _announce_end(self, suppression: Suppression) -> None:
        if self._desk is not None and self._restraint is not None:
            firing = self._fold.evaluator.firing()
            await announce_end(suppression, firing, self._clock(), desk=self._desk, restraint=self._restraint)

    async def look_again(self) -> None:
        """What holds the service back has changed: wake the turn, which may wait for something later."""
        await self._journal.append(EntryKind.TICK, self._clock())

    def lead(self, incident: Incident) -> None:
        """Have an incident led that people opened, or that they have ended.

        Before the start is over none is: what fires is not known yet, and `resume` leads all that is open.
        """
        if incident.is_open and self._resumed.is_set():
            self._lead(incident)

    # --- other rules ---------------------------------------------------------------------------------------------

    async def adopt(self, evaluator: Evaluator, digest: str, put_in_force: Callable[[], None]) -> None:
        """Have another rulebook's evaluator decide from here on: the same as a restart with it, without the stop.

        What is on record is folded into it beside the live work; the present one decides meanwhile. What fires then is
        acted on unless it has its incident already, so nothing past happens twice. put_in_force: called right before that.
        Raises JournalUnavailableError, and nothing has changed, when the journal can't be read or is still being folded.
        """
        if not self._is_folded:
            raise JournalUnavailableError("the journal is still being folded", retry_after=timedelta(seconds=RETRY_PAUSE))
        successor = Fold(evaluator, digest, self._journal)
        while not successor.is_near(self._fold):
            if not await successor.catch_up(self._fold):
                break
            await asyncio.sleep(0)
        async with self._turn_lock:
            while await successor.catch_up(self._fold):
                pass
            put_in_force()
            answered: list[Incident] = []
            try:
                # Alerts that have another name now join their incidents first: a run that asks meanwhile must find them firing.
                firing = [decision for decision in evaluator.firing() if not self._is_doubted(decision)]
                await self._answer(firing, answered.append, again=True)
            finally:
                self._fold = successor.in_place_of(self._fold, unsaved=_SNAPSHOT_EVERY)
            for incident in answered:
                self._lead(incident)
        self._pulse.beat()
        await durably(lambda: self._journal.append(EntryKind.TICK, self._clock()))  # wakes a turn that waits by old deadlines

    async def _lead_all(self) -> None:
        for incident in await self._incidents.list(open_only=True, limit=10_000):
            self._lead(incident)

    # --- runs ----------------------------------------------------------------------------------------------------

    def _lead(self, incident: Incident) -> None:
        if self._runs is None:
            raise RuntimeError("the brain employs nobody")
        self._runs.lead(incident)

    async def _after_run(self) -> None:
        if self._restraint is not None and self._restraint.is_lifted:  # it was put off, and what had joined it was not meant
            await durably(self.look_again)

    async def _snapshot_if_due(self) -> None:
        if self._fold.unsaved >= _SNAPSHOT_EVERY:
            await self.snapshot()

    async def snapshot(self) -> None:
        """Keep the state, so that the next start is short and old entries may go. It waits while decisions are in hand."""
        if not self._is_up_to_date:
            return
        await self._fold.save()
