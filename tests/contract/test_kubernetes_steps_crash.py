"""Each step is killed before, during and after each of its writes, and run again: the effect happens once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from responder.clients.kubernetes import KubernetesClient
from tests.harness.cluster import Cluster
from tests.harness.kubernetes_proxy import Forward, KubernetesProxy, Request
from tests.harness.steps import Killed, StepStage

Look = Callable[[Cluster, str], Awaitable[Any]]


@dataclass(frozen=True)
class Case:
    """writes: requests that change something in an undisturbed run. becomes: what the look finds afterwards."""

    uses: str
    given: Callable[[str], dict[str, Any]]
    look: Look
    becomes: Any
    writes: int = 1
    prepare: Callable[[Cluster, StepStage], Awaitable[None]] | None = None


async def _read(cluster: Cluster, path: str) -> Any:
    response = await cluster.http.get(path)
    return None if response.status_code == 404 else response.json()


async def _post(cluster: Cluster, path: str, body: dict[str, Any]) -> None:
    response = await cluster.http.post(path, json=body)
    assert response.is_success, response.text


def spec_of(*steps: str) -> Look:
    async def look(cluster: Cluster, namespace: str) -> Any:
        found: Any = await cluster.get(namespace, "app")
        value = found["spec"]
        for step in steps:
            value = value.get(step) if isinstance(value, dict) else value[int(step)]
        return value

    return look


async def generations(cluster: Cluster, namespace: str) -> int:
    return int((await cluster.get(namespace, "app"))["metadata"]["generation"])


async def settings(cluster: Cluster, namespace: str) -> Any:
    return ((await _read(cluster, f"/api/v1/namespaces/{namespace}/configmaps/settings")) or {}).get("data")


async def snapshots(cluster: Cluster, namespace: str) -> int:
    return len((await _read(cluster, f"/api/v1/namespaces/{namespace}/configmaps?labelSelector=responder.dev/snapshot"))["items"])


async def jobs(cluster: Cluster, namespace: str) -> list[str]:
    return [one["metadata"]["name"] for one in (await _read(cluster, f"/apis/batch/v1/namespaces/{namespace}/jobs"))["items"]]


async def colour(cluster: Cluster, namespace: str) -> str:
    return str((await _read(cluster, f"/api/v1/namespaces/{namespace}/services/shop"))["spec"]["selector"]["colour"])


async def pods(cluster: Cluster, namespace: str) -> int:
    return len(await cluster.pods(namespace))


async def with_settings(cluster: Cluster, stage: StepStage) -> None:
    body = {"metadata": {"name": "settings"}, "data": {"n": "1"}}
    await _post(cluster, f"/api/v1/namespaces/{stage.namespace}/configmaps", body)


async def with_bad_settings(cluster: Cluster, stage: StepStage) -> None:
    await with_settings(cluster, stage)
    direct = KubernetesClient(str(cluster.kubeconfig))
    try:
        await StepStage(direct, stage.namespace).run("kubernetes.snapshot", on(stage.namespace))
    finally:
        await direct.close()
    path = f"/api/v1/namespaces/{stage.namespace}/configmaps/settings"
    await cluster.http.patch(path, json={"data": {"n": "bad"}}, headers={"Content-Type": "application/merge-patch+json"})
    stage.incident = replace(stage.incident, opened_at=stage.incident.opened_at + timedelta(minutes=5))


async def with_colours(cluster: Cluster, stage: StepStage) -> None:
    await cluster.change(stage.namespace, "app", {"spec": {"template": {"metadata": {"labels": {"colour": "green"}}}}})
    await cluster.wait_available(stage.namespace, "app")
    service = {"metadata": {"name": "shop"}, "spec": {"selector": {"app": "app", "colour": "blue"}, "ports": [{"port": 80}]}}
    await _post(cluster, f"/api/v1/namespaces/{stage.namespace}/services", service)


async def with_paused(cluster: Cluster, stage: StepStage) -> None:
    await cluster.change(stage.namespace, "app", {"spec": {"paused": True}})


def on(namespace: str, **more: Any) -> dict[str, Any]:
    return {"object": {"kind": "ConfigMap", "namespace": namespace, "name": "settings"}, **more}


def job(namespace: str) -> dict[str, Any]:
    spec = {
        "backoffLimit": 0,
        "template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "t", "image": "shop/tool:1"}]}},
    }
    return {"manifest": {"metadata": {"namespace": namespace}, "kind": "Job", "spec": spec}}


def manifest(namespace: str) -> dict[str, Any]:
    meta = {"name": "settings", "namespace": namespace}
    return {"manifest": {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": {"n": "applied"}}, "force": True}


IMAGE = spec_of("template", "spec", "containers", "0", "image")
ENV = spec_of("template", "spec", "containers", "0", "env")
COLOURS = {"service": "shop", "key": "colour", "colours": {"blue": "other", "green": "app"}}
CASES = {
    "pause": Case("kubernetes.pause", lambda _: {}, spec_of("paused"), True),
    "resume": Case("kubernetes.resume", lambda _: {}, spec_of("paused"), None, prepare=with_paused),
    "restart": Case("kubernetes.restart", lambda _: {}, generations, 2),
    "scale": Case("kubernetes.scale", lambda _: {"replicas": 0}, spec_of("replicas"), 0),
    "set_image": Case("kubernetes.set_image", lambda _: {"images": {"app": "shop/app:1.1"}}, IMAGE, "shop/app:1.1"),
    "set_env": Case("kubernetes.set_env", lambda _: {"env": {"A": "1"}}, ENV, [{"name": "A", "value": "1"}]),
    "patch": Case(
        "kubernetes.patch",
        lambda _: {"operations": [{"op": "add", "path": "/spec/minReadySeconds", "value": 1}], "wait": False},
        spec_of("minReadySeconds"),
        1,
    ),
    "switch_service": Case("kubernetes.switch_service", lambda _: COLOURS, colour, "green", prepare=with_colours),
    "apply, new": Case("kubernetes.apply", manifest, settings, {"n": "applied"}),
    "apply, changed": Case("kubernetes.apply", manifest, settings, {"n": "applied"}, prepare=with_settings),
    "delete": Case("kubernetes.delete", on, settings, None, prepare=with_settings),
    "delete_pods": Case("kubernetes.delete_pods", lambda _: {"force": True}, pods, 2, writes=2),
    "snapshot": Case("kubernetes.snapshot", on, snapshots, 1, prepare=with_settings),
    "restore": Case("kubernetes.restore", on, settings, {"n": "1"}, writes=2, prepare=with_bad_settings),
    "restore and restart": Case(
        "kubernetes.restore",
        lambda namespace: on(namespace, restart=["app"]),
        generations,
        2,
        writes=3,
        prepare=with_bad_settings,
    ),
    "job": Case("kubernetes.job", job, jobs, ["inc-01k3-step"]),
}


class Knife:
    """Kills the step at its nth write: before the server hears of it, or when the server has done it and nobody hears of that."""

    def __init__(self, at: int, *, done: bool) -> None:
        self._at = at
        self._done = done
        self.victim: asyncio.Task[str] | None = None
        self.accepted = 0
        self._seen = 0

    async def __call__(self, request: Request, forward: Forward) -> httpx.Response | None:
        if not request.is_write:
            return await forward()
        self._seen += 1
        struck = self._seen == self._at and self.victim is not None
        if struck and self.victim is not None:
            if self._done:
                self._count(await forward())
            self.victim.cancel()
            return None
        response = await forward()
        self._count(response)
        return response

    def _count(self, response: httpx.Response) -> None:
        self.accepted += response.is_success


@pytest.fixture
async def stage(cluster: Cluster, namespace: str, proxy: KubernetesProxy, tmp_path: Path) -> AsyncIterator[StepStage]:
    await cluster.roll_out(namespace, "app", "shop/app:1.0", replicas=2)
    client = KubernetesClient(str(proxy.write_kubeconfig(tmp_path / "proxy.kubeconfig")))
    yield StepStage(client, namespace, "other")
    await client.close()


async def _begin(case: Case, cluster: Cluster, stage: StepStage) -> dict[str, Any]:
    if case.prepare is not None:
        await case.prepare(cluster, stage)
    return case.given(stage.namespace)


async def _finish(case: Case, given: dict[str, Any], cluster: Cluster, stage: StepStage) -> None:
    """As after a restart of the process, twice: nothing more happens the second time."""
    await stage.run(case.uses, given)
    seen = await cluster.until(lambda: case.look(cluster, stage.namespace), lambda value: value == case.becomes)
    assert seen == case.becomes
    await stage.run(case.uses, given)
    assert await case.look(cluster, stage.namespace) == case.becomes


@pytest.mark.parametrize("name", CASES)
async def test_killed_once_the_intent_is_written(name: str, cluster: Cluster, stage: StepStage, proxy: KubernetesProxy) -> None:
    case = CASES[name]
    given = await _begin(case, cluster, stage)
    proxy.rule = knife = Knife(0, done=False)
    stage.kill_after_record = True
    with pytest.raises(Killed):
        await stage.run(case.uses, given)
    assert knife.accepted == 0
    stage.kill_after_record = False
    await _finish(case, given, cluster, stage)
    assert knife.accepted == case.writes


@pytest.mark.parametrize("done", [pytest.param(False, id="the request is lost"), pytest.param(True, id="the answer is lost")])
@pytest.mark.parametrize(("name", "write"), [(name, number + 1) for name, case in CASES.items() for number in range(case.writes)])
async def test_killed_at_a_write(
    name: str, write: int, done: bool, cluster: Cluster, stage: StepStage, proxy: KubernetesProxy
) -> None:
    case = CASES[name]
    given = await _begin(case, cluster, stage)
    proxy.rule = knife = Knife(write, done=done)
    knife.victim = asyncio.create_task(stage.run(case.uses, given))
    with pytest.raises(asyncio.CancelledError):
        await knife.victim
    knife.victim = None
    await _finish(case, given, cluster, stage)
    assert knife.accepted == case.writes


@pytest.mark.parametrize("done", [pytest.param(False, id="the request is lost"), pytest.param(True, id="the answer is lost")])
@pytest.mark.parametrize("name", CASES)
async def test_the_connection_breaks_and_the_step_goes_on_by_itself(
    name: str, done: bool, cluster: Cluster, stage: StepStage, proxy: KubernetesProxy
) -> None:
    case = CASES[name]
    given = await _begin(case, cluster, stage)
    knife = Knife(0, done=done)
    broken = False

    async def break_once(request: Request, forward: Forward) -> httpx.Response | None:
        nonlocal broken
        if broken or not request.is_write:
            return await knife(request, forward)
        broken = True
        if done:
            await knife(request, forward)
        return None

    proxy.rule = break_once
    await stage.run(case.uses, given)
    seen = await cluster.until(lambda: case.look(cluster, stage.namespace), lambda value: value == case.becomes)
    assert seen == case.becomes
    assert knife.accepted == case.writes
