"""What raw Deployments and ReplicaSets say: versions, rollout, and why a rollout does not get on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from responder.domain.version import RolloutPhase, RolloutStatus, Version
from responder.targets import template as templates

Object = Mapping[str, Any]

REVISION = "deployment.kubernetes.io/revision"
_REVISION_HISTORY = "deployment.kubernetes.io/revision-history"
_CHANGE_CAUSE = "kubernetes.io/change-cause"
_DEADLINE_EXCEEDED = "ProgressDeadlineExceeded"
# Waiting reasons that every starting pod shows for a moment.
_NORMAL_WAITING = frozenset({"ContainerCreating", "PodInitializing"})


@dataclass(frozen=True, slots=True)
class Revision:
    """One ReplicaSet of a Deployment as a version. number: 0 when the controller has not numbered it yet."""

    number: int
    version: Version
    replica_set: Object

    @property
    def template(self) -> dict[str, Any]:
        """Ready to be put into the Deployment."""
        return templates.without_hash(self.replica_set["spec"]["template"])


def selector_text(selector: Object) -> str:
    """A LabelSelector as a query parameter."""
    parts = [f"{key}={value}" for key, value in (selector.get("matchLabels") or {}).items()]
    for expression in selector.get("matchExpressions") or []:
        key, values = expression["key"], ",".join(expression.get("values") or [])
        forms = {
            "In": f"{key} in ({values})",
            "NotIn": f"{key} notin ({values})",
            "Exists": key,
            "DoesNotExist": f"!{key}",
        }
        parts.append(forms[expression["operator"]])
    return ",".join(parts)


def is_controlled_by(item: Object, uid: str) -> bool:
    references = item["metadata"].get("ownerReferences") or []
    return any(one.get("controller") and one.get("uid") == uid for one in references)


def revisions(deployment: Object, replica_sets: Sequence[Object]) -> list[Revision]:
    """What the Deployment can go back to, newest first: its own ReplicaSets, numbered by the controller."""
    uid = deployment["metadata"]["uid"]
    current = templates.digest(deployment["spec"]["template"])
    found = [
        _revision(deployment, replica_set, current)
        for replica_set in replica_sets
        if is_controlled_by(replica_set, uid) and "deletionTimestamp" not in replica_set["metadata"]
    ]
    return sorted(found, key=lambda one: one.number, reverse=True)


def history(deployment: Object, known: Sequence[Revision]) -> tuple[Version, ...]:
    """Versions, newest revision first, the current one always among them and first.

    Between a change and the controller's next look the current version has no number yet (or, reused, an old one): it is
    shown with the number that it is about to get.
    """
    template = deployment["spec"]["template"]
    others = [one for one in known if not one.version.current]
    own = next((one for one in known if one.version.current), None)
    upcoming = max((one.number for one in others), default=0) + 1
    if own is None:
        current = _version(template, str(upcoming), current=True)
    elif own.number >= upcoming:
        current = own.version
    else:
        current = _version(template, str(upcoming), current=True, change_cause=own.version.change_cause)
    return (current, *(one.version for one in others if one.number > 0))


def current_replica_set(known: Sequence[Revision]) -> Object | None:
    return next((one.replica_set for one in known if one.version.current), None)


def rollout_status(deployment: Object, new_replica_set: Object | None, pods: Sequence[Object] = ()) -> RolloutStatus:
    """kubectl's own conditions. pods: of the new ReplicaSet, () when they may not be read."""
    status = deployment.get("status") or {}
    desired = deployment["spec"].get("replicas", 1)
    total, updated = status.get("replicas", 0), status.get("updatedReplicas", 0)
    available = status.get("availableReplicas", 0)
    trouble = _trouble(pods)

    def at(phase: RolloutPhase, reason: str) -> RolloutStatus:
        text = f"{reason} ({trouble})" if trouble and phase is not RolloutPhase.COMPLETE else reason
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


def _trouble(pods: Sequence[Object]) -> str:
    """Why pods wait, most frequent first: `2x ImagePullBackOff`."""
    reasons: dict[str, int] = {}
    for pod in pods:
        status = pod.get("status") or {}
        for one in [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]:
            waiting = ((one.get("state") or {}).get("waiting") or {}).get("reason")
            ended = ((one.get("lastState") or {}).get("terminated") or {}).get("reason")
            reason = waiting or ("OOMKilled" if ended == "OOMKilled" and not one.get("ready") else None)
            if reason and reason not in _NORMAL_WAITING:
                reasons[reason] = reasons.get(reason, 0) + 1
        for condition in status.get("conditions") or []:
            if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
                reasons["Unschedulable"] = reasons.get("Unschedulable", 0) + 1
    ordered = sorted(reasons.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{count}x {reason}" for reason, count in ordered)


def _revision(deployment: Object, replica_set: Object, current: str) -> Revision:
    annotations = replica_set["metadata"].get("annotations") or {}
    text = annotations.get(REVISION, "")
    number = int(text) if text.isdigit() else 0
    template = replica_set["spec"]["template"]
    is_current = templates.digest(template) == current
    version = _version(
        template,
        str(number),
        current=is_current,
        created_at=_rolled_out_at(deployment, replica_set, is_current=is_current),
        change_cause=str(annotations.get(_CHANGE_CAUSE, "")),
    )
    return Revision(number, version, replica_set)


def _version(
    template: Object, revision: str, *, current: bool, created_at: datetime | None = None, change_cause: str = ""
) -> Version:
    return Version(
        version=templates.version_name(template),
        revision=revision,
        fingerprint=templates.fingerprint(template),
        digest=templates.digest(template),
        images=templates.images(template),
        created_at=created_at,
        change_cause=change_cause,
        current=current,
    )


def _rolled_out_at(deployment: Object, replica_set: Object, *, is_current: bool) -> datetime | None:
    """A ReplicaSet is as old as its first rollout. For a reused one only the Progressing condition tells, if it speaks of it."""
    meta = replica_set["metadata"]
    if not (meta.get("annotations") or {}).get(_REVISION_HISTORY):
        return _time(meta.get("creationTimestamp"))
    condition = _progressing(deployment)
    if not is_current or condition is None or not _names(str(condition.get("message", "")), replica_set):
        return None
    return _time(condition.get("lastUpdateTime"))


def _progressing(deployment: Object) -> Object | None:
    conditions = (deployment.get("status") or {}).get("conditions") or []
    return next((one for one in conditions if one.get("type") == "Progressing"), None)


def _names(message: str, replica_set: Object) -> bool:
    return f'"{replica_set["metadata"]["name"]}"' in message


def _time(text: Any) -> datetime | None:
    return datetime.fromisoformat(text) if isinstance(text, str) else None
