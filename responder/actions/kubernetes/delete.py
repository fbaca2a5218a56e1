"""`kubernetes.delete`: an object goes, and comes back when the plan fails later, where its manifest is all there is to it."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

from responder.actions.kubernetes.difference import difference
from responder.actions.kubernetes.edit import check_hold, insist
from responder.actions.kubernetes.parameters.objects import REMAKEABLE, DeleteParameters
from responder.actions.kubernetes.paths import Object, copied
from responder.actions.kubernetes.place import Place, locate_object, noted_place
from responder.actions.kubernetes.rollouts import poll
from responder.clients.kubernetes import KubernetesClient
from responder.errors import NotFoundError
from responder.ports import StepContext

_OF_THE_SERVER = ("managedFields", "resourceVersion", "generation", "uid", "creationTimestamp", "selfLink", "deletionTimestamp")


class Delete:
    def __init__(self, client: KubernetesClient) -> None:
        self._client = client

    async def run(self, parameters: Mapping[str, object], context: StepContext) -> str:
        step = DeleteParameters.read(parameters)
        place = await locate_object(step.object, context, self._client)
        intent: Mapping[str, Any] | None = context.intent
        if intent is None:
            found = await self._client.get_or_none(place.resource, place.namespace, place.name)
            if found is None:
                if not step.missing_ok:
                    raise NotFoundError(f"{place} does not exist")
                return f"nothing to do: {place} does not exist"
            await check_hold(self._client, place, found)
            await self._send(place, found["metadata"]["uid"], dry_run=True)
            intent = _intent(place, found)
            context.progress(f"about to delete {place}")
            await context.mark_changed()
            await context.record(intent)
        uid = str(intent["uid"])
        await insist(context, lambda: self._delete(place, uid))
        if not step.wait:
            return f"deleted {place}"
        return await poll(context, lambda: self._is_gone(place, uid))

    async def preview(self, parameters: Mapping[str, object], context: StepContext) -> str:
        step = DeleteParameters.read(parameters)
        place = await locate_object(step.object, context, self._client)
        found = await self._client.get_or_none(place.resource, place.namespace, place.name)
        if found is None:
            return f"nothing to do: {place} does not exist"
        await self._send(place, found["metadata"]["uid"], dry_run=True)
        return f"would delete {place}\n{difference(found, None)}"

    async def compensate(self, parameters: Mapping[str, object], context: StepContext) -> str:
        step = DeleteParameters.read(parameters)
        place = noted_place(context.intent)
        if place is None or context.intent is None or step.when_plan_fails == "keep":
            return ""
        manifest = context.intent.get("manifest")
        if not isinstance(manifest, dict):
            return f"{place} stays deleted: it can't be made again from its manifest"
        uid = str(context.intent["uid"])
        return await insist(context, lambda: remake(self._client, place, manifest, uid))

    async def _delete(self, place: Place, uid: str) -> None:
        """Only that very object, once."""
        found = await self._client.get_or_none(place.resource, place.namespace, place.name)
        if found is None or found["metadata"]["uid"] != uid or "deletionTimestamp" in found["metadata"]:
            return
        with contextlib.suppress(NotFoundError):  # a DELETE may be sent again by the transport itself
            await self._send(place, uid, dry_run=False)

    async def _send(self, place: Place, uid: str, *, dry_run: bool) -> None:
        await self._client.delete(place.resource, place.namespace, place.name, uid=uid, dry_run=dry_run)

    async def _is_gone(self, place: Place, uid: str) -> tuple[bool, str]:
        found = await self._client.get_or_none(place.resource, place.namespace, place.name)
        if found is None or found["metadata"]["uid"] != uid:
            return True, f"deleted {place}"
        held = ", ".join(found["metadata"].get("finalizers") or [])
        return False, f"{place} is on its way out" + (f", held by {held}" if held else "")


async def remake(client: KubernetesClient, place: Place, manifest: Object, deleted: str = "") -> str:
    """Create what was deleted, unless it is there. Safe to repeat. deleted: uid of what was deleted, which may still be there."""
    found = await client.get_or_none(place.resource, place.namespace, place.name)
    if found is not None and "deletionTimestamp" not in found["metadata"]:
        return f"{place} was not deleted" if found["metadata"]["uid"] == deleted else f"{place} is there again"
    await client.create(place.resource, place.namespace, manifest)
    return f"created {place} again"


def _intent(place: Place, found: Object) -> dict[str, object]:
    manifest: Object | None = None
    if place.kind in REMAKEABLE:
        manifest = copied({key: value for key, value in found.items() if key != "status"})
        manifest["metadata"] = {key: value for key, value in manifest["metadata"].items() if key not in _OF_THE_SERVER}
    return {"stage": "write", "object": place.note(), "uid": found["metadata"]["uid"], "manifest": manifest}
