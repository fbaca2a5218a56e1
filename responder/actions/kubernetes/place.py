"""Which object a step is about: that of a declared target, or one that the rulebook names outright."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from responder.actions.kubernetes.kinds import KINDS, api_version_of, resource_of
from responder.actions.kubernetes.parameters.about import ObjectParameters, OnParameters
from responder.clients.kubernetes import KubernetesClient, Resource
from responder.domain.target import HelmRef, Mode, Target, WorkloadRef
from responder.errors import RefusedError
from responder.ports import StepContext


@dataclass(frozen=True, slots=True)
class Place:
    """target: name of the declared target whose workload this is, None for any other object."""

    resource: Resource
    kind: str
    namespace: str
    name: str
    target: str | None = None

    @property
    def api_version(self) -> str:
        return api_version_of(self.resource)

    def note(self) -> dict[str, object]:
        """For the intent."""
        return asdict(self)

    def __str__(self) -> str:
        return f"{self.kind.lower()}/{self.name} in namespace {self.namespace}"


def noted_place(intent: Mapping[str, object] | None) -> Place | None:
    """What an interrupted attempt was about."""
    note: Any = (intent or {}).get("object")
    return None if note is None else Place(**{**note, "resource": Resource(**note["resource"])})


async def locate(on: OnParameters, context: StepContext, client: KubernetesClient) -> Place:
    """Raises RefusedError for what the rulebook does not allow, or when a target is now another object than when it began."""
    if on.object is not None:
        return await locate_object(on.object, context, client)
    return _unchanged(place_of_target(context, on.target), context)


async def locate_object(named: ObjectParameters, context: StepContext, client: KubernetesClient) -> Place:
    return _unchanged(await place_of_object(named, context, client), context)


def _unchanged(place: Place, context: StepContext) -> Place:
    before = noted_place(context.intent)
    if before is not None and before != place:
        raise RefusedError(f"this step began on {before}, but now it is about {place}")
    return place


def place_of_target(context: StepContext, name: str | None = None) -> Place:
    target = context.declared(name or context.target)
    return Place(*_workload(target), target=target.name)


def _workload(target: Target) -> tuple[Resource, str, str, str]:
    ref = target.workload
    if not isinstance(ref, WorkloadRef):
        raise RefusedError(f"target {target.name} is a {ref}: name the Kubernetes object by `object`")
    return KINDS[ref.kind][0], ref.kind, ref.namespace, ref.name


async def place_of_object(named: ObjectParameters, context: StepContext, client: KubernetesClient) -> Place:
    check_namespace(named.namespace, context, elsewhere=named.elsewhere)
    for target in context.targets().values():
        if target.workload == WorkloadRef(named.namespace, named.name, named.kind):
            raise RefusedError(
                f"{target.workload} is target {target.name}: name it by `target`, so that its mode and guards count"
            )
    resource = await resource_of(client, named.kind, named.api_version)
    return Place(resource, named.kind, named.namespace, named.name)


def check_namespace(namespace: str, context: StepContext, *, elsewhere: bool) -> None:
    known = {one.workload.namespace for one in context.targets().values() if isinstance(one.workload, WorkloadRef | HelmRef)}
    if not elsewhere and namespace not in known:
        raise RefusedError(f"namespace {namespace} has no declared target; write `elsewhere: true` if this is on purpose")


def check_mode(context: StepContext, name: str) -> None:
    """For targets beside the step's own, which the engine looks at."""
    if context.declared(name).mode is Mode.OBSERVE:
        raise RefusedError(f"target {name} is in observe mode")
