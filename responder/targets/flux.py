"""Flux keeps objects as Git says. Before one is changed, the Kustomization or HelmRelease that keeps it is suspended.

It stays suspended: resuming deploys what Git says, so that is a person's decision, after Git was mended.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import structlog

from responder.clients.kubernetes import KubernetesClient, Resource
from responder.domain.ownership import FLUX
from responder.domain.version import Owner
from responder.errors import NotFoundError, RefusedError

_KEEPERS = {
    "kustomize": ("kustomize.toolkit.fluxcd.io", "kustomizations", "Kustomization"),
    "helm": ("helm.toolkit.fluxcd.io", "helmreleases", "HelmRelease"),
}
_POLL_SECONDS = 0.5
_POLLS = 20  # how often a reconciliation under way is given time to end

_log = structlog.get_logger(__name__)


async def suspend(client: KubernetesClient, owners: Sequence[Owner]) -> str:
    """Suspend every Flux owner among these. Returns what people should know, "" when there is none. Safe to repeat."""
    told = [await _suspend(client, owner) for owner in owners if owner.kind == FLUX]
    return "; ".join(told)


async def _suspend(client: KubernetesClient, owner: Owner) -> str:
    word, namespace, name = owner.name.split("/", 2)
    group, plural, kind = _KEEPERS[word]
    version = await client.served_version(group)
    shown = f"{kind} {namespace}/{name}"
    if not namespace:
        raise RefusedError(f"{kind} {name} keeps the object, but its labels do not say in which namespace that is")
    if version is None:
        raise RefusedError(f"{shown} keeps the object, but the cluster does not serve {group}: somebody else must suspend it")
    resource = Resource(group, version, plural)
    try:
        found = await client.get(resource, namespace, name)
    except NotFoundError:
        raise RefusedError(f"{shown} keeps the object by its labels, but does not exist") from None
    if not _is_suspended(found):
        # Without it `add` would make a field that others own; the uid makes sure that it is this very object.
        operations = [
            {"op": "test", "path": "/metadata/uid", "value": found["metadata"]["uid"]},
            {"op": "add", "path": "/spec/suspend", "value": True},
        ]
        await client.patch_json(resource, namespace, name, operations)
        _log.info("flux_suspended", keeper=shown)
    for _ in range(_POLLS):
        found = await client.get(resource, namespace, name)
        if not _is_suspended(found):
            raise RefusedError(f"{shown} was resumed by somebody in the middle of it")
        if not _is_reconciling(found):
            break
        await asyncio.sleep(_POLL_SECONDS)
    return f"{shown} is suspended: resuming it deploys what Git says"


def _is_suspended(found: dict[str, Any]) -> bool:
    return bool((found.get("spec") or {}).get("suspend"))


def _is_reconciling(found: dict[str, Any]) -> bool:
    conditions = (found.get("status") or {}).get("conditions") or []
    return any(one.get("type") == "Reconciling" and one.get("status") == "True" for one in conditions)
