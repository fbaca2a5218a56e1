"""Kinds that a rulebook may name, and where the API serves them: newest version first, older ones as fallback."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from responder.clients.kubernetes import (
    CONFIG_MAPS,
    DAEMON_SETS,
    DEPLOYMENTS,
    ENDPOINTS,
    JOBS,
    PODS,
    REPLICA_SETS,
    SECRETS,
    SERVICES,
    STATEFUL_SETS,
    KubernetesClient,
    Resource,
)
from responder.errors import InvalidInputError

KINDS: Mapping[str, Sequence[Resource]] = {
    "Deployment": (DEPLOYMENTS,),
    "StatefulSet": (STATEFUL_SETS,),
    "DaemonSet": (DAEMON_SETS,),
    "ReplicaSet": (REPLICA_SETS,),
    "Rollout": (Resource("argoproj.io", "v1alpha1", "rollouts"),),
    "Pod": (PODS,),
    "ConfigMap": (CONFIG_MAPS,),
    "Secret": (SECRETS,),
    "Service": (SERVICES,),
    "Endpoints": (ENDPOINTS,),
    "PersistentVolumeClaim": (Resource("", "v1", "persistentvolumeclaims"),),
    "ServiceAccount": (Resource("", "v1", "serviceaccounts"),),
    "Job": (JOBS,),
    "CronJob": (Resource("batch", "v1", "cronjobs"), Resource("batch", "v1beta1", "cronjobs")),
    "Ingress": (Resource("networking.k8s.io", "v1", "ingresses"), Resource("networking.k8s.io", "v1beta1", "ingresses")),
    "NetworkPolicy": (Resource("networking.k8s.io", "v1", "networkpolicies"),),
    "HorizontalPodAutoscaler": (
        Resource("autoscaling", "v2", "horizontalpodautoscalers"),
        Resource("autoscaling", "v1", "horizontalpodautoscalers"),
    ),
    "PodDisruptionBudget": (
        Resource("policy", "v1", "poddisruptionbudgets"),
        Resource("policy", "v1beta1", "poddisruptionbudgets"),
    ),
}
POD_TEMPLATES = frozenset({"Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Rollout"})
"""Kinds that run pods from a template: what they run is changed by `rollback` and its guards."""


def api_version_of(resource: Resource) -> str:
    return f"{resource.group}/{resource.version}" if resource.group else resource.version


async def resource_of(client: KubernetesClient, kind: str, api_version: str = "") -> Resource:
    """Where this cluster serves the kind. Raises InvalidInputError when it does not."""
    if api_version:
        found = await client.kinds_of(api_version)
        if kind not in found:
            raise InvalidInputError(f"this cluster serves no {kind} in {api_version}", field="object.kind")
        return found[kind]
    candidates = KINDS[kind]
    for candidate in candidates[:-1]:
        if kind in await client.kinds_of(api_version_of(candidate)):
            return candidate
    return candidates[-1]
