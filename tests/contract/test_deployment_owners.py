"""Owners that only their own objects tell of: Rollouts and Canaries that point at the Deployment."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from responder.domain.version import Owner
from responder.targets.kubernetes import TemplateWorkload
from tests.harness.cluster import Cluster
from tests.harness.kubernetes_proxy import Forward, KubernetesProxy, Request

ROLLOUT = {
    "metadata": {"name": "driver"},
    "spec": {"workloadRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "app"}},
}
CANARY = {"metadata": {"name": "driver"}, "spec": {"targetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "app"}}}
ELSEWHERE = {"metadata": {"name": "other"}, "spec": {"targetRef": {"kind": "Deployment", "name": "other"}}}


class WithGroup:
    """Makes the cluster look as if it had this API group, with these objects; None stands for a missing right."""

    def __init__(self, group: str, items: list[dict[str, Any]] | None) -> None:
        self._root = f"/apis/{group}"
        self._items = items

    async def __call__(self, request: Request, forward: Forward) -> httpx.Response:
        if not request.target.startswith(self._root):
            return await forward()
        if request.target.partition("?")[0] == self._root:
            return httpx.Response(200, json={"kind": "APIGroup"})
        if self._items is None:
            return httpx.Response(403, json={"message": "forbidden"})
        return httpx.Response(200, json={"metadata": {}, "items": self._items})


@pytest.mark.parametrize(
    ("group", "items", "owners", "unknown"),
    [
        pytest.param(
            "argoproj.io", [ROLLOUT], (Owner("Rollout", "driver"),), "", id="a Rollout that borrows the template owns it"
        ),
        pytest.param("flagger.app", [ELSEWHERE, CANARY], (Owner("Canary", "driver"),), "", id="a Canary that targets it owns it"),
        pytest.param("flagger.app", [ELSEWHERE], (), "", id="a Canary of something else does not"),
        pytest.param(
            "flagger.app", None, (), "missing right: list canaries.flagger.app", id="without the right to look it is unknown"
        ),
    ],
)
async def test_owners(
    cluster: Cluster,
    namespace: str,
    proxy: KubernetesProxy,
    proxied: TemplateWorkload,
    group: str,
    items: list[dict[str, Any]] | None,
    owners: tuple[Owner, ...],
    unknown: str,
) -> None:
    await cluster.deploy(namespace, "app", image="shop/app:1.0")
    proxy.rule = WithGroup(group, items)

    state = await proxied.read()

    assert state.owners == owners
    assert state.owner_unknown.startswith(unknown)
    assert bool(state.owner_unknown) is bool(unknown)
