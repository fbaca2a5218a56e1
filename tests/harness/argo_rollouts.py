"""A played Argo Rollouts controller: what the real one writes into Rollouts and ReplicaSets, after its sources and documentation.

Played: revision numbers, `rollouts-pod-template-hash`, canary steps that pause, abort, promoteFull, blue-green's active selector,
phase and message. ReplicaSets and pods below it are the genuine controllers'.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Self

import httpx

from tests.harness.cluster import Cluster
from tests.harness.workloads import Collection

Object = dict[str, Any]

HASH = "rollouts-pod-template-hash"
REVISION, REVISION_HISTORY = "rollout.argoproj.io/revision", "rollout.argoproj.io/revision-history"
_LOOK_SECONDS = 0.05


class RolloutController:
    """Keeps the Rollout `app` of one namespace, inside `async with`."""

    def __init__(self, cluster: Cluster, namespace: str) -> None:
        self.rollouts = Collection(cluster, f"/apis/argoproj.io/v1alpha1/namespaces/{namespace}/rollouts")
        self.deployments = Collection(cluster, f"/apis/apps/v1/namespaces/{namespace}/deployments")
        self.replica_sets = Collection(cluster, f"/apis/apps/v1/namespaces/{namespace}/replicasets")
        self.cluster = cluster
        self.namespace = namespace
        self._awake = asyncio.Lock()
        self._running: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._running = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._running is not None
        self._running.cancel()
        await asyncio.gather(self._running, return_exceptions=True)

    @asynccontextmanager
    async def asleep(self) -> AsyncIterator[None]:
        """Meanwhile it sees nothing."""
        async with self._awake:
            yield

    async def deploy(self, image: str, **spec: Any) -> Object:
        """Create the Rollout `app`, or give it this image. strategy: a canary that pauses after one pod unless told otherwise."""
        containers = [{"name": "app", "image": image}]
        if await self.rollouts.exists("app"):
            return await self.rollouts.change("app", {"spec": {**spec, "template": {"spec": {"containers": containers}}}})
        template = {
            "metadata": {"labels": {"app": "app"}},
            "spec": {"containers": containers, "terminationGracePeriodSeconds": 0},
        }
        steps = {"canary": {"steps": [{"setWeight": 50}, {"pause": {}}]}}
        own = {"template": template, "selector": {"matchLabels": {"app": "app"}}, "strategy": steps, "replicas": 2}
        return await self.create({**own, **spec})

    async def create(self, spec: Object) -> Object:
        return await self.rollouts.create(
            {"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "metadata": {"name": "app"}, "spec": spec}
        )

    async def promote(self) -> Object:
        """As a person who says `promote --full`, and then waits."""
        await self.rollouts.change("app", {"status": {"promoteFull": True}}, "status")
        return await self.until("Healthy")

    async def until(self, phase: str) -> Object:
        """The Rollout, observed, in this phase."""
        found: Object = await self.cluster.until(lambda: self.rollouts.get("app"), lambda one: _phase(one) == phase)
        return found

    async def images(self) -> list[str]:
        pods = await self.cluster.pods(self.namespace)
        return sorted(one["spec"]["containers"][0]["image"] for one in pods if "deletionTimestamp" not in one["metadata"])

    async def _run(self) -> None:
        while True:
            with contextlib.suppress(AssertionError, httpx.HTTPError):  # a conflict: look again
                async with self._awake:
                    if await self.rollouts.exists("app"):
                        await self._reconcile(await self.rollouts.get("app"))
            await asyncio.sleep(_LOOK_SECONDS)

    async def _reconcile(self, found: Object) -> None:
        spec, status = found["spec"], found.get("status") or {}
        template = spec.get("template")
        if template is None:
            template = (await self.deployments.get(spec["workloadRef"]["name"]))["spec"]["template"]
        listed = await self.cluster.replica_sets(self.namespace)
        sets = {one["metadata"]["labels"][HASH]: one for one in listed if HASH in one["metadata"]["labels"]}
        pod_hash = next((one for one, kept in sets.items() if _contains(kept["spec"]["template"], template)), _hash_of(template))
        if pod_hash not in sets:
            sets[pod_hash] = await self._make(found, template, pod_hash, _highest(sets) + 1)
        new, stable = sets[pod_hash], sets.get(status.get("stableRS", ""))
        if _number(new) < _highest(sets):
            await self._renumber(new, _highest(sets) + 1)
        if status.get("currentPodHash") != pod_hash:  # another version than before: nothing of the last try counts
            status = {key: value for key, value in status.items() if key not in ("abort", "promoteFull", "blueGreen")}
            status |= {"blueGreen": (found.get("status") or {}).get("blueGreen")} if "blueGreen" in spec["strategy"] else {}
        wanted, phase, message = _plan(spec, status, new, stable)
        for one in sets.values():
            replicas = wanted.get(one["metadata"]["labels"][HASH], 0)
            if one["spec"]["replicas"] != replicas:
                await self.replica_sets.change(one["metadata"]["name"], {"spec": {"replicas": replicas}})
        fresh = {
            "observedGeneration": str(found["metadata"]["generation"]),
            "currentPodHash": pod_hash,
            "stableRS": pod_hash if phase == "Healthy" else status.get("stableRS"),
            "phase": phase,
            "message": message or None,
            "updatedReplicas": _count(new, "replicas"),
            "availableReplicas": sum(_count(one, "availableReplicas") for one in sets.values()),
            "promoteFull": status.get("promoteFull") if phase != "Healthy" else None,
            "abort": status.get("abort"),
            "pauseConditions": [{"reason": "CanaryPauseStep"}] if phase == "Paused" else None,
        }
        if "blueGreen" in spec["strategy"]:
            serves = fresh["stableRS"] or pod_hash
            fresh["blueGreen"] = {"activeSelector": serves}
        upon = {"metadata": {"resourceVersion": found["metadata"]["resourceVersion"]}, "status": fresh}
        await self.rollouts.change("app", upon, "status")

    async def _make(self, found: Object, template: Object, pod_hash: str, number: int) -> Object:
        labels = {**template["metadata"]["labels"], HASH: pod_hash}
        owner = {"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "name": "app", "uid": found["metadata"]["uid"]}
        metadata = {
            "name": f"app-{pod_hash}",
            "labels": labels,
            "annotations": {REVISION: str(number), **(found["metadata"].get("annotations") or {})},
            "ownerReferences": [{**owner, "controller": True}],
        }
        labelled = {**template, "metadata": {**template["metadata"], "labels": labels}}
        spec = {"replicas": 0, "selector": {"matchLabels": labels}, "template": labelled}
        return await self.replica_sets.create({"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": metadata, "spec": spec})

    async def _renumber(self, one: Object, number: int) -> None:
        old = {REVISION_HISTORY: str(_number(one)), REVISION: str(number)}
        await self.replica_sets.change(one["metadata"]["name"], {"metadata": {"annotations": old}})


def _plan(spec: Object, status: Object, new: Object, stable: Object | None) -> tuple[dict[str, int], str, str]:
    """Replicas by hash, phase, message."""
    desired, new_hash = spec.get("replicas", 1), new["metadata"]["labels"][HASH]
    if stable is None or stable["metadata"]["labels"][HASH] == new_hash:
        ready = _count(new, "availableReplicas") >= desired
        return (
            {new_hash: desired},
            "Healthy" if ready else "Progressing",
            "" if ready else "updated replicas are becoming available",
        )
    stable_hash = stable["metadata"]["labels"][HASH]
    if status.get("abort"):
        return {stable_hash: desired}, "Degraded", f"RolloutAborted: Rollout aborted update to revision {_number(new)}"
    if status.get("promoteFull"):
        if _count(new, "availableReplicas") >= desired:
            return {new_hash: desired}, "Healthy", ""
        return {new_hash: desired, stable_hash: desired}, "Progressing", "more replicas need to be updated"
    return {new_hash: 1, stable_hash: desired}, "Paused", "CanaryPauseStep"


def _phase(found: Object) -> str:
    status = found.get("status") or {}
    return str(status.get("phase")) if status.get("observedGeneration") == str(found["metadata"]["generation"]) else ""


def _contains(kept: Any, wanted: Any) -> bool:
    """Equal but for the defaults that the server filled in, and the label of the hash."""
    if isinstance(kept, dict) and isinstance(wanted, dict):
        return all(_contains(kept.get(key), value) for key, value in wanted.items())
    if isinstance(kept, list) and isinstance(wanted, list):
        return len(kept) == len(wanted) and all(_contains(*pair) for pair in zip(kept, wanted, strict=True))
    return bool(kept == wanted)


def _hash_of(template: Object) -> str:
    return hashlib.sha256(json.dumps(template, sort_keys=True).encode()).hexdigest()[:10]


def _number(one: Object) -> int:
    return int(one["metadata"]["annotations"][REVISION])


def _highest(sets: dict[str, Object]) -> int:
    return max((_number(one) for one in sets.values()), default=0)


def _count(one: Object, key: str) -> int:
    return int((one.get("status") or {}).get(key, 0))
