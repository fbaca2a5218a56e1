"""StatefulSets, DaemonSets and custom objects on a cluster: made, changed and waited for by plain HTTP, as other actors do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from responder.clients.kubernetes import KubernetesClient
from responder.domain.target import OnOwner, Target, WorkloadRef
from responder.targets.kubernetes import TemplateWorkload
from tests.harness.cluster import Cluster

Object = dict[str, Any]

_MERGE = {"Content-Type": "application/merge-patch+json"}
_PLURALS = {"Deployment": "deployments", "StatefulSet": "statefulsets", "DaemonSet": "daemonsets"}


@dataclass(frozen=True)
class Collection:
    """The objects of one kind in one namespace. path: `/apis/apps/v1/namespaces/x/statefulsets`."""

    cluster: Cluster
    path: str

    async def create(self, body: Mapping[str, Any]) -> Object:
        return _checked(await self.cluster.http.post(self.path, json=body))

    async def get(self, name: str) -> Object:
        return _checked(await self.cluster.http.get(f"{self.path}/{name}"))

    async def exists(self, name: str) -> bool:
        return (await self.cluster.http.get(f"{self.path}/{name}")).status_code != 404

    async def change(self, name: str, body: Mapping[str, Any], subresource: str = "") -> Object:
        path = f"{self.path}/{name}/{subresource}".rstrip("/")
        return _checked(await self.cluster.http.patch(path, json=body, headers=_MERGE))

    async def delete(self, name: str) -> None:
        _checked(await self.cluster.http.request("DELETE", f"{self.path}/{name}", json={"propagationPolicy": "Background"}))


@dataclass(frozen=True)
class AppWorkload:
    """The workload `app` of one kind (`StatefulSet`, `DaemonSet`) in a namespace."""

    cluster: Cluster
    namespace: str
    kind: str

    @property
    def all(self) -> Collection:
        return Collection(self.cluster, f"/apis/apps/v1/namespaces/{self.namespace}/{_PLURALS[self.kind]}")

    async def deploy(self, image: str, *, replicas: int = 2, container: Mapping[str, Any] | None = None, **spec: Any) -> Object:
        """Create it, or give it this image; more fields of its spec by name."""
        containers = [{"name": "app", "image": image, **(container or {})}]
        if await self.all.exists("app"):
            return await self.all.change("app", {"spec": {**spec, "template": {"spec": {"containers": containers}}}})
        labels = {"app": "app"}
        template = {"metadata": {"labels": labels}, "spec": {"containers": containers, "terminationGracePeriodSeconds": 0}}
        own = {"serviceName": "app", "replicas": replicas} if self.kind == "StatefulSet" else {}
        full = {"selector": {"matchLabels": labels}, "template": template, **own, **spec}
        return await self.all.create({"apiVersion": "apps/v1", "kind": self.kind, "metadata": {"name": "app"}, "spec": full})

    async def roll_out(self, *images: str, **spec: Any) -> Object:
        """Deploy these one after the other, each in full before the next."""
        for image in images:
            await self.deploy(image, **spec)
            await self.wait_complete()
        return await self.get()

    async def get(self) -> Object:
        return await self.all.get("app")

    async def wait_complete(self) -> Object:
        found: Object = await self.cluster.until(self.get, _is_complete)
        return found

    async def images(self) -> list[str]:
        """Of its pods that are there to stay."""
        pods = await self.cluster.pods(self.namespace)
        alive = [pod for pod in pods if "deletionTimestamp" not in pod["metadata"]]
        return sorted(pod["spec"]["containers"][0]["image"] for pod in alive)

    def workload(self, client: KubernetesClient, **options: Any) -> TemplateWorkload:
        return workload_at(client, WorkloadRef(self.namespace, "app", self.kind), **options)


def workload_at(
    client: KubernetesClient, ref: WorkloadRef, *, on_owner: OnOwner = OnOwner.REFUSE, evict_unready: bool = False
) -> TemplateWorkload:
    target = Target("app", ref, (), on_owner=on_owner, evict_unready=evict_unready)
    return TemplateWorkload(client, target, ref, lambda: datetime.now(UTC))


def _is_complete(found: Object) -> bool:
    status = found.get("status") or {}
    if status.get("observedGeneration", 0) < found["metadata"]["generation"]:
        return False
    if found["kind"] == "DaemonSet":
        desired = status.get("desiredNumberScheduled", 0)
        return bool(desired and status.get("updatedNumberScheduled") == status.get("numberAvailable") == desired)
    all_new = status.get("currentRevision") == status.get("updateRevision")
    return bool(all_new and status.get("readyReplicas", 0) == found["spec"]["replicas"])


def _checked(response: Any) -> Object:
    assert response.is_success, (
        f"{response.request.method} {response.request.url.path}: {response.status_code} {response.text[:500]}"
    )
    return dict(response.json())
