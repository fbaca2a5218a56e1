"""A Docker Compose project: its versions are the images its services run and those kept under tags; rolled back by retagging.

The name that the Compose file uses (`shop/web:latest`) is made to stand for the pinned image, then the services are recreated
from it. Images are pinned by id, so it does not matter who moves the tag `rollback` meanwhile. What the Compose files say is not
put back: a version's fingerprint is its images only. Every step asks the engine first, so a second attempt goes on where the
first was cut off.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from datetime import timedelta

import structlog

from responder.clients.programs import Programs
from responder.domain.target import ComposeRef, Target
from responder.domain.version import Pin, RolloutPhase, RolloutStatus, Version, WorkloadState
from responder.errors import InvalidInputError, NotFoundError, PermanentError, RefusedError
from responder.ports import Clock
from responder.targets.compose_engine import ComposeEngine, Container, Image, split_reference
from responder.targets.polling import POLL_EVERY, poll

_STEADY = timedelta(seconds=3)  # a container without a health check must have run for so long
_MOST_VERSIONS = 30

_log = structlog.get_logger(__name__)

Images = Mapping[str, str]  # service → image id


class ComposeWorkloads:
    """Making one asks nothing."""

    def __init__(self, programs: Programs, clock: Clock) -> None:
        self._programs = programs
        self._clock = clock

    def of(self, target: Target) -> ComposeWorkload:
        if not isinstance(target.workload, ComposeRef):
            raise InvalidInputError(f"target {target.name}: {target.workload} is no Compose project")
        return ComposeWorkload(ComposeEngine(self._programs, target.workload), target.workload, self._clock)


class ComposeWorkload:
    def __init__(self, engine: ComposeEngine, ref: ComposeRef, clock: Clock, poll_every: timedelta = POLL_EVERY) -> None:
        self._engine = engine
        self._ref = ref
        self._clock = clock
        self._poll_every = poll_every

    async def read(self) -> WorkloadState:
        engine_id = await self._engine.id()
        services = await self._services()
        images = await self._engine.images([found[0].repository for found in services.values()])
        concerned = self._concerned(services, images)
        running = {name: found[0].image for name, found in services.items()}
        current = self._version(services, running, images, concerned, current=True)
        return WorkloadState(
            uid=self._uid(engine_id),
            generation=0,
            current=current,
            history=(current, *self._kept_versions(services, images, concerned, current)),
            rollout=self._status(services, current),
            read_at=self._clock(),
            replicas=sum(len(found) for found in services.values()),
        )

    async def roll_back(self, pin: Pin, before_write: Callable[[], Awaitable[None]]) -> str:
        if self._uid(await self._engine.id()) != pin.uid:
            raise RefusedError(f"{self._ref}: another Docker engine than the one the rollback was decided for")
        services = await self._engine.containers()
        replaced, wanted = _images(pin.from_version), _changed(pin)
        references = {name: await self._reference(name, services, wanted[name], replaced.get(name, "")) for name in wanted}
        anew = {name: _count(services, name) for name in wanted if not _all_run(services, name, wanted[name])}
        stale = [name for name in wanted if await self._engine.image_of(references[name]) != wanted[name]]
        if not anew and not stale:
            return f"nothing to do: {self._ref} already runs {pin.to_version.version}"
        for name, image in wanted.items():
            if not await self._engine.has_image(image):
                raise PermanentError(f"{self._ref}: the image of {name} in {pin.to_version.version} is gone")
        await before_write()
        for name in stale:
            await self._engine.tag(wanted[name], references[name])
        if anew:
            await self._engine.recreate(anew)
        _log.info("rolled_back", target=pin.target, services=list(anew), tags=[references[name] for name in stale])
        return f"{self._ref}: {pin.from_version.version} replaced by {pin.to_version.version} ({', '.join(wanted)})"

    async def has_begun(self, pin: Pin) -> bool:
        """A tag was moved, or a container stopped or made anew."""
        services = await self._engine.containers()
        replaced, wanted = _images(pin.from_version), _changed(pin)
        for name, image in wanted.items():
            bad = replaced.get(name, "")
            if (
                not _all_run(services, name, bad)
                or await self._engine.image_of(await self._reference(name, services, image, bad)) == image
            ):
                return True
        return False

    async def rollout(self, pin: Pin) -> RolloutStatus:
        found = await self._engine.containers()
        wanted = _changed(pin)
        services = {name: [one for one in found if one.service == name] for name in wanted}
        for name, image in wanted.items():
            other = next((one for one in services[name] if one.image != image), None)
            if other is not None:
                return RolloutStatus(RolloutPhase.FAILED, f"changed by somebody else: {name} now runs {_short(other.image)}")
        return self._status(services, pin.to_version)

    def watch(self) -> AsyncGenerator[WorkloadState]:
        return poll(str(self._ref), self.read, self._engine.glance, self._poll_every)

    def _uid(self, engine_id: str) -> str:
        return f"{engine_id}/{self._ref.project}"

    async def _services(self) -> dict[str, list[Container]]:
        """The containers of each service that is rolled back, newest first."""
        found = await self._engine.containers()
        names = self._ref.services or tuple(sorted({one.service for one in found}))
        services = {name: [one for one in found if one.service == name] for name in names}
        missing = [name for name, containers in services.items() if not containers]
        if missing or not services:
            raise NotFoundError(f"{self._ref}: no containers of {', '.join(missing) or 'it'}")
        return services

    async def _reference(self, name: str, found: Sequence[Container], wanted: str, replaced: str) -> str:
        """The name in the Compose file. Raises RefusedError unless it, and what runs, is the bad version or the good one."""
        containers = [one for one in found if one.service == name]
        if not containers:
            raise RefusedError(f"{self._ref}: there is no container of {name}, so what it should run is not known")
        reference = containers[0].reference
        split_reference(reference)
        means = await self._engine.image_of(reference)
        for image, what in ((containers[0].image, "runs"), (means or wanted, f"is to run, by {reference},")):
            if image not in (wanted, replaced):
                raise RefusedError(
                    f"{self._ref} was changed by somebody else: {name} {what} {_short(image)}, which is neither"
                    f" {_short(replaced)} nor {_short(wanted)}"
                )
        return reference

    def _concerned(self, services: Mapping[str, Sequence[Container]], images: Sequence[Image]) -> list[str]:
        """Those named by the target; else those with an image kept for going back; else all.

        So a database beside the application stays as it is.
        """
        tagged = {one.repository for one in images if one.tag == self._ref.rollback_tag}
        kept = [name for name, found in services.items() if found[0].repository in tagged]
        return list(services) if self._ref.services or not kept else kept

    def _kept_versions(
        self,
        services: Mapping[str, Sequence[Container]],
        images: Sequence[Image],
        concerned: Sequence[str],
        current: Version,
    ) -> list[Version]:
        """The one tagged for going back first, then those that all services concerned have under one tag, newest first."""
        by_name = {(one.repository, one.tag): one.id for one in images}
        tags = dict.fromkeys([self._ref.rollback_tag, *(one.tag for one in images if one.tag != "<none>")])
        versions: dict[str, Version] = {current.fingerprint: current}
        for tag in tags:
            ids = {name: by_name.get((services[name][0].repository, tag), "") for name in concerned}
            if all(ids.values()):
                everything = {name: ids.get(name, found[0].image) for name, found in services.items()}
                cause = "kept for going back" if tag == self._ref.rollback_tag else f"tag {tag}"
                version = self._version(services, everything, images, concerned, cause=cause)
                versions.setdefault(version.fingerprint, version)
        return list(versions.values())[1 : _MOST_VERSIONS + 1]

    def _version(
        self,
        services: Mapping[str, Sequence[Container]],
        ids: Images,
        images: Sequence[Image],
        concerned: Sequence[str],
        *,
        current: bool = False,
        cause: str = "",
    ) -> Version:
        hashes = [(name, found[0].config_hash) for name, found in sorted(services.items())]
        fingerprint = _hash(sorted(ids.items()))
        references = {name: found[0].reference for name, found in services.items()}
        return Version(
            version=self._name(references, {name: ids[name] for name in concerned}, images),
            revision=fingerprint[:8],
            fingerprint=fingerprint,
            digest=_hash([sorted(ids.items()), hashes]),
            images=tuple(f"{name}: {references[name]}@{image}" for name, image in sorted(ids.items())),
            created_at=max(found[0].created for found in services.values()) if current else None,
            change_cause=cause,
            current=current,
        )

    def _name(self, references: Mapping[str, str], ids: Images, images: Sequence[Image]) -> str:
        """A tag that all images have; else one for each that differs; else the beginning of the id."""
        moving = {"latest", "<none>", self._ref.rollback_tag}
        tags: dict[str, list[str]] = {}
        for name, image in ids.items():
            repository, own = split_reference(references[name])
            found = {one.tag for one in images if one.repository == repository and one.id == image} - moving
            tags[name] = sorted(found - {own} or found, key=lambda tag: (not any(char.isdigit() for char in tag), tag))
        common = [tag for tag in next(iter(tags.values())) if all(tag in others for others in tags.values())]
        named = [tags[name][0] if tags[name] else _short(image) for name, image in sorted(ids.items())]
        return common[0] if common else " ".join(dict.fromkeys(named))

    def _status(self, services: Mapping[str, Sequence[Container]], version: Version) -> RolloutStatus:
        wanted = _images(version)
        containers = [one for found in services.values() for one in found]
        updated = [one for one in containers if one.image == wanted.get(one.service)]
        troubles = {one.id: self._trouble(one) for one in containers}
        up = sum(not troubles[one.id] for one in updated)
        counts = {"updated": len(updated), "available": up, "desired": len(containers)}
        gone = [name for name, found in services.items() if not found]
        if not gone and up == len(containers):
            return RolloutStatus(RolloutPhase.COMPLETE, f"{up} of {up} containers up", **counts)
        ended = [one for one in containers if one.status in ("exited", "dead")]
        phase = RolloutPhase.FAILED if ended else RolloutPhase.PROGRESSING
        why = [f"{name} has no container" for name in gone]
        why += [f"{one.service} {troubles[one.id]}" for one in containers if troubles[one.id]]
        return RolloutStatus(phase, f"{up} of {len(containers)} containers up: {', '.join(why)}", **counts)

    def _trouble(self, container: Container) -> str:
        """Why it does not count as up; "" when it does."""
        if container.status == "exited":
            return f"has exited with {container.exit_code}"
        if container.status != "running":
            return f"is {container.status}"
        if container.health not in ("", "healthy"):
            return f"is {container.health}"
        if not container.health and abs(self._clock() - container.started) < _STEADY:
            return "has just started"
        return ""


def _images(version: Version) -> dict[str, str]:
    """Service → image id, as written into a version."""
    pairs = (line.partition(": ") for line in version.images)
    return {name: rest.rpartition("@")[2] for name, _, rest in pairs}


def _changed(pin: Pin) -> dict[str, str]:
    """The images to go to, of the services where that makes a difference."""
    replaced = _images(pin.from_version)
    return {name: image for name, image in _images(pin.to_version).items() if replaced.get(name) != image}


def _all_run(found: Sequence[Container], service: str, image: str) -> bool:
    containers = [one for one in found if one.service == service]
    return bool(containers) and all(one.image == image and one.status in ("running", "restarting") for one in containers)


def _count(found: Sequence[Container], service: str) -> int:
    """How many there are to be; one that a recreation was cut off from has the number of its successor."""
    return len({one.number for one in found if one.service == service})


def _short(image: str) -> str:
    return image[:19] if image.startswith("sha256:") else image or "nothing"


def _hash(value: object) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()
