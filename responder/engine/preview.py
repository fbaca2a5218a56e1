"""What a plan would do now, step by step: the guards' verdicts, then each step's own word on what it would change."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from responder.clients.templates import holds
from responder.domain.incident import FORCED, Incident, IncidentStatus, Phase
from responder.domain.plan import BLOCK, PARALLEL, Plan, Step
from responder.domain.rulebook import Severity
from responder.engine.orders import Orders, Preview, RollbackRequest
from responder.engine.runner import StepRunner
from responder.errors import PermanentError
from responder.ports import Clock

_AT_ONCE = 8  # steps asked side by side


@dataclass(frozen=True, slots=True)
class StepPreview:
    """One step as it would run now. depth: how deep it is nested. when: what must be so for it to run, "" for always.

    what: one sentence. difference: as a unified diff, "" for none.
    """

    name: str
    uses: str
    phase: Phase
    depth: int
    when: str
    what: str
    difference: str = ""


@dataclass(frozen=True, slots=True)
class PlanPreview:
    order: Preview
    steps: tuple[StepPreview, ...]


@dataclass(frozen=True, slots=True)
class _Placed:
    step: Step
    phase: Phase
    depth: int = 0
    when: str = ""


class Previewer:
    """Nothing is changed: what steps ask the world is read only, or a dry run of the world's own."""

    def __init__(self, *, orders: Orders, runner: StepRunner, clock: Clock) -> None:
        self._orders = orders
        self._runner = runner
        self._clock = clock

    async def preview(self, request: RollbackRequest) -> PlanPreview:
        """Raises NotFoundError or InvalidInputError, naming the field."""
        order = await self._orders.preview(request)
        incident = self._draft(request, order)
        turns = asyncio.Semaphore(_AT_ONCE)

        async def ask(placed: _Placed) -> StepPreview:
            async with turns:
                return await self._step(incident, placed)

        return PlanPreview(order, tuple(await asyncio.gather(*(ask(placed) for placed in _placed(order.plan, order)))))

    async def _step(self, incident: Incident, placed: _Placed) -> StepPreview:
        step, when = placed.step, placed.when
        target = str(step.parameters.get("target") or incident.target)
        try:
            if step.condition and not holds(step.condition, incident, target):
                when = _joined(when, f"skipped now: `{step.condition}` is false")
        except PermanentError as error:
            when = _joined(when, str(error))
        if step.uses in (PARALLEL, BLOCK):
            how = "side by side" if step.uses == PARALLEL else "one after another"
            return StepPreview(step.name, step.uses, placed.phase, placed.depth, when, f"{len(step.steps)} steps {how}")
        said = await self._runner.preview(incident, step, placed.phase)
        what, _, difference = said.partition("\n")
        return StepPreview(step.name, step.uses, placed.phase, placed.depth, when, what, difference.strip("\n"))

    def _draft(self, request: RollbackRequest, order: Preview) -> Incident:
        now = self._clock()
        return Incident(
            id="preview",
            identity="preview",
            target=request.target,
            rule=FORCED,
            group="",
            severity=Severity.P2,
            status=IncidentStatus.RUNNING,
            reason=request.order.reason,
            opened_at=now,
            began_at=now,
            plan=order.plan,
            pins=dict(order.pins),
            inputs=dict(request.inputs),
            order=request.order,
        )


def _placed(plan: Plan, order: Preview) -> Iterator[_Placed]:
    yield from _nested(plan.steps, Phase.STEPS, 0)
    yield from _nested(order.verified(), Phase.VERIFY, 0)
    yield from _nested(plan.monitor.checks, Phase.MONITOR, 0)
    for checkpoint in plan.checkpoints:
        yield from _nested(checkpoint.checks, Phase.CHECKPOINT, 0, f"at the checkpoint {checkpoint.name}")
    yield from _nested(plan.on_failure, Phase.ON_FAILURE, 0, "if the plan fails")


def _nested(steps: Iterable[Step], phase: Phase, depth: int, when: str = "") -> Iterator[_Placed]:
    for step in steps:
        needed = f"needs {', '.join(step.needs)}" if step.needs else ""
        yield _Placed(step, phase, depth, _joined(when, needed, "destroys data" if step.destroys else ""))
        yield from _nested(step.steps, phase, depth + 1)
        yield from _nested(step.rescue, phase, depth + 1, f"if {step.name} fails")


def _joined(*parts: str) -> str:
    return "; ".join(part for part in parts if part)
