"""`kubernetes.snapshot`: keep what an object holds now."""

from __future__ import annotations

from collections.abc import Mapping

from responder.actions.kubernetes.difference import content_hash
from responder.actions.kubernetes.edit import insist
from responder.actions.kubernetes.parameters.objects import SnapshotParameters
from responder.actions.kubernetes.place import Place, check_mode, locate
from responder.actions.kubernetes.snapshots import forget_old, keep, kept_in, known_snapshots, snapshot_of
from responder.clients.kubernetes import KubernetesClient
from responder.ports import StepContext


class Snapshot:
    def __init__(self, client: KubernetesClient) -> None:
        self._client = client

    async def run(self, parameters: Mapping[str, object], context: StepContext) -> str:
        step = SnapshotParameters.read(parameters)
        check_mode(context, context.target)  # nothing of the service changes, but an observer leaves nothing behind
        place = await locate(step, context, self._client)
        text = await insist(context, lambda: self._attempt(place, context))
        gone = await forget_old(self._client, place, step.keep)
        return f"{text}; {gone} older ones let go" if gone else text

    async def preview(self, parameters: Mapping[str, object], context: StepContext) -> str:
        place = await locate(SnapshotParameters.read(parameters), context, self._client)
        item = await self._client.get(place.resource, place.namespace, place.name)
        snapshot = snapshot_of(place, item, context.now(), context.incident.id)
        await self._client.create(kept_in(place), place.namespace, snapshot, dry_run=True)
        return f"would keep what {place} holds as {snapshot['metadata']['name']}"

    async def _attempt(self, place: Place, context: StepContext) -> str:
        noted = context.intent or {}
        if noted and await self._client.get_or_none(kept_in(place), place.namespace, str(noted["snapshot"])) is not None:
            return f"kept what {place} held as {noted['snapshot']}"
        item = await self._client.get(place.resource, place.namespace, place.name)
        snapshot = snapshot_of(place, item, context.now(), context.incident.id)
        digest = content_hash(snapshot)
        newest = next(iter(await known_snapshots(self._client, place)), None)
        if newest is not None and content_hash(newest) == digest:
            return f"{place} holds what {newest['metadata']['name']} keeps already (content {digest[:12]})"
        if noted.get("content") == digest:
            snapshot["metadata"]["name"] = noted["snapshot"]
        new = snapshot["metadata"]["name"]
        context.progress(f"about to keep what {place} holds as {new}")
        await context.record({"stage": "write", "object": place.note(), "snapshot": new, "content": digest})
        await keep(self._client, place, snapshot)
        return f"kept what {place} holds as {new} (content {digest[:12]})"
