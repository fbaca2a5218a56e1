"""Which class handles which kind of place. A new kind is a module and a line in `build_workloads`."""

from __future__ import annotations

from collections.abc import Mapping

from responder.clients.kubernetes import KubernetesClient
from responder.clients.programs import Programs
from responder.domain.target import CheckoutRef, ComposeRef, Target, WorkloadRef
from responder.errors import InvalidInputError
from responder.ports import Clock, Workload, Workloads
from responder.targets.checkout import CheckoutWorkloads
from responder.targets.compose import ComposeWorkloads
from responder.targets.kubernetes import KubernetesWorkloads


class DeclaredWorkloads:
    """See `ports.Workloads`: asks the one that knows the target's kind of place."""

    def __init__(self, kinds: Mapping[type, Workloads]) -> None:
        self._kinds = kinds

    def of(self, target: Target) -> Workload:
        kind = self._kinds.get(type(target.workload))
        if kind is None:
            raise InvalidInputError(f"target {target.name}: nothing here can roll back {target.workload}")
        return kind.of(target)


def build_workloads(cluster: KubernetesClient, clock: Clock, programs: Programs | None = None) -> Workloads:
    """Making them sends nothing."""
    programs = programs or Programs()
    return DeclaredWorkloads(
        {
            WorkloadRef: KubernetesWorkloads(cluster, clock),
            ComposeRef: ComposeWorkloads(programs, clock),
            CheckoutRef: CheckoutWorkloads(programs, clock),
        }
    )
