"""What the Docker engine says about one Compose project, and the few things we ask it to do. Uses the ordinary clients."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from responder.clients.programs import Programs
from responder.domain.target import ComposeRef
from responder.errors import NotFoundError, PermanentError, RefusedError

_LABEL = "com.docker.compose."
_ASK = timedelta(seconds=30)
_UP = timedelta(minutes=15)
_KEPT = 8 * 1024 * 1024  # bytes of an answer


@dataclass(frozen=True, slots=True)
class Container:
    """image: its id. reference: the name in the Compose file. health: `healthy`, `starting`, `unhealthy`, "" without a check."""

    id: str
    service: str
    number: str
    image: str
    reference: str
    config_hash: str
    created: datetime
    started: datetime
    status: str
    exit_code: int
    health: str

    @property
    def repository(self) -> str:
        return split_reference(self.reference)[0]


@dataclass(frozen=True, slots=True)
class Image:
    """One tag of an image. created: as the engine writes it; sorts by time."""

    repository: str
    tag: str
    id: str
    created: str


class ComposeEngine:
    """One project at its engine."""

    def __init__(self, programs: Programs, ref: ComposeRef) -> None:
        self._programs = programs
        self._ref = ref
        self._compose: tuple[str, ...] = ()
        self._pull_never = False

    async def id(self) -> str:
        """The engine's own id: another engine under the same address is another target."""
        return (await self._docker("info", "--format", "{{.ID}}")).strip()

    async def glance(self) -> str:
        """Cheap, and different when a container came, went or ended."""
        project = f"label={_LABEL}project={self._ref.project}"
        return await self._docker("ps", "--all", "--no-trunc", "--format", "{{.ID}} {{.State}}", "--filter", project)

    async def containers(self) -> list[Container]:
        """Those of the project's services, ended ones too; newest first."""
        project = f"label={_LABEL}project={self._ref.project}"
        ids = (await self._docker("ps", "--all", "--no-trunc", "--quiet", "--filter", project)).split()
        if not ids:
            return []
        try:
            text = await self._docker("inspect", *ids)
        except NotFoundError:  # one went meanwhile: another look shows who is left
            ids = (await self._docker("ps", "--all", "--no-trunc", "--quiet", "--filter", project)).split()
            text = await self._docker("inspect", *ids) if ids else "[]"
        found = [_container(one) for one in json.loads(text) if one["Config"]["Labels"].get(f"{_LABEL}oneoff") != "True"]
        found = [one for one in found if one.service]
        return sorted(found, key=lambda one: one.created, reverse=True)

    async def images(self, repositories: Sequence[str]) -> list[Image]:
        """Every tag of these repositories that the engine has, newest first."""
        filters = [part for one in sorted(set(repositories)) for part in ("--filter", f"reference={one}")]
        text = await self._docker("image", "ls", "--no-trunc", "--format", "{{json .}}", *filters)
        rows = [json.loads(line) for line in text.splitlines()]
        found = [Image(row["Repository"], row["Tag"], row["ID"], row["CreatedAt"]) for row in rows]
        return sorted((one for one in found if one.repository in repositories), key=lambda one: one.created, reverse=True)

    async def has_image(self, image: str) -> bool:
        try:
            await self._docker("image", "inspect", "--format", "{{.Id}}", image)
        except NotFoundError:
            return False
        return True

    async def image_of(self, reference: str) -> str:
        """Id of the image that a name stands for, "" for none."""
        try:
            return (await self._docker("image", "inspect", "--format", "{{.Id}}", reference)).strip()
        except NotFoundError:
            return ""

    async def tag(self, image: str, reference: str) -> None:
        await self._docker("tag", image, reference)

    async def recreate(self, counts: Mapping[str, int]) -> None:
        """Containers of these services anew, so many of each, from the images here; others are left alone."""
        command = await self._compose_command()
        pull = ("--pull", "never") if self._pull_never else ()
        scale = [part for name, count in counts.items() if count > 1 for part in ("--scale", f"{name}={count}")]
        await self._programs.run(
            [*command, "up", "--detach", "--no-deps", "--force-recreate", "--no-build", *pull, *scale, *counts],
            folder=self._ref.folder,
            host=self._ref.host,
            timeout=_UP,
        )

    async def _compose_command(self) -> list[str]:
        """The plug-in `docker compose`, else the older program `docker-compose`."""
        if not self._compose:
            for words in (("docker", "compose"), ("docker-compose",)):
                try:
                    await self._programs.run([*words, "version"], host=self._ref.host, timeout=_ASK)
                except PermanentError:
                    continue
                self._compose, self._pull_never = words, len(words) == 2
                break
            else:
                raise NotFoundError(f"{self._ref}: neither `docker compose` nor `docker-compose` is installed there")
        files = [part for file in self._ref.files for part in ("--file", file)]
        return [*self._compose, "--project-name", self._ref.project, *files]

    async def _docker(self, *arguments: str) -> str:
        finished = await self._programs.execute(
            ["docker", *arguments], host=self._ref.host, timeout=_ASK, kept=_KEPT, env={"LC_ALL": "C.UTF-8"}
        )
        if finished.code == 0 and finished.complete:
            return finished.stdout
        if finished.code == 0:  # never quoted: it holds the environment of containers
            raise PermanentError(f"{self._ref}: the Docker engine's answer is too long")
        said = finished.stderr.strip()[-1000:]
        if "No such" in said:
            raise NotFoundError(f"{self._ref}: {said}")
        raise PermanentError(f"{self._ref}: the Docker engine refuses: {said}")


def split_reference(reference: str) -> tuple[str, str]:
    """`host:5000/shop/web:v1` → repository and tag; the tag is `latest` when none is written.

    Raises RefusedError when the reference is a digest or an id: it can't be made to mean another image.
    """
    if "@" in reference or reference.startswith("sha256:"):
        raise RefusedError(f"the image {reference} is named by its digest: no tag can bring another one there")
    head, colon, tag = reference.rpartition(":")
    return (head, tag) if colon and "/" not in tag else (reference, "latest")


def _container(found: Mapping[str, Any]) -> Container:
    labels, state = found["Config"]["Labels"], found["State"]
    return Container(
        id=found["Id"],
        service=labels.get(f"{_LABEL}service", ""),
        number=labels.get(f"{_LABEL}container-number", "1"),
        image=found["Image"],
        reference=found["Config"]["Image"],
        config_hash=labels.get(f"{_LABEL}config-hash", ""),
        created=datetime.fromisoformat(found["Created"]),
        started=datetime.fromisoformat(state["StartedAt"]),
        status=state["Status"],
        exit_code=state.get("ExitCode", 0),
        health=(state.get("Health") or {}).get("Status", "").replace("none", ""),
    )
