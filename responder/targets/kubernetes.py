"""Deployments as targets: read, rolled back by the guarded patch, watched."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

from responder.clients.kubernetes import DEPLOYMENTS, PODS, REPLICA_SETS, KubernetesClient, retry_for_ever
from responder.domain.target import Target, WorkloadRef
from responder.domain.version import Pin, RolloutPhase, RolloutStatus, WorkloadState
from responder.errors import ForbiddenError, InvalidInputError, NotFoundError, TemporaryError
from responder.ports import Clock
from responder.targets import deployment as deployments
from responder.targets import template as templates
from responder.targets.owners import owners_on, owners_pointing_at
from responder.targets.undo import runs, undo


class KubernetesWorkloads:
    """The workloads of one cluster. Making one sends nothing."""

    def __init__(self, client: KubernetesClient, clock: Clock) -> None:
        self._client = client
        self._clock = clock

    def of(self, target: Target) -> DeploymentWorkload:
        if not isinstance(target.workload, WorkloadRef) or target.workload.kind != "Deployment":
            raise InvalidInputError(f"target {target.name}: {target.workload} can't be rolled back yet, only a Deployment")
        return DeploymentWorkload(self._client, target.workload, self._clock)


class DeploymentWorkload:
    """One Deployment. Its history are its ReplicaSets."""

    def __init__(self, client: KubernetesClient, ref: WorkloadRef, clock: Clock) -> None:
        self._client = client
        self._ref = ref
        self._clock = clock

    async def read(self) -> WorkloadState:
        found, pointing = await asyncio.gather(self._get(), owners_pointing_at(self._client, self._ref))
        known = deployments.revisions(found, await self._replica_sets(found))
        versions = deployments.history(found, known)
        meta, spec = found["metadata"], found["spec"]
        return WorkloadState(
            uid=meta["uid"],
            generation=meta["generation"],
            current=versions[0],
            history=versions,
            rollout=deployments.rollout_status(found, deployments.current_replica_set(known)),
            read_at=self._clock(),
            replicas=spec.get("replicas", 1),
            paused=bool(spec.get("paused")),
            annotations=meta.get("annotations") or {},
            owners=owners_on(found) + pointing[0],
            owner_unknown=pointing[1],
        )

    async def roll_back(self, pin: Pin, before_write: Callable[[], Awaitable[None]]) -> str:
        return await undo(self._client, self._ref, pin, before_write)

    async def rollout(self, pin: Pin) -> RolloutStatus:
        found = await self._get()
        if found["metadata"]["uid"] != pin.uid:
            return RolloutStatus(RolloutPhase.FAILED, f"{self._ref} was deleted and made anew by somebody else")
        known = deployments.revisions(found, await self._replica_sets(found))
        if not runs(found, pin.to_version, known):
            now = templates.version_name(found["spec"]["template"])
            return RolloutStatus(RolloutPhase.FAILED, f"changed by somebody else: {self._ref} is now asked to run {now}")
        replica_set = deployments.current_replica_set(known)
        status = deployments.rollout_status(found, replica_set)
        if status.phase is RolloutPhase.COMPLETE or replica_set is None:
            return status
        return deployments.rollout_status(found, replica_set, await self._pods(found, replica_set["metadata"]["uid"]))

    async def watch(self) -> AsyncGenerator[WorkloadState]:
        changes = self._client.watch(DEPLOYMENTS, self._ref.namespace, self._ref.name)
        again = retry_for_ever(f"read {self._ref}")
        async with contextlib.aclosing(changes):
            async for found in changes:
                if found is None:
                    continue
                state: WorkloadState | None = await again(self._read_if_there)
                if state is not None:
                    yield state

    async def _read_if_there(self) -> WorkloadState | None:
        try:
            return await self.read()
        except NotFoundError:
            return None

    async def _get(self) -> dict[str, Any]:
        return await self._client.get(DEPLOYMENTS, self._ref.namespace, self._ref.name)

    async def _replica_sets(self, found: dict[str, Any]) -> list[dict[str, Any]]:
        labels = deployments.selector_text(found["spec"]["selector"])
        return await self._client.list(REPLICA_SETS, self._ref.namespace, labels=labels)

    async def _pods(self, found: dict[str, Any], owner: str) -> list[dict[str, Any]]:
        labels = deployments.selector_text(found["spec"]["selector"])
        try:
            pods = await self._client.list(PODS, self._ref.namespace, labels=labels)
        except (ForbiddenError, TemporaryError):
            return []  # only costs us the reason
        return [pod for pod in pods if deployments.is_controlled_by(pod, owner)]
