"""Deployments, StatefulSets and DaemonSets as targets: read, rolled back by the guarded patch, watched."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any

from responder.clients.kubernetes import KubernetesClient, retry_for_ever
from responder.domain.target import OnOwner, Target, WorkloadRef
from responder.domain.version import Owner, Pin, RolloutPhase, RolloutStatus, WorkloadState
from responder.errors import InvalidInputError, NotFoundError
from responder.ports import Clock, Workload
from responder.targets import eviction
from responder.targets import revision as kept
from responder.targets import template as templates
from responder.targets.argo_rollouts import RolloutWorkload
from responder.targets.controller_revisions import DAEMON, STATEFUL
from responder.targets.deployment import REVISION, Deployments
from responder.targets.flux import Suspension
from responder.targets.kinds import Kind
from responder.targets.newest import newest
from responder.targets.owners import owners_on, owners_pointing_at
from responder.targets.revision import Revision
from responder.targets.surroundings import Neighbourhood
from responder.targets.trace import Traces
from responder.targets.undo import Undo, insist

KINDS: dict[str, Kind] = {"Deployment": Deployments(), "StatefulSet": STATEFUL, "DaemonSet": DAEMON}


class KubernetesWorkloads:
    """The workloads of one cluster. Making one sends nothing."""

    def __init__(self, client: KubernetesClient, clock: Clock) -> None:
        self._client = client
        self._clock = clock
        self._traces = Traces(client, clock)

    def of(self, target: Target) -> Workload:
        place = target.workload
        if isinstance(place, WorkloadRef) and place.kind == "Rollout":
            return RolloutWorkload(self._client, target, place, self._clock)
        if isinstance(place, WorkloadRef) and place.kind in KINDS:
            return TemplateWorkload(self._client, target, place, self._clock, self._traces)
        raise InvalidInputError(f"target {target.name}: {place} is no workload that can be rolled back")


class TemplateWorkload:
    """One workload that is rolled back by putting an earlier pod template in place."""

    def __init__(
        self, client: KubernetesClient, target: Target, ref: WorkloadRef, clock: Clock, traces: Traces | None = None
    ) -> None:
        self._client = client
        self._patient = client.patiently()  # for looking on: what is about to be changed goes first
        self._target = target
        self._ref = ref
        self._kind = KINDS[ref.kind]
        self._clock = clock
        self._traces = traces or Traces(client, clock)

    async def read(self) -> WorkloadState:
        found, pointing = await asyncio.gather(self._get(), owners_pointing_at(self._client, self._ref))
        state, _ = await self._state(found, pointing)
        return state

    async def inspect(self) -> WorkloadState:
        """As `read`, with what the guards want to know of its surroundings; read side by side."""
        around = Neighbourhood(self._client, self._ref, self._target.guards)
        try:
            found, pointing = await asyncio.gather(self._get(), owners_pointing_at(self._client, self._ref))
            state, known = await self._state(found, pointing)
            return replace(state, surroundings=await around.around(found, known, state.replicas))
        finally:
            around.let_go()

    async def leave_trace(self, pin: Pin) -> None:
        await self._traces.leave(self._kind.resource, self._ref, pin)

    async def _state(
        self, found: dict[str, Any], pointing: tuple[tuple[Owner, ...], str]
    ) -> tuple[WorkloadState, list[Revision]]:
        known = await self._kind.revisions(self._client, found)
        return await self._state_of(found, known, pointing), known

    async def _state_of(
        self, found: dict[str, Any], known: list[Revision], pointing: tuple[tuple[Owner, ...], str]
    ) -> WorkloadState:
        versions = kept.history(found["spec"]["template"], known)
        meta, spec = found["metadata"], found["spec"]
        rollout = await self._kind.rollout(self._client, found, known, explain=False)
        return WorkloadState(
            uid=meta["uid"],
            generation=meta["generation"],
            current=versions[0],
            history=versions,
            rollout=rollout,
            read_at=self._clock(),
            replicas=spec.get("replicas", rollout.desired),
            paused=self._kind.is_paused(found),
            annotations=meta.get("annotations") or {},
            owners=owners_on(found) + pointing[0],
            owner_unknown=pointing[1],
        )

    async def roll_back(self, pin: Pin, before_write: Callable[[], Awaitable[None]]) -> str:
        flux = Suspension(self._client, pin.incident)

        async def prepare(found: dict[str, Any]) -> str:
            return await flux.begin(self._suspended(found))

        undo = Undo(self._client, self._kind, self._ref, pin, before_write=before_write, prepare=prepare, clock=self._clock)
        return await flux.told(insist(pin, undo.attempt), self._to_suspend)

    async def has_begun(self, pin: Pin) -> bool:
        """Flux was suspended for it, and still is."""
        if self._target.on_owner is not OnOwner.SUSPEND:
            return False
        return bool(await Suspension(self._client, pin.incident).stands(await self._to_suspend()))

    async def rollout(self, pin: Pin) -> RolloutStatus:
        found = await self._get(self._patient)
        if found["metadata"]["uid"] != pin.uid:
            return RolloutStatus(RolloutPhase.FAILED, f"{self._ref} was deleted and made anew by somebody else")
        known = await self._kind.revisions(self._patient, found)
        template = found["spec"]["template"]
        if not kept.runs(template, pin.to_version, known):
            now = templates.version_name(template)
            return RolloutStatus(RolloutPhase.FAILED, f"changed by somebody else: {self._ref} is now asked to run {now}")
        status = await self._kind.rollout(self._patient, found, known, explain=True)
        if status.phase is RolloutPhase.PROGRESSING and self._target.evict_unready and self._ref.kind == "StatefulSet":
            return await eviction.help_along(self._client, found, kept.with_digest(known, pin.from_version.digest), status)
        return status

    async def watch(self) -> AsyncGenerator[WorkloadState]:
        changes = newest(self._patient.watch(self._kind.resource, self._ref.namespace, self._ref.name))
        follower = _Follower(self._patient, self._kind, self._ref)
        async with contextlib.aclosing(changes):
            async for found in changes:
                if found is None:
                    continue
                seen = await follower.look(found)
                if seen is not None:
                    yield await self._state_of(*seen, ((), ""))  # the ledger keeps no word about owners

    def _suspended(self, found: dict[str, Any]) -> Sequence[Owner]:
        """The owners that are to be suspended before a change."""
        return owners_on(found) if self._target.on_owner is OnOwner.SUSPEND else ()

    async def _to_suspend(self) -> Sequence[Owner]:
        return self._suspended(await self._get()) if self._target.on_owner is OnOwner.SUSPEND else ()

    async def _get(self, client: KubernetesClient | None = None) -> dict[str, Any]:
        return await (client or self._client).get(self._kind.resource, self._ref.namespace, self._ref.name)


class _Follower:
    """Knows the revisions of a workload from one change to the next: they are read again when others may be there."""

    def __init__(self, client: KubernetesClient, kind: Kind, ref: WorkloadRef) -> None:
        self._client = client
        self._kind = kind
        self._ref = ref
        self._known: list[Revision] = []
        self._mark: tuple[object, ...] | None = None

    async def look(self, found: dict[str, Any]) -> tuple[dict[str, Any], list[Revision]] | None:
        """The workload as this change shows it, with its revisions. None when it is gone before these can be read."""
        mark = _mark(found)
        if mark == self._mark:
            return found, self._known
        shown: dict[str, Any] | None = found

        async def read() -> tuple[dict[str, Any], list[Revision]] | None:
            nonlocal shown
            latest, shown = shown, None  # what it shows may be long over when this is tried again
            try:
                latest = latest or await self._client.get(self._kind.resource, self._ref.namespace, self._ref.name)
                return latest, await self._kind.revisions(self._client, latest)
            except NotFoundError:
                return None

        seen: tuple[dict[str, Any], list[Revision]] | None = await retry_for_ever(f"read {self._ref}")(read)
        self._mark = None
        if seen is not None:
            latest, self._known = seen
            self._mark = _mark(latest) if kept.current_of(self._known) is not None else None
        return seen


def _mark(found: dict[str, Any]) -> tuple[object, ...]:
    """Another one when the workload may have other revisions, or run another one of them."""
    meta, status = found["metadata"], found.get("status") or {}
    revision = (meta.get("annotations") or {}).get(REVISION)
    seen = [status.get(field) for field in ("observedGeneration", "currentRevision", "updateRevision", "collisionCount")]
    return (meta["uid"], meta["generation"], revision, *seen)
