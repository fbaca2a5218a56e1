"""A git checkout that is installed, built and run by a process manager.

Its versions are the commits it has been at, and tags. Going back is a row of stages: check the pinned commit out, install, build,
restart. How far it is stands in the checkout itself (its git configuration), so that whoever goes on after a crash knows which
stage to begin anew; every stage may run twice. What has been changed by hand is never overwritten.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from datetime import timedelta

import structlog

from responder.clients.programs import Programs
from responder.domain.target import CheckoutRef, Target
from responder.domain.version import Pin, RolloutPhase, RolloutStatus, Version, WorkloadState
from responder.errors import InvalidInputError, PermanentError, RefusedError
from responder.ports import Clock
from responder.targets.git import Commit, Git
from responder.targets.polling import POLL_EVERY, poll
from responder.targets.process_manager import process_manager, status_of

_MOST_VERSIONS = 40
_SHOWN_FILES = 5
_STEP = timedelta(minutes=20)  # for installing and for building, each

_log = structlog.get_logger(__name__)


class CheckoutWorkloads:
    """Making one asks nothing."""

    def __init__(self, programs: Programs, clock: Clock) -> None:
        self._programs = programs
        self._clock = clock

    def of(self, target: Target) -> CheckoutWorkload:
        if not isinstance(target.workload, CheckoutRef):
            raise InvalidInputError(f"target {target.name}: {target.workload} is no checkout")
        return CheckoutWorkload(self._programs, target.workload, self._clock)


class CheckoutWorkload:
    def __init__(self, programs: Programs, ref: CheckoutRef, clock: Clock, poll_every: timedelta = POLL_EVERY) -> None:
        self._programs = programs
        self._ref = ref
        self._clock = clock
        self._poll_every = poll_every
        self._git = Git(programs, ref)
        self._manager = process_manager(programs, ref)

    async def read(self) -> WorkloadState:
        uid, head, changed = await self._git.id(), await self._git.head(), await self._git.changed_files()
        commits, tags = await self._git.commits(), await self._git.tags()
        versions = [_version(one, tags, changed if one.sha == head else (), current=one.sha == head) for one in commits]
        current = next((one for one in versions if one.current), None)
        if current is None:
            raise PermanentError(f"{self._ref}: git does not know the commit {head[:12]} that is checked out")
        others: dict[str, Version] = {}
        for one in versions:
            if not one.current:
                others.setdefault(one.fingerprint, one)
        processes = await self._manager.processes(self._clock())
        return WorkloadState(
            uid=uid,
            generation=0,
            current=current,
            history=(current, *list(others.values())[:_MOST_VERSIONS]),
            rollout=status_of(processes),
            read_at=self._clock(),
            replicas=len(processes),
        )

    async def roll_back(self, pin: Pin, before_write: Callable[[], Awaitable[None]]) -> str:
        for argv in (self._ref.install, self._ref.build):
            if argv:
                self._programs.check_allowed(argv[0])
        if await self._git.id() != pin.uid:
            raise RefusedError(f"{self._ref} was cloned anew since the rollback was decided: another checkout")
        head, bad, good = await self._git.head(), _sha(pin.from_version), _sha(pin.to_version)
        ours, stage = _stage(await self._git.stage(), pin)
        if head == good and not ours:
            return f"nothing to do: {self._ref} is at {pin.to_version.version} already"
        if head not in (bad, good):
            raise RefusedError(
                f"{self._ref} was changed by somebody else: it is at {head[:12]}, which is neither"
                f" {pin.from_version.version} nor {pin.to_version.version}"
            )
        cut_off = ours and stage == "check out"  # what is changed then is our own, as it began with nothing changed
        if head == bad and not cut_off:
            await self._check_untouched()
        if not await self._git.has(good):
            raise PermanentError(f"{self._ref}: the commit {good[:12]} of {pin.to_version.version} is gone")
        await before_write()
        if head == bad:
            await self._check_out(pin, force=cut_off)
            stage = "install"
        await self._finish(pin, stage)
        _log.info("rolled_back", target=pin.target, commit=good, resumed_at=stage if ours else "")
        return f"{self._ref}: {pin.from_version.version} replaced by {pin.to_version.version}"

    async def has_begun(self, pin: Pin) -> bool:
        """The checkout keeps the stage it was at."""
        ours, _ = _stage(await self._git.stage(), pin)
        return ours

    async def rollout(self, pin: Pin) -> RolloutStatus:
        head = await self._git.head()
        if head != _sha(pin.to_version):
            return RolloutStatus(RolloutPhase.FAILED, f"changed by somebody else: {self._ref} is now at {head[:12]}")
        return status_of(await self._manager.processes(self._clock()))

    def watch(self) -> AsyncGenerator[WorkloadState]:
        return poll(str(self._ref), self.read, self._git.head, self._poll_every)

    async def _finish(self, pin: Pin, stage: str) -> None:
        """Everything after checking out, from the stage that was reached. A stage is kept before it begins."""
        if stage in ("check out", "install"):
            await self._keep(pin, "install")
            await self._run(self._ref.install)
        if stage != "restart":
            await self._keep(pin, "build")
            await self._run(self._ref.build)
        await self._keep(pin, "restart")
        await self._manager.restart()
        await self._git.set_stage("")

    async def _run(self, argv: Sequence[str]) -> None:
        if argv:
            await self._programs.run(argv, folder=self._ref.folder, host=self._ref.host, timeout=_STEP)

    async def _keep(self, pin: Pin, stage: str) -> None:
        await self._git.set_stage(f"{_sha(pin.from_version)} {_sha(pin.to_version)} {stage}")

    async def _check_out(self, pin: Pin, *, force: bool) -> None:
        await self._keep(pin, "check out")
        try:
            await self._git.check_out(_sha(pin.to_version), force=force)
        except PermanentError:  # git did nothing; nobody may take what is changed later for ours
            await self._git.set_stage("")
            raise

    async def _check_untouched(self) -> None:
        changed = await self._git.changed_files()
        if changed:
            more = f" and {len(changed) - _SHOWN_FILES} more" if len(changed) > _SHOWN_FILES else ""
            files = ", ".join(changed[:_SHOWN_FILES])
            raise RefusedError(f"{self._ref} has files changed by hand: {files}{more}; commit them or put them back first")


def _version(commit: Commit, tags: Mapping[str, str], changed: Sequence[str], *, current: bool) -> Version:
    """revision: the commit. What was changed by hand makes another version of it."""
    by_hand = [list(changed)] if changed else []
    return Version(
        version=tags.get(commit.sha, commit.sha[:10]) + (" changed by hand" if changed else ""),
        revision=commit.sha,
        fingerprint=_hash([commit.tree, *by_hand]),
        digest=_hash([commit.sha, *by_hand]),
        created_at=commit.at,
        change_cause=commit.subject,
        current=current,
    )


def _stage(kept: str, pin: Pin) -> tuple[bool, str]:
    """Whether the rollback kept in the checkout is this very one, and how far it was."""
    bad, _, rest = kept.partition(" ")
    good, _, stage = rest.partition(" ")
    return (bad, good) == (_sha(pin.from_version), _sha(pin.to_version)), stage


def _sha(version: Version) -> str:
    return version.revision


def _hash(value: object) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()
