"""Objects of a cluster by their paths, as another actor makes, reads and changes them."""

from __future__ import annotations

from typing import Any

from tests.harness.cluster import Cluster


async def put(cluster: Cluster, path: str, body: dict[str, Any]) -> dict[str, Any]:
    response = await cluster.http.post(path, json=body)
    assert response.is_success, response.text
    return dict(response.json())


async def read(cluster: Cluster, path: str) -> dict[str, Any]:
    response = await cluster.http.get(path)
    assert response.is_success, response.text
    return dict(response.json())


async def config_map(cluster: Cluster, namespace: str, name: str = "settings", **data: str) -> str:
    await put(cluster, f"/api/v1/namespaces/{namespace}/configmaps", {"metadata": {"name": name}, "data": data})
    return f"/api/v1/namespaces/{namespace}/configmaps/{name}"


async def change(cluster: Cluster, path: str, body: dict[str, Any]) -> None:
    response = await cluster.http.patch(path, json=body, headers={"Content-Type": "application/merge-patch+json"})
    assert response.is_success, response.text
