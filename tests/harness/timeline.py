"""A test told as a timeline: what was waited for, when it came, and what every part said when it did not."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Awaitable, Callable
from typing import Any, Self, TypeVar

import httpx
import pytest

from tests.harness.cluster import Cluster, Object

PATIENCE = 60.0  # seconds; generous, since nothing waits for long unless something is wrong
_POLL_SECONDS = 0.05

Seen = TypeVar("Seen")


class Timeline:
    """sources: asked when the story is told; each shows what one part knows, a log for example."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._lines: list[str] = []
        self.sources: list[Callable[[], str]] = []

    def note(self, text: str) -> None:
        self._lines.append(f"{time.monotonic() - self._began:7.2f} s  {text}")

    async def until(
        self, what: str, read: Callable[[], Awaitable[Seen]], holds: Callable[[Seen], object] = bool, seconds: float = PATIENCE
    ) -> Seen:
        """Poll until `holds` is true of what `read` returns; return that. `what` becomes a line of the story."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                seen: Any = await read()
                if holds(seen):
                    self.note(what)
                    return seen  # type: ignore[no-any-return]
            except httpx.TransportError as error:  # a server that is being started again
                seen = repr(error)
            if time.monotonic() > deadline:
                self.note(f"NOT within {seconds:g} s: {what}")
                pytest.fail(f"waited for: {what}\nlast seen: {str(seen)[:3000]}")
            await asyncio.sleep(_POLL_SECONDS)

    def story(self) -> str:
        return "\n".join(["--- the story ---", *self._lines, *(source() for source in self.sources)])


class TemplateHistory:
    """Every pod template that a Deployment was asked to run, from a watch of the test's own: nothing can hide between two looks.

    images: of the first container, one for each change of the template, the first one included.
    """

    def __init__(self, cluster: Cluster, namespace: str, name: str) -> None:
        self._cluster = cluster
        self._path = f"/apis/apps/v1/namespaces/{namespace}/deployments"
        self._name = name
        self._templates: list[Object] = []
        self._task: asyncio.Task[None] | None = None
        self.latest: Object = {}

    @property
    def images(self) -> list[str]:
        return [str(template["spec"]["containers"][0]["image"]) for template in self._templates]

    @property
    def image(self) -> str:
        """What it is asked to run now; "" before the first look."""
        return self.images[-1] if self._templates else ""

    async def __aenter__(self) -> Self:
        found = (await self._cluster.http.get(f"{self._path}/{self._name}")).raise_for_status().json()
        self._take(found)
        self._task = asyncio.create_task(self._watch(found["metadata"]["resourceVersion"]), name="template history")
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def check(self) -> None:
        """Fail when the watch has broken: an unwatched history proves nothing."""
        assert self._task is not None
        assert not self._task.done(), f"the watch of {self._name} ended"

    async def _watch(self, version: str) -> None:
        while True:
            query = {"watch": "1", "fieldSelector": f"metadata.name={self._name}", "resourceVersion": version}
            limit = httpx.Timeout(20, read=None)
            # A connection that ends is taken up where it ended.
            with contextlib.suppress(httpx.TransportError):
                async with self._cluster.http.stream("GET", self._path, params=query, timeout=limit) as stream:
                    async for line in stream.aiter_lines():
                        event = json.loads(line)
                        assert event["type"] in ("ADDED", "MODIFIED", "BOOKMARK"), event
                        version = event["object"]["metadata"]["resourceVersion"]
                        if event["type"] != "BOOKMARK":
                            self._take(event["object"])

    def _take(self, deployment: Object) -> None:
        template = deployment["spec"]["template"]
        if not self._templates or self._templates[-1] != template:
            self._templates.append(template)
        self.latest = deployment


def replica_set_of(replica_sets: list[Object], image: str) -> Object:
    """The only ReplicaSet with this image."""
    found = [one for one in replica_sets if one["spec"]["template"]["spec"]["containers"][0]["image"] == image]
    assert len(found) == 1, f"{len(found)} ReplicaSets run {image}"
    return found[0]


def revision_of(item: Object) -> int:
    return int(item["metadata"]["annotations"]["deployment.kubernetes.io/revision"])
