"""StatefulSets and DaemonSets on the genuine API server with its genuine controllers; the sandbox does not have them."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from responder.clients.kubernetes import KubernetesClient
from responder.domain.version import Pin, RolloutPhase, Version
from responder.errors import ForbiddenError, PermanentError, RefusedError
from responder.targets.kubernetes import TemplateWorkload
from tests.harness.cluster import GenuineCluster
from tests.harness.kubernetes_proxy import Forward, KubernetesProxy, Request
from tests.harness.rollback import Intent, pin_of
from tests.harness.workloads import AppWorkload

KINDS = ["StatefulSet", "DaemonSet"]


@pytest.fixture
async def cluster(genuine: GenuineCluster) -> GenuineCluster:
    """In place of the one that is either."""
    return genuine


@pytest.fixture(params=KINDS)
async def app(request: pytest.FixtureRequest, cluster: GenuineCluster, namespace: str) -> AppWorkload:
    return AppWorkload(cluster, namespace, request.param)


@pytest.fixture
async def stateful(cluster: GenuineCluster, namespace: str) -> AppWorkload:
    return AppWorkload(cluster, namespace, "StatefulSet")


@pytest.fixture
def workload(app: AppWorkload, client: KubernetesClient) -> TemplateWorkload:
    return app.workload(client)


async def test_history_lists_every_version_newest_first(app: AppWorkload, workload: TemplateWorkload) -> None:
    await app.roll_out("shop/app:1.0", "shop/app:1.1")
    await app.all.change("app", {"metadata": {"annotations": {"kubernetes.io/change-cause": "a new checkout"}}})
    await app.roll_out("shop/app:1.2")

    state = await workload.read()

    assert [(one.version, one.revision, one.current) for one in state.history] == [
        ("1.2", "3", True),
        ("1.1", "2", False),
        ("1.0", "1", False),
    ]
    assert [one.change_cause for one in state.history] == ["a new checkout", "", ""]
    assert all(one.created_at for one in state.history)
    assert state.current.images == ("shop/app:1.2",)
    assert state.rollout.phase is RolloutPhase.COMPLETE
    assert (state.paused, state.owners, state.owner_unknown) == (False, (), "")


async def test_one_template_change_that_reuses_the_revision(app: AppWorkload, workload: TemplateWorkload) -> None:
    await app.roll_out("shop/app:1.0", "shop/app:1.1", "shop/app:1.2")
    good = (await app.get())["spec"]["template"]
    before, pin, intent = await app.get(), await pin_of(workload, "1.1"), Intent()

    said = await workload.roll_back(pin, intent)
    done = await app.cluster.until(lambda: workload.rollout(pin), lambda status: status.phase is RolloutPhase.COMPLETE)

    after = await app.get()
    assert said.endswith("1.2 (revision 3) replaced by 1.1 (revision 2)")
    assert intent.written == 1
    assert after["metadata"]["generation"] == before["metadata"]["generation"] + 1
    assert "$patch" not in after["spec"]["template"]
    good["spec"]["containers"][0]["image"] = "shop/app:1.1"
    assert after["spec"]["template"] == good
    assert set(await app.images()) == {"shop/app:1.1"}
    assert done.available == done.desired
    state = await workload.read()
    assert [(one.version, one.revision) for one in state.history] == [("1.1", "4"), ("1.2", "3"), ("1.0", "1")]
    assert (await workload.roll_back(pin, intent)).startswith("nothing to do: ")
    assert intent.written == 1


async def test_a_version_that_came_back_has_no_time(app: AppWorkload, workload: TemplateWorkload) -> None:
    """The revision keeps its first creation time: it says nothing about the comeback."""
    await app.roll_out("shop/app:1.0")
    first = (await workload.read()).current.created_at
    assert first is not None
    await app.cluster.until(_clock, lambda now: (now - first).total_seconds() > 1.5)
    await app.roll_out("shop/app:1.1", "shop/app:1.0")

    state = await workload.read()

    assert [(one.version, one.created_at is None) for one in state.history] == [("1.0", True), ("1.1", False)]


async def test_a_restart_makes_a_revision_but_no_material_change(app: AppWorkload, workload: TemplateWorkload) -> None:
    await app.roll_out("shop/app:1.0", "shop/app:1.1")
    pin = await pin_of(workload, "1.0")
    stamp = {"kubectl.kubernetes.io/restartedAt": "2026-01-01T00:00:00Z"}
    await app.all.change("app", {"spec": {"template": {"metadata": {"annotations": stamp}}}})

    state = await app.cluster.until(workload.read, lambda state: len(state.history) == 3)
    assert state.history[0].fingerprint == state.history[1].fingerprint

    await workload.roll_back(pin, Intent())  # a restart does not protect the bad version

    assert (await workload.read()).current.digest == pin.to_version.digest


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        pytest.param({"image": "shop/app:1.2"}, "changed by somebody else: it is asked to run 1.2", id="another version"),
        pytest.param({"image": "shop/app:1.1", "container": {"args": ["x"]}}, "changed by somebody else", id="a new argument"),
    ],
)
async def test_refused(app: AppWorkload, workload: TemplateWorkload, change: dict[str, Any], reason: str) -> None:
    await app.roll_out("shop/app:1.0", "shop/app:1.1")
    pin, intent = await pin_of(workload, "1.0"), Intent()
    await app.deploy(**change)
    before = await app.get()

    with pytest.raises(RefusedError, match=reason):
        await workload.roll_back(pin, intent)

    assert intent.written == 0
    assert (await app.get())["spec"] == before["spec"]


async def test_an_object_made_anew_is_refused(app: AppWorkload, workload: TemplateWorkload) -> None:
    await app.roll_out("shop/app:1.0", "shop/app:1.1")
    pin = await pin_of(workload, "1.0")
    await app.all.delete("app")
    await app.cluster.until(lambda: app.all.exists("app"), lambda there: not there)
    await app.deploy("shop/app:1.1")

    with pytest.raises(RefusedError, match="deleted and made anew"):
        await workload.roll_back(pin, Intent())


async def test_a_pruned_revision_can_not_come_back(app: AppWorkload, workload: TemplateWorkload) -> None:
    await app.roll_out("shop/app:1.0", "shop/app:1.1", revisionHistoryLimit=0)
    known = await app.cluster.until(workload.read, lambda state: len(state.history) == 1)
    gone = Pin("app", known.uid, known.current, _renamed(known.current, "1.0"))

    with pytest.raises(PermanentError, match=r"the ControllerRevision of 1\.0 .* is gone"):
        await workload.roll_back(gone, Intent())


async def test_a_lost_answer_changes_once(app: AppWorkload, namespace: str, tmp_path: Path, client: KubernetesClient) -> None:
    await app.roll_out("shop/app:1.0", "shop/app:1.1")
    async with KubernetesProxy(app.cluster) as proxy:
        seen = KubernetesClient(str(proxy.write_kubeconfig(tmp_path / "proxied.kubeconfig")))
        lost = 0

        async def lose_the_first(request: Request, forward: Forward) -> httpx.Response | None:
            nonlocal lost
            answer = await forward()
            if request.is_write and lost == 0:
                lost += 1
                return None
            return answer

        workload = app.workload(seen)
        pin, before = await pin_of(workload, "1.0"), await app.get()
        proxy.rule = lose_the_first
        try:
            said = await workload.roll_back(pin, Intent())
        finally:
            await seen.close()
    assert lost == 1
    assert "replaced by 1.0" in said
    assert (await app.get())["metadata"]["generation"] == before["metadata"]["generation"] + 1


async def test_a_broken_rollout_never_fails_but_says_why(app: AppWorkload, workload: TemplateWorkload) -> None:
    await app.roll_out("shop/app:1.0")
    await app.deploy("shop/app:1.1-bad")
    state = await app.cluster.until(workload.read, lambda state: len(state.history) == 2)
    forward = Pin("app", state.uid, state.history[1], state.history[0])

    status = await app.cluster.until(lambda: workload.rollout(forward), lambda status: "CrashLoopBackOff" in status.reason)

    assert status.phase is RolloutPhase.PROGRESSING


async def test_on_delete_says_that_nothing_happens_by_itself(app: AppWorkload, workload: TemplateWorkload) -> None:
    await app.roll_out("shop/app:1.0", updateStrategy={"type": "OnDelete"})
    await app.deploy("shop/app:1.1")
    await app.cluster.until(workload.read, lambda state: len(state.history) == 2)
    await _delete_pods(app)
    await app.cluster.until(app.images, lambda images: set(images) == {"shop/app:1.1"})
    pin = await pin_of(workload, "1.0")

    assert "its pods stay as they are until somebody deletes them" in await workload.roll_back(pin, Intent())
    status = await app.cluster.until(lambda: workload.rollout(pin), lambda status: "OnDelete" in status.reason)

    assert status.phase is RolloutPhase.PROGRESSING
    assert set(await app.images()) == {"shop/app:1.1"}
    await _delete_pods(app)
    await app.cluster.until(lambda: workload.rollout(pin), lambda status: status.phase is RolloutPhase.COMPLETE)


async def test_changes_are_seen(app: AppWorkload, workload: TemplateWorkload) -> None:
    await app.roll_out("shop/app:1.0")
    async with contextlib.aclosing(workload.watch()) as states:
        assert (await anext(states)).current.version == "1.0"
        await app.deploy("shop/app:1.1")
        async for state in states:
            if state.current.version == "1.1" and state.rollout.phase is RolloutPhase.COMPLETE:
                break


async def test_the_least_rights_are_enough(app: AppWorkload, tmp_path: Path) -> None:
    """Those of deploy/target/kinds; without the list of revisions the missing right is named."""
    await app.roll_out("shop/app:1.0", "shop/app:1.1")
    plural = f"{app.kind.lower()}s"
    own = {"apiGroups": ["apps"], "resources": [plural], "verbs": ["get", "patch"]}
    revisions = {"apiGroups": ["apps"], "resources": ["controllerrevisions"], "verbs": ["list"]}
    async with _limited(app, [own], tmp_path) as client:
        with pytest.raises(ForbiddenError, match=r"^missing right: list controllerrevisions\.apps"):
            await app.workload(client).read()
    async with _limited(app, [own, revisions], tmp_path) as client:
        workload = app.workload(client)
        pin = await pin_of(workload, "1.0")
        await workload.roll_back(pin, Intent())
        await app.cluster.until(lambda: workload.rollout(pin), lambda status: status.phase is RolloutPhase.COMPLETE)


# --- StatefulSets that wait for a broken pod (kubernetes#67250) -------------------------------------------------------


async def _broken(stateful: AppWorkload, client: KubernetesClient) -> tuple[TemplateWorkload, Pin]:
    """The last pod crash-loops in 1.1; the controller waits for it. Rolled back, with nothing else done."""
    await stateful.roll_out("shop/app:1.0", replicas=3)
    await stateful.deploy("shop/app:1.1-bad")
    await stateful.cluster.until(stateful.images, lambda images: "shop/app:1.1-bad" in images)
    workload = stateful.workload(client)
    await stateful.cluster.until(workload.read, lambda state: len(state.history) == 2)
    pin = await pin_of(workload, "1.0")
    await workload.roll_back(pin, Intent())
    return workload, pin


async def test_an_ordered_stateful_set_keeps_its_broken_pod(stateful: AppWorkload, client: KubernetesClient) -> None:
    workload, pin = await _broken(stateful, client)

    waiting = "2 of 3 pods ready (1x CrashLoopBackOff)"
    status = await stateful.cluster.until(lambda: workload.rollout(pin), lambda status: status.reason == waiting)

    assert status.phase is RolloutPhase.PROGRESSING
    assert "shop/app:1.1-bad" in await stateful.images()


async def test_where_the_target_opted_in_the_broken_pod_is_deleted(stateful: AppWorkload, client: KubernetesClient) -> None:
    _, pin = await _broken(stateful, client)
    healthy = {pod["metadata"]["name"]: pod["metadata"]["uid"] for pod in await stateful.cluster.pods(stateful.namespace)}
    workload, told = stateful.workload(client, evict_unready=True), []

    async def rollout() -> Any:
        status = await workload.rollout(pin)
        told.append(status.reason)
        return status

    await stateful.cluster.until(rollout, lambda status: status.phase is RolloutPhase.COMPLETE)

    assert await stateful.images() == ["shop/app:1.0"] * 3
    assert sum("deleted unready app-2 of 1.1-bad" in reason for reason in told) >= 1
    now = {pod["metadata"]["name"]: pod["metadata"]["uid"] for pod in await stateful.cluster.pods(stateful.namespace)}
    assert (now["app-0"], now["app-1"]) == (healthy["app-0"], healthy["app-1"]), "a healthy pod was touched"


async def test_pods_held_back_by_a_partition_are_said_so(stateful: AppWorkload, client: KubernetesClient) -> None:
    await stateful.roll_out("shop/app:1.0", replicas=3)
    strategy = {"type": "RollingUpdate", "rollingUpdate": {"partition": 2}}
    await stateful.deploy("shop/app:1.1", updateStrategy=strategy)
    await stateful.cluster.until(stateful.images, lambda images: images.count("shop/app:1.1") == 1)
    workload = stateful.workload(client)
    state = await stateful.cluster.until(workload.read, lambda state: state.rollout.phase is RolloutPhase.COMPLETE)

    assert state.rollout.reason == "1 pods updated, 2 held back by partition"


async def _delete_pods(app: AppWorkload) -> None:
    for pod in await app.cluster.pods(app.namespace):
        path = f"/api/v1/namespaces/{app.namespace}/pods/{pod['metadata']['name']}"
        await app.cluster.http.request("DELETE", path, json={"gracePeriodSeconds": 0})


@contextlib.asynccontextmanager
async def _limited(app: AppWorkload, rules: list[dict[str, Any]], folder: Path) -> AsyncIterator[KubernetesClient]:
    assert isinstance(app.cluster, GenuineCluster)
    client = KubernetesClient(str(await app.cluster.limited_kubeconfig(app.namespace, rules, folder)))
    try:
        yield client
    finally:
        await client.close()


def _renamed(version: Version, name: str) -> Version:
    return replace(version, version=name, digest="another", fingerprint="another", current=False)


async def _clock() -> datetime:
    return datetime.now(UTC)
