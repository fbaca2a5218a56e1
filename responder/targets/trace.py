"""The trace that a rollback leaves on the object: an annotation that says who did what, and a Kubernetes Event.

The annotation goes out with the change itself: one write, never one without the other, and no generation more. The Event comes
after it and is best effort: the rollback is done, and nothing about its trace may spoil it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import orjson
import structlog

from responder.clients.kubernetes import KubernetesClient, Resource
from responder.domain.selection import describe
from responder.domain.target import WorkloadRef
from responder.domain.version import Pin
from responder.errors import ConflictError, ResponderError
from responder.ports import Clock

TRACE_ANNOTATION = "responder.dev/last-rollback"
REASON = "RolledBack"
_WITHIN = timedelta(seconds=5)

_log = structlog.get_logger(__name__)


def annotating(found: Mapping[str, Any], pin: Pin, at: datetime) -> list[dict[str, Any]]:
    """JSON patch operations that put the annotation on this object, beside its pod template; none without an incident."""
    if not pin.incident:
        return []
    before, after = describe(pin.from_version), describe(pin.to_version)
    told = {"incident": pin.incident, "from": before, "to": after, "at": at.isoformat(timespec="seconds")}
    text = orjson.dumps(told).decode()
    if not found["metadata"].get("annotations"):
        return [{"op": "add", "path": "/metadata/annotations", "value": {TRACE_ANNOTATION: text}}]
    return [{"op": "add", "path": f"/metadata/annotations/{TRACE_ANNOTATION.replace('/', '~1')}", "value": text}]


class Traces:
    """One per cluster: what can't be written is said once."""

    def __init__(self, client: KubernetesClient, clock: Clock) -> None:
        self._client = client
        self._clock = clock
        self._said: set[str] = set()

    async def leave(self, resource: Resource, ref: WorkloadRef, pin: Pin) -> None:
        """Leave the Event; once per incident, by its name."""
        before, after = describe(pin.from_version), describe(pin.to_version)
        meta = {"namespace": ref.namespace, "name": ref.name, "uid": pin.uid}
        about = {"apiVersion": f"{resource.group}/{resource.version}", "kind": ref.kind, "metadata": meta}
        message = f"Responder rolled back from {before} to {after} for incident {pin.incident}"
        name = f"{ref.name}.{pin.incident.replace('_', '-')}"
        try:
            async with asyncio.timeout(_WITHIN.total_seconds()):
                await self._client.create_event(about, reason=REASON, message=message, at=self._clock(), name=name)
        except ConflictError:
            return  # it is there, from before a crash
        except (ResponderError, TimeoutError) as error:
            self._say(str(error) or f"no answer within {_WITHIN.total_seconds():.0f} s", ref)

    def _say(self, why: str, ref: WorkloadRef) -> None:
        right = why.partition(" (")[0]
        if right not in self._said:
            self._said.add(right)
            _log.warning("no_event_left", object=str(ref), reason=why)
