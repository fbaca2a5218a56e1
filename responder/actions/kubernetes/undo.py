"""`kubernetes.undo`: `rollback`, by the name kubectl gives it. Pins, guards and the owner's own way are the same."""

from __future__ import annotations

from collections.abc import Mapping

from responder.actions.kubernetes.parameters.workloads import UndoParameters
from responder.actions.rollback import Rollback
from responder.domain.selection import describe
from responder.errors import RefusedError
from responder.ports import StepContext


class Undo:
    def __init__(self) -> None:
        self._rollback = Rollback()

    async def run(self, parameters: Mapping[str, object], context: StepContext) -> str:
        step = UndoParameters.read(parameters)
        _check(step, context)
        return await self._rollback.run({"target": step.target}, context)

    async def preview(self, parameters: Mapping[str, object], context: StepContext) -> str:
        return _check(UndoParameters.read(parameters), context)


def _check(step: UndoParameters, context: StepContext) -> str:
    pin = context.pin_of(step.target or context.target)
    if step.to_revision is not None and pin.to_version.revision != str(step.to_revision):
        raise RefusedError(f"{pin.target}: revision {step.to_revision} is asked for, but pinned is {describe(pin.to_version)}")
    return f"would change {pin.target} from {describe(pin.from_version)} to {describe(pin.to_version)}"
