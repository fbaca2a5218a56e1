"""What people may tell the service to do. Every command is on record, with who gave it, before it is answered.

A command that does not apply says what state things are in. The same command by the same person changes nothing a second time.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import TypeVar

import structlog

from responder.domain.incident import OPEN_STATUSES, Approval, Incident, IncidentStatus, Word, said_by
from responder.domain.matcher import Matcher, MatchOperator
from responder.domain.notification import Moment
from responder.domain.people import Actor, AuditEntry, Hold, Suppression
from responder.domain.plan import Plan
from responder.domain.wording import spell_time
from responder.engine.approvals import answered, open_approvals
from responder.engine.brain import Brain
from responder.engine.desk import IncidentDesk, Tell
from responder.engine.notices import Notices
from responder.engine.restraint import Restraint
from responder.engine.watch import Pulse
from responder.errors import DeniedError, NotFoundError, PermanentError, RefusedError
from responder.ports import Clock, People

_log = structlog.get_logger(__name__)
T = TypeVar("T")
_KINDS = {"approve": "approved", "reject": "rejected", "cancel": "cancel_asked", "acknowledge": "acknowledged"}
"""Events by the command that makes them."""


EVERYTHING = ""
"""In the place of a target's name: what concerns all of them, or none that is declared."""


class _NothingToDoError(Exception):
    """The same person has said the same before."""

    def __init__(self, incident: Incident) -> None:
        super().__init__(incident.id)
        self.incident = incident


@dataclass(frozen=True, slots=True)
class AuditLog:
    """Writes down who did what, and how it ended."""

    people: People
    clock: Clock

    async def noting(self, actor: Actor, action: str, subject: str, what: str, work: Callable[[], Awaitable[T]]) -> T:
        """Do the work; its outcome is in the log when this returns or raises."""
        try:
            done = await work()
        except PermanentError as error:
            outcome = "denied" if isinstance(error, DeniedError) else "refused"
            await self.note(actor, action, subject, outcome, f"{error} (asked for: {what})")
            raise
        await self.note(actor, action, subject, "done", what)
        return done

    async def note(self, actor: Actor, action: str, subject: str, outcome: str, text: str) -> None:
        _log.info("command", by=actor.name, action=action, subject=subject, outcome=outcome, text=text)
        await self.people.note(AuditEntry(self.clock(), actor.name, action, subject, outcome, text))


class Commands:
    """Answers to incidents, suppressions, the hold. Forcing a rollback: see `orders`."""

    def __init__(
        self,
        *,
        desk: IncidentDesk,
        brain: Brain,
        restraint: Restraint,
        audit: AuditLog,
        pulse: Pulse,
        clock: Clock,
        notices: Notices | None = None,
    ) -> None:
        self._notices = notices
        self._desk = desk
        self._brain = brain
        self._restraint = restraint
        self._audit = audit
        self._pulse = pulse
        self._clock = clock

    # --- one incident --------------------------------------------------------------------------------------------

    async def approve(self, incident_id: str, actor: Actor, reason: str = "", step: str | None = None) -> Incident:
        """Say yes to what waits for approval. step: which request, None for the oldest; "" is the start of the run."""
        word = Word(actor.name, self._clock(), reason)
        edit = partial(_answer, actor=actor, step=step, given=word)
        return await self._say(incident_id, actor, "approve", said_by("approved", word), edit)

    async def reject(self, incident_id: str, actor: Actor, reason: str = "", step: str | None = None) -> Incident:
        """Say no to what waits for approval."""
        word = Word(actor.name, self._clock(), reason)
        edit = partial(_answer, actor=actor, step=step, denied=word)
        return await self._say(incident_id, actor, "reject", said_by("rejected", word), edit)

    async def cancel(self, incident_id: str, actor: Actor, reason: str = "") -> Incident:
        """Stop it: what waits ends at once, a run ends at its next safe point. Answered before that has happened."""
        word = Word(actor.name, self._clock(), reason)

        def cancelled(known: Incident) -> Incident:
            if known.cancel is not None and known.cancel.by == actor.name:
                raise _NothingToDoError(known)
            if not known.is_open:
                raise RefusedError(f"it is closed: {_state(known)}")
            if known.cancel is not None:
                raise RefusedError(f"it is being stopped: {said_by('cancelled', known.cancel)}")
            if known.failure:
                raise RefusedError(f"it has failed, and what its plan does then is running: {known.failure}")
            return replace(known, cancel=word)

        return await self._say(incident_id, actor, "cancel", said_by("cancelled", word), cancelled)

    async def acknowledge(self, incident_id: str, actor: Actor, reason: str = "") -> Incident:
        """Say that somebody has it in hand; also of one that is closed and was left to people."""
        word = Word(actor.name, self._clock(), reason)

        def acknowledged(known: Incident) -> Incident:
            if known.acknowledged is not None and known.acknowledged.by == actor.name:
                raise _NothingToDoError(known)
            if known.acknowledged is not None:
                raise RefusedError(said_by("it is acknowledged", known.acknowledged))
            if known.status in (IncidentStatus.RESOLVED, IncidentStatus.SUPPRESSED):
                raise RefusedError(f"there is nothing to have in hand: {_state(known)}")
            return replace(known, acknowledged=word)

        return await self._say(incident_id, actor, "acknowledge", said_by("acknowledged", word), acknowledged)

    async def _say(
        self, incident_id: str, actor: Actor, action: str, text: str, edit: Callable[[Incident], Incident]
    ) -> Incident:
        async def work() -> Incident:
            known = await self._desk.get(incident_id)
            if known is None:
                raise NotFoundError("no incident has this id")
            check_scope(actor, _concerned(known, action))
            # Who presses a button wants to see that it was heard, and the others who it was.
            told = [Tell(Moment.NOTICE, f"{text[:1].upper()}{text[1:]}.", closes=False)]
            try:
                return await self._desk.change(incident_id, edit, [self._desk.event(_KINDS[action], text, by=actor.name)], told)
            except _NothingToDoError as same:
                return same.incident

        try:
            incident = await self._audit.noting(actor, action, incident_id, text, work)
        finally:
            self._pulse.beat()  # also where only the audit log failed: what was said is on record
        if action != "acknowledge":  # who has it in hand decides nothing: what waits out a long silence waits on
            self._brain.lead(incident)
        return incident

    # --- suppressions --------------------------------------------------------------------------------------------

    async def suppress(
        self, actor: Actor, matchers: Sequence[Matcher], until: datetime, reason: str, key: str = ""
    ) -> Suppression:
        """key: the same key by the same person is the same suppression."""
        now = self._clock()
        made = Suppression(self._suppression_id(actor, key, now), tuple(matchers), until, reason, actor.name, now)
        what = f"suppress {', '.join(map(str, matchers))} until {spell_time(until, now)}: {reason}"

        async def work() -> Suppression:
            check_scope(actor, _covered(matchers))
            return await self._restraint.suppress(made)

        suppression = await self._audit.noting(actor, "suppress", made.id, what, work)
        await self._brain.look_again()
        return suppression

    async def quieten(self, incident_id: str, actor: Actor, length: timedelta, reason: str, key: str = "") -> Suppression:
        """Suppress the alerts of an incident, those of every rule that fires in it, and say so in its story."""
        incident = await self._desk.get(incident_id)
        if incident is None:
            raise NotFoundError("no incident has this id")
        if incident.quieted is not None:
            raise RefusedError(said_by("its alerts are suppressed", incident.quieted))
        made = await self.suppress(actor, _matchers_of(incident), self._clock() + length, reason, key)
        word = Word(actor.name, self._clock(), f"until {spell_time(made.until, self._clock())}")
        text = f"its alerts are suppressed {word.reason} by {actor.name}: {reason}"
        await self._desk.change(
            incident_id,
            lambda known: replace(known, quieted=word),
            [self._desk.event("quieted", text, by=actor.name, suppression=made.id)],
            [Tell(Moment.NOTICE, f"{text[:1].upper()}{text[1:]}.", closes=False)],
        )
        return made

    async def end_suppression(self, suppression_id: str, actor: Actor, reason: str = "") -> Suppression:
        word = Word(actor.name, self._clock(), reason)

        async def work() -> Suppression:
            known = next((one for one in self.suppressions() if one.id == suppression_id), None)
            check_scope(actor, _covered(known.matchers) if known else ())
            ended = await self._restraint.end(suppression_id, word)
            if ended is None:
                raise NotFoundError("no suppression in force has this id")
            return ended

        what = said_by("ended", word)
        ended = await self._audit.noting(actor, "end_suppression", suppression_id, what, work)
        await self._brain.look_again()
        return ended

    def suppressions(self) -> list[Suppression]:
        """Those in force, oldest first."""
        return self._restraint.suppressions(self._clock())

    def _suppression_id(self, actor: Actor, key: str, now: datetime) -> str:
        if key:
            return f"sup_{hashlib.sha256(f'{actor.name}|{key}'.encode()).hexdigest()[:15]}"
        return self._desk.new_id(now).replace("inc_", "sup_", 1)

    # --- hold ----------------------------------------------------------------------------------------------------

    @property
    def hold(self) -> Hold:
        return self._restraint.hold

    async def turn_hold(self, actor: Actor, *, held: bool, reason: str) -> Hold:
        """The same word again changes nothing: the first one's reason stays."""
        turned = Hold(held, reason, actor.name, self._clock())
        what = said_by("held" if held else "let go", Word(actor.name, self._clock(), reason))

        async def work() -> Hold:
            check_scope(actor, (EVERYTHING,))
            return await self._restraint.turn_hold(turned)

        hold = await self._audit.noting(actor, "hold" if held else "release", "hold", what, work)
        await self._brain.look_again()
        await self._desk.refresh()
        if self._notices is not None and hold == turned:
            await self._notices.hold_turned(hold)
        return hold


def check_scope(actor: Actor, concerned: Iterable[str]) -> None:
    """Raises DeniedError when a command concerns targets beyond those of its giver."""
    beyond = actor.beyond(concerned)
    if beyond:
        what = " and ".join(name or "more than single targets" for name in beyond)
        raise DeniedError(f"{actor.name} may not: it concerns {what}, and {actor.name}'s word counts for {_listed(actor)} only")


def targets_of(plan: Plan | None, own: str) -> list[str]:
    """Names of all targets that the steps of a plan speak of, the incident's own first."""
    steps = plan.walk() if plan is not None else ()
    return list(dict.fromkeys((own, *(str(step.parameters.get("target") or own) for step in steps))))


def _concerned(incident: Incident, action: str) -> list[str]:
    """A yes has everything done that the plan does; any other word concerns the incident as a whole."""
    return targets_of(incident.plan, incident.target) if action == "approve" else [incident.target]


def _covered(matchers: Sequence[Matcher]) -> list[str]:
    """What a suppression can concern: one target if it names one, else everything."""
    named = [one.value for one in matchers if one.name == "target" and one.operator is MatchOperator.EQUAL and one.value]
    return named[:1] or [EVERYTHING]


def _matchers_of(incident: Incident) -> list[Matcher]:
    """What its alerts have in common: the target, if it has one, and its rules."""
    rules = list(dict.fromkeys((incident.rule, *(rule for rule, _ in incident.groups))))
    one = len(rules) == 1
    pattern = rules[0] if one else "|".join(map(re.escape, rules))
    of_rules = Matcher("rule", MatchOperator.EQUAL if one else MatchOperator.REGEX, pattern)
    return [Matcher("target", MatchOperator.EQUAL, incident.target), of_rules] if incident.target else [of_rules]


def _listed(actor: Actor) -> str:
    return ", ".join(sorted(actor.targets or ())) or "nothing"


def _answer(
    incident: Incident, *, actor: Actor, step: str | None, given: Word | None = None, denied: Word | None = None
) -> Incident:
    """The incident with the request that is meant answered; the same person's same answer once more is no news."""
    asked = [one for one in incident.approvals if step is None or one.step == step]
    if not any(one in asked for one in open_approvals(incident)):
        said = [one.given if given is not None else one.denied for one in asked]
        if any(word is not None and word.by == actor.name for word in said):
            raise _NothingToDoError(incident)
    request = _request(incident, actor, asked)
    if given is not None and given.at >= request.expires_at:  # a no is never too late
        raise RefusedError(f"the request ran out at {spell_time(request.expires_at, given.at)}")
    return answered(incident, request.step, given=given, denied=denied)


def _request(incident: Incident, actor: Actor, asked: Sequence[Approval]) -> Approval:
    """The oldest of these that is open. Raises RefusedError or DeniedError."""
    if not incident.is_open:
        raise RefusedError(f"it is closed: {_state(incident)}")
    if incident.cancel is not None:
        raise RefusedError(f"it is being stopped: {said_by('cancelled', incident.cancel)}")
    waiting = [one for one in open_approvals(incident) if one in asked]
    if not waiting:
        raise RefusedError(f"nothing waits for approval: {_state(incident)}")
    request = waiting[0]
    if not actor.is_among(request.by):
        raise DeniedError(f"{actor.name} may not: it waits for {' or '.join(request.by)}")
    return request


def _state(incident: Incident) -> str:
    given = next((one.given for one in reversed(incident.approvals) if one.given is not None), None)
    if incident.status in OPEN_STATUSES:
        said = f", {said_by('approved', given)}" if given is not None and given.by else ""
        return f"{incident.status.value.replace('_', ' ')}{said}"
    return f"{incident.status.value}: {incident.reason}"
