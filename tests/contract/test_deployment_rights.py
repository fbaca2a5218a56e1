"""Missing rights are named. Fine-grained ones only a genuine API server has; the sandbox has a viewer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from responder.clients.kubernetes import KubernetesClient
from responder.errors import ForbiddenError
from responder.sandbox.cluster import SandboxCluster
from tests.harness.cluster import Cluster, GenuineCluster
from tests.harness.rollback import Intent, pin_of, workload_of

GET = {"apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["get"]}
LIST = {"apiGroups": ["apps"], "resources": ["replicasets"], "verbs": ["list"]}
OWNERS = [
    {"apiGroups": ["argoproj.io"], "resources": ["rollouts"], "verbs": ["list"]},
    {"apiGroups": ["flagger.app"], "resources": ["canaries"], "verbs": ["list"]},
]
PATCH = {"apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["patch"]}


@pytest.mark.parametrize(
    ("rules", "right"),
    [
        pytest.param([LIST, PATCH], "get deployments.apps", id="without get"),
        pytest.param([GET, PATCH], "list replicasets.apps", id="without list of ReplicaSets"),
        pytest.param([GET, LIST], "patch deployments.apps", id="without patch"),
    ],
)
async def test_a_missing_right_is_named(genuine: GenuineCluster, tmp_path: Path, rules: list[dict[str, Any]], right: str) -> None:
    namespace = await genuine.new_namespace()
    await genuine.roll_out(namespace, "app", "shop/app:1.0", "shop/app:1.1")
    admin = KubernetesClient(str(genuine.kubeconfig))
    limited = KubernetesClient(str(await genuine.limited_kubeconfig(namespace, rules, tmp_path)))
    intent = Intent()
    try:
        pin = await pin_of(workload_of(admin, namespace), "1.0")
        with pytest.raises(ForbiddenError, match=f"^missing right: {right} in namespace {namespace} "):
            await workload_of(limited, namespace).roll_back(pin, intent)
    finally:
        await admin.close()
        await limited.close()
    assert intent.written == 0


async def test_a_viewer_of_the_sandbox_reads_but_does_not_write(tmp_path: Path) -> None:
    async with SandboxCluster(start_delay=0.02, stop_delay=0.02) as sandbox:
        sandbox.write_kubeconfig(tmp_path / "admin")
        sandbox.write_kubeconfig(tmp_path / "viewer", user="viewer")
        viewer, intent = KubernetesClient(str(tmp_path / "viewer")), Intent()
        async with Cluster(tmp_path / "admin") as cluster:
            namespace = await cluster.new_namespace()
            await cluster.roll_out(namespace, "app", "shop/app:1.0", "shop/app:1.1")
            workload = workload_of(viewer, namespace)
            try:
                with pytest.raises(ForbiddenError, match=f"^missing right: patch deployments.apps in namespace {namespace} "):
                    await workload.roll_back(await pin_of(workload, "1.0"), intent)
            finally:
                await viewer.close()
    assert intent.written == 0


async def test_the_least_rights_are_enough(genuine: GenuineCluster, tmp_path: Path) -> None:
    """Reading pods would only add reasons. Rollouts and Canaries are listed where they exist: other tests make them."""
    namespace = await genuine.new_namespace()
    await genuine.roll_out(namespace, "app", "shop/app:1.0")
    await genuine.deploy(namespace, "app", image="shop/app:1.1-bad")
    client = KubernetesClient(str(await genuine.limited_kubeconfig(namespace, [GET, LIST, PATCH, *OWNERS], tmp_path)))
    workload = workload_of(client, namespace)
    try:
        state = await genuine.until(workload.read, lambda state: len(state.history) == 2)
        assert state.owner_unknown == ""
        pin = await pin_of(workload, "1.0")
        await workload.roll_back(pin, Intent())
        await genuine.until(lambda: workload.rollout(pin), lambda status: status.phase == "complete")
    finally:
        await client.close()


async def test_a_token_that_is_not_accepted_is_not_told(genuine: GenuineCluster, tmp_path: Path) -> None:
    namespace = await genuine.new_namespace()
    path = await genuine.limited_kubeconfig(namespace, [GET], tmp_path)
    secret = "s3cr3t-t0ken"
    path.write_text(path.read_text().replace('"token": "', f'"token": "{secret}'))
    client = KubernetesClient(str(path))
    try:
        with pytest.raises(Exception, match="401") as caught:
            await workload_of(client, namespace).read()
    finally:
        await client.close()
    assert secret not in str(caught.value)
