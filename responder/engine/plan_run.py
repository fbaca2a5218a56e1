"""Runs an incident's plan within its deadline: steps, then verification. What becomes of the incident, the conductor says."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum

from responder.domain.incident import Incident, IncidentStatus, Phase
from responder.domain.plan import OnStepFailure, Plan, Step
from responder.domain.wording import spell_duration
from responder.engine.desk import IncidentDesk
from responder.engine.runner import StepOutcome, StepRunner


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


class _StepFailedError(Exception):
    def __init__(self, step: Step, outcome: StepOutcome) -> None:
        super().__init__(f"{step.name}: {outcome.text}")
        self.refused = outcome.refused


class PlanRun:
    """Safe to begin again after a crash: what has ended is not run again."""

    def __init__(self, *, desk: IncidentDesk, runner: StepRunner) -> None:
        self._desk = desk
        self._runner = runner

    async def work(self, incident: Incident) -> RunEnding:
        """Run the plan's steps and its verification within the deadline, which starts anew after a restart."""
        plan = plan_of(incident)
        try:
            async with asyncio.timeout(plan.deadline.total_seconds()):
                await self._run_all(incident, plan.steps, Phase.STEPS)
                if plan.verify:
                    await self._desk.change(incident.id, lambda known: replace(known, status=IncidentStatus.VERIFYING))
                    await self._run_all(incident, plan.verify, Phase.VERIFY)
        except _StepFailedError as error:
            return await self._ending(incident.id, str(error), refused=error.refused)
        except TimeoutError:
            return RunEnding(RunOutcome.FAILED, f"the plan's deadline of {spell_duration(plan.deadline)} passed")
        return RunEnding(RunOutcome.DONE)

    async def on_failure(self, incident: Incident) -> None:
        """The plan's `on_failure` steps, each one whatever became of the others."""
        for step in incident.plan.on_failure if incident.plan else ():
            await self._runner.run(await self._get(incident.id), step, Phase.ON_FAILURE)

    async def _run_all(self, incident: Incident, steps: Iterable[Step], phase: Phase) -> None:
        for step in steps:
            outcome = await self._runner.run(await self._get(incident.id), step, phase)
            if not outcome.succeeded and step.on_failure is OnStepFailure.ABORT:
                raise _StepFailedError(step, outcome)

    async def _ending(self, incident_id: str, reason: str, *, refused: bool) -> RunEnding:
        """A step said no before anything was changed: that is a refusal, not a failure. What was begun may have taken effect."""
        incident = await self._get(incident_id)
        refusal = refused and incident.acted_at is None
        return RunEnding(RunOutcome.REFUSED if refusal else RunOutcome.FAILED, reason)

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
