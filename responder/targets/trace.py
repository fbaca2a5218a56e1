"""The trace that a rollback leaves on the object: a Kubernetes Event, and an annotation that says who did what.

Best effort: the rollback is done, and nothing about the trace may spoil it. The pod template is not touched, so nothing restarts.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta

import orjson
import structlog

from responder.clients.kubernetes import EVENTS, KubernetesClient, Resource
from responder.domain.selection import describe
from responder.domain.target import WorkloadRef
from responder.domain.version import Pin
from responder.errors import ResponderError
from responder.ports import Clock

TRACE_ANNOTATION = "responder.dev/last-rollback"
REASON = "RolledBack"
_WITHIN = timedelta(seconds=5)

_log = structlog.get_logger(__name__)


class Traces:
    """One per cluster: what can't be written is said once."""

    def __init__(self, client: KubernetesClient, clock: Clock) -> None:
        self._client = client
        self._clock = clock
        self._said: set[str] = set()

    async def leave(self, resource: Resource, ref: WorkloadRef, pin: Pin, incident_id: str) -> None:
        """Once per incident: the annotation tells that it is there."""
        try:
            async with asyncio.timeout(_WITHIN.total_seconds()):
                await self._leave(resource, ref, pin, incident_id)
        except (ResponderError, TimeoutError) as error:
            self._say(str(error) or f"no answer within {_WITHIN.total_seconds():.0f} s", ref)

    async def _leave(self, resource: Resource, ref: WorkloadRef, pin: Pin, incident_id: str) -> None:
        found = await self._client.get(resource, ref.namespace, ref.name)
        meta = found["metadata"]
        if meta["uid"] != pin.uid or _incident_in((meta.get("annotations") or {}).get(TRACE_ANNOTATION, "")) == incident_id:
            return
        now = self._clock()
        before, after = describe(pin.from_version), describe(pin.to_version)
        told = {"incident": incident_id, "from": before, "to": after, "at": now.isoformat(timespec="seconds")}
        message = f"Responder rolled back from {before} to {after} for incident {incident_id}"
        try:
            await self._client.create_event(found, reason=REASON, message=message, at=now)
        except ResponderError as error:
            self._say(str(error), ref)
        annotations = {"uid": pin.uid, "annotations": {TRACE_ANNOTATION: orjson.dumps(told).decode()}}
        await self._client.patch_merge(resource, ref.namespace, ref.name, {"metadata": annotations})

    def _say(self, why: str, ref: WorkloadRef) -> None:
        right = why.partition(" (")[0]
        if right not in self._said:
            self._said.add(right)
            _log.warning("no_trace_left", object=str(ref), reason=why, events=str(EVENTS))


def _incident_in(text: str) -> str:
    try:
        told = orjson.loads(text or "{}")
    except ValueError:
        return ""
    return str(told.get("incident", "")) if isinstance(told, dict) else ""
