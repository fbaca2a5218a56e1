"""Rollouts: objects, ReplicaSets and pods on the genuine control plane, the controller of Argo Rollouts played."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from responder.clients.kubernetes import KubernetesClient
from responder.domain.target import Target, WorkloadRef
from responder.domain.version import Owner, RolloutPhase
from responder.errors import ForbiddenError, RefusedError, TemporaryError
from responder.targets.argo_rollouts import RolloutWorkload
from tests.harness.argo_rollouts import HASH, RolloutController
from tests.harness.cluster import GenuineCluster
from tests.harness.custom_resources import ROLLOUTS, define
from tests.harness.kubernetes_proxy import Forward, KubernetesProxy, Request
from tests.harness.rollback import Intent, pin_of

BLUE_GREEN = {"blueGreen": {"activeService": "app", "autoPromotionEnabled": False}}


@pytest.fixture
async def cluster(genuine: GenuineCluster) -> GenuineCluster:
    await define(genuine, ROLLOUTS)
    return genuine


@pytest.fixture
async def argo(cluster: GenuineCluster, namespace: str) -> AsyncIterator[RolloutController]:
    async with RolloutController(cluster, namespace) as controller:
        yield controller


def workload_in(client: KubernetesClient, namespace: str) -> RolloutWorkload:
    ref = WorkloadRef(namespace, "app", "Rollout")
    return RolloutWorkload(client, Target("app", ref, ()), ref, lambda: datetime.now(UTC))


@pytest.fixture
def workload(client: KubernetesClient, namespace: str) -> RolloutWorkload:
    return workload_in(client, namespace)


async def promoted(argo: RolloutController, *images: str, **spec: Any) -> None:
    """Each of these in full, one after the other."""
    for number, image in enumerate(images):
        await argo.deploy(image, **spec)
        if number == 0:
            await argo.until("Healthy")
        else:
            await argo.until("Paused")
            await argo.promote()


async def complete(argo: RolloutController, workload: RolloutWorkload, pin: Any) -> Any:
    return await argo.cluster.until(lambda: workload.rollout(pin), lambda status: status.phase is not RolloutPhase.PROGRESSING)


async def test_history_and_a_canary_that_waits(argo: RolloutController, workload: RolloutWorkload) -> None:
    await promoted(argo, "shop/app:1.0", "shop/app:1.1")
    await argo.deploy("shop/app:1.2")
    await argo.until("Paused")

    state = await workload.read()

    assert [(one.version, one.revision, one.current) for one in state.history] == [
        ("1.2", "3", True),
        ("1.1", "2", False),
        ("1.0", "1", False),
    ]
    assert (state.rollout.phase, state.rollout.reason) == (RolloutPhase.PROGRESSING, "paused: CanaryPauseStep")
    assert (state.paused, state.owners, state.replicas) == (False, (), 2)


@pytest.mark.parametrize("strategy", [pytest.param({}, id="canary"), pytest.param({"strategy": BLUE_GREEN}, id="blue-green")])
async def test_what_is_not_fully_promoted_is_aborted(
    argo: RolloutController, workload: RolloutWorkload, strategy: dict[str, Any]
) -> None:
    await promoted(argo, "shop/app:1.0", **strategy)
    await argo.deploy("shop/app:1.1-bad")
    before = await argo.until("Paused")
    pin, intent = await pin_of(workload, "1.0"), Intent()

    said = await workload.roll_back(pin, intent)
    status = await complete(argo, workload, pin)

    after = await argo.rollouts.get("app")
    assert said.startswith(
        f"rollout/app in namespace {argo.namespace}: 1.1-bad (revision 2) aborted, 1.0 (revision 1) serves again"
    )
    assert "its template still names the aborted version" in said
    assert intent.written == 1
    assert status.phase is RolloutPhase.COMPLETE
    assert status.reason == "aborted; 2 of 2 stable pods available"
    assert after["spec"] == before["spec"], "an abort changes the status only"
    await argo.cluster.until(argo.images, lambda images: images == ["shop/app:1.0"] * 2)
    state = await workload.read()
    assert [(one.version, one.current) for one in state.history] == [("1.0", True), ("1.1-bad", False)]
    assert (await workload.roll_back(pin, intent)).startswith("nothing to do: ")
    assert intent.written == 1


async def test_what_is_fully_promoted_gets_its_earlier_template_back_and_skips_the_steps(
    argo: RolloutController, workload: RolloutWorkload
) -> None:
    await promoted(argo, "shop/app:1.0", "shop/app:1.1", "shop/app:1.2")
    before = await argo.rollouts.get("app")
    pin, intent = await pin_of(workload, "1.1"), Intent()

    said = await workload.roll_back(pin, intent)
    status = await complete(argo, workload, pin)

    after = await argo.rollouts.get("app")
    assert said.endswith("1.2 (revision 3) replaced by 1.1 (revision 2)")
    assert intent.written == 1
    assert status.phase is RolloutPhase.COMPLETE
    assert after["metadata"]["generation"] == before["metadata"]["generation"] + 1
    assert HASH not in after["spec"]["template"]["metadata"]["labels"]
    assert len(await argo.cluster.replica_sets(argo.namespace)) == 3, "an old ReplicaSet is used again"
    await argo.cluster.until(argo.images, lambda images: images == ["shop/app:1.1"] * 2)
    state = await workload.read()
    assert [(one.version, one.revision) for one in state.history] == [("1.1", "4"), ("1.2", "3"), ("1.0", "1")]
    assert (await workload.roll_back(pin, intent)).startswith("nothing to do: ")


async def test_a_template_that_stands_in_a_deployment_is_put_back_there(
    argo: RolloutController, workload: RolloutWorkload
) -> None:
    await argo.cluster.deploy(argo.namespace, "web", image="shop/app:1.0", replicas=0)
    reference = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}
    steps = {"canary": {"steps": [{"setWeight": 50}, {"pause": {}}]}}
    selector = {"matchLabels": {"app": "web", "of": "rollout"}}
    await argo.cluster.change(argo.namespace, "web", {"spec": {"template": {"metadata": {"labels": selector["matchLabels"]}}}})
    await argo.create({"workloadRef": reference, "selector": selector, "strategy": steps, "replicas": 2})
    await argo.until("Healthy")
    await argo.cluster.deploy(argo.namespace, "web", image="shop/app:1.1")
    await argo.until("Paused")
    await argo.promote()
    pin = await pin_of(workload, "1.0")

    said = await workload.roll_back(pin, Intent())
    status = await complete(argo, workload, pin)

    assert said.startswith(f"deployment/web in namespace {argo.namespace}: 1.1 (revision 2) replaced by 1.0")
    assert status.phase is RolloutPhase.COMPLETE
    assert (await workload.read()).current.version == "1.0"


async def test_an_abort_leads_to_the_stable_version_only(argo: RolloutController, workload: RolloutWorkload) -> None:
    await promoted(argo, "shop/app:1.0", "shop/app:1.1")
    await argo.deploy("shop/app:1.2")
    await argo.until("Paused")
    pin, intent = await pin_of(workload, "1.0"), Intent()

    with pytest.raises(RefusedError, match=r"leads back to 1\.1 \(revision 2\) and not to 1\.0 \(revision 1\)"):
        await workload.roll_back(pin, intent)

    assert intent.written == 0


async def test_a_retry_by_somebody_ends_the_wait(argo: RolloutController, workload: RolloutWorkload) -> None:
    await promoted(argo, "shop/app:1.0")
    await argo.deploy("shop/app:1.1-bad")
    await argo.until("Paused")
    pin = await pin_of(workload, "1.0")
    await workload.roll_back(pin, Intent())
    await complete(argo, workload, pin)
    await argo.rollouts.change("app", {"status": {"abort": False}}, "status")

    status = await complete(argo, workload, pin)

    assert status.phase is RolloutPhase.FAILED
    assert "is now asked to run 1.1-bad" in status.reason


async def test_a_way_back_that_is_aborted_has_failed_and_is_not_promoted(
    argo: RolloutController, workload: RolloutWorkload
) -> None:
    """By a person, or by the controller: then the bad version, which was the stable one, serves."""
    await promoted(argo, "shop/app:1.0", "shop/app:1.1")
    pin = await pin_of(workload, "1.0")
    await workload.roll_back(pin, Intent())
    await argo.until("Paused")
    await argo.rollouts.change("app", {"status": {"abort": True}}, "status")

    status = await complete(argo, workload, pin)

    assert status.phase is RolloutPhase.FAILED
    assert "was aborted: 1.1 (revision 2) serves" in status.reason
    assert not (await argo.rollouts.get("app"))["status"].get("promoteFull")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        pytest.param({"paused": True}, "is paused", id="paused by a person"),
        pytest.param({"image": "shop/app:1.2"}, "changed by somebody else: it is asked to run 1.2", id="another version"),
    ],
)
async def test_refused(argo: RolloutController, workload: RolloutWorkload, change: dict[str, Any], reason: str) -> None:
    await promoted(argo, "shop/app:1.0")
    await argo.deploy("shop/app:1.1")
    await argo.until("Paused")
    pin, intent = await pin_of(workload, "1.0"), Intent()
    if "image" in change:
        await argo.deploy(**change)
    else:
        await argo.rollouts.change("app", {"spec": change})
    await argo.until("Paused")

    with pytest.raises(RefusedError, match=reason):
        await workload.roll_back(pin, intent)

    assert intent.written == 0
    assert not (await argo.rollouts.get("app"))["status"].get("abort")


async def test_what_the_controller_has_not_seen_is_waited_for(argo: RolloutController, workload: RolloutWorkload) -> None:
    """Until then nothing tells what it runs, nor whether the new version is promoted or only tried."""
    await promoted(argo, "shop/app:1.0")
    await argo.deploy("shop/app:1.1")
    await argo.until("Paused")
    pin = await pin_of(workload, "1.0")
    async with argo.asleep():
        await argo.rollouts.change("app", {"spec": {"replicas": 3}})
        with pytest.raises(TemporaryError, match="has not seen the latest change yet"):
            await workload.read()
        rolling = asyncio.create_task(workload.roll_back(pin, Intent()))

    assert "aborted" in await rolling


async def test_releases_without_a_status_subresource(
    argo: RolloutController, namespace: str, tmp_path: Path, workload: RolloutWorkload
) -> None:
    """They answer 404 to it, and take the status with the object."""
    await promoted(argo, "shop/app:1.0")
    await argo.deploy("shop/app:1.1")
    await argo.until("Paused")
    async with KubernetesProxy(argo.cluster) as proxy:
        asked: list[str] = []

        async def as_in_0_9(request: Request, forward: Forward) -> httpx.Response:
            path = request.target.partition("?")[0]
            if request.method == "PATCH":
                asked.append(path.rpartition("/")[2])
                if path.endswith("/status"):
                    return httpx.Response(404, json={"message": "the server could not find the requested resource"})
            return await forward()

        proxy.rule = as_in_0_9
        old = KubernetesClient(str(proxy.write_kubeconfig(tmp_path / "proxied")))
        try:
            await workload_in(old, namespace).roll_back(await pin_of(workload, "1.0"), Intent())
        finally:
            await old.close()
    assert asked[-4:] == ["status", "app", "status", "app"]  # rehearsed, then done


async def test_owners_of_a_rollout_are_seen(argo: RolloutController, workload: RolloutWorkload) -> None:
    await promoted(argo, "shop/app:1.0")
    flux = {"kustomize.toolkit.fluxcd.io/name": "shop", "kustomize.toolkit.fluxcd.io/namespace": "flux-system"}
    await argo.rollouts.change("app", {"metadata": {"labels": flux}})

    assert (await workload.read()).owners == (Owner("Flux", "kustomize/flux-system/shop"),)


async def test_changes_are_seen(argo: RolloutController, workload: RolloutWorkload) -> None:
    await promoted(argo, "shop/app:1.0")
    async with contextlib.aclosing(workload.watch()) as states:
        assert (await anext(states)).current.version == "1.0"
        await argo.deploy("shop/app:1.1")
        async for state in states:
            if state.current.version == "1.1" and state.current.revision == "2":
                break


async def test_the_least_rights_are_enough(argo: RolloutController, tmp_path: Path) -> None:
    await promoted(argo, "shop/app:1.0", "shop/app:1.1")
    assert isinstance(argo.cluster, GenuineCluster)
    read = [
        {"apiGroups": ["argoproj.io"], "resources": ["rollouts"], "verbs": ["get", "patch"]},
        {"apiGroups": ["apps"], "resources": ["replicasets"], "verbs": ["list"]},
    ]
    status = {"apiGroups": ["argoproj.io"], "resources": ["rollouts/status"], "verbs": ["patch"]}
    async with _limited(argo.cluster, argo.namespace, read, tmp_path) as client:
        workload = workload_in(client, argo.namespace)
        pin = await pin_of(workload, "1.0")
        await workload.roll_back(pin, Intent())
        with pytest.raises(ForbiddenError, match=r"^missing right: patch rollouts/status\.argoproj\.io"):
            await argo.cluster.until(lambda: workload.rollout(pin), lambda status: False)
    async with _limited(argo.cluster, argo.namespace, [*read, status], tmp_path) as client:
        assert (await complete(argo, workload_in(client, argo.namespace), pin)).phase is RolloutPhase.COMPLETE


@contextlib.asynccontextmanager
async def _limited(
    cluster: GenuineCluster, namespace: str, rules: list[dict[str, Any]], folder: Path
) -> AsyncIterator[KubernetesClient]:
    client = KubernetesClient(str(await cluster.limited_kubeconfig(namespace, rules, folder)))
    try:
        yield client
    finally:
        await client.close()
