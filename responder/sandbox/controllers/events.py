"""Events: what the controllers and the kubelet tell people."""

from __future__ import annotations

import hashlib
from datetime import datetime

from responder.sandbox.api.operations import timestamp
from responder.sandbox.api.resources import EVENTS
from responder.sandbox.api.store import Json, Store

KEPT = 500


class EventRecorder:
    """Writes events; the same thing said again counts up. Only the latest ones are kept."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def record(self, about: Json, reason: str, message: str, component: str, now: datetime, *, warning: bool = False) -> None:
        metadata = about["metadata"]
        digest = hashlib.sha256(f"{metadata['uid']}{reason}{message}".encode()).hexdigest()
        name = f"{metadata['name']}.{digest[:16]}"
        known = self._store.get(EVENTS.plural, metadata["namespace"], name)
        if known is not None:
            self._store.put(EVENTS.plural, {**known, "count": known["count"] + 1, "lastTimestamp": timestamp(now)})
            return
        reference = {key: metadata[key] for key in ("namespace", "name", "uid", "resourceVersion")}
        node = about["spec"].get("nodeName", "") if component == "kubelet" else ""
        self._store.put(
            EVENTS.plural,
            {
                "apiVersion": "v1", "kind": "Event",
                "metadata": {
                    "name": name, "namespace": metadata["namespace"], "uid": name.rpartition(".")[2],
                    "creationTimestamp": timestamp(now),
                },
                "involvedObject": {"kind": about["kind"], "apiVersion": about["apiVersion"], **reference},
                "reason": reason, "message": message, "type": "Warning" if warning else "Normal", "count": 1,
                "firstTimestamp": timestamp(now), "lastTimestamp": timestamp(now), "eventTime": None,
                "source": {"component": component, **({"host": node} if node else {})},
                "reportingComponent": component, "reportingInstance": node,
            },
        )  # fmt: skip
        self._prune()

    def _prune(self) -> None:
        if self._store.count(EVENTS.plural) > KEPT:
            events = self._store.items(EVENTS.plural)
            oldest = min(events, key=lambda event: (event["lastTimestamp"], int(event["metadata"]["resourceVersion"])))
            self._store.remove(EVENTS.plural, oldest["metadata"]["namespace"], oldest["metadata"]["name"])
