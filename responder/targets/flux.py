"""Flux keeps objects as Git says. Before one is changed, the Kustomization or HelmRelease that keeps it is suspended.

It stays suspended: resuming deploys what Git says, so that is a person's decision, after Git was mended.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import structlog

from responder.clients.kubernetes import KubernetesClient, Resource
from responder.domain.ownership import FLUX
from responder.domain.version import Owner
from responder.errors import NotFoundError, RefusedError
from responder.targets.stays import told

_KEEPERS = {
    "kustomize": ("kustomize.toolkit.fluxcd.io", "kustomizations", "Kustomization"),
    "helm": ("helm.toolkit.fluxcd.io", "helmreleases", "HelmRelease"),
}
SUSPENDED_FOR = "responder.dev/suspended-for"  # the incident, on the Kustomization or HelmRelease
_POLL_SECONDS = 0.5
_POLLS = 20  # how often a reconciliation under way is given time to end

_log = structlog.get_logger(__name__)


class Suspension:
    """The Flux owners that one rollback suspends. incident: for which one; "" leaves no mark on them."""

    def __init__(self, client: KubernetesClient, incident: str) -> None:
        self._client = client
        self._incident = incident
        self._said: list[str] = []

    async def begin(self, owners: Sequence[Owner]) -> str:
        """Suspend every Flux owner among these. Returns what people should know, "" when there is none. Safe to repeat."""
        for owner in owners:
            if owner.kind == FLUX:
                said = await _suspend(self._client, owner, self._incident)
                if said not in self._said:
                    self._said.append(said)
        return "; ".join(self._said)

    async def stands(self, owners: Sequence[Owner]) -> str:
        """What an earlier attempt of this rollback, cut off since, has left suspended; "" for nothing."""
        left = [await _left(self._client, owner, self._incident) for owner in owners if owner.kind == FLUX]
        return "; ".join(said for said in left if said)

    async def told(self, work: Awaitable[str], owners: Callable[[], Awaitable[Sequence[Owner]]]) -> str:
        """The rollback's own work. When it fails, the error says what stays suspended."""

        async def look() -> str:
            return await self.stands(await owners())

        return await told(work, look, lambda: "; ".join(self._said))


async def _suspend(client: KubernetesClient, owner: Owner, incident: str) -> str:
    word, namespace, name = owner.name.split("/", 2)
    group, _, kind = _KEEPERS[word]
    shown = f"{kind} {namespace}/{name}"
    if not namespace:
        raise RefusedError(f"{kind} {name} keeps the object, but its labels do not say in which namespace that is")
    resource = await _resource(client, word)
    if resource is None:
        raise RefusedError(f"{shown} keeps the object, but the cluster does not serve {group}: somebody else must suspend it")
    try:
        found = await client.get(resource, namespace, name)
    except NotFoundError:
        raise RefusedError(f"{shown} keeps the object by its labels, but does not exist") from None
    if not _is_suspended(found):
        # Without it `add` would make a field that others own; the uid makes sure that it is this very object.
        operations = [
            {"op": "test", "path": "/metadata/uid", "value": found["metadata"]["uid"]},
            *_marking(found, incident),
            {"op": "add", "path": "/spec/suspend", "value": True},
        ]
        await client.patch_json(resource, namespace, name, operations)
        _log.info("flux_suspended", keeper=shown, incident=incident)
    for _ in range(_POLLS):
        found = await client.get(resource, namespace, name)
        if not _is_suspended(found):
            raise RefusedError(f"{shown} was resumed by somebody in the middle of it")
        if not _is_reconciling(found):
            break
        await asyncio.sleep(_POLL_SECONDS)
    return _stays(owner)


async def _left(client: KubernetesClient, owner: Owner, incident: str) -> str:
    word, namespace, name = owner.name.split("/", 2)
    resource = await _resource(client, word)
    if resource is None or not namespace or not incident:
        return ""
    found = await client.get_or_none(resource, namespace, name)
    if found is None or not _is_suspended(found):
        return ""
    return _stays(owner) if (found["metadata"].get("annotations") or {}).get(SUSPENDED_FOR) == incident else ""


async def _resource(client: KubernetesClient, word: str) -> Resource | None:
    group, plural, _ = _KEEPERS[word]
    version = await client.served_version(group)
    return None if version is None else Resource(group, version, plural)


def _stays(owner: Owner) -> str:
    word, namespace, name = owner.name.split("/", 2)
    return f"{_KEEPERS[word][2]} {namespace}/{name} is suspended: resuming it deploys what Git says"


def _marking(found: dict[str, Any], incident: str) -> list[dict[str, Any]]:
    """In the same write, so that a crash after it leaves no suspension that nobody knows of."""
    if not incident:
        return []
    if not found["metadata"].get("annotations"):
        return [{"op": "add", "path": "/metadata/annotations", "value": {SUSPENDED_FOR: incident}}]
    return [{"op": "add", "path": f"/metadata/annotations/{SUSPENDED_FOR.replace('/', '~1')}", "value": incident}]


def _is_suspended(found: dict[str, Any]) -> bool:
    return bool((found.get("spec") or {}).get("suspend"))


def _is_reconciling(found: dict[str, Any]) -> bool:
    conditions = (found.get("status") or {}).get("conditions") or []
    return any(one.get("type") == "Reconciling" and one.get("status") == "True" for one in conditions)
