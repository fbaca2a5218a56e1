"""What raw Deployments and ReplicaSets say: versions, rollout, and why a rollout does not get on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from responder.clients.kubernetes import DEPLOYMENTS, REPLICA_SETS, KubernetesClient
from responder.domain.version import RolloutPhase, RolloutStatus, Version
from responder.targets import revision as kept
from responder.targets import template as templates
from responder.targets.pods import pods_of, trouble
from responder.targets.revision import CHANGE_CAUSE, Revision, is_controlled_by, owned, time_of, version_of

Object = Mapping[str, Any]

REVISION = "deployment.kubernetes.io/revision"
_REVISION_HISTORY = "deployment.kubernetes.io/revision-history"
_DEADLINE_EXCEEDED = "ProgressDeadlineExceeded"


class Deployments:
    """See `kinds.Kind`. Its history are its ReplicaSets."""

    resource = DEPLOYMENTS
    keeper = "ReplicaSet"

    async def revisions(self, client: KubernetesClient, found: Object) -> list[Revision]:
        labels = kept.selector_text(found["spec"]["selector"])
        return revisions(found, await client.list(REPLICA_SETS, found["metadata"]["namespace"], labels=labels))

    async def rollout(
        self, client: KubernetesClient, found: Object, known: Sequence[Revision], *, explain: bool
    ) -> RolloutStatus:
        replica_set = current_replica_set(known)
        status = rollout_status(found, replica_set)
        if not explain or status.phase is RolloutPhase.COMPLETE or replica_set is None:
            return status
        uid = replica_set["metadata"]["uid"]
        pods = [pod for pod in await pods_of(client, found) if is_controlled_by(pod, uid)]
        return rollout_status(found, replica_set, pods)

    def is_paused(self, found: Object) -> bool:
        return bool(found["spec"].get("paused"))

    def caveat(self, _: Object) -> str:
        return ""


def revisions(deployment: Object, replica_sets: Sequence[Object]) -> list[Revision]:
    """What the Deployment can go back to, newest first: its own ReplicaSets, numbered by the controller."""
    current = templates.digest(deployment["spec"]["template"])
    found = [_revision(deployment, replica_set, current) for replica_set in owned(deployment, replica_sets)]
    return sorted(found, key=lambda one: one.number, reverse=True)


def history(deployment: Object, known: Sequence[Revision]) -> tuple[Version, ...]:
    return kept.history(deployment["spec"]["template"], known)


def current_replica_set(known: Sequence[Revision]) -> Object | None:
    current = kept.current_of(known)
    return current.kept_in if current else None


def rollout_status(deployment: Object, new_replica_set: Object | None, pods: Sequence[Object] = ()) -> RolloutStatus:
    """kubectl's own conditions. pods: of the new ReplicaSet, () when they may not be read."""
    status = deployment.get("status") or {}
    desired = deployment["spec"].get("replicas", 1)
    total, updated = status.get("replicas", 0), status.get("updatedReplicas", 0)
    available = status.get("availableReplicas", 0)
    why = trouble(pods)

    def at(phase: RolloutPhase, reason: str) -> RolloutStatus:
        text = f"{reason} ({why})" if why and phase is not RolloutPhase.COMPLETE else reason
        return RolloutStatus(phase, text, updated=updated, available=available, desired=desired)

    if status.get("observedGeneration", 0) < deployment["metadata"]["generation"]:
        return at(RolloutPhase.PROGRESSING, "the change has not been observed yet")
    if _deadline_exceeded(deployment, new_replica_set):
        return at(RolloutPhase.FAILED, f"the progress deadline was exceeded: {available} of {desired} pods available")
    if updated < desired:
        return at(RolloutPhase.PROGRESSING, f"{updated} of {desired} pods updated")
    if total > updated:
        return at(RolloutPhase.PROGRESSING, f"{total - updated} old pods still to end")
    if available < updated:
        return at(RolloutPhase.PROGRESSING, f"{available} of {updated} new pods available")
    return at(RolloutPhase.COMPLETE, f"{available} of {desired} pods available")


def _deadline_exceeded(deployment: Object, new_replica_set: Object | None) -> bool:
    """The controller leaves the condition as it was until the reused ReplicaSet moves: one that names another is old news."""
    condition = _progressing(deployment)
    if condition is None or condition.get("reason") != _DEADLINE_EXCEEDED:
        return False
    message = str(condition.get("message", ""))
    return new_replica_set is None or not message.startswith("ReplicaSet ") or _names(message, new_replica_set)


def _revision(deployment: Object, replica_set: Object, current: str) -> Revision:
    annotations = replica_set["metadata"].get("annotations") or {}
    text = annotations.get(REVISION, "")
    number = int(text) if text.isdigit() else 0
    template = replica_set["spec"]["template"]
    is_current = templates.digest(template) == current
    version = version_of(
        template,
        str(number),
        current=is_current,
        created_at=_rolled_out_at(deployment, replica_set, is_current=is_current),
        change_cause=str(annotations.get(CHANGE_CAUSE, "")),
    )
    return Revision(number, version, replica_set, templates.without_hash(template))


def _rolled_out_at(deployment: Object, replica_set: Object, *, is_current: bool) -> datetime | None:
    """A ReplicaSet is as old as its first rollout. For a reused one only the Progressing condition tells, if it speaks of it."""
    meta = replica_set["metadata"]
    if not (meta.get("annotations") or {}).get(_REVISION_HISTORY):
        return time_of(meta.get("creationTimestamp"))
    condition = _progressing(deployment)
    if not is_current or condition is None or not _names(str(condition.get("message", "")), replica_set):
        return None
    return time_of(condition.get("lastUpdateTime"))


def _progressing(deployment: Object) -> Object | None:
    conditions = (deployment.get("status") or {}).get("conditions") or []
    return next((one for one in conditions if one.get("type") == "Progressing"), None)


def _names(message: str, replica_set: Object) -> bool:
    return f'"{replica_set["metadata"]["name"]}"' in message
