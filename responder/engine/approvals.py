"""Waiting for a person's word: a request for approval, a countdown. Both are on record: a restart waits on, with the same end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from responder.domain.incident import Approval, Incident, IncidentStatus, Word, said_by
from responder.domain.notification import Moment
from responder.domain.rulebook import ApprovalTerms, Unanswered
from responder.domain.wording import spell_duration, spell_time
from responder.engine.announcer import Tell
from responder.engine.desk import IncidentDesk
from responder.engine.steady import steady
from responder.engine.watch import Pulse
from responder.errors import RefusedError, StoppedError
from responder.ports import Clock

START = ""
"""In the place of a step's name: the request that the whole run waits for."""


class WaitEnd(StrEnum):
    YES = "yes"  # somebody said yes, or the time is over and the terms say to go on
    NO = "no"
    CANCELLED = "cancelled"
    CLEARED = "cleared"  # the alert is over


@dataclass(frozen=True, slots=True)
class Answer:
    """word: who decided; by "" when time or the alert did."""

    end: WaitEnd
    word: Word


class Approvals:
    """Asks, and waits for the answer that a command puts on record."""

    def __init__(self, *, desk: IncidentDesk, pulse: Pulse, clock: Clock) -> None:
        self._desk = desk
        self._pulse = pulse
        self._clock = clock

    async def ask(
        self,
        incident_id: str,
        terms: ApprovalTerms,
        question: str,
        *,
        step: str = START,
        has_cleared: Callable[[Incident], bool] = lambda _: False,
    ) -> Answer:
        """Ask once; called again, after a restart, it waits on for the answer to the same request.

        question: what happens after a yes, as one sentence. has_cleared: whether there is no reason left to ask.
        """
        clock = steady(self._clock)  # people get the time they were told, whatever somebody sets the clock to
        incident = await self._get(incident_id)
        if approval_of(incident, step) is None:
            await self._request(incident_id, terms, question, step, clock())
        while True:
            beat = self._pulse.next()
            now = clock()
            known = await self._get(incident_id)
            approval = approval_of(known, step)
            if approval is None:
                raise LookupError(f"incident {incident_id} has no request for {step or 'its start'}")
            answer = _answer(known, approval) or (_cleared(now) if has_cleared(known) else None)
            if answer is not None:
                return answer
            if now >= approval.expires_at:
                await self._expire(incident_id, step, terms)
            else:
                await self._pulse.wait(approval.expires_at - now, beat)

    async def ask_for_step(self, incident_id: str, step: str, terms: ApprovalTerms, question: str) -> Word:
        """For `StepContext.ask`. Raises RefusedError for a no, StoppedError when the run is stopped."""
        incident = await self._get(incident_id)
        if incident.order is not None and incident.order.immediate:
            return Word(incident.order.by, self._clock(), "ordered to be done at once")
        answer = await self.ask(incident_id, terms, question, step=step)
        if answer.end is WaitEnd.YES:
            return answer.word
        if answer.end is WaitEnd.CANCELLED:
            raise StoppedError(said_by("stopped", answer.word))
        raise RefusedError(said_by("rejected", answer.word) if answer.word.by else answer.word.reason)

    async def count_down(self, incident_id: str, what: str, *, has_cleared: Callable[[Incident], bool]) -> Answer:
        """Wait until the incident's grace is over. what: happens then, as one sentence."""
        clock = steady(self._clock)
        incident = await self._get(incident_id)
        until = incident.countdown_until
        if until is None:
            until = await self._start_countdown(incident, what, clock())
        while True:
            beat = self._pulse.next()
            now = clock()
            known = await self._get(incident_id)
            if known.cancel is not None:
                return Answer(WaitEnd.CANCELLED, known.cancel)
            if has_cleared(known):
                return _cleared(now)
            if now >= until:
                return Answer(WaitEnd.YES, Word("", until, "the countdown is over"))
            await self._pulse.wait(until - now, beat)

    async def _start_countdown(self, incident: Incident, what: str, now: datetime) -> datetime:
        until = now + incident.grace
        length = spell_duration(incident.grace)
        text = f"{what} in {length}, at {spell_time(until, now)}, unless somebody cancels it or the alert clears before."
        await self._desk.change(
            incident.id,
            lambda known: replace(known, status=IncidentStatus.COUNTDOWN, countdown_until=until),
            [self._desk.event("countdown", f"{length} to cancel, until {spell_time(until, now)}", until=until)],
            [Tell(Moment.WAITING, text)],
        )
        return until

    async def _request(self, incident_id: str, terms: ApprovalTerms, question: str, step: str, now: datetime) -> None:
        expires = now + terms.within
        who = " or ".join(terms.by) if terms.by else "anybody who may operate Responder"
        otherwise = "it is done all the same" if terms.unanswered is Unanswered.PROCEED else "nothing is done"
        text = f"{question}? It waits for {who} until {spell_time(expires, now)}; if nobody answers, {otherwise}."

        def asked(known: Incident) -> Incident:
            request = Approval(step, now, expires, terms.by)
            waiting = known.status in (IncidentStatus.RUNNING, IncidentStatus.COUNTDOWN)
            status = IncidentStatus.WAITING_APPROVAL if waiting else known.status
            return replace(known, status=status, approvals=(*known.approvals, request))

        data = {"step": step, "by": list(terms.by), "until": expires}
        event = self._desk.event("approval_asked", f"{question}? Waits for {who} until {spell_time(expires, now)}", **data)
        await self._desk.change(incident_id, asked, [event], [Tell(Moment.WAITING, text)])

    async def _expire(self, incident_id: str, step: str, terms: ApprovalTerms) -> None:
        """A word that came at the last moment counts: both are changes of the same record."""
        now = self._clock()
        within = spell_duration(terms.within)
        goes_on = terms.unanswered is Unanswered.PROCEED
        word = Word("", now, f"nobody answered within {within}")

        def expired(known: Incident) -> Incident:
            approval = approval_of(known, step)
            if approval is None or approval.given is not None or approval.denied is not None:
                return known
            return answered(known, step, given=word if goes_on else None, denied=None if goes_on else word)

        text = f"{word.reason}: {'it goes on' if goes_on else 'refused'}, as declared"
        await self._desk.change(incident_id, expired, [self._desk.event("approval_expired", text, step=step)])

    async def _get(self, incident_id: str) -> Incident:
        incident = await self._desk.get(incident_id)
        if incident is None:
            raise LookupError(f"incident {incident_id} is gone")
        return incident


def approval_of(incident: Incident, step: str) -> Approval | None:
    return next((one for one in incident.approvals if one.step == step), None)


def open_approvals(incident: Incident) -> list[Approval]:
    return [one for one in incident.approvals if one.given is None and one.denied is None]


def answered(incident: Incident, step: str, *, given: Word | None = None, denied: Word | None = None) -> Incident:
    """The incident with this request answered. A step that asked goes on as running; the start of a run has guards before it."""
    approvals = tuple(replace(one, given=given, denied=denied) if one.step == step else one for one in incident.approvals)
    changed = replace(incident, approvals=approvals)
    if incident.status is IncidentStatus.WAITING_APPROVAL and incident.run_started_at is not None and not open_approvals(changed):
        return replace(changed, status=IncidentStatus.RUNNING)
    return changed


def _answer(incident: Incident, approval: Approval) -> Answer | None:
    if incident.cancel is not None:
        return Answer(WaitEnd.CANCELLED, incident.cancel)
    if approval.given is not None:
        return Answer(WaitEnd.YES, approval.given)
    return Answer(WaitEnd.NO, approval.denied) if approval.denied is not None else None


def _cleared(now: datetime) -> Answer:
    return Answer(WaitEnd.CLEARED, Word("", now, "the alert cleared"))
