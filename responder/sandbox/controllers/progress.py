"""The status of a Deployment: counts, and the conditions that tell how its rollout goes. Pure."""

from __future__ import annotations

from datetime import datetime, timedelta

from responder.sandbox.api.operations import timestamp
from responder.sandbox.api.store import Json
from responder.sandbox.controllers.ownership import condition_of, parse_timestamp
from responder.sandbox.controllers.scaling import counted, limits, replicas_of

PROGRESSING, AVAILABLE = "Progressing", "Available"
COMPLETE, TIMED_OUT = "NewReplicaSetAvailable", "ProgressDeadlineExceeded"
_NO_DEADLINE = 2**31 - 1


def set_condition(status: Json, condition: Json, now: datetime, *, force: bool = False) -> None:
    """Put a condition into the status, stamped. The transition time moves with the value only.

    Nothing changes when value and reason are the same, unless `force`.
    """
    old = condition_of(status, condition["type"])
    if old and not force and (old["status"], old["reason"]) == (condition["status"], condition["reason"]):
        return
    same_value = old is not None and old["status"] == condition["status"]
    moved = old["lastTransitionTime"] if old and same_value else timestamp(now)
    others = [other for other in status.get("conditions", []) if other["type"] != condition["type"]]
    status["conditions"] = [*others, {**condition, "lastUpdateTime": timestamp(now), "lastTransitionTime": moved}]


def available(value: str, reason: str, message: str) -> Json:
    return {"type": AVAILABLE, "status": value, "reason": reason, "message": message}


def progressing(value: str, reason: str, message: str) -> Json:
    return {"type": PROGRESSING, "status": value, "reason": reason, "message": message}


def counts(deployment: Json, new: Json | None, sets: list[Json], now: datetime) -> Json:
    """The status with fresh counts and the Available condition; Progressing as it was."""
    old = deployment.get("status", {})
    live = counted(sets, "availableReplicas")
    fresh = {
        "replicas": counted(sets, "replicas"),
        "updatedReplicas": counted([new], "replicas") if new else 0,
        "readyReplicas": counted(sets, "readyReplicas"),
        "availableReplicas": live,
        "unavailableReplicas": max(replicas_of(sets) - live, 0),
    }
    status: Json = {key: value for key, value in fresh.items() if value}
    status |= {"observedGeneration": deployment["metadata"]["generation"], "conditions": list(old.get("conditions", []))}
    if live >= deployment["spec"]["replicas"] - limits(deployment)[1]:
        set_condition(status, available("True", "MinimumReplicasAvailable", "Deployment has minimum availability."), now)
    else:
        text = "Deployment does not have minimum availability."
        set_condition(status, available("False", "MinimumReplicasUnavailable", text), now)
    return status


def is_complete(deployment: Json, status: Json) -> bool:
    wanted = deployment["spec"]["replicas"]
    return all(status.get(key, 0) == wanted for key in ("updatedReplicas", "replicas", "availableReplicas"))


def _moved_on(old: Json, new: Json) -> bool:
    """More updated, ready or available pods than before, or fewer old ones."""
    grown = any(new.get(key, 0) > old.get(key, 0) for key in ("updatedReplicas", "readyReplicas", "availableReplicas"))
    left = new.get("replicas", 0) - new.get("updatedReplicas", 0)
    return grown or left < old.get("replicas", 0) - old.get("updatedReplicas", 0)


def deadline(deployment: Json, status: Json) -> datetime | None:
    """When the rollout counts as stuck; None when it is complete, already stuck or has no deadline."""
    seconds = deployment["spec"].get("progressDeadlineSeconds")
    condition = condition_of(status, PROGRESSING)
    if seconds in (None, _NO_DEADLINE) or condition is None or condition["reason"] in (COMPLETE, TIMED_OUT):
        return None
    return parse_timestamp(condition["lastUpdateTime"]) + timedelta(seconds=seconds)


def judge(deployment: Json, new: Json | None, status: Json, now: datetime) -> None:
    """Set the Progressing condition of `status`."""
    if deployment["spec"].get("progressDeadlineSeconds") in (None, _NO_DEADLINE):
        status["conditions"] = [condition for condition in status["conditions"] if condition["type"] != PROGRESSING]
        return
    current = condition_of(status, PROGRESSING)
    name = f'ReplicaSet "{new["metadata"]["name"]}"' if new else f'Deployment "{deployment["metadata"]["name"]}"'
    if status.get("replicas", 0) == status.get("updatedReplicas", 0) and current and current["reason"] == COMPLETE:
        return
    due = deadline(deployment, status)
    if is_complete(deployment, status):
        set_condition(status, progressing("True", COMPLETE, f"{name} has successfully progressed."), now)
    elif _moved_on(deployment.get("status", {}), status):
        set_condition(status, progressing("True", "ReplicaSetUpdated", f"{name} is progressing."), now, force=True)
    elif due is not None and now >= due:
        set_condition(status, progressing("False", TIMED_OUT, f"{name} has timed out progressing."), now)
