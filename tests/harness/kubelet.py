"""Scheduler and kubelet in one, for a genuine API server without nodes.

What a pod does is read off the name of its first container's image (the first match wins):
`bad` crash-loops, `nopull` is never pulled, `unready` never passes its readiness probe, `slow` takes two seconds,
`stuck` is never ready and does not end when it should, so that only force takes it away; any other image is ready at once.
A pod that is not restarted (a Job's) ends at once, badly where the image says `bad`.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import httpx

NODE = "node-0"
BEHAVIOURS = ("bad", "nopull", "unready", "slow", "stuck")
_MERGE = {"Content-Type": "application/merge-patch+json"}
_SLOW_SECONDS = 2.0
_BACKOFF_SECONDS = 2.0


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def behaviour_of(pod: dict[str, Any]) -> str:
    image = pod["spec"]["containers"][0]["image"]
    return next((word for word in BEHAVIOURS if word in image), "ready")


class Kubelet:
    """Gives every pod a node and the life its image asks for, until cancelled."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http
        self._lives: dict[str, tuple[str, asyncio.Task[None]]] = {}
        self._addresses = itertools.count(2)

    async def run(self) -> None:
        node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": NODE}}
        await self._http.post("/api/v1/nodes", json=node)
        ready = {"status": {"conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady"}]}}
        await self._http.patch(f"/api/v1/nodes/{NODE}/status", json=ready, headers=_MERGE)
        # New nodes are tainted as not ready; DaemonSets keep off until the node controller, which is not here, takes it away.
        await self._http.patch(f"/api/v1/nodes/{NODE}", json={"spec": {"taints": None}}, headers=_MERGE)
        try:
            while True:
                with contextlib.suppress(httpx.HTTPError):
                    async for kind, pod in self._pods():
                        self._see(kind, pod)
                await asyncio.sleep(0.2)
        finally:
            for _, life in self._lives.values():
                life.cancel()

    async def _send(self, method: str, path: str, **content: Any) -> None:
        # Lives are cancelled at any moment; a request cut off in the middle would keep its connection for ever.
        await asyncio.shield(asyncio.ensure_future(self._http.request(method, path, **content)))

    async def _pods(self) -> AsyncIterator[tuple[str, dict[str, Any]]]:
        listed = (await self._http.get("/api/v1/pods")).raise_for_status().json()
        alive = {pod["metadata"]["uid"] for pod in listed["items"]}
        for uid in set(self._lives) - alive:
            self._forget(uid)
        for pod in listed["items"]:
            yield "ADDED", pod
        parameters = {"watch": "1", "resourceVersion": listed["metadata"]["resourceVersion"], "timeoutSeconds": "600"}
        async with self._http.stream("GET", "/api/v1/pods", params=parameters, timeout=httpx.Timeout(5, read=None)) as stream:
            async for line in stream.aiter_lines():
                event = json.loads(line)
                if event["type"] == "ERROR":
                    return
                yield event["type"], event["object"]

    def _see(self, kind: str, pod: dict[str, Any]) -> None:
        uid = pod["metadata"]["uid"]
        if kind == "DELETED":
            self._forget(uid)
            return
        terminating = "deletionTimestamp" in pod["metadata"]
        phase = "end" if terminating else "live" if pod["spec"].get("nodeName") else "bind"
        known = self._lives.get(uid)
        if known and known[0] == phase:
            return
        if known:
            known[1].cancel()
        steps = {"end": self._end, "live": self._live, "bind": self._bind}
        self._lives[uid] = (phase, asyncio.create_task(self._insist(steps[phase], pod)))

    def _forget(self, uid: str) -> None:
        known = self._lives.pop(uid, None)
        if known:
            known[1].cancel()

    async def _insist(self, step: Callable[[dict[str, Any]], Awaitable[None]], pod: dict[str, Any]) -> None:
        """A request that failed would end the pod's life half-way: every step can be done again."""
        while True:
            with contextlib.suppress(httpx.HTTPError):
                await step(pod)
                return
            await asyncio.sleep(0.2)

    async def _bind(self, pod: dict[str, Any]) -> None:
        target = {"apiVersion": "v1", "kind": "Node", "name": NODE}
        name = pod["metadata"]["name"]
        binding = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": name}, "target": target}
        await self._send("POST", _path(pod) + "/binding", json=binding)

    async def _end(self, pod: dict[str, Any]) -> None:
        if behaviour_of(pod) == "stuck":
            return
        options = {"apiVersion": "v1", "kind": "DeleteOptions", "gracePeriodSeconds": 0}
        await self._send("DELETE", _path(pod), json=options)

    async def _live(self, pod: dict[str, Any]) -> None:
        behaviour = behaviour_of(pod)
        image = pod["spec"]["containers"][0]["image"]
        if pod["spec"].get("restartPolicy") == "Never" and behaviour in ("bad", "ready"):
            ended = {"exitCode": int(behaviour == "bad"), "reason": "Error" if behaviour == "bad" else "Completed"}
            await self._report(pod, "Failed" if behaviour == "bad" else "Succeeded", {"terminated": ended})
            return
        if behaviour == "nopull":
            message = f'Back-off pulling image "{image}"'
            await self._report(pod, "Pending", {"waiting": {"reason": "ImagePullBackOff", "message": message}})
        elif behaviour == "bad":
            for restarts in itertools.count():
                await self._report(pod, "Running", {"running": {"startedAt": _now()}}, restarts)
                waiting = {"reason": "CrashLoopBackOff", "message": "back-off restarting failed container"}
                await self._report(pod, "Running", {"waiting": waiting}, restarts)
                await asyncio.sleep(_BACKOFF_SECONDS)
        else:
            await self._report(pod, "Running", {"running": {"startedAt": _now()}})
            if behaviour in ("unready", "stuck"):
                return
            await asyncio.sleep(_SLOW_SECONDS if behaviour == "slow" else 0)
            await self._report(pod, "Running", {"running": {"startedAt": _now()}}, ready=True)

    async def _report(
        self, pod: dict[str, Any], phase: str, state: dict[str, Any], restarts: int = 0, *, ready: bool = False
    ) -> None:
        flag = "True" if ready else "False"
        containers = [
            {"name": one["name"], "image": one["image"], "imageID": "", "ready": ready, "restartCount": restarts, "state": state}
            for one in pod["spec"]["containers"]
        ]
        types = {"PodScheduled": "True", "Initialized": "True", "ContainersReady": flag, "Ready": flag}
        status = {
            "phase": phase,
            "podIP": f"10.0.0.{next(self._addresses) % 250}",
            "startTime": _now(),
            "conditions": [{"type": name, "status": value, "lastTransitionTime": _now()} for name, value in types.items()],
            "containerStatuses": containers,
        }
        await self._send("PATCH", _path(pod) + "/status", json={"status": status}, headers=_MERGE)


def _path(pod: dict[str, Any]) -> str:
    return f"/api/v1/namespaces/{pod['metadata']['namespace']}/pods/{pod['metadata']['name']}"
