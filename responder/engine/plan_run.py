"""Runs an incident's plan within its deadline: steps, then verification. What becomes of the incident, the conductor says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from enum import StrEnum
from typing import Any

from responder.clients.templates import holds
from responder.domain.incident import Incident, IncidentStatus, Phase, StepStatus, said_by
from responder.domain.plan import BLOCK, PARALLEL, OnStepFailure, Plan, Step
from responder.domain.wording import spell_duration
from responder.engine.compensation import Compensation
from responder.engine.desk import IncidentDesk
from responder.engine.limit import Limit
from responder.engine.pace import tell_pace
from responder.engine.records import ENDED, end_running, find_record
from responder.engine.runner import StepOutcome, StepRunner
from responder.errors import PermanentError
from responder.ports import Clock

LEASH = timedelta(seconds=30)
"""How long a step may go on after a stop before it is cut off, as a crash would."""


class RunOutcome(StrEnum):
    DONE = "done"
    FAILED = "failed"
    REFUSED = "refused"  # a step said no before anything was changed
    CANCELLED = "cancelled"  # a person stopped it


@dataclass(frozen=True, slots=True)
class RunEnding:
    """How a run ended. reason: "" when all is done."""

    outcome: RunOutcome
    reason: str = ""


@dataclass(frozen=True, slots=True)
class _Halt:
    """Why a list of steps can't go on."""

    reason: str
    refused: bool = False
    stopped: bool = False


@dataclass(frozen=True, slots=True)
class _Way:
    """Where a step is run. limits: of what is around it, outermost first."""

    incident_id: str
    phase: Phase
    limits: tuple[Limit, ...] = ()


class PlanRun:
    """Safe to begin again after a crash: what has ended is not run again, what was begun is gone on with."""

    def __init__(self, *, desk: IncidentDesk, runner: StepRunner, clock: Clock) -> None:
        self._desk = desk
        self._runner = runner
        self._compensation = Compensation(desk=desk, runner=runner)
        self._clock = clock

    async def work(self, incident: Incident) -> RunEnding:
        """Run the plan's steps and its verification within the deadline, which starts anew after a restart."""
        if incident.cancel is not None:
            return RunEnding(RunOutcome.CANCELLED, said_by("stopped", incident.cancel))
        plan = plan_of(incident)
        halt: _Halt | None = None
        try:
            async with Limit(plan.deadline) as limit, self._beside(incident, plan, limit):
                halt = await self._phases(incident, plan, limit)
        except TimeoutError:
            halt = _Halt(f"the plan's deadline of {spell_duration(plan.deadline)} passed")
        return await self._ending(incident.id, halt)

    def what_follows(self, incident: Incident) -> str:
        """What is still done after a failure, in one sentence."""
        undone = [step.name for step in self._compensation.pending(incident)]
        if undone:
            return f"Now what was begun is put back: {', '.join(undone)}."
        return "Responder does nothing more on its own."

    async def put_back(self, incident_id: str) -> str:
        """Undo what a failed or stopped run has begun. Returns what was done in sentences, "" for nothing."""
        return await self._compensation.put_back(incident_id)

    async def on_failure(self, incident: Incident) -> None:
        """The plan's `on_failure` steps, each one whatever became of the others."""
        for step in incident.plan.on_failure if incident.plan else ():
            await self._one(_Way(incident.id, Phase.ON_FAILURE), step)

    async def _phases(self, incident: Incident, plan: Plan, limit: Limit) -> _Halt | None:
        halt = await self._sequence(_Way(incident.id, Phase.STEPS, (limit,)), plan.steps)
        if halt is not None or not plan.verify or (incident.order is not None and incident.order.skip_validation):
            return halt
        await self._desk.change(incident.id, lambda known: replace(known, status=IncidentStatus.VERIFYING))
        return await self._sequence(_Way(incident.id, Phase.VERIFY, (limit,)), plan.verify)

    async def _ending(self, incident_id: str, halt: _Halt | None) -> RunEnding:
        if halt is None:
            return RunEnding(RunOutcome.DONE)
        incident = await self._get(incident_id)
        if incident.cancel is not None:
            return RunEnding(RunOutcome.CANCELLED, said_by("stopped", incident.cancel))
        # A step said no before anything was changed: that is a refusal, not a failure.
        refusal = halt.refused and incident.acted_at is None
        return RunEnding(RunOutcome.REFUSED if refusal else RunOutcome.FAILED, halt.reason)

    # --- beside the run ------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def _beside(self, incident: Incident, plan: Plan, limit: Limit) -> AsyncIterator[None]:
        work: list[Coroutine[Any, Any, None]] = [self._hold_to_stop(incident.id, limit)]
        if plan.updates is not None:
            work.append(tell_pace(incident, plan, plan.updates, self._desk, self._clock))
        tasks = [asyncio.create_task(one) for one in work]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _hold_to_stop(self, incident_id: str, limit: Limit) -> None:
        await self._desk.stop_of(incident_id).wait()
        limit.shorten(LEASH)

    # --- steps ---------------------------------------------------------------------------------------------------

    async def _sequence(self, way: _Way, steps: Iterable[Step]) -> _Halt | None:
        for step in steps:
            halt = await self._one(way, step)
            if halt is not None:
                return halt
        return None

    async def _one(self, way: _Way, step: Step) -> _Halt | None:
        """Run one step and, when it failed, what its `on_failure` says. A refusal is never rescued: no is not a failed try."""
        outcome = await self._executed(way, step)
        if outcome.succeeded:
            return None
        reason = f"{step.name}: {outcome.text}"
        if outcome.stopped:
            return _Halt(reason, stopped=True)
        if step.rescue and not outcome.refused:
            halt = await self._sequence(way, step.rescue)
            return None if halt is None else replace(halt, reason=f"{reason}; then {halt.reason}")
        if step.on_failure is OnStepFailure.CONTINUE:
            return None
        return _Halt(reason, refused=outcome.refused)

    async def _executed(self, way: _Way, step: Step) -> StepOutcome:
        incident = await self._get(way.incident_id)
        record = find_record(incident, step, way.phase)
        if record.status is StepStatus.PENDING:
            before = self._not_now(incident, step, way.phase)
            if before is not None:
                outcome, status = before
                return outcome if status is None else await self._runner.conclude(incident.id, step, way.phase, outcome, status)
        if step.uses not in (PARALLEL, BLOCK):
            return await self._runner.run(incident, step, way.phase, way.limits)
        if record.status in ENDED:
            return StepOutcome(record.status is not StepStatus.FAILED, record.output, refused=record.refused)
        await self._runner.begin(incident.id, step, way.phase)
        outcome = await self._nested(way, step)
        return await self._runner.conclude(incident.id, step, way.phase, outcome)

    def _not_now(self, incident: Incident, step: Step, phase: Phase) -> tuple[StepOutcome, StepStatus | None] | None:
        """Why a step is not even begun, and the status it ends with: None leaves no record."""
        if incident.cancel is not None and phase in (Phase.STEPS, Phase.VERIFY):
            return StepOutcome(False, said_by("stopped", incident.cancel), stopped=True), None
        target = str(step.parameters.get("target") or incident.target)
        try:
            if step.condition and not holds(step.condition, incident, target):
                return StepOutcome(True, f"not needed: `{step.condition}` is false"), StepStatus.SKIPPED
        except PermanentError as error:
            return StepOutcome(False, str(error)), StepStatus.FAILED
        lacking = [name for name in step.needs if not _has_succeeded(incident, name)]
        if lacking:
            return StepOutcome(False, f"needs {', '.join(lacking)} to have succeeded first", refused=True), StepStatus.FAILED
        return None

    async def _nested(self, way: _Way, step: Step) -> StepOutcome:
        try:
            async with Limit(step.timeout) as limit:
                inside = replace(way, limits=(*way.limits, limit))
                halts = await self._side_by_side(inside, step.steps) if step.uses == PARALLEL else ()
                if step.uses == BLOCK and (halt := await self._sequence(inside, step.steps)) is not None:
                    halts = (halt,)
        except TimeoutError:
            reason = f"timed out after {spell_duration(step.timeout)}"
            inner = {each.name for nested in step.steps for each in nested.walk()}

            def ended(known: Incident) -> Incident:
                among = end_running(known, reason, lambda one: one.phase is way.phase and one.name in inner)
                return replace(known, steps=among)

            await self._desk.change(way.incident_id, ended)
            return StepOutcome(False, reason)
        if not halts:
            return StepOutcome(True, f"{len(step.steps)} {'step' if len(step.steps) == 1 else 'steps'} done")
        return StepOutcome(
            False,
            "; ".join(halt.reason for halt in halts),
            refused=any(halt.refused for halt in halts),  # a no among them is not rescued by what comes after
            stopped=any(halt.stopped for halt in halts),
        )

    async def _side_by_side(self, way: _Way, steps: Sequence[Step]) -> tuple[_Halt, ...]:
        """All end before this does, whatever becomes of one of them."""
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._one(way, step), name=step.name) for step in steps]
        except BaseExceptionGroup as errors:  # none of them is the steps' own: the database, or a bug
            raise errors.exceptions[0] from None
        return tuple(halt for halt in (task.result() for task in tasks) if halt is not None)

    async def _get(self, incident_id: str) -> Incident:
        incident = await self._desk.get(incident_id)
        if incident is None:
            raise LookupError(f"incident {incident_id} is gone")
        return incident


def plan_of(incident: Incident) -> Plan:
    """The incident's plan. Raises LookupError when nothing runs for it."""
    if incident.plan is None:
        raise LookupError(f"incident {incident.id} has no plan")
    return incident.plan


def named_targets(incident: Incident) -> list[str]:
    """Names of all the targets that the plan's steps speak of, the incident's own first."""
    steps = plan_of(incident).walk()
    return list(dict.fromkeys([incident.target, *(str(name) for step in steps if (name := step.parameters.get("target")))]))


def _has_succeeded(incident: Incident, name: str) -> bool:
    """Of a group, or of an included plan, all that is in it: a backup that was skipped there is no backup."""
    succeeded = {one.name for one in incident.steps if one.phase is Phase.STEPS and one.status is StepStatus.SUCCEEDED}
    step = next((one for one in plan_of(incident).walk() if one.name == name), None)
    return step is not None and all(one in succeeded for one in _names_within(step))


def _names_within(step: Step) -> Iterator[str]:
    """The step's own and those of all that is nested in it, without what rescues."""
    yield step.name
    for nested in step.steps:
        yield from _names_within(nested)
