"""`kubernetes.switch_service`: traffic to the other colour."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from responder.actions.kubernetes.colours import (
    idle_colour,
    is_ready,
    namespace_of,
    pods_behind,
    pods_served,
    read_service,
    served_colour,
)
from responder.actions.kubernetes.edit import Plan, Wish, make, show, take_back
from responder.actions.kubernetes.parameters.workloads import SwitchServiceParameters
from responder.actions.kubernetes.paths import Object, path
from responder.actions.kubernetes.place import Place, check_mode
from responder.actions.kubernetes.rollouts import is_past_the_change, poll, remember_stage
from responder.clients.kubernetes import SERVICES, KubernetesClient
from responder.errors import RefusedError, TemporaryError
from responder.ports import StepContext


class SwitchService:
    def __init__(self, client: KubernetesClient) -> None:
        self._client = client

    async def run(self, parameters: Mapping[str, object], context: StepContext) -> str:
        step = SwitchServiceParameters.read(parameters)
        place = _place(step, context)
        if context.intent is None:
            colour = await self._chosen(step, place, context)
        else:
            after: Any = context.intent["after"]
            colour = str(after[_key(step)])
        text = f"{(context.intent or {}).get('phrase')}: done"
        if not is_past_the_change(context.intent):
            edited = await make(self._client, place, _plan(step, place, colour), context)
            text = edited.text
            await remember_stage(context, edited, "rollout")
        return f"{text}; {await self._served(step, place, colour, context)}"

    async def preview(self, parameters: Mapping[str, object], context: StepContext) -> str:
        step = SwitchServiceParameters.read(parameters)
        place = _place(step, context)
        try:
            colour = await self._chosen(step, place, context)
        except TemporaryError as error:  # not ready yet: steps before this one may see to it
            service = await read_service(self._client, step, context)
            colour = idle_colour(step, service) if step.to == "other" else step.to
            return f"{await show(self._client, place, _plan(step, place, colour))}\nbut not now: {error}"
        return await show(self._client, place, _plan(step, place, colour))

    async def compensate(self, parameters: Mapping[str, object], context: StepContext) -> str:
        step = SwitchServiceParameters.read(parameters)
        if step.when_plan_fails == "keep":
            return ""
        return await take_back(self._client, context)

    async def _chosen(self, step: SwitchServiceParameters, place: Place, context: StepContext) -> str:
        """The colour to switch to; its pods must be ready, and whether traffic follows must be visible to us."""
        service = await read_service(self._client, step, context)
        colour = idle_colour(step, service) if step.to == "other" else step.to
        if colour not in step.colours:
            raise RefusedError(f"{colour} is none of {', '.join(sorted(step.colours))}")
        check_mode(context, step.colours[colour])
        if served_colour(step, service) == colour:
            return colour
        pods = await pods_behind(self._client, place.namespace, {**service["spec"]["selector"], step.key: colour})
        ready = sum(is_ready(pod) for pod in pods)
        if ready < step.ready:
            raise TemporaryError(
                f"{ready} of at least {step.ready} pods with {step.key}={colour} are ready: {place} stays as it is"
            )
        await pods_served(self._client, place.namespace, place.name)
        return colour

    async def _served(self, step: SwitchServiceParameters, place: Place, colour: str, context: StepContext) -> str:
        """Wait until all traffic goes to pods of this colour."""

        async def look() -> tuple[bool, str]:
            service = await self._client.get(SERVICES, place.namespace, place.name)
            now = (service["spec"].get("selector") or {}).get(step.key)
            if now != colour:
                raise RefusedError(f"{place} was pointed at {step.key}={now} by somebody else")
            pods = await pods_behind(self._client, place.namespace, service["spec"]["selector"])
            served = await pods_served(self._client, place.namespace, place.name)
            right = served & {pod["metadata"]["uid"] for pod in pods}
            text = f"traffic goes to {len(right)} pods with {step.key}={colour}"
            if wrong := len(served - right):
                text += f" and {wrong} others"
            return len(right) >= step.ready and not wrong, text

        return await poll(context, look)


def _place(step: SwitchServiceParameters, context: StepContext) -> Place:
    return Place(SERVICES, "Service", namespace_of(step, context), step.service)


def _key(step: SwitchServiceParameters) -> str:
    return path("spec", "selector", step.key)


def _plan(step: SwitchServiceParameters, place: Place, colour: str) -> Plan:
    def plan(service: Object) -> Wish:
        now = served_colour(step, service)
        return Wish({_key(step): colour}, f"switch {place} from {step.key}={now} to {step.key}={colour}")

    return plan
