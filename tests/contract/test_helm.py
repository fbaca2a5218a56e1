"""Helm releases: the genuine `helm`, API server and controllers."""

from __future__ import annotations

import base64
import contextlib
import gzip
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from responder.clients.kubernetes import KubernetesClient
from responder.clients.programs import Programs
from responder.domain.target import HelmRef, Target
from responder.domain.version import Owner, Pin, RolloutPhase
from responder.errors import ForbiddenError, NotFoundError, PermanentError, RefusedError
from responder.targets.helm import HelmWorkload, HelmWorkloads
from tests.harness.cluster import GenuineCluster
from tests.harness.helm import Chart
from tests.harness.rollback import Intent, pin_of


@pytest.fixture
async def cluster(genuine: GenuineCluster) -> GenuineCluster:
    return genuine


@pytest.fixture
def chart(cluster: GenuineCluster, namespace: str, tmp_path: Path) -> Chart:
    return Chart.make(cluster, namespace, tmp_path)


def workload_in(client: KubernetesClient, chart: Chart, **environment: str) -> HelmWorkload:
    releases = HelmWorkloads(client, Programs(), lambda: datetime.now(UTC), {**chart.environment, **environment})
    return releases.of(Target("shop", HelmRef(chart.namespace, "shop"), ()))


@pytest.fixture
def workload(client: KubernetesClient, chart: Chart) -> HelmWorkload:
    return workload_in(client, chart)


def image(version: str) -> str:
    return json.dumps(f"shop/app:{version}")


async def running(chart: Chart) -> str:
    found = await chart.cluster.get(chart.namespace, "web")
    return str(found["spec"]["template"]["spec"]["containers"][0]["image"])


async def test_history(chart: Chart, workload: HelmWorkload) -> None:
    before = datetime.now(UTC)
    await chart.deploy(image=image("1.0"))
    await chart.deploy(image=image("1.1"))

    state = await workload.read()

    assert [(one.version, one.revision, one.current) for one in state.history] == [("1.1", "2", True), ("1.0", "1", False)]
    assert state.current.change_cause == "shop-0.3.0, app 7, deployed: Upgrade complete"
    assert state.current.images == ("shop/app:1.1",)
    assert state.current.created_at is not None
    assert before <= state.current.created_at <= state.read_at
    assert (state.rollout.phase, state.rollout.reason) == (RolloutPhase.COMPLETE, "2 of 2 pods available in 1 workloads")
    assert (state.owners, state.paused) == ((), False)


async def test_what_is_material(chart: Chart, workload: HelmWorkload) -> None:
    """The configuration that a release carries is part of it; a restart stamp is not."""
    await chart.deploy()
    await chart.deploy(stamp='"now"')
    await chart.deploy(stamp='"now"', mode='"fancy"')

    fancy, stamped, plain = (await workload.read()).history

    assert stamped.fingerprint == plain.fingerprint
    assert stamped.digest != plain.digest
    assert fancy.fingerprint != stamped.fingerprint


async def test_helm_itself_goes_back_once_with_its_hooks(chart: Chart, workload: HelmWorkload) -> None:
    await chart.deploy(image=image("1.0"))
    await chart.deploy(image=image("1.1"), mode='"fancy"')
    await chart.deploy(image=image("1.2-bad"), wait=False)
    pin, intent = await pin_of(workload, "1.1"), Intent()

    said = await workload.roll_back(pin, intent)

    assert said == f"helm release shop in namespace {chart.namespace}: 1.2-bad (revision 3) replaced by 1.1 (revision 2)"
    assert intent.written == 1
    assert await running(chart) == "shop/app:1.1"
    assert (await workload.rollout(pin)).phase is RolloutPhase.COMPLETE
    state = await workload.read()
    assert [(one.version, one.revision) for one in state.history] == [("1.1", "4"), ("1.2-bad", "3"), ("1.1", "2"), ("1.0", "1")]
    assert state.current.digest == pin.to_version.digest
    hooks = await chart.cluster.http.get(f"/api/v1/namespaces/{chart.namespace}/configmaps/hook-2")
    assert hooks.is_success, "the chart's own hook did not run"
    assert (await workload.roll_back(pin, intent)).startswith("nothing to do: ")
    assert intent.written == 1


async def test_a_rollback_that_was_cut_off_is_made_once_more(chart: Chart, workload: HelmWorkload) -> None:
    """Killed in the middle, Helm leaves a revision behind that is pending for ever."""
    await chart.deploy(image=image("1.0"))
    await chart.deploy(image=image("1.1"))
    pin = await pin_of(workload, "1.0")
    assert not await workload.has_begun(pin)
    await chart.helm("rollback", "shop", "1")
    await change_status(chart, 3, "pending-rollback")
    assert await workload.has_begun(pin)

    said = await workload.roll_back(pin, Intent())

    assert "replaced by 1.0" in said
    assert (await workload.read()).current.revision == "4"
    assert (await workload.rollout(pin)).phase is RolloutPhase.COMPLETE


@pytest.mark.parametrize("status", ["pending-upgrade", "pending-install", "pending-rollback"])
async def test_what_somebody_else_has_begun_is_refused(chart: Chart, workload: HelmWorkload, status: str) -> None:
    await chart.deploy(image=image("1.0"))
    await chart.deploy(image=image("1.1"))
    pin, intent = await pin_of(workload, "1.0"), Intent()
    await change_status(chart, 2, status)

    with pytest.raises(RefusedError, match=rf"is {status} \(revision 2\)"):
        await workload.roll_back(pin, intent)

    assert intent.written == 0
    assert (await workload.read()).rollout.reason == f"helm: {status}"


async def test_another_upgrade_meanwhile_is_refused(chart: Chart, workload: HelmWorkload) -> None:
    await chart.deploy(image=image("1.0"))
    await chart.deploy(image=image("1.1"))
    pin, intent = await pin_of(workload, "1.0"), Intent()
    await chart.deploy(image=image("1.2"))

    with pytest.raises(RefusedError, match="was changed by somebody else: it is at revision 3"):
        await workload.roll_back(pin, intent)

    assert intent.written == 0
    assert (await workload.rollout(pin)).phase is RolloutPhase.FAILED


async def test_a_release_installed_anew_is_another_one(chart: Chart, workload: HelmWorkload) -> None:
    await chart.deploy(image=image("1.0"))
    await chart.deploy(image=image("1.1"))
    pin = await pin_of(workload, "1.0")
    await chart.helm("uninstall", "shop", "--wait")
    await chart.deploy(image=image("1.0"), wait=False)
    await chart.deploy(image=image("1.1"), wait=False)

    with pytest.raises(RefusedError, match="uninstalled and installed anew"):
        await workload.roll_back(pin, Intent())


async def test_a_version_out_of_the_history_can_not_come_back(chart: Chart, workload: HelmWorkload) -> None:
    await chart.deploy(image=image("1.0"))
    await chart.deploy(image=image("1.1"))
    pin, intent = await pin_of(workload, "1.0"), Intent()
    path = f"/api/v1/namespaces/{chart.namespace}/secrets/sh.helm.release.v1.shop.v1"
    (await chart.cluster.http.delete(path)).raise_for_status()

    with pytest.raises(PermanentError, match=r"1\.0 \(revision 1\) is gone"):
        await workload.roll_back(pin, intent)

    assert intent.written == 0


async def test_what_helm_says_is_told_when_it_fails(chart: Chart, client: KubernetesClient, tmp_path: Path) -> None:
    """Its credentials are its own: here they may do nothing."""
    await chart.deploy(image=image("1.0"))
    await chart.deploy(image=image("1.1"))
    assert isinstance(chart.cluster, GenuineCluster)
    without = await chart.cluster.limited_kubeconfig(chart.namespace, [], tmp_path)
    workload = workload_in(client, chart, KUBECONFIG=str(without))
    pin = await pin_of(workload, "1.0")

    with pytest.raises(PermanentError, match=r"(?s)^helm ended with 1: .*forbidden"):
        await workload.roll_back(pin, Intent())

    assert await running(chart) == "shop/app:1.1"


async def test_without_helm_nothing_is_begun(chart: Chart, client: KubernetesClient) -> None:
    await chart.deploy(image=image("1.0"))
    await chart.deploy(image=image("1.1"))
    workload, intent = workload_in(client, chart, PATH="/nowhere"), Intent()

    with pytest.raises(NotFoundError, match="the program helm is not installed here"):
        await workload.roll_back(await pin_of(workload, "1.0"), intent)

    assert intent.written == 0


async def test_deployments_are_seen(chart: Chart, workload: HelmWorkload, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("responder.targets.helm._GLANCE_EVERY", timedelta(milliseconds=50))
    await chart.deploy(image=image("1.0"))
    async with contextlib.aclosing(workload.watch()) as states:
        assert (await anext(states)).current.version == "1.0"
        await chart.deploy(image=image("1.1"))
        async for state in states:
            if state.current.version == "1.1" and state.rollout.phase is RolloutPhase.COMPLETE:
                break


async def test_a_release_that_is_not_there(workload: HelmWorkload) -> None:
    with pytest.raises(NotFoundError, match="is not installed"):
        await workload.read()


async def test_the_right_to_read_the_record_is_named(chart: Chart, tmp_path: Path) -> None:
    await chart.deploy(image=image("1.0"))
    assert isinstance(chart.cluster, GenuineCluster)
    client = KubernetesClient(str(await chart.cluster.limited_kubeconfig(chart.namespace, [], tmp_path)))
    try:
        with pytest.raises(ForbiddenError, match=f"^missing right: list secrets in namespace {chart.namespace}"):
            await workload_in(client, chart).read()
    finally:
        await client.close()


async def test_a_chart_that_flux_installed_is_owned_by_its_helm_release(chart: Chart, workload: HelmWorkload) -> None:
    labels = {"app": "web", "helm.toolkit.fluxcd.io/name": "shop", "helm.toolkit.fluxcd.io/namespace": "apps"}
    await chart.deploy(labels=json.dumps(labels))

    assert (await workload.read()).owners == (Owner("Flux", "helm/apps/shop"),)


async def test_a_workload_that_does_not_get_on_is_told(chart: Chart, workload: HelmWorkload) -> None:
    await chart.deploy(image=image("1.0"))
    await chart.deploy(image=image("1.1-bad"), wait=False)
    state = await workload.read()
    forward = Pin("shop", state.uid, state.history[1], state.history[0])

    status = await chart.cluster.until(lambda: workload.rollout(forward), lambda status: "CrashLoopBackOff" in status.reason)

    assert status.phase is RolloutPhase.PROGRESSING
    assert status.reason.startswith("deployment/web: 1 of 2 pods updated")


async def change_status(chart: Chart, revision: int, status: str) -> None:
    """As Helm leaves it when it is killed."""
    path = f"/api/v1/namespaces/{chart.namespace}/secrets/sh.helm.release.v1.shop.v{revision}"
    secret: dict[str, Any] = (await chart.cluster.http.get(path)).json()
    release = json.loads(gzip.decompress(base64.b64decode(base64.b64decode(secret["data"]["release"]))))
    release["info"]["status"] = status
    packed = base64.b64encode(base64.b64encode(gzip.compress(json.dumps(release).encode()))).decode()
    secret["metadata"]["labels"]["status"] = status
    (await chart.cluster.http.put(path, json={**secret, "data": {"release": packed}})).raise_for_status()
