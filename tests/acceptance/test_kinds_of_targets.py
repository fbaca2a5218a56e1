"""Every kind of target in a cluster, rolled back by the real `responder serve` on a person's order.

Genuine: API server, controllers, `helm`. Played: the controller of Argo Rollouts, Argo CD.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

import pytest

from tests.harness.argo_rollouts import RolloutController
from tests.harness.argocd import TOKEN, ArgoCd
from tests.harness.cluster import GenuineCluster, shared_folder
from tests.harness.custom_resources import ROLLOUTS, define
from tests.harness.helm import Chart
from tests.harness.service import Json, ResponderService
from tests.harness.workloads import AppWorkload

pytestmark = pytest.mark.acceptance

RULES = """
version: 1
targets:
  ledger:
    kubernetes: {{namespace: {ledger}, statefulset: app}}
    match: 'app="ledger"'
    mode: armed
    guards: {{proven_for: 0s}}
    evict_unready: true
  agent:
    kubernetes: {{namespace: {agent}, daemonset: app}}
    match: 'app="agent"'
    mode: armed
    guards: {{proven_for: 0s}}
  checkout:
    kubernetes: {{namespace: {checkout}, rollout: app}}
    match: 'app="checkout"'
    mode: armed
    guards: {{proven_for: 0s}}
  search:
    helm: {{namespace: {search}, release: shop}}
    match: 'app="search"'
    mode: armed
    guards: {{proven_for: 0s}}
  front:
    argocd: shop
    match: 'app="front"'
    mode: armed
    guards: {{proven_for: 0s}}
"""
GOOD, BAD = "shop/app:1.0", "shop/app:1.1-bad"


@pytest.fixture
async def cluster(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[GenuineCluster]:
    async with GenuineCluster(shared_folder(tmp_path_factory)) as cluster:
        await define(cluster, ROLLOUTS)
        yield cluster


async def test_every_kind_is_listed_and_rolled_back(cluster: GenuineCluster, tmp_path: Path) -> None:
    names = {name: await cluster.new_namespace() for name in ("ledger", "agent", "checkout", "search")}
    ledger, agent = AppWorkload(cluster, names["ledger"], "StatefulSet"), AppWorkload(cluster, names["agent"], "DaemonSet")
    chart = Chart.make(cluster, names["search"], tmp_path)
    async with AsyncExitStack() as stack:
        rollout = await stack.enter_async_context(RolloutController(cluster, names["checkout"]))
        argocd = await stack.enter_async_context(ArgoCd())
        for app in (ledger, agent):
            await app.roll_out(GOOD)
            await app.deploy(BAD)
        await rollout.deploy(GOOD)
        await rollout.until("Healthy")
        await rollout.deploy(BAD)
        await rollout.until("Paused")
        await chart.deploy(image=f'"{GOOD}"')
        await chart.deploy(image=f'"{BAD}"', wait=False)
        for revision in ("a" * 40, "b" * 40):
            argocd.sync(revision)
        await cluster.until(ledger.images, lambda images: BAD in images)

        environment = {"KUBECONFIG": str(cluster.kubeconfig), "PATH": chart.environment["PATH"]}
        environment |= {"RESPONDER_ARGOCD_URL": argocd.url, "RESPONDER_ARGOCD_TOKEN": TOKEN}
        service = ResponderService(tmp_path / "service", RULES.format(**names), environment, tokens=False)
        await stack.enter_async_context(service)

        places = {one["name"]: one["place"] for one in (await service.get("/v1/targets"))["targets"]}
        assert places["search"] == f"helm release shop in namespace {names['search']}"
        incidents = {}
        for name in places:
            listed = (await service.get(f"/v1/targets/{name}/versions"))["versions"]
            assert [one["current"] for one in listed] == [True, False], name
            assert listed[0]["age_seconds"] is not None, name
            order = {"target": name, "revision": listed[1]["revision"], "reason": "a test of every kind"}
            answer = await service.http.post("/v1/rollbacks", json=order)
            assert answer.status_code == 202, f"{name}: {answer.text}"
            incidents[name] = answer.json()["incident"]["id"]
        await cluster.until(lambda: _calls(argocd), lambda calls: calls == ["patch", "rollback"])
        argocd.end()

        for name, incident_id in incidents.items():
            seen = await cluster.until(partial(service.incident, incident_id), _is_over, 60)
            assert seen["status"] == "monitoring", f"{name}: {seen}"
            assert seen["recovered_at"], name
        assert await ledger.images() == [GOOD] * 2
        assert set(await agent.images()) == {GOOD}
        assert (await rollout.rollouts.get("app"))["status"]["abort"] is True
        web = await cluster.get(names["search"], "web")
        assert web["spec"]["template"]["spec"]["containers"][0]["image"] == GOOD
        assert argocd.status["history"][-1]["revision"] == "a" * 40
        assert TOKEN not in service.log


def _is_over(incident: Json) -> bool:
    return bool(incident["closed_at"] or incident["recovered_at"])


async def _calls(argocd: ArgoCd) -> list[str]:
    return [name for name, _ in argocd.calls]
