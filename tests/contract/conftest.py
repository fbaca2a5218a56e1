"""The same assertions against the simulated cluster and a genuine API server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from responder.clients.kubernetes import KubernetesClient
from responder.sandbox.cluster import SandboxCluster
from responder.targets.kubernetes import TemplateWorkload
from tests.harness.cluster import Cluster, GenuineCluster, shared_folder
from tests.harness.kubernetes_proxy import KubernetesProxy
from tests.harness.rollback import workload_of


@pytest.fixture(params=["sandbox", "genuine"])
async def cluster(
    request: pytest.FixtureRequest, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Cluster]:
    if request.param == "genuine":
        async with GenuineCluster(shared_folder(tmp_path_factory)) as genuine:
            yield genuine
        return
    kubeconfig = tmp_path / "sandbox.kubeconfig"
    async with SandboxCluster(start_delay=0.02, stop_delay=0.02, backoff=0.5) as sandbox:
        sandbox.write_kubeconfig(kubeconfig)
        async with Cluster(kubeconfig) as simulated:
            yield simulated


@pytest.fixture
async def genuine(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[GenuineCluster]:
    async with GenuineCluster(shared_folder(tmp_path_factory)) as cluster:
        yield cluster


@pytest.fixture
async def namespace(cluster: Cluster) -> str:
    return await cluster.new_namespace()


@pytest.fixture
async def client(cluster: Cluster) -> AsyncIterator[KubernetesClient]:
    client = KubernetesClient(str(cluster.kubeconfig))
    yield client
    await client.close()


@pytest.fixture
def workload(client: KubernetesClient, namespace: str) -> TemplateWorkload:
    """The Deployment `app` in the test's own namespace."""
    return workload_of(client, namespace)


@pytest.fixture
async def proxy(cluster: Cluster) -> AsyncIterator[KubernetesProxy]:
    async with KubernetesProxy(cluster) as proxy:
        yield proxy


@pytest.fixture
async def proxied(proxy: KubernetesProxy, namespace: str, tmp_path: Path) -> AsyncIterator[TemplateWorkload]:
    """The same Deployment, seen through the proxy."""
    client = KubernetesClient(str(proxy.write_kubeconfig(tmp_path / "proxy.kubeconfig")))
    yield workload_of(client, namespace)
    await client.close()
