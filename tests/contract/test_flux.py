"""Workloads that Flux keeps: its custom resources on the genuine API server, its controllers played.

Played: putting the object back as Git has it, which Flux does within its interval unless it is suspended.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from responder.clients.kubernetes import KubernetesClient
from responder.domain.guard import Outcome
from responder.domain.ownership import judge_owners
from responder.domain.target import OnOwner, Target, WorkloadRef
from responder.domain.version import Owner, Pin, RolloutPhase
from responder.errors import ForbiddenError, PermanentError, RefusedError
from responder.targets.kubernetes import TemplateWorkload
from tests.harness.cluster import GenuineCluster
from tests.harness.custom_resources import HELM_RELEASES, KUSTOMIZATIONS, define
from tests.harness.rollback import Intent, pin_of
from tests.harness.workloads import Collection, workload_at

LABELS = {
    "kustomize": {"kustomize.toolkit.fluxcd.io/name": "shop", "kustomize.toolkit.fluxcd.io/namespace": "{namespace}"},
    "helm": {
        "helm.toolkit.fluxcd.io/name": "shop",
        "helm.toolkit.fluxcd.io/namespace": "{namespace}",
        "app.kubernetes.io/managed-by": "Helm",
    },
}
KINDS = {
    "kustomize": ("kustomize.toolkit.fluxcd.io/v1", "Kustomization", "kustomizations"),
    "helm": ("helm.toolkit.fluxcd.io/v2", "HelmRelease", "helmreleases"),
}


@pytest.fixture
async def cluster(genuine: GenuineCluster) -> GenuineCluster:
    await define(genuine, KUSTOMIZATIONS)
    await define(genuine, HELM_RELEASES)
    return genuine


class Flux:
    """Keeps the Deployment `app` at what `git` says, unless suspended."""

    def __init__(self, cluster: GenuineCluster, namespace: str, word: str) -> None:
        self.version, self.kind, plural = KINDS[word]
        self.keepers = Collection(cluster, f"/apis/{self.version}/namespaces/{namespace}/{plural}")
        self.cluster, self.namespace = cluster, namespace
        self.git = ""
        self.applied = 0

    async def install(self, **spec: Any) -> None:
        body = {"apiVersion": self.version, "kind": self.kind, "metadata": {"name": "shop"}, "spec": spec}
        await self.keepers.create(body)

    async def run(self) -> None:
        while True:
            keeper = await self.keepers.get("shop")
            if self.git and not keeper["spec"].get("suspend"):
                await self.cluster.deploy(self.namespace, "app", image=self.git)
                self.applied += 1
            await asyncio.sleep(0.05)


@pytest.fixture(params=["kustomize", "helm"])
async def flux(request: pytest.FixtureRequest, cluster: GenuineCluster, namespace: str) -> AsyncIterator[Flux]:
    """1.0 and 1.1 were deployed; Git says 1.1."""
    flux = Flux(cluster, namespace, request.param)
    await flux.install(interval="1m")
    labels = {key: value.format(namespace=namespace) for key, value in LABELS[request.param].items()}
    annotations = {"meta.helm.sh/release-name": "shop", "meta.helm.sh/release-namespace": namespace}
    metadata = {"labels": labels, "annotations": annotations if request.param == "helm" else {}}
    await cluster.deploy(namespace, "app", image="shop/app:1.0", replicas=2, metadata=metadata)
    await cluster.wait_available(namespace, "app")
    await cluster.roll_out(namespace, "app", "shop/app:1.1")
    flux.git = "shop/app:1.1"
    running = asyncio.create_task(flux.run())
    yield flux
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


def app(client: KubernetesClient, flux: Flux, on_owner: OnOwner) -> TemplateWorkload:
    return workload_at(client, WorkloadRef(flux.namespace, "app"), on_owner=on_owner)


async def image(flux: Flux) -> str:
    found = await flux.cluster.get(flux.namespace, "app")
    return str(found["spec"]["template"]["spec"]["containers"][0]["image"])


async def test_without_suspension_the_rollback_is_put_back(client: KubernetesClient, flux: Flux) -> None:
    """Why the guard refuses: this is what happens."""
    workload = app(client, flux, OnOwner.REFUSE)
    state = await workload.read()
    target = Target("app", WorkloadRef(flux.namespace, "app"), ())
    assert judge_owners(target, state)[0] is Outcome.REFUSE

    pin = await pin_of(workload, "1.0")
    await workload.roll_back(pin, Intent())
    status = await flux.cluster.until(lambda: workload.rollout(pin), lambda status: status.phase is RolloutPhase.FAILED)

    assert "is now asked to run 1.1" in status.reason


async def test_where_the_target_opted_in_flux_is_suspended_first(client: KubernetesClient, flux: Flux) -> None:
    workload, order = app(client, flux, OnOwner.SUSPEND), []
    state = await workload.read()
    assert state.owners[0] == Owner("Flux", f"{'kustomize' if flux.kind == 'Kustomization' else 'helm'}/{flux.namespace}/shop")
    target = Target("app", WorkloadRef(flux.namespace, "app"), (), on_owner=OnOwner.SUSPEND)
    assert judge_owners(target, state)[0] is Outcome.PASS

    async def before_write() -> None:
        order.append((await flux.keepers.get("shop"))["spec"].get("suspend"))

    pin = await pin_of(workload, "1.0")
    said = await workload.roll_back(pin, before_write)
    applied = flux.applied
    await flux.cluster.until(lambda: workload.rollout(pin), lambda status: status.phase is RolloutPhase.COMPLETE)

    assert order == [None], "suspended only after the intent"
    assert said.endswith(f"{flux.kind} {flux.namespace}/shop is suspended: resuming it deploys what Git says")
    assert (await flux.keepers.get("shop"))["spec"] == {"interval": "1m", "suspend": True}
    assert await image(flux) == "shop/app:1.0"
    assert flux.applied == applied


async def test_a_reconciliation_under_way_is_waited_for(client: KubernetesClient, flux: Flux) -> None:
    reconciling = {"status": {"conditions": [{"type": "Reconciling", "status": "True"}]}}
    await flux.keepers.change("shop", reconciling, "status")
    workload = app(client, flux, OnOwner.SUSPEND)
    rolling = asyncio.create_task(workload.roll_back(await pin_of(workload, "1.0"), Intent()))
    await flux.cluster.until(lambda: flux.keepers.get("shop"), lambda keeper: keeper["spec"].get("suspend"))
    assert await image(flux) == "shop/app:1.1"

    await flux.keepers.change("shop", {"status": {"conditions": []}}, "status")

    assert "is suspended" in await rolling
    assert await image(flux) == "shop/app:1.0"


async def cut_off(workload: TemplateWorkload, flux: Flux, incident: str) -> Pin:
    """Killed between the suspension and the change itself."""
    reconciling = {"status": {"conditions": [{"type": "Reconciling", "status": "True"}]}}
    await flux.keepers.change("shop", reconciling, "status")
    pin = replace(await pin_of(workload, "1.0"), incident=incident)
    rolling = asyncio.create_task(workload.roll_back(pin, Intent()))
    await flux.cluster.until(lambda: flux.keepers.get("shop"), lambda keeper: keeper["spec"].get("suspend"))
    rolling.cancel()
    await asyncio.gather(rolling, return_exceptions=True)
    await flux.keepers.change("shop", {"status": {"conditions": []}}, "status")
    assert await image(flux) == "shop/app:1.1"
    return pin


async def test_what_was_cut_off_after_the_suspension_has_begun_and_is_finished(client: KubernetesClient, flux: Flux) -> None:
    workload = app(client, flux, OnOwner.SUSPEND)
    assert not await workload.has_begun(replace(await pin_of(workload, "1.0"), incident="inc_1"))

    pin = await cut_off(workload, flux, "inc_1")

    assert (await flux.keepers.get("shop"))["metadata"]["annotations"] == {"responder.dev/suspended-for": "inc_1"}
    assert await workload.has_begun(pin)
    assert not await workload.has_begun(replace(pin, incident="inc_2")), "it was another incident's"
    assert "is suspended: resuming it deploys what Git says" in await workload.roll_back(pin, Intent())
    assert await image(flux) == "shop/app:1.0"


async def test_what_a_person_has_suspended_is_no_beginning_of_ours(client: KubernetesClient, flux: Flux) -> None:
    workload = app(client, flux, OnOwner.SUSPEND)
    await flux.keepers.change("shop", {"spec": {"suspend": True}})

    assert not await workload.has_begun(replace(await pin_of(workload, "1.0"), incident="inc_1"))


async def test_what_fails_after_a_cut_off_suspension_says_that_it_stays(client: KubernetesClient, flux: Flux) -> None:
    workload = app(client, flux, OnOwner.SUSPEND)
    pin = await cut_off(workload, flux, "inc_1")
    await flux.cluster.deploy(flux.namespace, "app", image="shop/app:1.2")

    with pytest.raises(
        PermanentError, match=r"changed by somebody else.*; \w+ \S+/shop is suspended: resuming it deploys"
    ) as caught:
        await workload.roll_back(pin, Intent())

    assert not isinstance(caught.value, RefusedError), "something was changed"


async def test_a_keeper_that_is_not_there_is_refused(client: KubernetesClient, flux: Flux) -> None:
    workload = app(client, flux, OnOwner.SUSPEND)
    pin = await pin_of(workload, "1.0")
    flux.git = ""
    await flux.keepers.delete("shop")

    with pytest.raises(RefusedError, match="keeps the object by its labels, but does not exist"):
        await workload.roll_back(pin, Intent())

    assert await image(flux) == "shop/app:1.1"


async def test_a_keeper_in_no_namespace_is_refused(client: KubernetesClient, flux: Flux) -> None:
    workload = app(client, flux, OnOwner.SUSPEND)
    pin = await pin_of(workload, "1.0")
    label = "kustomize.toolkit.fluxcd.io" if flux.kind == "Kustomization" else "helm.toolkit.fluxcd.io"
    await flux.cluster.change(flux.namespace, "app", {"metadata": {"labels": {f"{label}/namespace": None}}})

    with pytest.raises(RefusedError, match="do not say in which namespace"):
        await workload.roll_back(pin, Intent())


async def test_the_right_to_suspend_is_named_and_nothing_is_changed(flux: Flux, tmp_path: Path) -> None:
    group, plural = flux.version.partition("/")[0], KINDS["kustomize" if flux.kind == "Kustomization" else "helm"][2]
    rules = [
        {"apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["get", "patch"]},
        {"apiGroups": ["apps"], "resources": ["replicasets"], "verbs": ["list"]},
        {"apiGroups": ["argoproj.io"], "resources": ["rollouts"], "verbs": ["list"]},
        {"apiGroups": [group], "resources": [plural], "verbs": ["get"]},
    ]
    client = KubernetesClient(str(await flux.cluster.limited_kubeconfig(flux.namespace, rules, tmp_path)))
    try:
        workload = app(client, flux, OnOwner.SUSPEND)
        with pytest.raises(ForbiddenError, match=rf"^missing right: patch {plural}\.{group.replace('.', chr(92) + '.')}"):
            await workload.roll_back(await pin_of(workload, "1.0"), Intent())
    finally:
        await client.close()
    assert await image(flux) == "shop/app:1.1"


async def test_an_object_that_flux_was_told_to_leave_alone_has_no_owner(
    cluster: GenuineCluster, client: KubernetesClient, namespace: str
) -> None:
    labels = {key: value.format(namespace=namespace) for key, value in LABELS["kustomize"].items()}
    metadata = {"labels": labels, "annotations": {"kustomize.toolkit.fluxcd.io/reconcile": "disabled"}}
    await cluster.deploy(namespace, "app", image="shop/app:1.0", metadata=metadata)

    assert (await workload_at(client, WorkloadRef(namespace, "app")).read()).owners == ()
