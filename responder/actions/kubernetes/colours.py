"""Blue and green: which colour a Service serves, and which pods are behind it."""

from __future__ import annotations

from responder.actions.kubernetes.parameters.about import Colours
from responder.actions.kubernetes.paths import Object
from responder.actions.kubernetes.place import check_namespace, place_of_target
from responder.clients.kubernetes import ENDPOINT_SLICES, ENDPOINTS, PODS, SERVICES, KubernetesClient
from responder.errors import NotFoundError, PermanentError, RefusedError
from responder.ports import StepContext


def namespace_of(colours: Colours, context: StepContext) -> str:
    """Of the Service: the colours' own, unless said otherwise."""
    given = getattr(colours, "namespace", None)
    if given is not None:
        check_namespace(str(given), context, elsewhere=False)
        return str(given)
    found = {place_of_target(context, target).namespace for target in colours.colours.values()}
    if len(found) != 1:
        raise RefusedError(f"the colours of Service {colours.service} live in different namespaces: {', '.join(sorted(found))}")
    return found.pop()


async def read_service(client: KubernetesClient, colours: Colours, context: StepContext) -> Object:
    return await client.get(SERVICES, namespace_of(colours, context), colours.service)


def served_colour(colours: Colours, service: Object) -> str:
    now = (service["spec"].get("selector") or {}).get(colours.key)
    if now not in colours.colours:
        raise PermanentError(
            f"Service {colours.service} selects {colours.key}={now}, which is none of {', '.join(sorted(colours.colours))}"
        )
    return str(now)


def idle_colour(colours: Colours, service: Object) -> str:
    others = sorted(set(colours.colours) - {served_colour(colours, service)})
    if len(others) != 1:
        raise RefusedError(f"there are several other colours ({', '.join(others)}): say which")
    return others[0]


async def pods_behind(client: KubernetesClient, namespace: str, selector: dict[str, str]) -> list[Object]:
    labels = ",".join(f"{key}={value}" for key, value in selector.items())
    return await client.list(PODS, namespace, labels=labels)


def is_ready(pod: Object) -> bool:
    conditions = (pod.get("status") or {}).get("conditions") or []
    ready = any(one.get("type") == "Ready" and one.get("status") == "True" for one in conditions)
    return ready and "deletionTimestamp" not in pod["metadata"]


async def pods_served(client: KubernetesClient, namespace: str, service: str) -> set[str]:
    """uids of the pods that get the Service's traffic now: by EndpointSlices, by Endpoints where those are not served."""
    try:
        slices = await client.list(ENDPOINT_SLICES, namespace, labels=f"kubernetes.io/service-name={service}")
    except NotFoundError:
        found = await client.get_or_none(ENDPOINTS, namespace, service) or {}
        addresses = [one for subset in found.get("subsets") or [] for one in subset.get("addresses") or []]
    else:
        endpoints = [one for item in slices for one in item.get("endpoints") or []]
        addresses = [one for one in endpoints if (one.get("conditions") or {}).get("ready") is not False]
    return {(one.get("targetRef") or {}).get("uid", "") for one in addresses}
