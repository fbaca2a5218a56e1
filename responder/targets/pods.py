"""What pods say about why a rollout does not get on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from responder.clients.kubernetes import PODS, KubernetesClient
from responder.errors import ForbiddenError, TemporaryError
from responder.targets.revision import selector_text

Object = Mapping[str, Any]

# Waiting reasons that every starting pod shows for a moment.
_NORMAL_WAITING = frozenset({"ContainerCreating", "PodInitializing"})


async def pods_of(client: KubernetesClient, workload: Object) -> list[dict[str, Any]]:
    """All that its selector finds; [] when they may not be read, which only costs us the reason."""
    labels = selector_text(workload["spec"]["selector"])
    try:
        return await client.list(PODS, workload["metadata"]["namespace"], labels=labels)
    except (ForbiddenError, TemporaryError):
        return []


def trouble(pods: Sequence[Object]) -> str:
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


def is_ready(pod: Object) -> bool:
    conditions = (pod.get("status") or {}).get("conditions") or []
    return any(one.get("type") == "Ready" and one.get("status") == "True" for one in conditions)
