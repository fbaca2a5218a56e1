"""Two equal pieces of ground on a genuine cluster: on one somebody runs `kubectl rollout undo`, on the other Responder serves."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
from pydantic import SecretStr

from responder.settings.service import Settings
from responder.wiring.service import Service
from responder.wiring.serving import serving
from tests.harness.alertmanager import webhook_body
from tests.harness.cluster import GenuineCluster, Object

KUBECTL = Path(sys.executable).parent / "kubectl"
V1, V2 = "shop/app:v1", "shop/app:v2"
RULES = """
version: 1
targets:
{targets}
notify: []
rules:
  - {{name: errors, match: 'alertname="Errors"', severity: P1, respond: rollback, plan: back}}
  - {{name: latency, match: 'alertname="Latency"', severity: P1, respond: rollback, plan: back}}
plans:
  back:
    steps: {steps}
    monitor: {{for: 0s, every: 100ms, settle: {settle}}}
"""
TARGET = """
  {name}:
    kubernetes: {{namespace: {namespace}, deployment: {name}}}
    match: 'deployment="{name}"'
    mode: armed
    owner: {owner}
    guards: {guards}
"""


@dataclass(frozen=True)
class Terms:
    """What the rulebook says on Responder's ground. names: of the targets. guards: as YAML."""

    names: tuple[str, ...] = ("app",)
    guards: str = "{proven_for: 0s}"
    owner: str = "refuse"
    steps: str = "[rollback]"
    settle: str = "1s"

    def rules(self, namespace: str) -> str:
        targets = [TARGET.format(name=name, namespace=namespace, guards=self.guards, owner=self.owner) for name in self.names]
        return RULES.format(targets="".join(targets), steps=self.steps, settle=self.settle)


DEFAULT_TERMS = Terms()


@dataclass
class Ground:
    """A namespace of its own with the workload `app`."""

    cluster: GenuineCluster
    namespace: str

    async def kubectl(self, *arguments: str) -> tuple[int, str]:
        """Exit code, and all that it said."""
        command = [str(KUBECTL), "--kubeconfig", str(self.cluster.kubeconfig), "-n", self.namespace, *arguments]
        process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT)
        said, _ = await process.communicate()
        return process.returncode or 0, said.decode()

    async def undo(self, name: str = "app") -> None:
        code, said = await self.kubectl("rollout", "undo", f"deployment/{name}")
        assert code == 0, said

    async def roll_out(self, *images: str, name: str = "app", **options: Any) -> None:
        """One after the other, each in full before the next."""
        for image in images:
            await self.cluster.deploy(self.namespace, name, image=image, **options)
            await self.cluster.wait_available(self.namespace, name)

    async def deploy(self, image: str, name: str = "app", **options: Any) -> None:
        """Without waiting for anything but the controller's first look."""
        found = await self.cluster.deploy(self.namespace, name, image=image, **options)
        generation = found["metadata"]["generation"]
        await self.cluster.until(
            lambda: self.get(name), lambda one: (one.get("status") or {}).get("observedGeneration", 0) >= generation
        )

    async def get(self, name: str = "app") -> Object:
        return await self.cluster.get(self.namespace, name)

    async def image(self, name: str = "app") -> str:
        return str((await self.get(name))["spec"]["template"]["spec"]["containers"][0]["image"])

    async def annotate(self, **annotations: str) -> None:
        await self.cluster.change(self.namespace, "app", {"metadata": {"annotations": annotations}})

    async def create(self, path: str, body: Object) -> None:
        """path: of the collection, with `{namespace}`."""
        answer = await self.cluster.http.post(path.format(namespace=self.namespace), json=body)
        assert answer.is_success, answer.text


@dataclass
class Answer:
    """Responder on its ground."""

    ground: Ground
    service: Service
    http: httpx.AsyncClient

    async def alert(
        self, name: str = "Errors", *, began: datetime | None = None, status: str = "firing", of: str = "app"
    ) -> datetime:
        began = began or datetime.now(UTC)
        body = webhook_body({"alertname": name, "deployment": of}, status=status, started=began)
        (await self.http.post("/webhooks/alertmanager", json=body)).raise_for_status()
        return began

    async def incidents(self) -> list[Object]:
        return list((await self.http.get("/v1/incidents")).json()["incidents"])

    async def newest(self, holds: Callable[[Object], bool], count: int = 1) -> Object:
        """Wait until there are so many incidents and the newest is like this; with its events."""
        found = await self.ground.cluster.until(self.incidents, lambda all: len(all) >= count and holds(all[0]))
        return dict((await self.http.get(f"/v1/incidents/{found[0]['id']}")).json()["incident"])

    async def closed(self, count: int = 1) -> Object:
        return await self.newest(lambda one: one["closed_at"] is not None, count)

    async def changed(self) -> Object:
        """Wait until the change is made and its rollout complete."""
        return await self.newest(lambda one: one["status"] in ("monitoring", "resolved"))

    async def refused(self, *words: str, count: int = 1) -> Object:
        incident = await self.closed(count)
        assert incident["status"] == "refused", (incident["status"], incident["reason"])
        assert all(word in incident["reason"] for word in words), incident["reason"]
        return incident


@asynccontextmanager
async def responder_on(ground: Ground, folder: Path, terms: Terms = DEFAULT_TERMS) -> AsyncIterator[Answer]:
    """The whole service, in this process, as `responder serve` builds it."""
    settings = _settings(folder, terms.rules(ground.namespace))
    async with AsyncExitStack() as stack:
        service = await stack.enter_async_context(serving(settings, kubeconfig=str(ground.cluster.kubeconfig)))
        http = await stack.enter_async_context(httpx.AsyncClient(base_url=service.url, trust_env=False, timeout=20))
        yield Answer(ground, service, http)


def _settings(folder: Path, rulebook: str) -> Settings:
    folder.mkdir(exist_ok=True)
    rules = folder / "rules.yaml"
    rules.write_text(rulebook)
    return Settings(port=0, rules=rules, database_url=SecretStr(f"sqlite:///{folder}/responder.db"))


async def on_both(cluster: GenuineCluster, prepare: Callable[[Ground], Awaitable[object]]) -> tuple[Ground, Ground]:
    """(the naive one, Responder's), prepared alike and at the same time."""
    grounds = Ground(cluster, await cluster.new_namespace("naive")), Ground(cluster, await cluster.new_namespace("ours"))
    await asyncio.gather(*(prepare(ground) for ground in grounds))
    return grounds


@asynccontextmanager
async def keeps(ground: Ground, image: str, *, unless: Callable[[], Awaitable[bool]] | None = None) -> AsyncIterator[None]:
    """A GitOps controller that puts its own version back as soon as it sees another, unless it is suspended."""

    async def reconcile() -> None:
        while True:
            if await ground.image() != image and not (unless and await unless()):
                await ground.cluster.deploy(ground.namespace, "app", image=image)
            await asyncio.sleep(0.1)

    task = asyncio.create_task(reconcile())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
