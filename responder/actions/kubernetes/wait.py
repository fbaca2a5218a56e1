"""`kubernetes.wait`: until something holds. Changes nothing."""

from __future__ import annotations

from collections.abc import Mapping

from responder.actions.kubernetes.colours import pods_served
from responder.actions.kubernetes.parameters.objects import WaitParameters
from responder.actions.kubernetes.paths import Object
from responder.actions.kubernetes.place import Place, locate
from responder.actions.kubernetes.pods import pods_of
from responder.actions.kubernetes.rollouts import poll, rolled_out
from responder.clients.kubernetes import KubernetesClient
from responder.errors import RefusedError
from responder.ports import StepContext


class Wait:
    def __init__(self, client: KubernetesClient) -> None:
        self._client = client

    async def run(self, parameters: Mapping[str, object], context: StepContext) -> str:
        step = WaitParameters.read(parameters)
        place = await locate(step, context, self._client)
        if step.until == "rollout":
            if place.target is None:
                raise RefusedError("`for: rollout` is about a target; wait for a condition of an object")
            return await rolled_out(context, place.target)
        return await poll(context, lambda: self._look(step, place))

    async def preview(self, parameters: Mapping[str, object], context: StepContext) -> str:
        step = WaitParameters.read(parameters)
        place = await locate(step, context, self._client)
        if step.until == "rollout":
            return f"would wait for the rollout of {place}"
        holds, text = await self._look(step, place)
        return f"would wait: now {text}" if not holds else f"nothing to wait for: {text}"

    async def _look(self, step: WaitParameters, place: Place) -> tuple[bool, str]:
        if step.until == "no_pods":
            count = len(await pods_of(self._client, place, step.labels))
            return count == 0, f"{place} has {count or 'no'} pods left"
        if step.until == "no_endpoints":
            served = await pods_served(self._client, place.namespace, place.name)
            return not served, f"{place} sends traffic to {len(served) or 'no'} pods"
        if step.until == "gone":
            found = await self._client.get_or_none(place.resource, place.namespace, place.name)
            return found is None, f"{place} is {'gone' if found is None else 'still there'}"
        return await self._condition(str(step.condition), place)

    async def _condition(self, condition: str, place: Place) -> tuple[bool, str]:
        name, _, wanted = condition.partition("=")
        wanted = wanted or "True"
        found = await self._client.get(place.resource, place.namespace, place.name)
        status = found.get("status") or {}
        if status.get("observedGeneration", 0) < found["metadata"].get("generation", 0) and "observedGeneration" in status:
            return False, f"{place}: the latest change has not been observed yet"
        conditions = [one for one in status.get("conditions") or [] if one.get("type") == name]
        now: Object = conditions[0] if conditions else {}
        why = f" ({now['reason']})" if now.get("reason") else ""
        return now.get("status") == wanted, f"{place}: {name} is {now.get('status', 'not known')}{why}"
