"""Applications of Argo CD as targets, rolled back by Argo CD: automated sync off, then its own rollback to an earlier deployment.

Automated sync stays off, since it would deploy what Git says: switching it on again is a person's decision. What it was is kept
in an annotation of the application, written with the same change.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from datetime import timedelta
from typing import Any

import orjson
import structlog

from responder.clients.argocd import NOT_SET, Application, ArgoCdClient
from responder.domain.target import ArgoCdRef, Target
from responder.domain.version import Pin, RolloutPhase, RolloutStatus, WorkloadState
from responder.errors import InvalidInputError, NotFoundError, PermanentError, RefusedError
from responder.ports import Clock
from responder.targets import application
from responder.targets.polling import poll
from responder.targets.stays import told
from responder.targets.undo import insist, name_of

SWITCHED_OFF_BY = "responder.dev/incident"  # for which incident that was
KEPT_SYNC = "responder.dev/automated-sync"  # what automated sync was before Responder switched it off, as JSON
_GLANCE_EVERY = timedelta(seconds=5)

_log = structlog.get_logger(__name__)


class ArgoCdWorkloads:
    """client: None when the settings for Argo CD are missing."""

    def __init__(self, client: ArgoCdClient | None, clock: Clock) -> None:
        self._client = client
        self._clock = clock

    def of(self, target: Target) -> ArgoCdWorkload:
        if not isinstance(target.workload, ArgoCdRef):
            raise InvalidInputError(f"target {target.name}: {target.workload} is no application of Argo CD")
        if self._client is None:
            raise InvalidInputError(f"target {target.name}: {NOT_SET}")
        return ArgoCdWorkload(self._client, target.workload, self._clock)


class ArgoCdWorkload:
    """One application. Its history is Argo CD's list of deployments; a Git revision is a version."""

    def __init__(self, client: ArgoCdClient, ref: ArgoCdRef, clock: Clock) -> None:
        self._client = client
        self._ref = ref
        self._clock = clock

    async def read(self) -> WorkloadState:
        found = await self._get()
        versions = application.history(found)
        if not versions:
            raise NotFoundError(f"{self._ref} was never synced")
        meta = found["metadata"]
        return WorkloadState(
            uid=meta["uid"],
            generation=int(meta.get("generation", 0)),
            current=versions[0],
            history=versions,
            rollout=application.status_of(found),
            read_at=self._clock(),
            annotations=meta.get("annotations") or {},
            owners=application.owners(found),
        )

    async def roll_back(self, pin: Pin, before_write: Callable[[], Awaitable[None]]) -> str:
        attempt = _Attempt(self._client, self._ref, pin, before_write)

        async def look() -> str:
            found = await self._get()
            return stays_off(found) if _switched_off_for(found, pin) else ""

        return await told(insist(pin, attempt.once), look, lambda: attempt.left)

    async def has_begun(self, pin: Pin) -> bool:
        """Automated sync was switched off for it, and still is."""
        return _switched_off_for(await self._get(), pin)

    async def rollout(self, pin: Pin) -> RolloutStatus:
        found = await self._get()
        if found["metadata"]["uid"] != pin.uid:
            return RolloutStatus(RolloutPhase.FAILED, f"{self._ref} was deleted and made anew by somebody else")
        if application.is_automated(found):
            return RolloutStatus(RolloutPhase.FAILED, f"changed by somebody else: automated sync of {self._ref} was switched on")
        if not is_back_at(found, pin) and not _leads_to(found, pin):
            now = application.history(found)[0].version
            return RolloutStatus(RolloutPhase.FAILED, f"changed by somebody else: {self._ref} is now at {now}")
        if not application.is_looked_at(found):
            found = await self._get(refresh=True)
        return application.status_of(found)

    def watch(self) -> AsyncGenerator[WorkloadState]:
        return poll(str(self._ref), self.read, self._glance, glance_every=_GLANCE_EVERY)

    async def _glance(self) -> str:
        found = await self._get()
        status = application.status_of(found)
        return f"{[one.revision for one in application.history(found)[:1]]} {status.phase} {status.reason}"

    async def _get(self, *, refresh: bool = False) -> Application:
        return await self._client.get(self._ref.application, self._ref.namespace, refresh=refresh)


def _switched_off_for(found: Application, pin: Pin) -> bool:
    by = (found["metadata"].get("annotations") or {}).get(SWITCHED_OFF_BY)
    return bool(by) and by == pin.incident and not application.is_automated(found)


def stays_off(found: Application) -> str:
    """What people should know about the automated sync, "" when it was never switched off."""
    was: Any = (found["metadata"].get("annotations") or {}).get(KEPT_SYNC)
    return f"automated sync is off (it was {was}): switching it on deploys what Git says" if was else ""


def is_back_at(found: Application, pin: Pin) -> bool:
    """The latest deployment is the pinned version, after the bad one."""
    latest = application.history(found)[0]
    return latest.fingerprint == pin.to_version.fingerprint and int(latest.revision) >= int(pin.from_version.revision)


def _leads_to(found: Application, pin: Pin) -> bool:
    """The latest sync, under way or over, is to the pinned version: our own rollback, whatever came of it."""
    wanted = application.wanted_revision(found)
    return bool(wanted) and pin.to_version.version == (wanted[:7] if len(wanted) == 40 else wanted)


class _Attempt:
    """left: what it has switched off so far, in words."""

    def __init__(self, client: ArgoCdClient, ref: ArgoCdRef, pin: Pin, before_write: Callable[[], Awaitable[None]]) -> None:
        self._client = client
        self._ref = ref
        self._pin = pin
        self._before_write = before_write
        self._told = False
        self._sent = False
        self.left = ""

    async def once(self) -> str:
        found, pin = await self._get(), self._pin
        if found["metadata"]["uid"] != pin.uid:
            raise RefusedError(f"{self._ref} was deleted and made anew since the rollback was decided: another object")
        if is_back_at(found, pin) and not application.is_operating(found):
            return self._done(found) if self._sent else f"nothing to do: {self._ref} is at {name_of(pin.to_version)} again"
        if application.is_operating(found):
            if _leads_to(found, pin) and not application.is_automated(found):
                return self._done(found)  # an earlier attempt asked for it
            raise RefusedError(f"{self._ref}: a sync is under way (to {application.wanted_revision(found) or 'Git'})")
        self._check(found)
        if not self._told:
            await self._before_write()
            self._told = True
        if application.is_automated(found):
            found = await self._switch_off(found)
        self._sent = True
        found = await self._client.roll_back(self._ref.application, self._ref.namespace, int(pin.to_version.revision))
        _log.info("rolled_back", target=pin.target, application=self._ref.application, history_id=pin.to_version.revision)
        return self._done(found)

    def _check(self, found: Application) -> None:
        pin, versions = self._pin, application.history(found)
        if (versions[0].fingerprint, versions[0].revision) != (pin.from_version.fingerprint, pin.from_version.revision):
            raise RefusedError(
                f"{self._ref} was changed by somebody else: it is at {name_of(versions[0])}, which is neither"
                f" {name_of(pin.from_version)} nor the way back to {name_of(pin.to_version)}"
            )
        wanted = (pin.to_version.fingerprint, pin.to_version.revision)
        if not any((one.fingerprint, one.revision) == wanted for one in versions):
            raise PermanentError(f"{self._ref}: {name_of(pin.to_version)} is gone (revisionHistoryLimit)")
        owners = application.owners(found)
        if owners:
            names = ", ".join(f"{one.kind} {one.name}" for one in owners)
            raise RefusedError(f"{self._ref} belongs to {names}, which would switch automated sync on again")

    async def _switch_off(self, found: Application) -> Application:
        was = orjson.dumps(found["spec"]["syncPolicy"]["automated"], option=orjson.OPT_SORT_KEYS).decode()
        change = {
            "metadata": {"annotations": {KEPT_SYNC: was, SWITCHED_OFF_BY: self._pin.incident}},
            "spec": {"syncPolicy": {"automated": None}},
        }
        await self._client.patch(self._ref.application, self._ref.namespace, change)
        _log.info("automated_sync_switched_off", application=self._ref.application, was=was)
        found = await self._get()
        if application.is_automated(found):
            raise RefusedError(f"{self._ref}: automated sync was switched on again at once: something else keeps it so")
        self.left = stays_off(found)
        return found

    def _done(self, found: Application) -> str:
        done = f"{self._ref}: {name_of(self._pin.from_version)} is being replaced by {name_of(self._pin.to_version)}"
        return "; ".join(part for part in (done, stays_off(found)) if part)

    async def _get(self) -> Application:
        return await self._client.get(self._ref.application, self._ref.namespace)
