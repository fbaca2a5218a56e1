"""`kubernetes.delete_pods`: exactly the pods that are there when the step begins; and which pods an object has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from responder.actions.kubernetes.colours import is_ready
from responder.actions.kubernetes.edit import check_hold, insist
from responder.actions.kubernetes.parameters.workloads import DeletePodsParameters
from responder.actions.kubernetes.paths import Object
from responder.actions.kubernetes.place import Place, locate
from responder.actions.kubernetes.rollouts import poll
from responder.clients.kubernetes import PODS, KubernetesClient
from responder.errors import ConflictError, NotFoundError, RefusedError
from responder.ports import StepContext

_NAMED = 5  # pods named in a sentence


class DeletePods:
    def __init__(self, client: KubernetesClient) -> None:
        self._client = client

    async def run(self, parameters: Mapping[str, object], context: StepContext) -> str:
        step = DeletePodsParameters.read(parameters)
        place = await locate(step, context, self._client)
        intent: Mapping[str, Any] | None = context.intent
        if intent is None:
            found = await self._chosen(step, place)
            if not found:
                return f"nothing to do: no such pods of {place}"
            await check_hold(self._client, place)
            pods = {pod["metadata"]["name"]: pod["metadata"]["uid"] for pod in found}
            intent = {"stage": "write", "object": place.note(), "pods": pods}
            context.progress(f"about to delete {_listed(pods)}")
            await context.mark_changed()
            await context.record(intent)
        pods = {str(name): str(uid) for name, uid in intent["pods"].items()}
        for name, uid in pods.items():
            await self._delete(place, name, uid, step, context)
        text = f"deleted {_listed(pods)}"
        return f"{text}; {await poll(context, lambda: self._are_gone(place, pods))}" if step.wait else text

    async def preview(self, parameters: Mapping[str, object], context: StepContext) -> str:
        step = DeletePodsParameters.read(parameters)
        place = await locate(step, context, self._client)
        found = await self._chosen(step, place)
        if not found:
            return f"nothing to do: no such pods of {place}"
        names = [pod["metadata"]["name"] for pod in found]
        return "\n".join([f"would delete {len(names)} pods of {place}", *(f"-{name}" for name in names)])

    async def _chosen(self, step: DeletePodsParameters, place: Place) -> list[Object]:
        pods = await pods_of(self._client, place, step.labels)
        return [pod for pod in pods if not (step.unready and is_ready(pod)) and (step.force or not _is_going(pod))]

    async def _delete(self, place: Place, name: str, uid: str, step: DeletePodsParameters, context: StepContext) -> None:
        grace = 0 if step.force else None

        async def attempt() -> None:
            try:
                await self._client.delete(PODS, place.namespace, name, uid=uid, grace=grace)
            except NotFoundError:
                return
            except ConflictError:
                found = await self._client.get_or_none(PODS, place.namespace, name)
                if found is not None and found["metadata"]["uid"] == uid:
                    raise  # otherwise it is another pod by the same name, as a StatefulSet makes them

        await insist(context, attempt)

    async def _are_gone(self, place: Place, pods: Mapping[str, str]) -> tuple[bool, str]:
        alive = {pod["metadata"]["uid"] for pod in await self._client.list(PODS, place.namespace)} & set(pods.values())
        return not alive, f"{len(alive)} of them are still there" if alive else "all gone"


async def pods_of(client: KubernetesClient, place: Place, labels: Mapping[str, str] | None = None) -> list[Object]:
    """Pods that the object selects, and that have these labels besides."""
    if place.kind == "Pod":
        found = await client.get_or_none(PODS, place.namespace, place.name)
        return [] if found is None else [found]
    item = await client.get(place.resource, place.namespace, place.name)
    selector = item["spec"].get("selector")
    if not selector:
        raise RefusedError(f"{place} selects no pods")
    text = _selector_text(selector if "matchLabels" in selector or "matchExpressions" in selector else {"matchLabels": selector})
    more = [f"{key}={value}" for key, value in (labels or {}).items()]
    return await client.list(PODS, place.namespace, labels=",".join([text, *more]))


def _selector_text(selector: Object) -> str:
    parts = [f"{key}={value}" for key, value in (selector.get("matchLabels") or {}).items()]
    for expression in selector.get("matchExpressions") or []:
        key, values = expression["key"], ",".join(expression.get("values") or [])
        forms = {"In": f"{key} in ({values})", "NotIn": f"{key} notin ({values})", "Exists": key, "DoesNotExist": f"!{key}"}
        parts.append(forms[expression["operator"]])
    return ",".join(parts)


def _is_going(pod: Object) -> bool:
    return "deletionTimestamp" in pod["metadata"]


def _listed(pods: Mapping[str, str]) -> str:
    names = sorted(pods)
    shown = ", ".join(names[:_NAMED]) + (" and others" if len(names) > _NAMED else "")
    return f"{len(names)} pod{'' if len(names) == 1 else 's'}: {shown}"
