"""Watching a Deployment: every version is seen, whatever happens to the connection."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import httpx
import pytest

from responder.domain.version import WorkloadState
from responder.targets.kubernetes import TemplateWorkload
from tests.harness.cluster import Cluster
from tests.harness.kubernetes_proxy import Forward, KubernetesProxy, Request


@pytest.fixture
async def states(proxied: TemplateWorkload) -> AsyncIterator[AsyncIterator[WorkloadState]]:
    async with contextlib.aclosing(proxied.watch()) as states:
        yield states


async def seen(states: AsyncIterator[WorkloadState], version: str) -> WorkloadState:
    """The first state in which this version is current and fully rolled out."""
    async for state in states:
        if state.current.version == version and state.rollout.phase == "complete":
            return state
    raise AssertionError("the watch ended")


async def test_the_first_state_comes_at_once(cluster: Cluster, namespace: str, states: AsyncIterator[WorkloadState]) -> None:
    await cluster.roll_out(namespace, "app", "shop/app:1.0")

    assert (await anext(states)).current.version == "1.0"


async def test_changes_are_seen(cluster: Cluster, namespace: str, states: AsyncIterator[WorkloadState]) -> None:
    await cluster.roll_out(namespace, "app", "shop/app:1.0")
    await seen(states, "1.0")

    await cluster.deploy(namespace, "app", image="shop/app:1.1")

    assert (await seen(states, "1.1")).current.revision == "2"


async def test_a_change_that_brings_no_other_version_is_seen_without_reading_anything(
    cluster: Cluster, namespace: str, proxy: KubernetesProxy, states: AsyncIterator[WorkloadState]
) -> None:
    await cluster.roll_out(namespace, "app", "shop/app:1.0")
    await seen(states, "1.0")
    before = len(proxy.requests)

    await cluster.change(namespace, "app", {"metadata": {"labels": {"note": "seen"}}})

    assert (await anext(states)).current.revision == "1"
    assert [one.target for one in proxy.requests[before:] if not one.is_watch] == []


async def test_a_cut_connection_loses_nothing(
    cluster: Cluster, namespace: str, proxy: KubernetesProxy, states: AsyncIterator[WorkloadState]
) -> None:
    await cluster.roll_out(namespace, "app", "shop/app:1.0")
    await seen(states, "1.0")

    for version in ("1.1", "1.2"):
        proxy.cut_watches()
        await cluster.deploy(namespace, "app", image=f"shop/app:{version}")
        assert (await seen(states, version)).history[1].version != version


async def test_an_expired_resource_version_starts_over(
    cluster: Cluster, namespace: str, proxy: KubernetesProxy, states: AsyncIterator[WorkloadState]
) -> None:
    await cluster.roll_out(namespace, "app", "shop/app:1.0")
    await seen(states, "1.0")
    proxy.expire_watches = True
    proxy.cut_watches()

    await cluster.deploy(namespace, "app", image="shop/app:1.1")

    await seen(states, "1.1")
    assert proxy.expire_watches is False


async def test_a_missing_right_is_waited_for(
    cluster: Cluster, namespace: str, proxy: KubernetesProxy, states: AsyncIterator[WorkloadState]
) -> None:
    await cluster.roll_out(namespace, "app", "shop/app:1.0")
    refusals = 2

    async def refuse(request: Request, forward: Forward) -> httpx.Response:
        nonlocal refusals
        if refusals == 0:
            return await forward()
        refusals -= 1
        return httpx.Response(403, json={"message": "not yet"})

    proxy.rule = refuse

    assert (await anext(states)).current.version == "1.0"


async def test_an_object_made_anew_is_seen(cluster: Cluster, namespace: str, states: AsyncIterator[WorkloadState]) -> None:
    await cluster.roll_out(namespace, "app", "shop/app:1.0")
    former = await seen(states, "1.0")
    await cluster.delete(namespace, "app")

    await cluster.deploy(namespace, "app", image="shop/app:1.1")

    assert (await seen(states, "1.1")).uid != former.uid


async def test_ending_the_watch_closes_its_connection(
    cluster: Cluster, namespace: str, proxy: KubernetesProxy, proxied: TemplateWorkload
) -> None:
    await cluster.roll_out(namespace, "app", "shop/app:1.0")
    async with contextlib.aclosing(proxied.watch()) as states:
        await seen(states, "1.0")
        await cluster.scale(namespace, "app", 2)
        await anext(states)
        assert proxy.watches == 1

    async def watches() -> int:
        return proxy.watches

    await cluster.until(watches, lambda count: count == 0)


async def test_more_watches_than_a_pool_has_connections_leave_room_for_everything_else(
    cluster: Cluster, namespace: str, workload: TemplateWorkload
) -> None:
    await cluster.roll_out(namespace, "app", "shop/app:1.0")
    listed = [asyncio.Event() for _ in range(150)]

    async def watch(first: asyncio.Event) -> None:
        async with contextlib.aclosing(workload.watch()) as states:
            async for state in states:
                first.set()
                if state.current.version == "1.1":
                    return

    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        watches = [group.create_task(watch(first)) for first in listed]
        for first in listed:
            await first.wait()
        await workload.read()
        assert not any(one.done() for one in watches)
        await cluster.deploy(namespace, "app", image="shop/app:1.1")
