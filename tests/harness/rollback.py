"""What tests of rollbacks share: the workload `app`, a pin, and a stand-in for the durable intent."""

from __future__ import annotations

from datetime import UTC, datetime

from responder.clients.kubernetes import KubernetesClient
from responder.domain.target import Target, WorkloadRef
from responder.domain.version import Pin
from responder.ports import Workload
from responder.targets.kubernetes import TemplateWorkload


class Intent:
    """Stands for the durable intent that the engine writes before the first change; counts."""

    def __init__(self) -> None:
        self.written = 0

    async def __call__(self) -> None:
        self.written += 1


def workload_of(client: KubernetesClient, namespace: str) -> TemplateWorkload:
    ref = WorkloadRef(namespace, "app")
    return TemplateWorkload(client, Target("app", ref, ()), ref, lambda: datetime.now(UTC))


async def pin_of(workload: Workload, version: str) -> Pin:
    """From the current version to an older one."""
    state = await workload.read()
    return Pin("app", state.uid, state.current, next(one for one in state.history if one.version == version))
