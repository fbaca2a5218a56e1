"""`kubernetes.apply`: a manifest of the rulebook, or what an earlier step deleted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from responder.actions.kubernetes.delete import remake
from responder.actions.kubernetes.difference import difference
from responder.actions.kubernetes.edit import check_hold, insist
from responder.actions.kubernetes.parameters.about import manifest_object
from responder.actions.kubernetes.parameters.objects import ApplyParameters
from responder.actions.kubernetes.paths import Object, copied
from responder.actions.kubernetes.place import Place, noted_place, place_of_object
from responder.clients.kubernetes import KubernetesClient
from responder.errors import RefusedError
from responder.ports import StepContext


class Apply:
    def __init__(self, client: KubernetesClient) -> None:
        self._client = client

    async def run(self, parameters: Mapping[str, object], context: StepContext) -> str:
        step = ApplyParameters.read(parameters)
        if step.deleted_by is not None:
            return await self._bring_back(step.deleted_by, context)
        place = await _place(step, context, self._client)
        return await insist(context, lambda: self._attempt(step, place, context))

    async def preview(self, parameters: Mapping[str, object], context: StepContext) -> str:
        step = ApplyParameters.read(parameters)
        if step.deleted_by is not None:
            return f"would create again what step {step.deleted_by} deletes"
        place = await _place(step, context, self._client)
        now, then = await self._rehearse(step, place)
        changes = difference(now, then)
        return f"would apply {place}\n{changes}" if changes else f"nothing to do: {place} is like that already"

    async def _attempt(self, step: ApplyParameters, place: Place, context: StepContext) -> str:
        now, then = await self._rehearse(step, place)
        intent = context.intent
        if intent is not None and intent.get("uid") is not None and (now or {}).get("metadata", {}).get("uid") != intent["uid"]:
            raise RefusedError(f"{place} was deleted or made anew since this step began: another object")
        if not difference(now, then):
            return f"{place} is as the manifest says"
        if now is not None and intent is None:
            await check_hold(self._client, place, now)
        what = f"change {place}" if now else f"create {place}"
        context.progress(f"about to {what}")
        await context.mark_changed()
        uid = now["metadata"]["uid"] if now else None
        await context.record({"stage": "write", "object": place.note(), "uid": uid, "phrase": what})
        manifest = _guarded(step.manifest, now)
        await self._client.apply(place.resource, place.namespace, place.name, manifest, force=step.force)
        return f"{what}: done"

    async def _rehearse(self, step: ApplyParameters, place: Place) -> tuple[Object | None, Object]:
        now = await self._client.get_or_none(place.resource, place.namespace, place.name)
        manifest = _guarded(step.manifest, now)
        then = await self._client.apply(place.resource, place.namespace, place.name, manifest, force=step.force, dry_run=True)
        return now, then

    async def _bring_back(self, name: str, context: StepContext) -> str:
        record = context.record_of(name)
        if record is None:
            raise RefusedError(f"step {name} has not run: there is nothing to bring back")
        if record.intent is None:
            return f"step {name} deleted nothing: nothing to bring back"
        place, manifest = noted_place(record.intent), record.intent.get("manifest")
        if place is None or not isinstance(manifest, dict):
            raise RefusedError(f"what step {name} deleted can't be made again from its manifest")
        context.progress(f"about to create {place} again")
        await context.mark_changed()
        return await insist(context, lambda: remake(self._client, place, manifest))


def _guarded(manifest: Mapping[str, Any] | None, now: Object | None) -> Object:
    """With the version that was read as a precondition."""
    body: Object = copied(dict(manifest or {}))
    if now is not None:
        body["metadata"] = {**body["metadata"], "resourceVersion": now["metadata"]["resourceVersion"]}
    return body


async def _place(step: ApplyParameters, context: StepContext, client: KubernetesClient) -> Place:
    return await place_of_object(manifest_object(step.manifest or {}, elsewhere=step.elsewhere), context, client)
