"""Who else writes an object's number of pods."""

from __future__ import annotations

import asyncio

from responder.actions.kubernetes.kinds import resource_of
from responder.actions.kubernetes.place import Place
from responder.clients.kubernetes import KubernetesClient, Resource
from responder.errors import NotFoundError

_SCALED_OBJECTS = Resource("keda.sh", "v1alpha1", "scaledobjects")


async def autoscaler_of(client: KubernetesClient, place: Place) -> str:
    """The autoscaler in words, "" when there is none. Raises ForbiddenError when that may not be known."""
    plain, keda = await asyncio.gather(_plain(client, place), _keda(client, place))
    return keda or plain


async def _plain(client: KubernetesClient, place: Place) -> str:
    resource = await resource_of(client, "HorizontalPodAutoscaler")
    for item in await client.list(resource, place.namespace):
        reference = item["spec"].get("scaleTargetRef") or {}
        if (reference.get("kind"), reference.get("name")) == (place.kind, place.name):
            return f"the autoscaler {item['metadata']['name']}"
    return ""


async def _keda(client: KubernetesClient, place: Place) -> str:
    if not await client.serves(_SCALED_OBJECTS.group):
        return ""
    try:
        items = await client.list(_SCALED_OBJECTS, place.namespace)
    except NotFoundError:
        return ""
    for item in items:
        reference = (item.get("spec") or {}).get("scaleTargetRef") or {}
        if (reference.get("kind", "Deployment"), reference.get("name")) == (place.kind, place.name):
            return f"KEDA's ScaledObject {item['metadata']['name']}"
    return ""
