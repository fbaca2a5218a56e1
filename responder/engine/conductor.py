"""Leads one incident from its first decision to closed: guards, steps, verification, watch, report.

Everything that matters is on record before it happens, so `conduct` is both the start of a run and its resumption after a crash.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta

import structlog

from responder.domain.guard import Verdict
from responder.domain.guards import judge
from responder.domain.incident import Incident, IncidentEvent, IncidentStatus, StepRecord, StepStatus
from responder.domain.notification import Moment
from responder.domain.plan import Plan
from responder.domain.selection import Choice, describe
from responder.domain.target import Mode, Target
from responder.domain.version import Pin, WorkloadState
from responder.domain.wording import spell_duration
from responder.engine.claims import Claims
from responder.engine.desk import IncidentDesk, Tell
from responder.engine.facts import FactFinder
from responder.engine.plan_run import PlanRun, RunOutcome, plan_of
from responder.engine.runner import StepRunner
from responder.engine.watch import Pulse, watch_incident
from responder.errors import JournalUnavailableError
from responder.ports import Clock

_log = structlog.get_logger(__name__)


_RETRY_PAUSE = 1.0  # seconds, when the database can't be written


class Conductor:
    """targets: the declared targets, looked up at the time of use. still_firing: whether any alert of the incident fires now.

    has_cleared: whether all of them are over; neither holds while the number of an alert is missing.
    goes_on: asks the sender; None when it can't be asked.
    """

    def __init__(
        self,
        *,
        desk: IncidentDesk,
        runner: StepRunner,
        facts: FactFinder,
        targets: Callable[[], Mapping[str, Target]],
        still_firing: Callable[[Incident], bool],
        has_cleared: Callable[[Incident], bool],
        pulse: Pulse,
        clock: Clock,
        goes_on: Callable[[Incident], Awaitable[bool | None]] | None = None,
    ) -> None:
        self._desk = desk
        self._runner = runner
        self._run = PlanRun(desk=desk, runner=runner)
        self._facts = facts
        self._targets = targets
        self._still_firing = still_firing
        self._has_cleared = has_cleared
        self._goes_on = goes_on
        self._pulse = pulse
        self._clock = clock
        self._claims = Claims()

    def expect(self, incident: Incident) -> None:
        """Before any incident is led after a start: what this open one has pinned stays its own."""
        for name in incident.pins:
            self._claims.take(name, incident.id)

    async def conduct(self, incident_id: str) -> None:
        """Lead the incident until it is closed. Cancelling leaves it open, to be resumed."""
        while True:
            try:
                await self._lead(incident_id)
            except JournalUnavailableError as error:
                _log.error("database_unavailable", incident=incident_id, error=str(error))
                await asyncio.sleep(_RETRY_PAUSE)  # what was begun is on record: going on is the same as resuming
            else:
                self._claims.let_go(incident_id)
                return

    async def _lead(self, incident_id: str) -> None:
        try:
            await self._conduct(incident_id)
        except JournalUnavailableError:
            raise
        except Exception as error:  # noqa: BLE001 (the run boundary: a bug must close the incident, not leave the target locked)
            _log.exception("run_crashed", incident=incident_id)
            await self._fail(incident_id, f"internal error: {type(error).__name__}")

    async def _conduct(self, incident_id: str) -> None:
        incident = await self._get(incident_id)
        if not incident.is_open:
            return
        if incident.failure:
            await self._fail(incident_id, incident.failure)
            return
        if incident.status in (IncidentStatus.RUNNING, IncidentStatus.VERIFYING):
            if incident.acted_at is None and not await self._may_act(incident):
                return
            if not await self._work(await self._get(incident_id)):
                return
        await self._watch(await self._get(incident_id))

    async def _get(self, incident_id: str) -> Incident:
        incident = await self._desk.get(incident_id)
        if incident is None:
            raise LookupError(f"incident {incident_id} is gone")
        return incident

    # --- guards --------------------------------------------------------------------------------------------------

    async def _may_act(self, incident: Incident) -> bool:
        """Ask the guards about every target the plan rolls back; pin the versions, or close the incident with the reason."""
        pins: dict[str, Pin] = {}
        refusals: list[str] = []
        events: list[IncidentEvent] = []
        names = rollback_targets(incident)
        for name in names:
            target = self._targets().get(name)
            if target is None:
                refusals.append(f"target {name} is not declared any more")
                continue
            acting = self._claims.take(name, incident.id)
            facts = await self._facts.gather(target, incident, still_firing=self._still_firing(incident), acting=acting)
            verdicts, choice = judge(facts)
            events.append(self._guards_event(name, verdicts))
            refusals += [verdict.reason for verdict in verdicts if not verdict.passes]
            if facts.state is not None and choice.version is not None:
                pins[name] = incident.pins.get(name) or pin(name, facts.state, choice)
        if not names and not self._still_firing(incident):
            refusals.append("the alert does not fire any more")
        concerned = [self._targets()[name] for name in {*names, incident.target} if name in self._targets()]
        observed = any(target.mode is Mode.OBSERVE for target in concerned)
        if refusals or observed:
            await self._decline(incident, pins, refusals, events, observed=observed)
            return False
        await self._go(incident, pins, events)
        return True

    def _guards_event(self, target: str, verdicts: Iterable[Verdict]) -> IncidentEvent:
        rows = [{"guard": one.guard, "outcome": one.outcome.value, "reason": one.reason} for one in verdicts]
        refused = [str(row["guard"]) for row in rows if row["outcome"] != "pass"]
        text = f"guards on {target}: " + (f"refused by {', '.join(refused)}" if refused else f"all {len(rows)} pass")
        _log.info("guards", target=target, refused=refused, verdicts=rows)
        return self._desk.event("guards", text, target=target, verdicts=rows)

    async def _decline(
        self, incident: Incident, pins: Mapping[str, Pin], refusals: list[str], events: list[IncidentEvent], *, observed: bool
    ) -> None:
        if refusals:
            reason = "; ".join(dict.fromkeys(refusals))
            text = f"Not rolled back: {reason}. Nothing was changed: a person is needed."
        else:
            reason = "observe mode: would have changed " + _changes(pins)
            text = f"Observe mode, nothing was done. With mode: armed Responder would have changed {_changes(pins)}."
        if observed and refusals:
            text = f"Observe mode. {text}"
        status = IncidentStatus.OBSERVED if observed else IncidentStatus.REFUSED
        event = self._desk.event(status.value, reason)
        await self._desk.change(
            incident.id,
            lambda known: replace(known, status=status, reason=reason, pins=dict(pins) if observed else known.pins),
            [*events, event],
            [Tell(Moment.NOTICE, text, closes=True)],
        )

    async def _go(self, incident: Incident, pins: Mapping[str, Pin], events: list[IncidentEvent]) -> None:
        text = f"Changing {_changes(pins)}." if pins else f"Running the plan {incident.plan.name if incident.plan else ''}."
        pinned = [
            self._desk.event("pinned", f"{one.target}: from {describe(one.from_version)} to {describe(one.to_version)}")
            for one in pins.values()
        ]
        tell = [] if incident.run_started_at else [Tell(Moment.ACTING, text)]
        await self._desk.change(
            incident.id,
            lambda known: replace(known, pins=dict(pins), run_started_at=known.run_started_at or self._clock()),
            [*events, *pinned],
            tell,
        )

    # --- the run -------------------------------------------------------------------------------------------------

    async def _work(self, incident: Incident) -> bool:
        """Run the plan. True when everything is done and verified; else the incident is closed when this returns."""
        ending = await self._run.work(incident)
        match ending.outcome:
            case RunOutcome.DONE:
                await self._recovered(incident.id, plan_of(incident))
            case RunOutcome.REFUSED:
                await self._refuse(incident.id, ending.reason)
            case RunOutcome.FAILED | RunOutcome.CANCELLED:
                await self._fail(incident.id, ending.reason)
        return ending.outcome is RunOutcome.DONE

    async def _recovered(self, incident_id: str, plan: Plan) -> None:
        now = self._clock()
        window = spell_duration(plan.monitor.window)
        done = "all steps done and verified" if plan.verify else "all steps done; the plan verifies nothing but the rollout"
        event = self._desk.event("recovered", f"{done}; watching for {window}")

        def recovered(known: Incident) -> Incident:
            until = now + plan.monitor.window
            return replace(known, status=IncidentStatus.MONITORING, recovered_at=now, monitor_until=until)

        await self._desk.change(
            incident_id, recovered, [event], [Tell(Moment.RECOVERED, f"{done[:1].upper()}{done[1:]}. Watching for {window}.")]
        )

    async def _refuse(self, incident_id: str, reason: str) -> None:
        await self._desk.change(
            incident_id,
            lambda known: replace(known, status=IncidentStatus.REFUSED, reason=reason),
            [self._desk.event("refused", reason)],
            [Tell(Moment.NOTICE, f"Not rolled back: {reason}. Nothing was changed: a person is needed.", closes=True)],
        )

    # --- watch and end -------------------------------------------------------------------------------------------

    async def _watch(self, incident: Incident) -> None:
        verdict = await watch_incident(
            incident,
            plan_of(incident).monitor,
            desk=self._desk,
            runner=self._runner,
            has_cleared=self._has_cleared,
            pulse=self._pulse,
            clock=self._clock,
            goes_on=self._goes_on,
        )
        if verdict.failed:
            await self._fail(incident.id, verdict.reason)
            return
        await self._desk.change(
            incident.id,
            lambda known: replace(known, status=IncidentStatus.RESOLVED, reason=verdict.reason),
            [self._desk.event("resolved", verdict.reason)],
            [Tell(Moment.RESOLVED, _resolved_text(incident, self._clock(), verdict.reason))],
        )

    async def _fail(self, incident_id: str, reason: str) -> None:
        """Tell people at once, then run the plan's `on_failure` steps, then close. Never a second step back."""
        incident = await self._get(incident_id)
        if not incident.is_open:
            return
        if not incident.failure:
            acted = "The service was changed, or may have been; check it now." if incident.acted_at else "Nothing was changed."
            incident = await self._desk.change(
                incident_id,
                lambda known: replace(known, failure=reason, steps=stopped(known, reason)),
                [self._desk.event("failing", reason)],
                [Tell(Moment.FAILED, f"{reason}. {acted} Responder does nothing more on its own.")],
            )
        await self._run.on_failure(incident)
        await self._desk.change(
            incident_id,
            lambda known: replace(known, status=IncidentStatus.FAILED, reason=known.failure),
            [self._desk.event("failed", incident.failure)],
        )


def rollback_targets(incident: Incident) -> list[str]:
    """Names of the targets that the incident's plan rolls back, each once, in order."""
    plan = plan_of(incident)
    names = [str(step.parameters.get("target") or incident.target) for step in plan.steps if step.uses == "rollback"]
    return list(dict.fromkeys(names))


def stopped(incident: Incident, reason: str) -> tuple[StepRecord, ...]:
    """The incident's records with the step in flight, if any, ended as failed."""
    return tuple(
        replace(record, status=StepStatus.FAILED, output=f"stopped: {reason}") if record.status is StepStatus.RUNNING else record
        for record in incident.steps
    )


def pin(name: str, state: WorkloadState, choice: Choice) -> Pin:
    """Pin what the guards saw: from the version that runs now, to the chosen one."""
    if choice.version is None:
        raise ValueError("nothing was chosen")
    return Pin(target=name, uid=state.uid, from_version=state.current, to_version=choice.version)


def _changes(pins: Mapping[str, Pin]) -> str:
    return ", ".join(f"{one.target} from {describe(one.from_version)} to {describe(one.to_version)}" for one in pins.values())


def _resolved_text(incident: Incident, now: datetime, reason: str) -> str:
    began = incident.began_at or incident.opened_at
    total: timedelta = now - began
    return f"{reason[:1].upper()}{reason[1:]}. {spell_duration(total)} after the alert began."
