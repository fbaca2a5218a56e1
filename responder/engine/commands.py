"""What people may tell the service to do. Every command is on record, with who gave it, before it is answered.

A command that does not apply says what state things are in. The same command by the same person changes nothing a second time.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial

from responder.domain.incident import Incident, Word, said_by
from responder.domain.matcher import Matcher, MatchOperator
from responder.domain.notification import Moment
from responder.domain.people import Actor, Hold, Suppression
from responder.domain.wording import spell_time
from responder.engine.announcer import Tell
from responder.engine.audit import AuditLog
from responder.engine.brain import Brain
from responder.engine.desk import IncidentDesk
from responder.engine.notices import Notices
from responder.engine.restraint import Restraint
from responder.engine.scope import EVERYTHING, check_scope, concerned, covered
from responder.engine.watch import Pulse
from responder.engine.words import NothingNewError, acknowledged, approved, cancelled, rejected
from responder.errors import NotFoundError, RefusedError
from responder.ports import Clock

_KINDS = {"approve": "approved", "reject": "rejected", "cancel": "cancel_asked", "acknowledge": "acknowledged"}
"""Events by the command that makes them."""


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
        edit = partial(approved, actor=actor, step=step, word=word)
        return await self._say(incident_id, actor, "approve", said_by("approved", word), edit)

    async def reject(self, incident_id: str, actor: Actor, reason: str = "", step: str | None = None) -> Incident:
        """Say no to what waits for approval."""
        word = Word(actor.name, self._clock(), reason)
        edit = partial(rejected, actor=actor, step=step, word=word)
        return await self._say(incident_id, actor, "reject", said_by("rejected", word), edit)

    async def cancel(self, incident_id: str, actor: Actor, reason: str = "") -> Incident:
        """Stop it: what waits ends at once, a run ends at its next safe point. Answered before that has happened."""
        word = Word(actor.name, self._clock(), reason)
        return await self._say(incident_id, actor, "cancel", said_by("cancelled", word), partial(cancelled, word=word))

    async def acknowledge(self, incident_id: str, actor: Actor, reason: str = "") -> Incident:
        """Say that somebody has it in hand; also of one that is closed and was left to people."""
        word = Word(actor.name, self._clock(), reason)
        return await self._say(incident_id, actor, "acknowledge", said_by("acknowledged", word), partial(acknowledged, word=word))

    async def _say(
        self, incident_id: str, actor: Actor, action: str, text: str, edit: Callable[[Incident], Incident]
    ) -> Incident:
        async def work() -> Incident:
            known = await self._desk.get(incident_id)
            if known is None:
                raise NotFoundError("no incident has this id")
            check_scope(actor, concerned(known, action))
            # Who presses a button wants to see that it was heard, and the others who it was.
            told = [Tell(Moment.NOTICE, f"{text[:1].upper()}{text[1:]}.", closes=False)]
            try:
                return await self._desk.change(incident_id, edit, [self._desk.event(_KINDS[action], text, by=actor.name)], told)
            except NothingNewError as same:
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
            check_scope(actor, covered(matchers))
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
            check_scope(actor, covered(known.matchers) if known else ())
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


def _matchers_of(incident: Incident) -> list[Matcher]:
    """What its alerts have in common: the target, if it has one, and its rules."""
    rules = list(dict.fromkeys((incident.rule, *(rule for rule, _ in incident.groups))))
    one = len(rules) == 1
    pattern = rules[0] if one else "|".join(map(re.escape, rules))
    of_rules = Matcher("rule", MatchOperator.EQUAL if one else MatchOperator.REGEX, pattern)
    return [Matcher("target", MatchOperator.EQUAL, incident.target), of_rules] if incident.target else [of_rules]
