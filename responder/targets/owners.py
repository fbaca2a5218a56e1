"""Who else would change the object back: found from the object itself, and from Rollouts and Canaries that point at it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from responder.clients.kubernetes import KubernetesClient, Resource
from responder.domain.ownership import ARGO_CD, FLUX, HELM
from responder.domain.target import WorkloadRef
from responder.domain.version import Owner
from responder.errors import ForbiddenError, NotFoundError

Object = Mapping[str, Any]

ROLLOUTS = Resource("argoproj.io", "v1alpha1", "rollouts")
CANARIES = Resource("flagger.app", "v1beta1", "canaries")
_ARGO_TRACKING = "argocd.argoproj.io/tracking-id"
_ARGO_INSTANCE = "app.kubernetes.io/instance"
_FLUX_PAUSED = "kustomize.toolkit.fluxcd.io/reconcile"


def owners_on(item: Object) -> tuple[Owner, ...]:
    """Owners that the object itself names, the strongest first."""
    meta = item["metadata"]
    labels, annotations = meta.get("labels") or {}, meta.get("annotations") or {}
    found = [Owner(one["kind"], one["name"]) for one in meta.get("ownerReferences") or [] if one.get("controller")]
    if application := _argo_application(item):
        found.append(Owner(ARGO_CD, application))
    for kind in ("kustomize", "helm"):
        name = labels.get(f"{kind}.toolkit.fluxcd.io/name")
        paused = kind == "kustomize" and annotations.get(_FLUX_PAUSED) == "disabled"
        if name and not paused:
            found.append(Owner(FLUX, f"{kind}/{labels.get(f'{kind}.toolkit.fluxcd.io/namespace', '')}/{name}"))
    release = annotations.get("meta.helm.sh/release-name")
    if release and labels.get("app.kubernetes.io/managed-by") == "Helm":
        found.append(Owner(HELM, f"{annotations.get('meta.helm.sh/release-namespace', meta['namespace'])}/{release}"))
    return tuple(found)


def _argo_application(item: Object) -> str:
    """By the tracking id if it speaks of this very object (a copied one doesn't), else by label and field manager."""
    meta = item["metadata"]
    tracking = (meta.get("annotations") or {}).get(_ARGO_TRACKING, "")
    group = item.get("apiVersion", "").partition("/")[0]
    if tracking.endswith(f":{group}/{item.get('kind')}:{meta['namespace']}/{meta['name']}"):
        return str(tracking.partition(":")[0])
    managers = [str(one.get("manager", "")) for one in meta.get("managedFields") or []]
    if any(manager.startswith("argocd") for manager in managers):
        return str((meta.get("labels") or {}).get(_ARGO_INSTANCE, ""))
    return ""


async def owners_pointing_at(client: KubernetesClient, ref: WorkloadRef) -> tuple[tuple[Owner, ...], str]:
    """Rollouts and Canaries that drive this workload, and why that could not be found out ("" when it could)."""
    rollouts, canaries = await asyncio.gather(
        _pointing(client, ROLLOUTS, ref, "workloadRef", "Rollout"),
        _pointing(client, CANARIES, ref, "targetRef", "Canary"),
    )
    return rollouts[0] + canaries[0], rollouts[1] or canaries[1]


async def _pointing(
    client: KubernetesClient, resource: Resource, ref: WorkloadRef, field: str, kind: str
) -> tuple[tuple[Owner, ...], str]:
    try:
        if not await client.serves(resource.group):
            return (), ""
        items = await client.list_shared(resource, ref.namespace)
    except NotFoundError:
        return (), ""
    except ForbiddenError as error:
        return (), str(error)
    found = []
    for item in items:
        target = (item.get("spec") or {}).get(field) or {}
        if target.get("kind", ref.kind) == ref.kind and target.get("name") == ref.name:
            found.append(Owner(kind, item["metadata"]["name"]))
    return tuple(found), ""
