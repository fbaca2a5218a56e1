"""EndpointSlices: which ready pods a Service sends its traffic to."""

from __future__ import annotations

from datetime import datetime

from responder.sandbox.api.operations import Operations
from responder.sandbox.api.resources import ENDPOINT_SLICES, PODS, SERVICES
from responder.sandbox.api.store import Json
from responder.sandbox.controllers.ownership import condition_of, owner_reference


class Endpoints:
    """One slice a Service."""

    def __init__(self, operations: Operations) -> None:
        self._operations, self._store = operations, operations.store

    def reconcile(self, service: Json, _now: datetime) -> datetime | None:
        selector = service.get("spec", {}).get("selector")
        if not selector:
            return None
        meta = service["metadata"]
        pods = self._store.items(
            PODS.plural,
            meta["namespace"],
            lambda pod: all((pod.get("labels") or {}).get(key) == value for key, value in selector.items()),
        )
        endpoints = [_endpoint(pod) for pod in pods if _gets_traffic(pod)]
        name = f"{meta['name']}-sandbox"
        known = self._store.get(ENDPOINT_SLICES.plural, meta["namespace"], name)
        if known is None:
            body = {
                "metadata": {
                    "name": name,
                    "labels": {"kubernetes.io/service-name": meta["name"]},
                    "ownerReferences": [owner_reference(SERVICES, service)],
                },
                "addressType": "IPv4",
                "endpoints": endpoints,
            }
            self._operations.create(ENDPOINT_SLICES, meta["namespace"], body)
        elif known.get("endpoints") != endpoints:
            self._store.put(ENDPOINT_SLICES.plural, {**known, "endpoints": endpoints})
        return None


def _gets_traffic(pod: Json) -> bool:
    ready = condition_of(pod.get("status") or {}, "Ready")
    return ready is not None and ready["status"] == "True" and not pod["metadata"].get("deletionTimestamp")


def _endpoint(pod: Json) -> Json:
    meta = pod["metadata"]
    reference = {"kind": "Pod", "namespace": meta["namespace"], "name": meta["name"], "uid": meta["uid"]}
    return {"addresses": [pod["status"].get("podIP", "")], "conditions": {"ready": True}, "targetRef": reference}
