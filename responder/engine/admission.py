"""Whether an incident's run may begin: guards, a person's yes, a countdown, and the guards again on fresh facts.

A refusal is said at once, before anybody is asked. A hold or a suppression closes the incident, but not its alert: when it is
lifted and the alert still fires, the rule is due again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

import structlog

from responder.domain.guard import Verdict
from responder.domain.incident import Incident, IncidentEvent, IncidentStatus, said_by
from responder.domain.notification import Moment
from responder.domain.ordered import judge_for
from responder.domain.plan import ROLLBACKS, Plan, missing_inputs, revisions_asked
from responder.domain.rulebook import ApprovalTerms
from responder.domain.selection import Choice, describe
from responder.domain.target import Mode, Target
from responder.domain.version import Pin, WorkloadState
from responder.engine.announcer import Tell
from responder.engine.approvals import Answer, Approvals, WaitEnd, approval_of
from responder.engine.change_wording import spell_changes, spell_question, spell_waits
from responder.engine.claims import Claims
from responder.engine.desk import IncidentDesk
from responder.engine.facts import FactFinder
from responder.engine.plan_run import named_targets
from responder.engine.restraint import Restraint, Stay
from responder.engine.turnstile import Turnstile
from responder.ports import Clock

_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Judgement:
    """What the guards say about every target that the plan rolls back. verdicts: by target. refusals: reasons, of whatever kind.

    observed: a target is in observe mode: whatever the guards say, nothing is done.
    """

    verdicts: dict[str, list[Verdict]] = field(default_factory=dict)
    pins: dict[str, Pin] = field(default_factory=dict)
    refusals: list[str] = field(default_factory=list)
    events: list[IncidentEvent] = field(default_factory=list)
    observed: bool = False


class Admission:
    """targets: the declared targets, looked up at the time of use. still_firing: whether any alert of the incident fires now.

    has_cleared: whether all of them are over; neither holds while the number of an alert is missing.
    turnstile: entered before the guards are asked; left here only to wait for people.
    """

    def __init__(
        self,
        *,
        desk: IncidentDesk,
        facts: FactFinder,
        approvals: Approvals,
        restraint: Restraint,
        claims: Claims,
        turnstile: Turnstile,
        targets: Callable[[], Mapping[str, Target]],
        still_firing: Callable[[Incident], bool],
        has_cleared: Callable[[Incident], bool],
        clock: Clock,
    ) -> None:
        self._desk = desk
        self._facts = facts
        self._approvals = approvals
        self._restraint = restraint
        self._claims = claims
        self._turnstile = turnstile
        self._targets = targets
        self._still_firing = still_firing
        self._has_cleared = has_cleared
        self._clock = clock

    async def admit(self, incident: Incident) -> bool:
        """True when the run may begin, or go on that has changed nothing yet; else the incident is closed when this returns."""
        if incident.cancel is not None and not incident.steps:
            await self._end(incident.id, IncidentStatus.CANCELLED, said_by("cancelled", incident.cancel))
            return False
        incident = await self._ask_when_frozen(incident)
        is_waiting = approval_of(incident, "") is not None or incident.countdown_until is not None
        if incident.run_started_at is None and (is_waiting or self._waits(incident)):
            if not is_waiting:
                judged = await self._judged(incident)
                if judged is None:
                    return False
                await self._expect(incident.id, judged[1])
                self._turnstile.leave(incident.id)
            if not await self._wait(incident.id):
                return False
            incident = await self._get(incident.id)
            if incident.asks is None and (await self._ask_when_frozen(incident)).asks is not None:
                if not await self._wait(incident.id):  # a window began during the countdown
                    return False
                incident = await self._get(incident.id)
        judged = await self._judged(incident)
        if judged is None:
            return False
        await self._go(*judged)
        return True

    async def _judged(self, incident: Incident) -> tuple[Incident, Judgement] | None:
        """When its turn has come, the incident as it is then, and what the guards say; None when it was stopped or declined."""
        urgency = (incident.order is None, incident.severity.value, incident.opened_at)
        if await self._turnstile.enter(incident.id, urgency, self._desk.stop_of(incident.id)):
            incident = await self._get(incident.id)
            if incident.cancel is not None and not incident.steps:
                await self._end(incident.id, IncidentStatus.CANCELLED, said_by("cancelled", incident.cancel))
                return None
        judgement = await self.judge(incident)
        self._turnstile.renew(incident.id)
        return None if await self._declined(incident, judgement) else (incident, judgement)

    async def _ask_when_frozen(self, incident: Incident) -> Incident:
        """In some windows a person must say yes, whatever the rule says."""
        if incident.asks is not None or incident.order is not None or incident.run_started_at is not None:
            return incident
        why = self._restraint.asks([incident.target, *rollback_targets(incident)], self._clock())
        if not why:
            return incident
        return await self._desk.change(
            incident.id, lambda known: replace(known, asks=ApprovalTerms()), [self._desk.event("frozen", why)]
        )

    # --- waiting for people --------------------------------------------------------------------------------------

    def _waits(self, incident: Incident) -> bool:
        return incident.asks is not None or bool(incident.grace)

    async def _expect(self, incident_id: str, judgement: Judgement) -> None:
        """Put on record what people are asked about."""
        pins = judgement.pins
        await self._desk.change(incident_id, lambda known: replace(known, pins=dict(pins)), judgement.events)

    async def _wait(self, incident_id: str) -> bool:
        """Ask, then count down. Who says yes has decided: then there is no countdown."""
        incident = await self._get(incident_id)
        what = spell_question(incident)
        if incident.asks is not None:
            answer = await self._approvals.ask(incident_id, incident.asks, f"{what} now", has_cleared=self._has_cleared)
            if not await self._goes_on(incident_id, answer, "while it waited for approval"):
                return False
            if answer.word.by or not incident.grace:
                return True
        if not incident.grace:
            return True
        answer = await self._approvals.count_down(incident_id, what, has_cleared=self._has_cleared)
        return await self._goes_on(incident_id, answer, "during the countdown")

    async def _goes_on(self, incident_id: str, answer: Answer, when: str) -> bool:
        if answer.end is WaitEnd.YES:
            return True
        if answer.end is WaitEnd.NO:
            reason = said_by("rejected", answer.word) if answer.word.by else answer.word.reason
            await self._end(incident_id, IncidentStatus.REFUSED, reason)
        elif answer.end is WaitEnd.CANCELLED:
            await self._end(incident_id, IncidentStatus.CANCELLED, said_by("cancelled", answer.word))
        else:
            await self._end(incident_id, IncidentStatus.CANCELLED, f"the alert cleared {when}")
        return False

    async def _end(self, incident_id: str, status: IncidentStatus, reason: str) -> None:
        await self._desk.change(
            incident_id,
            lambda known: replace(known, status=status, reason=reason),
            [self._desk.event(status.value, reason)],
            [Tell(Moment.NOTICE, f"Not rolled back: {reason}. Nothing was changed.", closes=True)],
        )

    # --- guards --------------------------------------------------------------------------------------------------

    async def judge(self, incident: Incident, *, claim: bool = True) -> Judgement:
        """Ask the guards about every target the plan rolls back, and pin the versions.

        claim: take these targets for the incident; without it nothing is changed, not even in memory.
        """
        judgement = Judgement()
        if incident.plan is not None:
            judgement.refusals += missing_inputs(incident.plan, incident.inputs)
        names = rollback_targets(incident)
        firing = self._still_firing(incident)
        for name in names:
            target = self._targets().get(name)
            if target is None:
                judgement.refusals.append(f"target {name} is not declared any more")
                continue
            acting = self._claims.take(name, incident.id) if claim else self._claims.holder(name)
            facts = await self._facts.gather(target, incident, still_firing=firing, acting=acting)
            revisions = revisions_asked(incident.plan, name, incident.target)
            verdicts, choice = judge_for(facts, incident.order, chooses=name == incident.target, revisions=revisions)
            judgement.verdicts[name] = verdicts
            judgement.events.append(self._guards_event(name, verdicts))
            judgement.refusals += [verdict.reason for verdict in verdicts if not verdict.passes]
            if facts.state is not None and choice.version is not None:
                judgement.refusals += _other_than_told(incident, name, facts.state, choice)
                judgement.pins[name] = incident.pins.get(name) or pin(name, facts.state, choice)
        judgement.refusals += self._taken(incident, names, claim=claim)
        if not names and incident.order is None and not self._still_firing(incident):
            judgement.refusals.append("the alert does not fire any more, as far as the rules in force see")
        if not names and incident.order is None:
            verdict = await self._facts.look_again(incident)
            judgement.refusals += [verdict.reason] if verdict is not None and not verdict.passes else []
        concerned = [self._targets()[name] for name in {*names, *named_targets(incident)} if name in self._targets()]
        judgement.observed = any(target.mode is Mode.OBSERVE for target in concerned)
        return judgement

    def _taken(self, incident: Incident, judged: Iterable[str], *, claim: bool) -> list[str]:
        """Single flight for what the plan's other steps change, where no guard is asked."""
        others = [name for name in named_targets(incident) if name not in judged and name in self._targets()]
        held = {name: self._claims.take(name, incident.id) if claim else self._claims.holder(name) for name in others}
        return [f"incident {holder} is acting on {name}" for name, holder in held.items() if holder]

    def _guards_event(self, target: str, verdicts: Iterable[Verdict]) -> IncidentEvent:
        rows = [{"guard": one.guard, "outcome": one.outcome.value, "reason": one.reason} for one in verdicts]
        refused = [str(row["guard"]) for row in rows if row["outcome"] in ("refuse", "unknown")]
        text = f"guards on {target}: " + (f"refused by {', '.join(refused)}" if refused else f"none of {len(rows)} refuses")
        warned = [str(row["reason"]) for row in rows if row["outcome"] == "warn"]
        text += f"; warnings: {'; '.join(warned)}" if warned else ""
        _log.info("guards", target=target, refused=refused, verdicts=rows)
        return self._desk.event("guards", text, target=target, verdicts=rows)

    # --- what becomes of it --------------------------------------------------------------------------------------

    async def _declined(self, incident: Incident, judgement: Judgement) -> bool:
        if judgement.observed or judgement.refusals:
            await self._decline(incident, judgement)
            return True
        stay = self._stay(incident)
        if stay is not None:
            await self._put_off(incident, judgement, stay)
        return stay is not None

    def _stay(self, incident: Incident) -> Stay | None:
        held = self._restraint.held()
        if held is not None or incident.order is not None:
            return held
        now = self._clock()
        frozen = self._restraint.frozen([incident.target, *rollback_targets(incident)], now)
        return frozen or self._restraint.silence(incident.trigger_labels, incident.target, incident.rule, now)

    async def _put_off(self, incident: Incident, judgement: Judgement, stay: Stay) -> None:
        """Closed, and its identities are free again: what still fires when the stay is over has its turn then."""

        # A window that was taken out of the rulebook and put in again has a record of this name already.
        named = await self._desk.find(stay.identity(incident.identity))
        suffix = "" if named is None or named.id == incident.id else f"|{incident.id}"

        def put_off(known: Incident) -> Incident:
            joined = tuple(stay.identity(one) for one in known.joined)
            identity = stay.identity(known.identity) + suffix
            return replace(known, status=stay.status, reason=stay.reason, identity=identity, joined=joined)

        text = f"Not rolled back: {stay.reason}. Nothing was changed."
        event = self._desk.event(stay.status.value, stay.reason)
        tell = [Tell(Moment.NOTICE, text, closes=True)]
        done = await self._desk.change(incident.id, put_off, [*judgement.events, event], tell)
        if done.joined:  # of those, what the stay is not about has its turn now
            self._restraint.lift_again()

    async def _decline(self, incident: Incident, judgement: Judgement) -> None:
        pins, observed = judgement.pins, judgement.observed
        if judgement.refusals:
            reason = "; ".join(dict.fromkeys(judgement.refusals))
            text = f"Not rolled back: {reason}. Nothing was changed: a person is needed."
        else:
            first = spell_waits(incident)
            reason = f"observe mode: would have {first}changed {spell_changes(pins)}"
            text = f"Observe mode, nothing was done. With mode: armed Responder would have {first}changed {spell_changes(pins)}."
        if observed and judgement.refusals:
            text = f"Observe mode. {text}"
        status = IncidentStatus.OBSERVED if observed else IncidentStatus.REFUSED
        await self._desk.change(
            incident.id,
            lambda known: replace(
                known,
                status=status,
                reason=reason,
                pins=dict(pins) if observed else known.pins,
                declined=observed and bool(judgement.refusals),
            ),
            [*judgement.events, self._desk.event(status.value, reason)],
            [Tell(Moment.NOTICE, text, closes=True)],
        )

    async def _go(self, incident: Incident, judgement: Judgement) -> None:
        pins = judgement.pins
        text = f"Changing {spell_changes(pins)}." if pins else f"Running the plan {incident.plan.name if incident.plan else ''}."
        pinned = [
            self._desk.event("pinned", f"{one.target}: from {describe(one.from_version)} to {describe(one.to_version)}")
            for one in pins.values()
        ]

        def gone(known: Incident) -> Incident:
            if known.run_started_at is not None:
                return replace(known, pins=dict(pins))
            return replace(known, pins=dict(pins), status=IncidentStatus.RUNNING, run_started_at=self._clock())

        tell = [] if incident.run_started_at else [Tell(Moment.ACTING, text)]
        await self._desk.change(incident.id, gone, [*judgement.events, *pinned], tell)

    async def _get(self, incident_id: str) -> Incident:
        incident = await self._desk.get(incident_id)
        if incident is None:
            raise LookupError(f"incident {incident_id} is gone")
        return incident


def rollback_targets(incident: Incident) -> list[str]:
    """Names of the targets that the incident's plan rolls back, each once, in order."""
    if incident.plan is None:
        raise LookupError(f"incident {incident.id} has no plan")
    return rolled_back_by(incident.plan, incident.target)


def rolled_back_by(plan: Plan, own: str) -> list[str]:
    """own: name of the target that steps without one speak of."""
    names = [str(step.parameters.get("target") or own) for step in plan.walk() if step.uses in ROLLBACKS]
    return list(dict.fromkeys(names))


def pin(name: str, state: WorkloadState, choice: Choice) -> Pin:
    """Pin what the guards saw: from the version that runs now, to the chosen one."""
    if choice.version is None:
        raise ValueError("nothing was chosen")
    return Pin(target=name, uid=state.uid, from_version=state.current, to_version=choice.version)


def _other_than_told(incident: Incident, name: str, state: WorkloadState, choice: Choice) -> list[str]:
    """What people were asked about must still be what is done."""
    told = incident.pins.get(name)
    if told is None or incident.run_started_at is not None or choice.version is None:
        return []
    if state.current.fingerprint != told.from_version.fingerprint:
        return [f"{describe(state.current)} runs now, not {describe(told.from_version)} as people were told"]
    if choice.version.fingerprint != told.to_version.fingerprint:
        return [f"people were told of {describe(told.to_version)}, but now {choice.reason}"]
    return []
