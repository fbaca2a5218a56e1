"""StatefulSets and DaemonSets: their history are ControllerRevisions, and their status knows no failure.

A rollout that never ends is bounded by the step's own timeout. With `OnDelete` the controller changes no pod by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from responder.clients.kubernetes import CONTROLLER_REVISIONS, DAEMON_SETS, STATEFUL_SETS, KubernetesClient, Resource
from responder.domain.version import RolloutPhase, RolloutStatus
from responder.targets import template as templates
from responder.targets.pods import pods_of, trouble
from responder.targets.revision import CHANGE_CAUSE, Revision, owned, selector_text, time_of, version_of

Object = Mapping[str, Any]

REVISION_LABEL = "controller-revision-hash"  # on pods: the revision that made them
_ON_DELETE = "OnDelete"
_UNSEEN = "the change has not been observed yet"
_ON_DELETE_CAVEAT = "its update strategy is OnDelete: its pods stay as they are until somebody deletes them"


@dataclass(frozen=True, slots=True)
class ControllerRevisions:
    """See `kinds.Kind`. status: what the object's status says, given its pods."""

    resource: Resource
    status: Callable[[Object, Sequence[Object]], RolloutStatus]
    keeper: str = "ControllerRevision"

    async def revisions(self, client: KubernetesClient, found: Object) -> list[Revision]:
        labels = selector_text(found["spec"]["selector"])
        return revisions(found, await client.list(CONTROLLER_REVISIONS, found["metadata"]["namespace"], labels=labels))

    async def rollout(
        self,
        client: KubernetesClient,
        found: Object,
        known: Sequence[Revision],  # noqa: ARG002 - the status names no revision object
        *,
        explain: bool,
    ) -> RolloutStatus:
        status = self.status(found, ())
        if not explain or status.phase is RolloutPhase.COMPLETE:
            return status
        return self.status(found, owned(found, await pods_of(client, found)))

    def is_paused(self, _: Object) -> bool:
        return False  # neither kind can be

    def caveat(self, found: Object) -> str:
        return _ON_DELETE_CAVEAT if strategy_of(found) == _ON_DELETE else ""


def strategy_of(found: Object) -> str:
    return str((found["spec"].get("updateStrategy") or {}).get("type", "RollingUpdate"))


def revisions(workload: Object, controller_revisions: Sequence[Object]) -> list[Revision]:
    """Newest first."""
    current = templates.digest(workload["spec"]["template"])
    ordered = sorted(owned(workload, controller_revisions), key=lambda one: int(one.get("revision", 0)))
    found = []
    latest: datetime | None = None
    for one in ordered:
        created = time_of(one["metadata"].get("creationTimestamp"))
        # A revision that is used again gets a new number and keeps its first time: then nothing tells when it came back.
        reused = created is not None and latest is not None and created < latest
        latest = created if latest is None or (created and created > latest) else latest
        found.append(_revision(one, current, None if reused else created))
    return found[::-1]


def _revision(one: Object, current: str, created_at: datetime | None) -> Revision:
    kept = ((one.get("data") or {}).get("spec") or {}).get("template") or {}
    template = {key: value for key, value in kept.items() if key != "$patch"}
    number = int(one.get("revision", 0))
    annotations = one["metadata"].get("annotations") or {}
    version = version_of(
        template,
        str(number),
        current=templates.digest(template) == current,
        created_at=created_at,
        change_cause=str(annotations.get(CHANGE_CAUSE, "")),
    )
    return Revision(number, version, one, template)


def stateful_set_status(found: Object, pods: Sequence[Object] = ()) -> RolloutStatus:
    """kubectl's own conditions; with OnDelete, whether all pods happen to be new."""
    status, desired = found.get("status") or {}, found["spec"].get("replicas", 1)
    ready, updated = status.get("readyReplicas", 0), status.get("updatedReplicas", 0)
    waiting = _stateful_set_waits(found, status, desired=desired, updated=updated)
    if waiting:
        return _progressing(waiting, pods, updated=updated, available=min(ready, updated), desired=desired)
    held = min(_partition(found), desired)
    text = f"{desired - held} pods updated, {held} held back by partition" if held else f"{ready} of {desired} pods ready"
    return RolloutStatus(RolloutPhase.COMPLETE, text, updated=updated, available=min(ready, updated), desired=desired)


def _stateful_set_waits(found: Object, status: Object, *, desired: int, updated: int) -> str:
    """What is not there yet; "" when all is."""
    ready, wanted, on_delete = (
        status.get("readyReplicas", 0),
        max(0, desired - _partition(found)),
        strategy_of(found) == _ON_DELETE,
    )
    if status.get("observedGeneration", 0) < found["metadata"]["generation"]:
        return _UNSEEN
    if on_delete and updated < desired:
        return f"{updated} of {desired} pods are new; {_ON_DELETE_CAVEAT}"
    if ready < desired:
        return f"{ready} of {desired} pods ready"
    if updated < wanted:
        return f"{updated} of {wanted} pods updated"
    if not on_delete and wanted == desired and status.get("updateRevision") != status.get("currentRevision"):
        return f"{updated} of {desired} pods updated, not yet all taken note of"
    return ""


def _partition(found: Object) -> int:
    return int(((found["spec"].get("updateStrategy") or {}).get("rollingUpdate") or {}).get("partition") or 0)


def daemon_set_status(found: Object, pods: Sequence[Object] = ()) -> RolloutStatus:
    """kubectl's own conditions; with OnDelete, whether all pods happen to be new."""
    status = found.get("status") or {}
    desired, updated = status.get("desiredNumberScheduled", 0), status.get("updatedNumberScheduled", 0)
    available = status.get("numberAvailable", 0)
    waiting = ""
    if status.get("observedGeneration", 0) < found["metadata"]["generation"]:
        waiting = _UNSEEN
    elif updated < desired and strategy_of(found) == _ON_DELETE:
        waiting = f"{updated} of {desired} pods are new; {_ON_DELETE_CAVEAT}"
    elif updated < desired:
        waiting = f"{updated} of {desired} pods updated"
    elif available < desired:
        waiting = f"{available} of {desired} pods available"
    if waiting:
        return _progressing(waiting, pods, updated=updated, available=available, desired=desired)
    text = f"{available} of {desired} pods available"
    return RolloutStatus(RolloutPhase.COMPLETE, text, updated=updated, available=available, desired=desired)


def _progressing(waiting: str, pods: Sequence[Object], **counts: int) -> RolloutStatus:
    why = trouble(pods)
    return RolloutStatus(RolloutPhase.PROGRESSING, f"{waiting} ({why})" if why else waiting, **counts)


STATEFUL = ControllerRevisions(STATEFUL_SETS, stateful_set_status)
DAEMON = ControllerRevisions(DAEMON_SETS, daemon_set_status)
