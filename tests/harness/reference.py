"""A stage for the shipped rulebooks (see `shipped`) of what runs in a cluster, on real parts."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from responder.sandbox.catchers import SlackCatcher, StatuspageCatcher
from responder.sandbox.loopback import LoopbackServer
from tests.harness.alertmanager import webhook_body
from tests.harness.cluster import Cluster
from tests.harness.kubernetes_proxy import KubernetesProxy
from tests.harness.pod_programs import PodPrograms
from tests.harness.postgres import Postgres
from tests.harness.scraper import Scraper
from tests.harness.service import WEBHOOK_TOKEN, Json, ResponderService
from tests.harness.shipped import RULES, programs_of
from tests.harness.stage import messengers, moment_of
from tests.harness.warm_start import WarmStart

OPERATOR_TOKEN = "operator-token-of-the-tests"
SECONDS = 40
_CLOSED = ("resolved", "failed", "refused", "cancelled", "observed", "notified")


# --- the application as users see it ----------------------------------------------------------------------------------------


class Front:
    """pages: what each address answers, a status or a function of the request; others are 404. asked: what was requested."""

    def __init__(self, pages: Mapping[str, int | Callable[[Request, bytes], Response]]) -> None:
        self.pages = dict(pages)
        self.asked: list[tuple[str, str]] = []
        self._server = LoopbackServer(Starlette(routes=[Route("/{path:path}", self._answer, methods=["GET", "POST"])]))

    @property
    def url(self) -> str:
        return self._server.url

    async def __aenter__(self) -> Self:
        await self._server.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._server.stop()

    async def _answer(self, request: Request) -> Response:
        self.asked.append((request.method, request.url.path))
        page = self.pages.get(request.url.path, 404)
        return JSONResponse({"status": page}, page) if isinstance(page, int) else page(request, await request.body())


# --- the stage --------------------------------------------------------------------------------------------------------------


@dataclass
class Scene:
    cluster: Cluster
    namespace: str
    front: Front
    slack: SlackCatcher
    page: StatuspageCatcher
    service: ResponderService
    kubernetes: KubernetesProxy
    reports: Path
    began: datetime = field(default_factory=lambda: datetime.now(UTC))

    # --- what people and other systems do ---------------------------------------------------------------------------

    async def say(self, *arguments: str) -> tuple[int, str]:
        """`responder …` as an operator types it: its exit code and what it printed."""
        environment = {**os.environ, "RESPONDER_URL": self.service.url, "RESPONDER_TOKEN": OPERATOR_TOKEN}
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "responder", *arguments,
            env=environment, cwd=RULES.parent, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        printed, _ = await process.communicate()
        return process.returncode or 0, printed.decode()

    async def order(self, target: str, plan: str, **more: object) -> Json:
        """POST /v1/rollbacks; the incident at its end. more: further members of the body."""
        answer = await self.send("rollbacks", {"target": target, "plan": plan, "reason": "the test says so", **more})
        return await self.end_of(answer["incident"]["id"])

    async def send(self, path: str, body: Json, *, status: int = 202) -> Json:
        answer = await self.service.http.post(f"/v1/{path}", json=body, headers={"Authorization": f"Bearer {OPERATOR_TOKEN}"})
        assert answer.status_code == status, f"{answer.status_code} {answer.text}"
        return dict(answer.json())

    async def alert(self, labels: Mapping[str, str], status: str = "firing", **annotations: str) -> None:
        body = webhook_body(dict(labels), status=status, started=self.began)
        for one in body["alerts"]:
            one["annotations"] = {**one.get("annotations", {}), **annotations}
        answer = await self.service.post_alerts(body)
        assert answer.status_code == 202, answer.text

    async def happens(self, event: Json) -> None:
        """POST /webhooks/events"""
        headers = {"Authorization": f"Bearer {WEBHOOK_TOKEN}"}
        answer = await self.service.http.post("/webhooks/events", json=event, headers=headers)
        assert answer.status_code == 202, answer.text

    # --- what came of it ----------------------------------------------------------------------------------------------

    async def until(self, read: Callable[[], Any], holds: Callable[[Any], bool], what: str) -> Any:
        seen: Any = None
        try:
            async with asyncio.timeout(SECONDS):
                while True:
                    seen = await read()
                    if holds(seen):
                        return seen
                    await asyncio.sleep(0.05)
        except TimeoutError:
            shown = json.dumps(seen, indent=1, default=str)[:6000]
            raise AssertionError(f"never came to be: {what}; last seen: {shown}") from None

    async def end_of(self, incident_id: str) -> Json:
        async def read() -> Json:
            return await self.service.incident(incident_id)

        return dict(await self.until(read, lambda one: one["status"] in _CLOSED, f"the end of {incident_id}"))

    async def newest(self, *statuses: str) -> Json:
        """Wait until the newest incident has one of these."""

        async def read() -> Json:
            found = await self.service.incidents()
            return await self.service.incident(found[0]["id"]) if found else {"status": ""}

        return dict(await self.until(read, lambda one: one["status"] in statuses, f"an incident that is {statuses}"))

    async def deployment(self, name: str) -> Json:
        return await self.cluster.get(self.namespace, name)

    async def image(self, name: str) -> str:
        return str((await self.deployment(name))["spec"]["template"]["spec"]["containers"][0]["image"])

    async def replicas(self, name: str) -> tuple[int, int]:
        """Asked for, ready."""
        found = await self.deployment(name)
        return found["spec"].get("replicas", 0), (found.get("status") or {}).get("readyReplicas", 0)

    async def objects(self, path: str) -> list[Json]:
        """`configmaps`, `services` …, or `apis/networking.k8s.io/v1:ingresses`, of the namespace."""
        base, _, kind = path.rpartition(":")
        answer = await self.cluster.http.get(f"/{base or 'api/v1'}/namespaces/{self.namespace}/{kind}")
        answer.raise_for_status()
        return list(answer.json()["items"])

    async def create(self, path: str, body: Json) -> Json:
        base, _, kind = path.rpartition(":")
        answer = await self.cluster.http.post(f"/{base or 'api/v1'}/namespaces/{self.namespace}/{kind}", json=body)
        assert answer.is_success, answer.text
        return dict(answer.json())

    async def configuration(self, kind: str, name: str, data: Mapping[str, str], *, snapshot_of: str = "") -> None:
        """Make or change a ConfigMap or a Secret. snapshot_of: it is what a pipeline keeps of that object before it deploys."""
        plural = {"ConfigMap": "configmaps", "Secret": "secrets"}[kind]
        key = "stringData" if kind == "Secret" else "data"
        body: Json = {"apiVersion": "v1", "kind": kind, "metadata": {"name": name}, key: dict(data)}
        if snapshot_of:
            body["immutable"] = True
            body["metadata"]["labels"] = {"responder.dev/snapshot": kind.lower(), "responder.dev/snapshot-of": snapshot_of}
        path = f"/api/v1/namespaces/{self.namespace}/{plural}"
        answer = await self.cluster.http.put(f"{path}/{name}", json=body)
        if answer.status_code == 404:
            answer = await self.cluster.http.post(path, json=body)
        assert answer.is_success, answer.text

    def told(self) -> str:
        """All that Slack was told, as one text."""
        return "\n".join(json.dumps(one.payload, ensure_ascii=False) for one in self.slack.messages)

    async def report_file(self, incident_id: str) -> tuple[str, str]:
        """Name and text of the incident's report in RESPONDER_REPORTS_DIR."""

        async def read() -> list[Path]:
            return list(self.reports.glob(f"*{incident_id}.md"))

        [path] = await self.until(read, bool, f"the report of {incident_id} is a file")
        return path.name, path.read_text(encoding="utf-8")

    async def moments(self) -> list[str]:
        return [moment_of(one.payload) for one in self.slack.messages]

    async def page_says(self) -> list[str]:
        """The updates of the status page's one incident, oldest first."""
        return [str(update["status"]) for one in self.page.incidents for update in reversed(one["incident_updates"])]

    async def until_told(self, *texts: str) -> None:
        async def read() -> str:
            return self.told()

        await self.until(read, lambda told: all(text in told for text in texts), f"Slack was told {texts}")


async def next_second() -> None:
    """The server's times are whole seconds: what is told apart by them has to be made in different ones."""
    await asyncio.sleep(1.02 - datetime.now(UTC).microsecond / 1e6)


def database_variables(system: str, postgres: Postgres, database: str) -> dict[str, str]:
    """Where the database is, as the rulebooks of all systems name it."""
    server = {f"{system}_database_{part}": postgres.environment[f"PG{part.upper()}"] for part in ("host", "port", "user")}
    return {f"{system}_database": database, **server}


def steps_of(incident: Json) -> dict[str, str]:
    """Status by name of step."""
    return {one["name"]: one["status"] for one in incident["steps"]}


def outputs_of(incident: Json) -> dict[str, str]:
    return {one["name"]: one["output"] for one in incident["steps"]}


@dataclass(frozen=True)
class Ground:
    """What the scenes of a module have in common."""

    cluster: Cluster
    postgres: Postgres
    scraper: Scraper
    warm: WarmStart


@asynccontextmanager
async def scene(
    ground: Ground,
    folder: Path,
    rulebook: Callable[[str, str], Json],
    front: Front,
    *,
    namespace: str,
    environment: Mapping[str, str] | None = None,
    in_pods: Mapping[str, str] | None = None,
    metrics: Callable[[str], object] | None = None,
    prepare: Callable[[Scene], Any] | None = None,
) -> AsyncIterator[Scene]:
    """rulebook: of the namespace and the application's address. prepare: what is there before the service starts.

    in_pods: environment of programs that are executed in pods, whose working folder is folder/container.
    metrics: what the application's /metrics says in this namespace, asked anew by each scrape of Prometheus; None without one.
    """
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(front)
        slack = await stack.enter_async_context(SlackCatcher())
        page = await stack.enter_async_context(StatuspageCatcher({"component": "API"}))
        (folder / "container").mkdir(exist_ok=True)
        kubernetes = await stack.enter_async_context(PodPrograms(ground.cluster, folder / "container", in_pods or {}))
        book = rulebook(namespace, front.url)
        settings = {
            "KUBECONFIG": str(kubernetes.write_kubeconfig(folder / "kubeconfig")),
            "RESPONDER_OPERATOR_TOKEN": OPERATOR_TOKEN,
            "RESPONDER_REPORTS_DIR": str(folder / "reports"),
            "RESPONDER_ALLOWED_PROGRAMS": ",".join(programs_of(book)),
            **messengers(slack, page),
            **(environment or {}),
        }
        if metrics is not None:
            text = metrics(namespace)
            ground.scraper.show(namespace, lambda: str(text))
            stack.callback(ground.scraper.hide, namespace)
            settings["RESPONDER_PROMETHEUS_URL"] = ground.scraper.prometheus.url
        service = ResponderService(folder / "service", json.dumps(book), settings, ground.warm.program)
        on = Scene(ground.cluster, namespace, front, slack, page, service, kubernetes, folder / "reports")
        if prepare is not None:
            await prepare(on)
        if metrics is not None:
            await on.until(lambda: ground.scraper.has_scraped(namespace, times=3), bool, "three scrapes")
        on.began = datetime.now(UTC)
        await stack.enter_async_context(service)
        try:
            yield on
        except BaseException as error:
            lines = [line for line in service.log.splitlines() if '"step_progress"' not in line]
            error.add_note("\n".join(lines[-25:]))
            raise
