"""Any cluster that a kubeconfig leads to, sandbox or genuine, through plain HTTP: what tests do to it and ask of it."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import httpx
import pytest
import yaml

from tests.harness.control_plane import kubeconfig_for_tests

Object = dict[str, Any]

_MERGE = {"Content-Type": "application/merge-patch+json"}
_POLL_SECONDS = 0.03


def shared_folder(factory: pytest.TempPathFactory) -> Path:
    """A folder that all xdist workers of this run see."""
    base = factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


class Cluster:
    """Deploys, waits and looks. Every wait has a deadline and says what it last saw."""

    def __init__(self, kubeconfig: Path) -> None:
        self.kubeconfig = kubeconfig
        self.url, self._tls, self._headers = _read(kubeconfig)
        self.http = httpx.AsyncClient(base_url=self.url, verify=self._tls, headers=self._headers, trust_env=False, timeout=20)
        self._namespaces: list[str] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for namespace in self._namespaces:
            await self.http.delete(f"/api/v1/namespaces/{namespace}")
        await self.http.aclose()

    async def new_namespace(self, prefix: str = "test", *, name: str = "") -> str:
        """name: the whole of it, where it is known before."""
        name = name or f"{prefix}-{secrets.token_hex(4)}"
        body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
        (await self.http.post("/api/v1/namespaces", json=body)).raise_for_status()
        self._namespaces.append(name)
        return name

    async def deploy(
        self,
        namespace: str,
        name: str,
        *,
        image: str,
        replicas: int = 1,
        spec: Mapping[str, Any] | None = None,
        pod: Mapping[str, Any] | None = None,
        container: Mapping[str, Any] | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> Object:
        """Create the Deployment, or give an existing one this image (its replicas stay). Extra fields go to their level."""
        containers = [{"name": "app", "image": image, **(container or {})}]
        change = {"spec": {**(spec or {}), "template": {"spec": {"containers": containers, **(pod or {})}}}}
        response = await self.http.patch(_deployment(namespace, name), json=change, headers=_MERGE)
        if response.status_code == 404:
            labels = {"app": name}
            template = {"metadata": {"labels": labels}, **change["spec"]["template"]}
            body = {
                "apiVersion": "apps/v1",
                "kind": "Deployment",
                "metadata": {"name": name, "namespace": namespace, **(metadata or {})},
                "spec": {"replicas": replicas, "selector": {"matchLabels": labels}, **change["spec"], "template": template},
            }
            response = await self.http.post(_deployment(namespace), json=body)
        return _checked(response)

    async def roll_out(self, namespace: str, name: str, *images: str, replicas: int = 1) -> Object:
        """Deploy these images one after the other, each fully available before the next: a history."""
        for image in images:
            await self.deploy(namespace, name, image=image, replicas=replicas)
            await self.wait_available(namespace, name)
        return await self.get(namespace, name)

    async def get(self, namespace: str, name: str) -> Object:
        return _checked(await self.http.get(_deployment(namespace, name)))

    async def change(self, namespace: str, name: str, body: Mapping[str, Any]) -> Object:
        """Merge-patch the Deployment, as another actor would."""
        return _checked(await self.http.patch(_deployment(namespace, name), json=body, headers=_MERGE))

    async def restart(self, namespace: str, name: str) -> Object:
        """What `kubectl rollout restart` does."""
        stamp = {"kubectl.kubernetes.io/restartedAt": f"2026-01-01T00:00:00Z-{secrets.token_hex(2)}"}
        return await self.change(namespace, name, {"spec": {"template": {"metadata": {"annotations": stamp}}}})

    async def scale(self, namespace: str, name: str, replicas: int) -> Object:
        return await self.change(namespace, name, {"spec": {"replicas": replicas}})

    async def delete(self, namespace: str, name: str) -> None:
        """Delete the Deployment and wait until it is gone."""
        options = {"propagationPolicy": "Background"}
        _checked(await self.http.request("DELETE", _deployment(namespace, name), json=options))
        path = _deployment(namespace, name)
        await self.until(lambda: self.http.get(path), lambda response: response.status_code == 404)

    async def replica_sets(self, namespace: str) -> list[Object]:
        return list(_checked(await self.http.get(f"/apis/apps/v1/namespaces/{namespace}/replicasets"))["items"])

    async def pods(self, namespace: str) -> list[Object]:
        return list(_checked(await self.http.get(f"/api/v1/namespaces/{namespace}/pods"))["items"])

    async def wait_available(self, namespace: str, name: str) -> Object:
        """Until the rollout of the Deployment as it is now is complete."""
        available: Object = await self.until(lambda: self.get(namespace, name), is_rolled_out)
        return available

    async def until(self, read: Callable[[], Awaitable[Any]], holds: Callable[[Any], bool], seconds: float = 20) -> Any:
        """Poll `read` until `holds` is true of what it returns; return that."""
        seen: Any = None
        try:
            async with asyncio.timeout(seconds):
                while True:
                    seen = await read()
                    if holds(seen):
                        return seen
                    await asyncio.sleep(_POLL_SECONDS)
        except TimeoutError:
            pytest.fail(f"never held within {seconds} s; last seen: {str(seen)[:3000]}")


class GenuineCluster(Cluster):
    """The run's genuine control plane: started by whoever asks first, gone with the run. Skips the test where it can't be had."""

    def __init__(self, shared: Path) -> None:
        super().__init__(kubeconfig_for_tests(shared))

    async def limited_kubeconfig(self, namespace: str, rules: Sequence[Mapping[str, Any]], folder: Path) -> Path:
        """Kubeconfig of a new service account that has these rights in the namespace and no others."""
        account = f"limited-{secrets.token_hex(4)}"
        meta = {"name": account, "namespace": namespace}
        rbac = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}"
        accounts = f"/api/v1/namespaces/{namespace}/serviceaccounts"
        reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": account}
        subject = {"kind": "ServiceAccount", **meta}
        _checked(await self.http.post(accounts, json={"metadata": meta}))
        _checked(await self.http.post(f"{rbac}/roles", json={"metadata": meta, "rules": list(rules)}))
        binding = {"metadata": meta, "roleRef": reference, "subjects": [subject]}
        _checked(await self.http.post(f"{rbac}/rolebindings", json=binding))
        return await self.kubeconfig_of(namespace, account, folder)

    async def kubeconfig_of(self, namespace: str, account: str, folder: Path) -> Path:
        """Kubeconfig of a service account that exists."""
        request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 3600}}
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token"
        token = _checked(await self.http.post(path, json=request))["status"]["token"]
        config = yaml.safe_load(self.kubeconfig.read_text())
        config["users"] = [{"name": one["name"], "user": {"token": token}} for one in config["users"]]
        kubeconfig = folder / f"{account}.kubeconfig"
        kubeconfig.write_text(json.dumps(config))
        return kubeconfig


def is_rolled_out(deployment: Object) -> bool:
    status, wanted = deployment.get("status") or {}, deployment["spec"].get("replicas", 1)
    counts = [status.get(key, 0) for key in ("replicas", "updatedReplicas", "availableReplicas")]
    return status.get("observedGeneration", 0) >= deployment["metadata"]["generation"] and counts == [wanted] * 3


def _deployment(namespace: str, name: str = "") -> str:
    path = f"/apis/apps/v1/namespaces/{namespace}/deployments"
    return f"{path}/{name}" if name else path


def _checked(response: httpx.Response) -> Object:
    assert response.is_success, (
        f"{response.request.method} {response.request.url.path}: {response.status_code} {response.text[:500]}"
    )
    return dict(response.json())


def _read(kubeconfig: Path) -> tuple[str, ssl.SSLContext | bool, dict[str, str]]:
    config = yaml.safe_load(kubeconfig.read_text())
    cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"] or {}
    authority = cluster.get("certificate-authority")
    headers = {"Authorization": f"Bearer {user['token']}"} if "token" in user else {}
    return cluster["server"], ssl.create_default_context(cafile=authority) if authority else True, headers
