"""The ReplicaSet controller: as many pods as asked for, and the counts in the status."""

from __future__ import annotations

from datetime import datetime, timedelta

from responder.sandbox.api.operations import Operations, random_suffix, same
from responder.sandbox.api.resources import PODS, REPLICA_SETS
from responder.sandbox.api.store import Json, copied
from responder.sandbox.controllers.events import EventRecorder
from responder.sandbox.controllers.ownership import condition_of, controlled, owner_reference, parse_timestamp

COMPONENT = "replicaset-controller"


def ready_since(pod: Json) -> datetime | None:
    """When the pod became ready; None while it is not."""
    condition = condition_of(pod.get("status", {}), "Ready")
    return parse_timestamp(condition["lastTransitionTime"]) if condition and condition["status"] == "True" else None


def _is_active(pod: Json) -> bool:
    return not pod["metadata"].get("deletionTimestamp") and pod.get("status", {}).get("phase") not in ("Succeeded", "Failed")


def _worth_keeping(pod: Json) -> tuple[bool, str, int]:
    """Ascending: the first ones go first. Unready before ready, younger before older."""
    age = parse_timestamp(pod["metadata"]["creationTimestamp"]).timestamp()
    return (ready_since(pod) is not None, pod.get("status", {}).get("phase", ""), -int(age))


class ReplicaSets:
    def __init__(self, operations: Operations, events: EventRecorder) -> None:
        self._operations, self._store, self._events = operations, operations.store, events

    def reconcile(self, replica_set: Json, now: datetime) -> datetime | None:
        """Bring the pods in line and write the status. Returns when the next look is due; None: after a change."""
        pods = [pod for pod in controlled(self._store, PODS.plural, REPLICA_SETS, replica_set) if _is_active(pod)]
        if not replica_set["metadata"].get("deletionTimestamp"):
            self._resize(replica_set, pods, now)
        return self._write_status(replica_set, pods, now)

    def _resize(self, replica_set: Json, pods: list[Json], now: datetime) -> None:
        missing = replica_set["spec"]["replicas"] - len(pods)
        for _ in range(missing):
            name = self._create_pod(replica_set)
            self._events.record(replica_set, "SuccessfulCreate", f"Created pod: {name}", COMPONENT, now)
        for pod in sorted(pods, key=_worth_keeping)[: max(-missing, 0)]:
            name = pod["metadata"]["name"]
            self._operations.delete(PODS, pod["metadata"]["namespace"], name, {})
            self._events.record(replica_set, "SuccessfulDelete", f"Deleted pod: {name}", COMPONENT, now)

    def _create_pod(self, replica_set: Json) -> str:
        owner, template = replica_set["metadata"], copied(replica_set["spec"]["template"])
        prefix = f"{owner['name'][:57]}-"
        metadata = {key: value for key, value in template["metadata"].items() if key in ("labels", "annotations") and value}
        metadata |= {
            "name": prefix + random_suffix(),
            "generateName": prefix,
            "ownerReferences": [owner_reference(REPLICA_SETS, replica_set)],
        }
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}
        created = self._operations.create(PODS, owner["namespace"], pod)
        return str(created["metadata"]["name"])

    def _write_status(self, replica_set: Json, pods: list[Json], now: datetime) -> datetime | None:
        wait = timedelta(seconds=replica_set["spec"].get("minReadySeconds") or 0)
        ready = [since for pod in pods if (since := ready_since(pod)) is not None]
        counts = {
            "replicas": len(pods),
            "fullyLabeledReplicas": len(pods),
            "readyReplicas": len(ready),
            "availableReplicas": sum(since + wait <= now for since in ready),
        }
        status = {key: value for key, value in counts.items() if value or key == "replicas"}
        status["observedGeneration"] = replica_set["metadata"]["generation"]
        metadata = replica_set["metadata"]
        stored = self._store.get(REPLICA_SETS.plural, metadata["namespace"], metadata["name"])
        if stored is not None and not same(status, stored.get("status", {})):
            self._store.put(REPLICA_SETS.plural, {**stored, "status": status})
        return min((since + wait for since in ready if since + wait > now), default=None)
