"""Rolling back: exactly one change, only from the pinned version, safe to repeat."""

from __future__ import annotations

from typing import Any

import pytest

from responder.clients.kubernetes import DEPLOYMENTS, KubernetesClient
from responder.domain.version import Pin
from responder.errors import ConflictError, PermanentError, RefusedError
from responder.targets.kubernetes import TemplateWorkload
from tests.harness.cluster import Cluster
from tests.harness.rollback import Intent, pin_of


@pytest.fixture
async def pin(cluster: Cluster, namespace: str, workload: TemplateWorkload) -> Pin:
    """1.0 and 1.1 were fine; 1.2 is running."""
    await cluster.roll_out(namespace, "app", "shop/app:1.0", "shop/app:1.1", "shop/app:1.2", replicas=2)
    return await pin_of(workload, "1.1")


async def test_one_template_change_that_reuses_the_replica_set(
    cluster: Cluster, namespace: str, workload: TemplateWorkload, pin: Pin
) -> None:
    before, intent = await cluster.get(namespace, "app"), Intent()
    sets_before = {one["metadata"]["name"] for one in await cluster.replica_sets(namespace)}

    said = await workload.roll_back(pin, intent)
    after = await cluster.wait_available(namespace, "app")

    assert said == f"deployment/app in namespace {namespace}: 1.2 (revision 3) replaced by 1.1 (revision 2)"
    assert intent.written == 1
    assert after["metadata"]["generation"] == before["metadata"]["generation"] + 1
    assert {one["metadata"]["name"] for one in await cluster.replica_sets(namespace)} == sets_before
    state = await workload.read()
    assert [(one.version, one.revision) for one in state.history] == [("1.1", "4"), ("1.2", "3"), ("1.0", "1")]
    assert state.current.digest == pin.to_version.digest


async def test_doing_it_again_does_nothing(cluster: Cluster, namespace: str, workload: TemplateWorkload, pin: Pin) -> None:
    await workload.roll_back(pin, Intent())
    settled = await cluster.wait_available(namespace, "app")
    intent = Intent()

    said = await workload.roll_back(pin, intent)

    assert said.startswith("nothing to do: ")
    assert intent.written == 0
    assert (await cluster.get(namespace, "app"))["metadata"]["generation"] == settled["metadata"]["generation"]


async def test_replicas_and_metadata_stay(cluster: Cluster, namespace: str, workload: TemplateWorkload, pin: Pin) -> None:
    await cluster.change(namespace, "app", {"spec": {"replicas": 3}, "metadata": {"annotations": {"team": "checkout"}}})

    await workload.roll_back(pin, Intent())

    after = await cluster.wait_available(namespace, "app")
    assert after["spec"]["replicas"] == 3
    assert after["metadata"]["annotations"]["team"] == "checkout"


CAUSES = {
    "a cause of its own": ("release 1.1", "release 1.2"),
    "none, and the bad one has one": ("", "release 1.2"),
    "one, and the bad one has none": ("release 1.1", ""),
}


@pytest.mark.parametrize(("own", "bad"), CAUSES.values(), ids=CAUSES.keys())
async def test_the_change_cause_comes_back_with_its_version(
    own: str, bad: str, cluster: Cluster, namespace: str, workload: TemplateWorkload
) -> None:
    await cluster.roll_out(namespace, "app", "shop/app:1.0")
    for tag, cause in (("1.1", own), ("1.2", bad)):
        template = {"spec": {"containers": [{"name": "app", "image": f"shop/app:{tag}"}]}}
        annotations = {"kubernetes.io/change-cause": cause or None}
        await cluster.change(namespace, "app", {"metadata": {"annotations": annotations}, "spec": {"template": template}})
        before = await cluster.wait_available(namespace, "app")

    await workload.roll_back(await pin_of(workload, "1.1"), Intent())

    after = await cluster.wait_available(namespace, "app")
    assert after["metadata"]["annotations"].get("kubernetes.io/change-cause", "") == own
    assert after["metadata"]["generation"] == before["metadata"]["generation"] + 1
    causes = {one.version: one.change_cause for one in (await workload.read()).history}
    assert causes == {"1.0": "", "1.1": own, "1.2": bad}


async def test_the_whole_template_comes_back(cluster: Cluster, namespace: str, workload: TemplateWorkload) -> None:
    """Fields that a client's models may not know, and text that encoders spell differently, survive."""
    container = {
        "command": ["sh", "-c", "a && b < c > d; echo 'ü \u2028'"],
        "startupProbe": {"httpGet": {"path": "/health", "port": 8080}, "failureThreshold": 30},
    }
    pod = {"topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway"}]}
    await cluster.deploy(namespace, "app", image="shop/app:1.0", container=container, pod=pod)
    good = (await cluster.wait_available(namespace, "app"))["spec"]["template"]
    empty = {"command": None, "startupProbe": None}
    await cluster.deploy(namespace, "app", image="shop/app:1.1", container=empty, pod={"topologySpreadConstraints": None})
    await cluster.wait_available(namespace, "app")

    await workload.roll_back(await pin_of(workload, "1.0"), Intent())

    assert (await cluster.get(namespace, "app"))["spec"]["template"] == good


async def test_a_restart_of_the_bad_version_does_not_protect_it(
    cluster: Cluster, namespace: str, workload: TemplateWorkload, pin: Pin
) -> None:
    await cluster.restart(namespace, "app")

    await workload.roll_back(pin, Intent())

    assert (await workload.read()).current.digest == pin.to_version.digest


async def test_a_restart_of_the_good_version_needs_no_second_rollback(
    cluster: Cluster, namespace: str, workload: TemplateWorkload, pin: Pin
) -> None:
    await workload.roll_back(pin, Intent())
    await cluster.restart(namespace, "app")
    intent = Intent()

    assert (await workload.roll_back(pin, intent)).startswith("nothing to do: ")
    assert intent.written == 0


async def test_before_a_restart_is_a_version_too(cluster: Cluster, namespace: str, workload: TemplateWorkload) -> None:
    """Asked for by name, the template without the stamp is put back although nothing material differs."""
    await cluster.roll_out(namespace, "app", "shop/app:1.0")
    await cluster.restart(namespace, "app")
    state = await cluster.until(workload.read, lambda state: len(state.history) == 2)

    said = await workload.roll_back(Pin("app", state.uid, *state.history), Intent())

    assert "replaced by 1.0 (revision 1)" in said
    assert (await workload.read()).current.digest == state.history[1].digest


async def _another_version(cluster: Cluster, namespace: str) -> None:
    await cluster.deploy(namespace, "app", image="shop/app:1.3")


async def _fixed_by_hand(cluster: Cluster, namespace: str) -> None:
    await cluster.deploy(namespace, "app", image="shop/app:1.2", container={"env": [{"name": "FIX", "value": "1"}]})


async def _put_back(cluster: Cluster, namespace: str) -> None:
    await cluster.roll_out(namespace, "app", "shop/app:1.1", "shop/app:1.2", replicas=2)


async def _service_account(cluster: Cluster, namespace: str) -> None:
    await cluster.deploy(namespace, "app", image="shop/app:1.2", pod={"terminationGracePeriodSeconds": 5})


async def _paused(cluster: Cluster, namespace: str) -> None:
    await cluster.change(namespace, "app", {"spec": {"paused": True}})


async def _made_anew(cluster: Cluster, namespace: str) -> None:
    await cluster.delete(namespace, "app")
    await cluster.deploy(namespace, "app", image="shop/app:1.2", replicas=2)


@pytest.mark.parametrize(
    ("meanwhile", "reason"),
    [
        pytest.param(_another_version, "changed by somebody else: it is asked to run 1.3", id="another version was deployed"),
        pytest.param(
            _fixed_by_hand, "changed by somebody else: it is asked to run 1.2", id="the bad version was given a new setting"
        ),
        pytest.param(_put_back, "put there again", id="a person went back and then forward again"),
        pytest.param(_service_account, "changed by somebody else", id="a field that is not material was changed by hand"),
        pytest.param(_paused, "is paused", id="a person paused it"),
        pytest.param(_made_anew, "deleted and made anew", id="it was deleted and made anew"),
    ],
)
async def test_refused(
    cluster: Cluster, namespace: str, workload: TemplateWorkload, pin: Pin, meanwhile: Any, reason: str
) -> None:
    await meanwhile(cluster, namespace)
    before, intent = await cluster.get(namespace, "app"), Intent()

    with pytest.raises(RefusedError, match=reason):
        await workload.roll_back(pin, intent)

    after = await cluster.get(namespace, "app")
    assert intent.written == 0
    assert after["metadata"]["generation"] == before["metadata"]["generation"]
    assert after["spec"] == before["spec"]


async def test_a_pruned_replica_set_can_not_come_back(
    cluster: Cluster, namespace: str, workload: TemplateWorkload, pin: Pin
) -> None:
    await cluster.change(namespace, "app", {"spec": {"revisionHistoryLimit": 0}})
    await cluster.until(lambda: cluster.replica_sets(namespace), lambda found: len(found) == 1)

    with pytest.raises(PermanentError, match=r"ReplicaSet of 1\.1 \(revision 2\) is gone"):
        await workload.roll_back(pin, Intent())


async def test_when_the_intent_can_not_be_written_nothing_changes(
    cluster: Cluster, namespace: str, workload: TemplateWorkload, pin: Pin
) -> None:
    before = await cluster.get(namespace, "app")

    async def disk_full() -> None:
        raise PermanentError("disk full")

    with pytest.raises(PermanentError, match="disk full"):
        await workload.roll_back(pin, disk_full)

    assert (await cluster.get(namespace, "app"))["metadata"]["generation"] == before["metadata"]["generation"]


async def test_a_dry_run_changes_nothing(cluster: Cluster, namespace: str, client: KubernetesClient, pin: Pin) -> None:
    before = await cluster.get(namespace, "app")
    operations = [{"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": "shop/app:9"}]

    answer = await client.patch_json(DEPLOYMENTS, namespace, "app", operations, dry_run=True)

    assert answer["spec"]["template"]["spec"]["containers"][0]["image"] == "shop/app:9"
    assert answer["metadata"]["generation"] == before["metadata"]["generation"] + 1
    after = await cluster.get(namespace, "app")
    assert (after["metadata"]["generation"], after["spec"]) == (before["metadata"]["generation"], before["spec"])


async def test_a_failed_test_and_a_stale_resource_version_are_conflicts(
    namespace: str, client: KubernetesClient, pin: Pin
) -> None:
    """The server says 422 to the first and 409 to the second."""
    wrong_generation = [{"op": "test", "path": "/metadata/generation", "value": 99}]
    with pytest.raises(ConflictError, match=r"\(422\)"):
        await client.patch_json(DEPLOYMENTS, namespace, "app", wrong_generation)
    with pytest.raises(ConflictError, match=r"\(409\)"):
        await client.patch_merge(DEPLOYMENTS, namespace, "app", {"metadata": {"resourceVersion": "1"}, "spec": {"replicas": 1}})


async def test_what_the_server_finds_invalid_is_permanent(namespace: str, client: KubernetesClient, pin: Pin) -> None:
    """422 too, but trying again can't help."""
    with pytest.raises(PermanentError, match=r"spec\.replicas"):
        await client.patch_json(DEPLOYMENTS, namespace, "app", [{"op": "replace", "path": "/spec/replicas", "value": -1}])
