"""`kubernetes.scale`: the number of pods, through `/scale`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from responder.actions.kubernetes.autoscalers import autoscaler_of
from responder.actions.kubernetes.colours import idle_colour, read_service
from responder.actions.kubernetes.edit import Plan, Wish, make, show, take_back
from responder.actions.kubernetes.parameters.workloads import ScaleParameters
from responder.actions.kubernetes.paths import Object
from responder.actions.kubernetes.place import Place, check_mode, locate, noted_place, place_of_target
from responder.actions.kubernetes.rollouts import is_past_the_change, poll, remember_stage, rolled_out
from responder.clients.kubernetes import KubernetesClient
from responder.errors import RefusedError
from responder.ports import StepContext

_REPLICAS = "/spec/replicas"
_SCALE = "scale"


class Scale:
    def __init__(self, client: KubernetesClient) -> None:
        self._client = client

    async def run(self, parameters: Mapping[str, object], context: StepContext) -> str:
        step = ScaleParameters.read(parameters)
        place = await self._place(step, context)
        text = str((context.intent or {}).get("phrase", ""))
        if not is_past_the_change(context.intent):
            if context.intent is None:
                await self._check_autoscaler(step, place)
            edited = await make(self._client, place, self._plan(step, place, context), context, subresource=_SCALE)
            text = edited.text
            await remember_stage(context, edited, "rollout")
        return f"{text}; {await self._wait(place, context)}" if step.wait else text

    async def preview(self, parameters: Mapping[str, object], context: StepContext) -> str:
        step = ScaleParameters.read(parameters)
        place = await self._place(step, context)
        await self._check_autoscaler(step, place)
        if step.as_before is not None and context.record_of(step.as_before) is None:
            return f"would scale {place} back to the number that step {step.as_before} finds"
        return await show(self._client, place, self._plan(step, place, context), subresource=_SCALE)

    async def compensate(self, parameters: Mapping[str, object], context: StepContext) -> str:
        """By default only what was scaled down comes back: pods too many do no harm, and may be what serves the users now."""
        step = ScaleParameters.read(parameters)
        place = noted_place(context.intent)
        if place is None or context.intent is None or step.when_plan_fails == "keep":
            return ""
        before, after = _number(context.intent["before"]), _number(context.intent["after"])
        if step.when_plan_fails is None and after >= before:
            return ""
        return await take_back(self._client, context, subresource=_SCALE)

    async def _place(self, step: ScaleParameters, context: StepContext) -> Place:
        if step.idle_of is not None:
            place = noted_place(context.intent)  # whoever is idle by now: it was chosen
            if place is None:
                service = await read_service(self._client, step.idle_of, context)
                place = place_of_target(context, step.idle_of.colours[idle_colour(step.idle_of, service)])
            check_mode(context, str(place.target))
        else:
            place = await locate(step, context, self._client)
        if place.kind == "DaemonSet":
            raise RefusedError("a DaemonSet has no number of pods")
        return place

    async def _check_autoscaler(self, step: ScaleParameters, place: Place) -> None:
        if step.despite_autoscaler:
            return
        if owner := await autoscaler_of(self._client, place):
            raise RefusedError(f"{owner} owns the number of pods of {place}; `despite_autoscaler: true` scales all the same")

    def _plan(self, step: ScaleParameters, place: Place, context: StepContext) -> Plan:
        def plan(item: Object) -> Wish:
            now = _number({_REPLICAS: item["spec"].get("replicas")})
            if step.expect is not None and now != step.expect:
                raise RefusedError(f"{place} has {now} pods, not {step.expect} as the plan expects")
            wanted = _wanted(step, place, now, context)
            # Zero is left out by the server, and so by us.
            return Wish({_REPLICAS: wanted or None}, f"scale {place} from {now} to {wanted} pods")

        return plan

    async def _wait(self, place: Place, context: StepContext) -> str:
        intent = await self._client.get(place.resource, place.namespace, place.name, subresource=_SCALE)
        wanted = _number({_REPLICAS: intent["spec"].get("replicas")})
        if wanted and place.target is not None:
            return await rolled_out(context, place.target)

        async def look() -> tuple[bool, str]:
            item = await self._client.get(place.resource, place.namespace, place.name, subresource=_SCALE)
            now = int((item.get("status") or {}).get("replicas") or 0)
            return now == wanted, f"{now} of {wanted} pods"

        return await poll(context, look)


def _wanted(step: ScaleParameters, place: Place, now: int, context: StepContext) -> int:
    if step.replicas is not None:
        return step.replicas
    if step.at_least is not None:
        return max(step.at_least, now)
    name = str(step.as_before)
    record = context.record_of(name)
    if record is None:
        raise RefusedError(f"step {name} has not run: it is not known how many pods there were")
    if record.intent is None:
        return now  # it found nothing to do
    if noted_place(record.intent) != place:
        raise RefusedError(f"step {name} scaled something else, not {place}")
    return _number(record.intent["before"])


def _number(values: Any) -> int:
    return int(values[_REPLICAS] or 0)
