"""Rollouts of Argo Rollouts as targets: aborted while a version is being tried, else the earlier template is put back.

The ReplicaSets are the controller's own and are never touched. A template that was put back would be rolled out in canary steps,
pauses and analyses included: a proven version needs none of them, so it is promoted in full.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import structlog

from responder.clients.kubernetes import DEPLOYMENTS, REPLICA_SETS, KubernetesClient, Resource, retry_for_ever
from responder.domain.target import OnOwner, Target, WorkloadRef
from responder.domain.version import Owner, Pin, RolloutPhase, RolloutStatus, WorkloadState
from responder.errors import ConflictError, NotFoundError, RefusedError, TemporaryError
from responder.ports import Clock
from responder.targets import revision as kept
from responder.targets import rollout
from responder.targets import template as templates
from responder.targets.flux import Suspension
from responder.targets.owners import ROLLOUTS, owners_on
from responder.targets.revision import Revision, selector_text
from responder.targets.rollout import Seen
from responder.targets.undo import Prepare, Undo, insist, name_of

Object = Mapping[str, Any]

_log = structlog.get_logger(__name__)


class RolloutWorkload:
    """One Rollout. Its history are its ReplicaSets."""

    def __init__(self, client: KubernetesClient, target: Target, ref: WorkloadRef, clock: Clock) -> None:
        self._client = client
        self._target = target
        self._ref = ref
        self._clock = clock
        self._access = _Access(client, ref)
        self._suspends = target.on_owner is OnOwner.SUSPEND

    async def read(self) -> WorkloadState:
        seen = await self._access.look()
        meta = seen.rollout["metadata"]
        versions = rollout.history(seen)
        owners = owners_on(seen.rollout)
        if seen.holder is not seen.rollout:
            owners += tuple(one for one in owners_on(seen.holder) if one not in owners)
        return WorkloadState(
            uid=meta["uid"],
            generation=meta["generation"],
            current=versions[0],
            history=versions,
            rollout=rollout.status_of(seen),
            read_at=self._clock(),
            replicas=seen.desired,
            paused=bool(seen.rollout["spec"].get("paused")),
            annotations=meta.get("annotations") or {},
            owners=owners,
        )

    async def roll_back(self, pin: Pin, before_write: Callable[[], Awaitable[None]]) -> str:
        flux = Suspension(self._client, pin.incident)

        async def prepare(holder: dict[str, Any]) -> str:
            return await flux.begin(owners_on(holder)) if self._suspends else ""

        attempt = _Attempt(self._client, self._access, pin, before_write=before_write, prepare=prepare)
        return await flux.told(insist(pin, attempt.once), self._to_suspend)

    async def has_begun(self, pin: Pin) -> bool:
        """Flux was suspended for it, and still is."""
        return self._suspends and bool(await Suspension(self._client, pin.incident).stands(await self._to_suspend()))

    async def rollout(self, pin: Pin) -> RolloutStatus:
        seen = await self._access.look()
        if seen.rollout["metadata"]["uid"] != pin.uid:
            return RolloutStatus(RolloutPhase.FAILED, f"{self._ref} was deleted and made anew by somebody else")
        status = rollout.status_of(seen)
        if is_back_at(seen, pin):
            return status
        if not kept.runs(seen.template, pin.to_version, seen.known):
            now = templates.version_name(seen.template)
            return RolloutStatus(RolloutPhase.FAILED, f"changed by somebody else: {self._ref} is now asked to run {now}")
        if seen.is_aborted:
            serving = name_of(seen.stable.version) if seen.stable else "nothing"
            return RolloutStatus(RolloutPhase.FAILED, f"the way back to {name_of(pin.to_version)} was aborted: {serving} serves")
        if status.phase is RolloutPhase.PROGRESSING and await self._promote(seen, pin):
            return replace(status, reason=f"{status.reason}; steps and pauses are skipped (promoteFull)")
        return status

    async def watch(self) -> AsyncGenerator[WorkloadState]:
        again = retry_for_ever(f"read {self._ref}")
        async with contextlib.aclosing(self._client.watch(ROLLOUTS, self._ref.namespace, self._ref.name)) as changes:
            async for found in changes:
                state: WorkloadState | None = None if found is None else await again(self._read_if_there)
                if state is not None:
                    yield state

    async def _read_if_there(self) -> WorkloadState | None:
        try:
            return await self.read()
        except NotFoundError:
            return None

    async def _promote(self, seen: Seen, pin: Pin) -> bool:
        """Skip what is left of canary steps and pauses. Safe to repeat; the controller takes the mark off when it is done."""
        target = kept.with_digest(seen.known, pin.to_version.digest)
        current = str(seen.status.get("currentPodHash", ""))
        if target is None or not current or rollout.hash_of(target) != current or seen.is_fully_promoted:
            return False
        if not seen.is_observed or seen.status.get("abort"):
            return False
        if not seen.status.get("promoteFull"):
            try:
                await self._access.patch_status(seen.rollout, {"promoteFull": True})
            except ConflictError:
                return False  # the controller was writing, too: the next look tries again
            _log.info("promoted_in_full", target=pin.target, revision=target.version.revision)
        return True

    async def _to_suspend(self) -> Sequence[Owner]:
        return owners_on((await self._access.look()).holder) if self._suspends else ()


class _Access:
    """Reading a Rollout with what belongs to it, and writing its status."""

    def __init__(self, client: KubernetesClient, ref: WorkloadRef) -> None:
        self._client = client
        self.ref = ref

    async def look(self) -> Seen:
        found = await self._client.get(ROLLOUTS, self.ref.namespace, self.ref.name)
        selector = found["spec"].get("selector")
        holder, items = await asyncio.gather(self._holder(found), self._replica_sets(selector))
        seen = rollout.seen(found, holder, items)
        if seen is None:
            raise TemporaryError(f"{self.ref}: its controller has not seen the latest change yet")
        return seen

    async def _holder(self, found: dict[str, Any]) -> dict[str, Any]:
        reference = found["spec"].get("workloadRef")
        if not reference:
            return found
        if reference.get("kind") != "Deployment":
            raise RefusedError(f"{self.ref} takes its template from a {reference.get('kind')}, which can't be put back")
        return await self._client.get(DEPLOYMENTS, self.ref.namespace, reference["name"])

    async def _replica_sets(self, selector: Object | None) -> list[dict[str, Any]]:
        # With workloadRef the selector may be left to the referenced object: then ownership alone tells.
        labels = selector_text(selector) if selector else ""
        return await self._client.list(REPLICA_SETS, self.ref.namespace, labels=labels)

    async def patch_status(self, found: dict[str, Any], status: Object, *, dry_run: bool = False) -> None:
        """resourceVersion and uid make it a write upon what was read; releases before 0.10 have no status of its own."""
        meta = {key: found["metadata"][key] for key in ("uid", "resourceVersion")}
        body = {"metadata": meta, "status": dict(status)}
        where = (ROLLOUTS, self.ref.namespace, self.ref.name)
        try:
            await self._client.patch_merge(*where, body, subresource="status", dry_run=dry_run)
        except NotFoundError:
            await self._client.patch_merge(*where, body, dry_run=dry_run)


def is_back_at(seen: Seen, pin: Pin) -> bool:
    """The pinned version serves because the other one was aborted."""
    stable = seen.stable
    return seen.is_aborted and stable is not None and stable.version.digest == pin.to_version.digest


class _Attempt:
    """A rollback of one Rollout. What is fully promoted is undone by its template, what is not by an abort."""

    def __init__(
        self,
        client: KubernetesClient,
        access: _Access,
        pin: Pin,
        *,
        before_write: Callable[[], Awaitable[None]],
        prepare: Prepare,
    ) -> None:
        self._client = client
        self._access = access
        self._ref = access.ref
        self._pin = pin
        self._before_write = before_write
        self._prepare = prepare
        self._told = False
        self._undo: Undo | None = None

    async def once(self) -> str:
        seen = await self._access.look()
        pin = self._pin
        if seen.rollout["metadata"]["uid"] != pin.uid:
            raise RefusedError(f"{self._ref} was deleted and made anew since the rollback was decided: another object")
        if is_back_at(seen, pin):
            return f"nothing to do: {self._ref} was aborted and serves {name_of(pin.to_version)}"
        if not seen.is_observed:
            raise TemporaryError(f"{self._ref}: its controller has not seen the latest change yet")
        if seen.is_fully_promoted or kept.runs(seen.template, pin.to_version, seen.known):
            return await self._put_back(seen)
        return await self._abort(seen)

    async def _abort(self, seen: Seen) -> str:
        pin, stable = self._pin, seen.stable
        if not kept.runs(seen.template, pin.from_version, seen.known):
            now = templates.version_name(seen.template)
            raise RefusedError(f"{self._ref} was changed by somebody else: it is asked to run {now}")
        if stable is None or stable.version.digest != pin.to_version.digest:
            serving = name_of(stable.version) if stable else "nothing"
            raise RefusedError(
                f"{self._ref}: {name_of(pin.from_version)} is not fully promoted, so it can only be aborted, which leads back to"
                f" {serving} and not to {name_of(pin.to_version)}"
            )
        if "deletionTimestamp" in seen.rollout["metadata"]:
            raise RefusedError(f"{self._ref} is being deleted")
        if seen.rollout["spec"].get("paused"):
            raise RefusedError(f"{self._ref} is paused: somebody works on it; resume it first")
        await self._access.patch_status(seen.rollout, {"abort": True}, dry_run=True)
        await self._tell()
        prepared = await self._prepare(seen.holder)
        await self._access.patch_status(seen.rollout, {"abort": True})
        _log.info("rollout_aborted", target=pin.target, revision=stable.version.revision)
        done = f"{self._ref}: {name_of(pin.from_version)} aborted, {name_of(pin.to_version)} serves again"
        caveat = "its template still names the aborted version: mend it before anybody retries it"
        return "; ".join(part for part in (done, caveat, prepared) if part)

    async def _put_back(self, seen: Seen) -> str:
        """With workloadRef the template stands in a Deployment: that is the object to be changed."""
        holder = seen.holder["metadata"]
        if self._undo is None:
            is_own = seen.holder is seen.rollout
            ref = self._ref if is_own else WorkloadRef(self._ref.namespace, holder["name"])
            kind = _Templates(ROLLOUTS if is_own else DEPLOYMENTS, self._access)
            pin = replace(self._pin, uid=holder["uid"])
            self._undo = Undo(self._client, kind, ref, pin, before_write=self._tell, prepare=self._prepare)
        return await self._undo.attempt()

    async def _tell(self) -> None:
        if not self._told:
            await self._before_write()
            self._told = True


class _Templates:
    """See `kinds.Templates`: the object that holds a Rollout's template."""

    keeper = "ReplicaSet"

    def __init__(self, resource: Resource, access: _Access) -> None:
        self.resource = resource
        self._access = access

    async def revisions(self, _: KubernetesClient, found: Object) -> list[Revision]:
        seen = await self._access.look()
        if seen.holder["metadata"]["generation"] != found["metadata"]["generation"]:
            raise ConflictError(f"{self._access.ref} was changed in this moment")
        return seen.known

    def is_paused(self, found: Object) -> bool:
        return bool(found["spec"].get("paused"))

    def caveat(self, _: Object) -> str:
        return ""
