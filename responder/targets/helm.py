"""Helm releases as targets: read from the Secrets in which Helm keeps them, rolled back by `helm` itself.

Helm's hooks and its way to merge are its own and are not done again here. Whatever `helm` says, the Secrets are asked afterwards;
after a crash they tell whether anything is left to do.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any

import structlog

from responder.clients.kubernetes import SECRETS, KubernetesClient
from responder.clients.program_output import Finished
from responder.clients.programs import Programs, failure
from responder.domain.target import HelmRef, OnOwner, Target, WorkloadRef
from responder.domain.version import Owner, Pin, RolloutPhase, RolloutStatus, WorkloadState
from responder.errors import InvalidInputError, NotFoundError, PermanentError, RefusedError
from responder.ports import Clock
from responder.targets.flux import Suspension
from responder.targets.helm_release import DEPLOYED, FAILED, PENDING_ROLLBACK, SUPERSEDED, Contents, Release, contents_of, decode
from responder.targets.kubernetes import KINDS
from responder.targets.polling import poll
from responder.targets.undo import name_of

_HELM_WAITS = timedelta(minutes=4)  # shorter than a step's timeout, so that helm can still write down that it failed
_MOST_TIME = _HELM_WAITS + timedelta(minutes=2)  # its hooks come on top
_KEPT_CONTENTS = 200
_GLANCE_EVERY = timedelta(seconds=5)

_log = structlog.get_logger(__name__)


class HelmWorkloads:
    """The releases of one cluster. Making one sends nothing. environment: how `helm` finds the cluster."""

    def __init__(self, client: KubernetesClient, programs: Programs, clock: Clock, environment: Mapping[str, str]) -> None:
        self._client = client
        self._programs = programs
        self._clock = clock
        self._environment = environment
        self._known: dict[str, Contents] = {}

    def of(self, target: Target) -> HelmWorkload:
        if not isinstance(target.workload, HelmRef):
            raise InvalidInputError(f"target {target.name}: {target.workload} is no Helm release")
        return HelmWorkload(self, target, target.workload)

    async def contents(self, release: Release) -> Contents:
        """Manifests are large and never change: each is read once."""
        if release.digest not in self._known:
            found = await asyncio.to_thread(contents_of, release.manifest)
            if len(self._known) >= _KEPT_CONTENTS:
                self._known.pop(next(iter(self._known)))
            self._known[release.digest] = found
        return self._known[release.digest]

    async def helm(self, arguments: Sequence[str], timeout: timedelta) -> Finished:
        return await self._programs.execute(["helm", *arguments], env=self._environment, timeout=timeout)

    @property
    def client(self) -> KubernetesClient:
        return self._client

    def now(self) -> Any:
        return self._clock()


class HelmWorkload:
    """One release. Its history are its revisions that were deployed."""

    def __init__(self, releases: HelmWorkloads, target: Target, ref: HelmRef) -> None:
        self._releases = releases
        self._client = releases.client
        self._target = target
        self._ref = ref

    async def read(self) -> WorkloadState:
        found = await self._list()
        latest = found[0]
        contents = await self._releases.contents(latest)
        current = latest.version(contents, current=True)
        earlier = [one for one in found[1:] if one.status in (DEPLOYED, SUPERSEDED)]
        history = [one.version(await self._releases.contents(one), current=False) for one in earlier]
        return WorkloadState(
            uid=self._uid(found),
            generation=latest.revision,
            current=current,
            history=(current, *history),
            rollout=await self._status(latest, contents, explain=False),
            read_at=self._releases.now(),
            owners=contents.owners,
        )

    async def roll_back(self, pin: Pin, before_write: Callable[[], Awaitable[None]]) -> str:
        flux = Suspension(self._client, pin.incident)
        return await flux.told(self._roll_back(pin, before_write, flux), self._to_suspend)

    async def _roll_back(self, pin: Pin, before_write: Callable[[], Awaitable[None]], flux: Suspension) -> str:
        found = await self._list()
        if self._uid(found) != pin.uid:
            raise RefusedError(f"{self._ref} was uninstalled and installed anew since the rollback was decided")
        latest = found[0]
        if self._is_ours(latest, pin):
            if latest.status == DEPLOYED:
                return f"nothing to do: {self._ref} already runs {name_of(pin.to_version)} again (now revision {latest.revision})"
        else:
            self._check(latest, pin)
        target = next(
            (one for one in found if one.digest == pin.to_version.digest and one.status in (DEPLOYED, SUPERSEDED)), None
        )
        if target is None:
            raise PermanentError(f"{self._ref}: {name_of(pin.to_version)} is gone (history limit)")
        await self._releases.helm(["version", "--short"], timedelta(seconds=30))  # not installed: say so before the intent
        await before_write()
        suspended = await flux.begin(await self._to_suspend())
        await self._run(target, pin)
        done = f"{self._ref}: {name_of(pin.from_version)} replaced by {name_of(pin.to_version)}"
        return "; ".join(part for part in (done, suspended) if part)

    async def has_begun(self, pin: Pin) -> bool:
        """Flux was suspended for it, or Helm wrote down a revision that leads there."""
        if self._is_ours((await self._list())[0], pin):
            return True
        return bool(await Suspension(self._client, pin.incident).stands(await self._to_suspend()))

    async def _to_suspend(self) -> Sequence[Owner]:
        if self._target.on_owner is not OnOwner.SUSPEND:
            return ()
        return (await self._releases.contents((await self._list())[0])).owners

    async def rollout(self, pin: Pin) -> RolloutStatus:
        found = await self._list()
        latest = found[0]
        if self._uid(found) != pin.uid:
            return RolloutStatus(RolloutPhase.FAILED, f"{self._ref} was uninstalled and installed anew by somebody else")
        if latest.digest != pin.to_version.digest:
            return RolloutStatus(
                RolloutPhase.FAILED, f"changed by somebody else: {self._ref} is now at revision {latest.revision}"
            )
        return await self._status(latest, await self._releases.contents(latest), explain=True)

    def watch(self) -> AsyncGenerator[WorkloadState]:
        return poll(str(self._ref), self.read, self._glance, glance_every=_GLANCE_EVERY)

    async def _glance(self) -> str:
        """Only the revisions that are not superseded: one, or two while somebody deploys."""
        labels = f"owner=helm,name={self._ref.release},status!=superseded"
        found = await self._client.list(SECRETS, self._ref.namespace, labels=labels)
        return " ".join(sorted(f"{one['metadata']['name']}@{one['metadata']['resourceVersion']}" for one in found))

    async def _list(self) -> list[Release]:
        """Newest first. Raises NotFoundError when there is no such release."""
        labels = f"owner=helm,name={self._ref.release}"
        secrets = await self._client.list(SECRETS, self._ref.namespace, labels=labels)
        found = sorted((decode(one) for one in secrets), key=lambda one: one.revision, reverse=True)
        if not found or found[0].status == "uninstalled":
            raise NotFoundError(f"{self._ref} is not installed")
        return found

    def _uid(self, found: Sequence[Release]) -> str:
        """Installed anew, a release of the same name is another one; every revision carries when the first was deployed."""
        return f"{self._ref.namespace}/{self._ref.release}@{found[0].first_deployed}"

    @staticmethod
    def _is_ours(latest: Release, pin: Pin) -> bool:
        """The rollback that was decided has been made, or was cut off: the way to the pinned version, after the bad one."""
        if latest.digest != pin.to_version.digest or latest.revision <= int(pin.from_version.revision):
            return False
        return latest.status in (DEPLOYED, FAILED, PENDING_ROLLBACK)

    def _check(self, latest: Release, pin: Pin) -> None:
        if latest.is_pending:
            raise RefusedError(
                f"{self._ref} is {latest.status} (revision {latest.revision}): somebody works on it, or was cut off"
            )
        if latest.digest != pin.from_version.digest or str(latest.revision) != pin.from_version.revision:
            raise RefusedError(
                f"{self._ref} was changed by somebody else: it is at revision {latest.revision}, which is neither"
                f" {name_of(pin.from_version)} nor the way back to {name_of(pin.to_version)}"
            )

    async def _run(self, target: Release, pin: Pin) -> None:
        """history-max 0: a rollback is no time to forget revisions."""
        timeout = f"{_HELM_WAITS.total_seconds():.0f}s"
        arguments = ["rollback", self._ref.release, str(target.revision), "--namespace", self._ref.namespace]
        arguments += ["--wait", "--timeout", timeout, "--history-max", "0"]
        finished = await self._releases.helm(arguments, _MOST_TIME)
        latest = (await self._list())[0]
        if finished.code == 0 and self._is_ours(latest, pin) and latest.status == DEPLOYED:
            _log.info("rolled_back", target=pin.target, revision=target.revision, release=self._ref.release)
            return
        if finished.code == 0:
            raise PermanentError(f"{self._ref}: helm reports success, but its record says {latest.status} at {latest.revision}")
        raise failure(["helm"], finished)

    async def _status(self, release: Release, contents: Contents, *, explain: bool) -> RolloutStatus:
        """Helm's own word, then that of every workload of the release."""
        if release.is_pending:
            return RolloutStatus(RolloutPhase.PROGRESSING, f"helm: {release.status}")
        if release.status == FAILED:
            return RolloutStatus(RolloutPhase.FAILED, f"helm: failed: {release.description}")
        parts = [await self._workload(*one, explain=explain) for one in contents.workloads]
        counts = [sum(getattr(part, key) for _, part in parts) for key in ("updated", "available", "desired")]
        for phase in (RolloutPhase.FAILED, RolloutPhase.PROGRESSING):
            behind = [f"{name}: {part.reason}" for name, part in parts if part.phase is phase]
            if behind:
                return RolloutStatus(phase, "; ".join(behind), *counts)
        text = f"{counts[1]} of {counts[2]} pods available in {len(parts)} workloads" if parts else f"helm: {release.status}"
        return RolloutStatus(RolloutPhase.COMPLETE, text, *(counts if parts else (1, 1, 1)))

    async def _workload(self, kind: str, namespace: str, name: str, *, explain: bool) -> tuple[str, RolloutStatus]:
        ref = WorkloadRef(namespace or self._ref.namespace, name, kind)
        handled = KINDS[kind]
        shown = f"{kind.lower()}/{name}"
        try:
            found = await self._client.get(handled.resource, ref.namespace, ref.name)
        except NotFoundError:
            return shown, RolloutStatus(RolloutPhase.FAILED, "is gone")
        known = await handled.revisions(self._client, found)
        return shown, await handled.rollout(self._client, found, known, explain=explain)
