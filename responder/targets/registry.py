"""Which class handles which kind of place. A new kind is a module and a line in `build_workloads`."""

from __future__ import annotations

from collections.abc import Mapping

from responder.clients.argocd import ArgoCdClient
from responder.clients.kubernetes import KubernetesClient
from responder.clients.programs import Programs
from responder.domain.target import ArgoCdRef, CheckoutRef, ComposeRef, HelmRef, Target, WorkloadRef
from responder.errors import InvalidInputError
from responder.ports import Clock, Workload, Workloads
from responder.targets.argocd import ArgoCdWorkloads
from responder.targets.checkout import CheckoutWorkloads
from responder.targets.compose import ComposeWorkloads
from responder.targets.helm import HelmWorkloads
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


def build_workloads(
    cluster: KubernetesClient,
    clock: Clock,
    programs: Programs | None = None,
    *,
    argocd: ArgoCdClient | None = None,
    cluster_environment: Mapping[str, str] | None = None,
) -> Workloads:
    """Making them sends nothing. cluster_environment: how `helm` finds the cluster."""
    programs = programs or Programs()
    return DeclaredWorkloads(
        {
            WorkloadRef: KubernetesWorkloads(cluster, clock),
            HelmRef: HelmWorkloads(cluster, programs, clock, cluster_environment or {}),
            ArgoCdRef: ArgoCdWorkloads(argocd, clock),
            ComposeRef: ComposeWorkloads(programs, clock),
            CheckoutRef: CheckoutWorkloads(programs, clock),
        }
    )
