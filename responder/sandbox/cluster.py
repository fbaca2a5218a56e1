"""A simulated Kubernetes cluster on loopback; in what Responder relies on, clients can't tell it from a genuine one."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from responder.ports import Clock
from responder.sandbox.api.access import Tokens
from responder.sandbox.api.operations import Operations
from responder.sandbox.api.patching import STRATEGIC_PATCH
from responder.sandbox.api.resources import DEPLOYMENTS, NAMESPACES
from responder.sandbox.api.server import ApiServer
from responder.sandbox.api.store import Json, Store
from responder.sandbox.controllers.kubelet import Pace
from responder.sandbox.controllers.loop import ControllerLoop
from responder.sandbox.loopback import LoopbackServer


def machine_time() -> datetime:
    """The cluster plays another machine, so it has a clock of its own."""
    return datetime.now(UTC)  # noqa: TID251


class SandboxCluster:
    """Use as `async with SandboxCluster() as cluster:`; it serves on the running event loop.

    port 0 takes a free one. Delays in seconds: from a pod's creation until it is ready, and from its deletion until it is gone.
    backoff: seconds between the restarts of a crashing container. history: how many changes a watch can go back.
    """

    def __init__(
        self,
        port: int = 0,
        *,
        start_delay: float = 0.3,
        stop_delay: float = 0.2,
        backoff: float = 2.0,
        history: int = 2000,
        clock: Clock = machine_time,
    ) -> None:
        self.tokens = Tokens()
        self.store = Store(history)
        self.operations = Operations(self.store, clock)
        pace = Pace(timedelta(seconds=start_delay), timedelta(seconds=stop_delay), backoff=timedelta(seconds=backoff))
        self._controllers = ControllerLoop(self.operations, pace, clock)
        api = ApiServer(self.operations, self.tokens, clock, self._controllers.kubelet.log_of)
        self._server = LoopbackServer(api.app(), port)
        self._controlling: asyncio.Task[None] | None = None

    @property
    def url(self) -> str:
        return self._server.url

    async def __aenter__(self) -> Self:
        self._controllers.kubelet.register_node()
        for name in ("default", "kube-system"):
            self.create_namespace(name)
        await self._server.start()
        self._controlling = asyncio.create_task(self._controllers.run(), name="sandbox controllers")
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.store.close()  # ends the watches, which would hold up the server, and the controllers
        await self._server.stop()
        if self._controlling is not None:
            await self._controlling

    def kubeconfig(self, user: str = "admin") -> Json:
        """user: admin, viewer (reads everything, writes nothing) or nobody (no rights at all).

        kubectl sends no token over plain HTTP and so is always the admin; the Python client sends it.
        """
        return {
            "apiVersion": "v1", "kind": "Config", "current-context": "sandbox",
            "clusters": [{"name": "sandbox", "cluster": {"server": self.url}}],
            "users": [{"name": user, "user": {"token": getattr(self.tokens, user)}}],
            "contexts": [{"name": "sandbox", "context": {"cluster": "sandbox", "user": user, "namespace": "default"}}],
        }  # fmt: skip

    def write_kubeconfig(self, path: Path, user: str = "admin") -> None:
        """JSON is YAML; readable by its owner only."""
        path.touch(mode=0o600)
        path.write_text(json.dumps(self.kubeconfig(user), indent=2) + "\n")

    def create_namespace(self, name: str) -> None:
        """No effect when it exists."""
        if self.store.get(NAMESPACES.plural, "", name) is None:
            self.operations.create(NAMESPACES, "", {"metadata": {"name": name}})

    def deployment(self, namespace: str, name: str) -> Json | None:
        return self.store.get(DEPLOYMENTS.plural, namespace, name)

    async def deploy(
        self,
        namespace: str,
        name: str,
        image: str,
        replicas: int = 2,
        *,
        env: dict[str, str] | None = None,
        change_cause: str = "",
    ) -> Json:
        """Create the Deployment, or set its image (and env) as a deploy pipeline would. Returns it as stored; doesn't wait."""
        container: Json = {"name": name, "image": image}
        if env:
            container["env"] = [{"name": key, "value": value} for key, value in env.items()]
        template: Json = {"spec": {"containers": [container]}}
        metadata: Json = {"annotations": {"kubernetes.io/change-cause": change_cause}} if change_cause else {}
        if self.deployment(namespace, name) is not None:
            body = json.dumps({"metadata": metadata, "spec": {"template": template}}).encode()
            return self.operations.patch(DEPLOYMENTS, namespace, name, STRATEGIC_PATCH, body)
        self.create_namespace(namespace)
        labels = {"app": name}
        spec: Json = {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {**template, "metadata": {"labels": labels}},
        }
        metadata |= {"name": name, "labels": labels}
        return self.operations.create(DEPLOYMENTS, namespace, {"metadata": metadata, "spec": spec})

    async def wait_available(self, namespace: str, name: str, timeout: float = 30) -> Json:
        """Return the Deployment once its current template is fully rolled out. Raises TimeoutError."""
        async with asyncio.timeout(timeout):
            while True:
                version = self.store.version
                found = self.deployment(namespace, name)
                if found is not None and _is_rolled_out(found):
                    return found
                if self.store.closed:
                    raise RuntimeError("the sandbox cluster was left")
                await self.store.changed(version)

    def forget_history(self) -> None:
        """As an etcd compaction: a watch that goes on from an earlier version gets 410 and has to list again."""
        self.store.forget_history()


def _is_rolled_out(deployment: Json) -> bool:
    status: dict[str, Any] = deployment.get("status", {})
    counts = [status.get(key, 0) for key in ("replicas", "updatedReplicas", "availableReplicas")]
    wanted = deployment["spec"]["replicas"]
    seen: int | None = status.get("observedGeneration")
    return seen == int(deployment["metadata"]["generation"]) and counts == [wanted] * 3
