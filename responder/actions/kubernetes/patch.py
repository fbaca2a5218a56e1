"""`kubernetes.patch`: fields of an object, by the operations of a JSON patch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from responder.actions.kubernetes.edit import Plan, Wish, show, take_back
from responder.actions.kubernetes.parameters.objects import PatchOperation, PatchParameters
from responder.actions.kubernetes.paths import Object, copied, path, real_step, steps_of, value_at
from responder.actions.kubernetes.place import Place, locate
from responder.actions.kubernetes.rollouts import change_pods
from responder.clients.kubernetes import KubernetesClient
from responder.errors import PermanentError, RefusedError
from responder.ports import StepContext


class Patch:
    def __init__(self, client: KubernetesClient) -> None:
        self._client = client

    async def run(self, parameters: Mapping[str, object], context: StepContext) -> str:
        step = PatchParameters.read(parameters)
        place = await locate(step, context, self._client)
        return await change_pods(self._client, place, _plan(step, place), context, wait=step.wait)

    async def preview(self, parameters: Mapping[str, object], context: StepContext) -> str:
        step = PatchParameters.read(parameters)
        place = await locate(step, context, self._client)
        return await show(self._client, place, _plan(step, place))

    async def compensate(self, parameters: Mapping[str, object], context: StepContext) -> str:
        step = PatchParameters.read(parameters)
        if step.when_plan_fails == "keep":
            return ""
        return await take_back(self._client, context)


def _plan(step: PatchParameters, place: Place) -> Plan:
    if place.kind == "Secret":
        raise RefusedError("a Secret is not patched: its values would be written down; use `kubernetes.restore` or a Job")

    def plan(item: Object) -> Wish:
        outcome = _patched(item, step.operations, place)
        places = list(dict.fromkeys(_steady(operation) for operation in step.operations if operation.op != "test"))
        return Wish({pointer: value_at(outcome, pointer) for pointer in places}, f"change {', '.join(places)} of {place}")

    return plan


def _steady(operation: PatchOperation) -> str:
    """The place to look at afterwards: for elements of lists the list, since adding and removing moves them."""
    steps = steps_of(operation.path)
    while steps[-1] == "-" or steps[-1].isdigit():
        steps.pop()
    return path(*steps)


def _patched(item: Object, operations: Sequence[PatchOperation], place: Place) -> Object:
    outcome: Object = copied(item)
    for operation in operations:
        *above, last = steps_of(operation.path)
        holder = value_at(outcome, path(*above)) if above else outcome
        if not isinstance(holder, dict | list):
            raise PermanentError(f"{place} has no {path(*above)}; add that first")
        if operation.op != "add" and value_at(outcome, operation.path) is None:
            raise PermanentError(f"{place} has no {operation.path}")
        if operation.op == "test":
            if value_at(outcome, operation.path) != operation.value:
                raise RefusedError(f"{place}: {operation.path} is not what the plan expects")
        elif isinstance(holder, dict):
            _put(holder, last, operation)
        else:
            _put_into_list(holder, real_step(holder, last) if last.startswith("[") else last, operation, place)
    return outcome


def _put(holder: dict[str, Any], last: str, operation: PatchOperation) -> None:
    if operation.op == "remove":
        del holder[last]
    else:
        holder[last] = copied(operation.value)


def _put_into_list(holder: list[Any], last: str, operation: PatchOperation, place: Place) -> None:
    if operation.op == "add" and last == "-":
        holder.append(copied(operation.value))
        return
    if not last.isdigit() or int(last) > len(holder):
        raise PermanentError(f"{place} has no {operation.path}")
    if operation.op == "add":
        holder.insert(int(last), copied(operation.value))
    elif operation.op == "remove":
        del holder[int(last)]
    else:
        holder[int(last)] = copied(operation.value)
