"""deploy/target/kinds: each role is enough for its kind of target, on the genuine API server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from responder.clients.kubernetes import KubernetesClient
from responder.clients.programs import Programs
from responder.domain.target import HelmRef, OnOwner, Target, WorkloadRef
from responder.domain.version import RolloutPhase
from responder.ports import Workload
from responder.targets.helm import HelmWorkloads
from responder.targets.kubernetes import KubernetesWorkloads
from tests.harness.argo_rollouts import RolloutController
from tests.harness.cluster import GenuineCluster, shared_folder
from tests.harness.custom_resources import HELM_RELEASES, KUSTOMIZATIONS, ROLLOUTS, define
from tests.harness.helm import Chart
from tests.harness.rollback import Intent, pin_of
from tests.harness.workloads import AppWorkload, Collection

pytestmark = pytest.mark.acceptance

DEPLOY = Path(__file__).parents[2] / "deploy" / "target"
KINDS = sorted(path.stem for path in (DEPLOY / "kinds").glob("*.yaml"))


def rules_of(*names: str, resource_names: Sequence[str] = ()) -> list[dict[str, Any]]:
    """The rules of these roles, narrowed as an overlay does."""
    rules: list[dict[str, Any]] = []
    for name in names:
        path = DEPLOY / ("role.yaml" if name == "role" else f"kinds/{name}.yaml")
        role = next(yaml.safe_load_all(path.read_text()))
        for rule in role["rules"]:
            rules.append({**rule, **({"resourceNames": list(resource_names)} if "resourceNames" in rule else {})})
    return rules


@pytest.fixture
async def cluster(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[GenuineCluster]:
    async with GenuineCluster(shared_folder(tmp_path_factory)) as cluster:
        for name in (ROLLOUTS, KUSTOMIZATIONS, HELM_RELEASES):
            await define(cluster, name)
        yield cluster


@asynccontextmanager
async def limited(
    cluster: GenuineCluster, namespace: str, rules: list[dict[str, Any]], folder: Path
) -> AsyncIterator[KubernetesClient]:
    client = KubernetesClient(str(await cluster.limited_kubeconfig(namespace, rules, folder)))
    try:
        yield client
    finally:
        await client.close()


async def rolls_back(cluster: GenuineCluster, workload: Workload, version: str) -> None:
    states = workload.watch()
    async for state in states:
        assert state.owner_unknown == ""
        break
    pin = await pin_of(workload, version)
    await workload.roll_back(pin, Intent())
    await cluster.until(lambda: workload.rollout(pin), lambda status: status.phase is RolloutPhase.COMPLETE)


def at(client: KubernetesClient, namespace: str, kind: str, **options: Any) -> Workload:
    target = Target("app", WorkloadRef(namespace, "app", kind), (), **options)
    return KubernetesWorkloads(client, lambda: datetime.now(UTC)).of(target)


@pytest.mark.parametrize("name", KINDS)
def test_every_role_is_bound_to_the_service_account_and_narrowed(name: str) -> None:
    role, binding = yaml.safe_load_all((DEPLOY / "kinds" / f"{name}.yaml").read_text())
    assert binding["roleRef"]["name"] == role["metadata"]["name"] == f"responder-{name}"
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": "responder", "namespace": "responder"}]
    for rule in role["rules"]:
        assert "*" not in (*rule["apiGroups"], *rule["resources"], *rule["verbs"])
        if "patch" in rule["verbs"] and name != "helm":
            assert rule["resourceNames"] == ["set-by-the-overlay"]


@pytest.mark.parametrize("kind", ["StatefulSet", "DaemonSet"])
async def test_controller_revisions(cluster: GenuineCluster, tmp_path: Path, kind: str) -> None:
    app = AppWorkload(cluster, await cluster.new_namespace(), kind)
    await app.roll_out("shop/app:1.0", "shop/app:1.1")
    async with limited(cluster, app.namespace, rules_with_owners("controller-revisions"), tmp_path) as client:
        await rolls_back(cluster, at(client, app.namespace, kind), "1.0")


async def test_eviction(cluster: GenuineCluster, tmp_path: Path) -> None:
    app = AppWorkload(cluster, await cluster.new_namespace(), "StatefulSet")
    await app.roll_out("shop/app:1.0")
    await app.deploy("shop/app:1.1-bad")
    await cluster.until(app.images, lambda images: "shop/app:1.1-bad" in images)
    rules = rules_with_owners("controller-revisions", "eviction")
    async with limited(cluster, app.namespace, rules, tmp_path) as client:
        await rolls_back(cluster, at(client, app.namespace, "StatefulSet", evict_unready=True), "1.0")


async def test_rollouts(cluster: GenuineCluster, tmp_path: Path) -> None:
    namespace = await cluster.new_namespace()
    async with RolloutController(cluster, namespace) as argo:
        await argo.deploy("shop/app:1.0")
        await argo.until("Healthy")
        await argo.deploy("shop/app:1.1")
        await argo.until("Paused")
        await argo.promote()
        async with limited(cluster, namespace, rules_of("rollouts", resource_names=["app"]), tmp_path) as client:
            await rolls_back(cluster, at(client, namespace, "Rollout"), "1.0")


async def test_flux(cluster: GenuineCluster, tmp_path: Path) -> None:
    namespace = await cluster.new_namespace()
    keepers = Collection(cluster, f"/apis/kustomize.toolkit.fluxcd.io/v1/namespaces/{namespace}/kustomizations")
    version = {"apiVersion": "kustomize.toolkit.fluxcd.io/v1", "kind": "Kustomization"}
    await keepers.create({**version, "metadata": {"name": "app"}, "spec": {"interval": "1m"}})
    labels = {"kustomize.toolkit.fluxcd.io/name": "app", "kustomize.toolkit.fluxcd.io/namespace": namespace}
    await cluster.deploy(namespace, "app", image="shop/app:1.0", metadata={"labels": labels})
    await cluster.roll_out(namespace, "app", "shop/app:1.0", "shop/app:1.1")
    rules = rules_of("role", "flux", resource_names=["app"])
    async with limited(cluster, namespace, rules, tmp_path) as client:
        await rolls_back(cluster, at(client, namespace, "Deployment", on_owner=OnOwner.SUSPEND), "1.0")
    assert (await keepers.get("app"))["spec"]["suspend"] is True


async def test_helm(cluster: GenuineCluster, tmp_path: Path) -> None:
    namespace = await cluster.new_namespace()
    chart = Chart.make(cluster, namespace, tmp_path)
    await chart.deploy(image='"shop/app:1.0"')
    await chart.deploy(image='"shop/app:1.1"')
    kubeconfig = str(await cluster.limited_kubeconfig(namespace, rules_of("helm"), tmp_path))
    environment: Mapping[str, str] = {**chart.environment, "KUBECONFIG": kubeconfig}
    client = KubernetesClient(kubeconfig)
    try:
        releases = HelmWorkloads(client, Programs(), lambda: datetime.now(UTC), environment)
        await rolls_back(cluster, releases.of(Target("shop", HelmRef(namespace, "shop"), ())), "1.0")
    finally:
        await client.close()


def rules_with_owners(*names: str) -> list[dict[str, Any]]:
    """Beside those of the base role, which tell whether somebody else owns the workload."""
    return rules_of("role", *names, resource_names=["app"])
