"""Steps on Kubernetes objects in the hands of the engine: a plan that fails never leaves the service stopped."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from responder.actions.kubernetes.registry import kubernetes_actions
from responder.clients.kubernetes import DEPLOYMENTS, KubernetesClient
from responder.domain.plan import Step
from responder.domain.target import Mode
from responder.errors import PermanentError
from responder.sandbox.cluster import SandboxCluster
from tests.simulation.world import World, a_world, rulebook

DOWN = Step("down", "kubernetes.scale", {"replicas": 0})
FAILS = Step("fails", "played")


@pytest.fixture
async def sandbox() -> AsyncIterator[SandboxCluster]:
    async with SandboxCluster(start_delay=0.02, stop_delay=0.02) as cluster:
        await cluster.deploy("shop", "app", "shop/app:1.0", replicas=3)
        await cluster.wait_available("shop", "app")
        yield cluster


@pytest.fixture
async def client(sandbox: SandboxCluster, tmp_path: Path) -> AsyncIterator[KubernetesClient]:
    sandbox.write_kubeconfig(tmp_path / "kubeconfig")
    client = KubernetesClient(str(tmp_path / "kubeconfig"))
    yield client
    await client.close()


def replicas(sandbox: SandboxCluster) -> int:
    found = sandbox.deployment("shop", "app")
    assert found is not None
    return int(found["spec"]["replicas"])


def in_hands(world: World, client: KubernetesClient) -> World:
    world.actions = {**world.actions, **kubernetes_actions(client)}
    return world


async def test_scaled_back_when_a_later_step_fails(sandbox: SandboxCluster, client: KubernetesClient, tmp_path: Path) -> None:
    async with a_world(tmp_path, rulebook(DOWN, FAILS)) as world:
        in_hands(world, client).played.faults = [PermanentError("no backup")]
        await world.start()
        await world.alert("Errors")
        incident = await world.incident("failed")
        assert incident.reason.startswith("fails: no backup")
        told = " ".join(await world.messages())
    assert replicas(sandbox) == 3
    assert "put deployment/app in namespace shop back as it was" in told + " ".join(one.output for one in incident.steps)
    assert incident.acted_at is not None


async def test_scaled_back_when_the_process_was_killed_meanwhile(
    sandbox: SandboxCluster, client: KubernetesClient, tmp_path: Path
) -> None:
    async with a_world(tmp_path, rulebook(DOWN, FAILS)) as world:
        in_hands(world, client).played.gate = asyncio.Event()
        await world.start()
        await world.alert("Errors")
        await world.played.entered.wait()
        assert replicas(sandbox) == 0
        await world.stop()
        world.played.gate = None
        world.played.faults = [PermanentError("no backup")]
        await world.start()
        await world.incident("failed")
    assert replicas(sandbox) == 3


async def test_nothing_is_changed_in_observe_mode(sandbox: SandboxCluster, client: KubernetesClient, tmp_path: Path) -> None:
    async with a_world(tmp_path, rulebook(DOWN, mode=Mode.OBSERVE)) as world:
        await in_hands(world, client).start()
        await world.alert("Errors")
        await world.incident("observed", "refused")
    assert replicas(sandbox) == 3


CHANGES = {
    "scale": DOWN,
    "restart": Step("restart", "kubernetes.restart", {}),
    "set_image": Step("image", "kubernetes.set_image", {"images": {"app": "shop/app:0.9"}}),
    "delete_pods": Step("pods", "kubernetes.delete_pods", {"labels": {}}),
}


@pytest.mark.parametrize("step", CHANGES.values(), ids=CHANGES)
async def test_an_object_that_keeps_us_away_is_not_changed_by(
    step: Step, sandbox: SandboxCluster, client: KubernetesClient, tmp_path: Path
) -> None:
    annotations = {"responder.dev/hold": "ann is looking"}
    item = await client.get(DEPLOYMENTS, "shop", "app")
    test = {"op": "test", "path": "/metadata/uid", "value": item["metadata"]["uid"]}
    add = {"op": "add", "path": "/metadata/annotations", "value": {**item["metadata"].get("annotations", {}), **annotations}}
    await client.patch_json(DEPLOYMENTS, "shop", "app", [test, add])
    before = await client.get(DEPLOYMENTS, "shop", "app")
    async with a_world(tmp_path, rulebook(step)) as world:
        await in_hands(world, client).start()
        await world.alert("Errors")
        refused = await world.incident("refused", "failed", "monitoring")
        assert "on the object keeps Responder away: ann is looking" in refused.reason
        assert refused.acted_at is None
    after = await client.get(DEPLOYMENTS, "shop", "app")
    assert after["spec"] == before["spec"]
