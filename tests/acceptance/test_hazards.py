"""Every known way in which a rollback makes things worse, on a genuine API server: what `kubectl rollout undo` does, and what
Responder does on equal ground. Other controllers (Argo CD, Flux, Helm, Rollouts) are their own custom resources and marks; what
they would do is played where a test says so.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.harness.cluster import GenuineCluster, shared_folder
from tests.harness.custom_resources import KUSTOMIZATIONS, ROLLOUTS, define
from tests.harness.hazards import V1, V2, Ground, Terms, keeps, on_both, responder_on

pytestmark = pytest.mark.acceptance

V3 = "shop/app:v3"
CONFIG = {"envFrom": [{"configMapRef": {"name": "app"}}]}


@pytest.fixture
async def cluster(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[GenuineCluster]:
    async with GenuineCluster(shared_folder(tmp_path_factory)) as cluster:
        yield cluster


async def good_then_bad(ground: Ground) -> None:
    await ground.roll_out(V1, V2)


async def test_flapping(cluster: GenuineCluster, tmp_path: Path) -> None:
    naive, ours = await on_both(cluster, good_then_bad)
    await naive.undo()
    await naive.undo()
    assert await naive.image() == V2, "the second undo brings the bad version back"

    async with responder_on(ours, tmp_path / "responder") as responder:
        began = await responder.alert()
        await responder.changed()
        await responder.alert(began=began, status="resolved")
        assert (await responder.closed())["status"] == "resolved"
        await responder.alert()
        await responder.refused("never a second step back", count=2)
    assert await ours.image() == V1


async def test_an_autoscaler_owns_the_number_of_pods(cluster: GenuineCluster, tmp_path: Path) -> None:
    async def scaled(ground: Ground) -> None:
        await ground.roll_out(V1, V2, replicas=3)
        scale = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "app"}
        spec = {"scaleTargetRef": scale, "minReplicas": 3, "maxReplicas": 5}
        body = {"metadata": {"name": "app"}, "spec": spec}
        await ground.create("/apis/autoscaling/v1/namespaces/{namespace}/horizontalpodautoscalers", body)

    naive, ours = await on_both(cluster, scaled)
    await naive.kubectl("scale", "deployment/app", "--replicas=1")
    await naive.undo()
    assert (await naive.get())["metadata"]["generation"] == 4
    assert await naive.image() == V1, "one pod was to serve what the autoscaler wants three for"

    steps = "[{uses: kubernetes.scale, with: {target: app, replicas: 1}}, rollback]"
    async with responder_on(ours, tmp_path / "responder", Terms(steps=steps)) as responder:
        await responder.alert()
        incident = await responder.closed()
        assert "owns the number of pods" in incident["reason"]
    assert (await ours.get())["spec"]["replicas"] == 3


async def test_a_rollback_leaves_the_number_of_pods_to_the_autoscaler(cluster: GenuineCluster, tmp_path: Path) -> None:
    ours = Ground(cluster, await cluster.new_namespace("ours"))
    await ours.roll_out(V1, V2, replicas=1)
    await cluster.scale(ours.namespace, "app", 3)
    async with responder_on(ours, tmp_path / "responder") as responder:
        await responder.alert()
        await responder.changed()
    assert ((await ours.get())["spec"]["replicas"], await ours.image()) == (3, V1)


async def test_argo_cd_heals_the_undo_away(cluster: GenuineCluster, tmp_path: Path) -> None:
    async def owned(ground: Ground) -> None:
        await good_then_bad(ground)
        await ground.annotate(**{"argocd.argoproj.io/tracking-id": f"shop:apps/Deployment:{ground.namespace}/app"})

    naive, ours = await on_both(cluster, owned)
    async with keeps(naive, V2), keeps(ours, V2):  # Argo CD with selfHeal, played
        generation = (await ours.get())["metadata"]["generation"]
        before = (await naive.get())["metadata"]["generation"]
        await naive.undo()
        await cluster.until(naive.get, lambda one: one["metadata"]["generation"] >= before + 2)
        assert await naive.image() == V2, "two rollouts for nothing, and people were told it was rolled back"

        async with responder_on(ours, tmp_path / "responder") as responder:
            await responder.alert()
            await responder.refused("owned by ArgoCD shop", "argocd: shop")
        assert (await ours.get())["metadata"]["generation"] == generation


async def test_flux_reverts_the_undo(cluster: GenuineCluster, tmp_path: Path) -> None:
    await define(cluster, KUSTOMIZATIONS)
    path = "/apis/kustomize.toolkit.fluxcd.io/v1/namespaces/{namespace}/kustomizations"

    async def owned(ground: Ground) -> None:
        await good_then_bad(ground)
        kind = {"apiVersion": "kustomize.toolkit.fluxcd.io/v1", "kind": "Kustomization"}
        await ground.create(path, {**kind, "metadata": {"name": "shop"}, "spec": {"suspend": False}})
        labels = {"kustomize.toolkit.fluxcd.io/name": "shop", "kustomize.toolkit.fluxcd.io/namespace": ground.namespace}
        await cluster.change(ground.namespace, "app", {"metadata": {"labels": labels}})

    async def suspended() -> bool:
        answer = await cluster.http.get(path.format(namespace=ours.namespace) + "/shop")
        return bool(answer.json()["spec"]["suspend"])

    naive, ours = await on_both(cluster, owned)
    async with keeps(naive, V2), keeps(ours, V2, unless=suspended):  # Flux, played
        await naive.undo()
        await cluster.until(naive.get, lambda one: one["metadata"]["generation"] >= 4)
        assert await naive.image() == V2

        async with responder_on(ours, tmp_path / "refusing") as responder:
            await responder.alert()
            await responder.refused("owned by Flux", "owner: suspend")
        async with responder_on(ours, tmp_path / "suspending", Terms(owner="suspend")) as responder:
            await responder.alert()
            await responder.changed()
            assert await suspended()
        assert await ours.image() == V1


async def test_a_helm_release_drifts(cluster: GenuineCluster, tmp_path: Path) -> None:
    async def released(ground: Ground) -> None:
        await good_then_bad(ground)
        marks = {"meta.helm.sh/release-name": "shop", "meta.helm.sh/release-namespace": ground.namespace}
        meta = {"annotations": marks, "labels": {"app.kubernetes.io/managed-by": "Helm"}}
        await cluster.change(ground.namespace, "app", {"metadata": meta})

    naive, ours = await on_both(cluster, released)
    await naive.undo()
    assert await naive.image() == V1, "the release still says v2: the next upgrade of anything puts it back"

    async with responder_on(ours, tmp_path / "responder") as responder:
        await responder.alert()
        await responder.refused("owned by Helm", "release: shop")
    assert await ours.image() == V2


async def test_argo_rollouts_drives_the_deployment(cluster: GenuineCluster, tmp_path: Path) -> None:
    await define(cluster, ROLLOUTS)

    async def driven(ground: Ground) -> None:
        await good_then_bad(ground)
        spec = {"workloadRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "app"}}
        body = {"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "metadata": {"name": "shop"}, "spec": spec}
        await ground.create("/apis/argoproj.io/v1alpha1/namespaces/{namespace}/rollouts", body)

    naive, ours = await on_both(cluster, driven)
    await naive.undo()
    assert await naive.image() == V1, "the template that the Rollout borrows was changed under it"

    async with responder_on(ours, tmp_path / "responder") as responder:
        await responder.alert()
        await responder.refused("owned by Rollout shop")
    assert await ours.image() == V2


async def test_two_alerts_at_once(cluster: GenuineCluster, tmp_path: Path) -> None:
    naive, ours = await on_both(cluster, good_then_bad)
    await naive.undo()  # one for each alert
    await naive.undo()
    assert await naive.image() == V2

    async with responder_on(ours, tmp_path / "responder") as responder:
        generation = (await ours.get())["metadata"]["generation"]
        await asyncio.gather(responder.alert("Errors"), responder.alert("Latency"))
        await responder.closed()
        assert len(await responder.incidents()) == 1
    assert (await ours.image(), (await ours.get())["metadata"]["generation"]) == (V1, generation + 1)


async def test_older_code_can_not_read_the_new_schema(cluster: GenuineCluster, tmp_path: Path) -> None:
    async def migrated(ground: Ground) -> None:
        await good_then_bad(ground)
        await ground.annotate(**{"rollback-safe": "false"})

    naive, ours = await on_both(cluster, migrated)
    await naive.undo()
    assert await naive.image() == V1, "old code meets the new schema"

    async with responder_on(ours, tmp_path / "responder") as responder:
        await responder.alert()
        await responder.refused("asks for a person (unsafe migration)")
    assert await ours.image() == V2


async def test_the_previous_revision_is_bad_too(cluster: GenuineCluster, tmp_path: Path) -> None:
    ours = Ground(cluster, await cluster.new_namespace("ours"))
    naive = Ground(cluster, await cluster.new_namespace("naive"))
    await asyncio.gather(ours.roll_out(V1), naive.roll_out(V1))
    async with responder_on(ours, tmp_path / "responder") as responder:  # it watched: v2 never was available
        await cluster.until(lambda: responder.service.database.ledger.entries(_key(ours)), bool)
        await asyncio.gather(ours.deploy("shop/app:v2-bad"), naive.deploy("shop/app:v2-bad"))
        await cluster.until(lambda: responder.service.database.ledger.entries(_key(ours)), lambda known: len(known) == 2)
        await asyncio.gather(ours.roll_out(V3), naive.roll_out(V3))
        await cluster.until(lambda: responder.service.database.ledger.entries(_key(ours)), lambda known: len(known) == 3)
        await naive.undo()
        assert await naive.image() == "shop/app:v2-bad"

        await responder.alert()
        incident = await responder.changed()
        assert incident["pinned"]["to"]["version"] == "v1"
    assert await ours.image() == V1


async def test_nothing_was_deployed_recently(cluster: GenuineCluster, tmp_path: Path) -> None:
    naive, ours = await on_both(cluster, good_then_bad)
    await naive.undo()
    assert await naive.image() == V1, "a version that ran well all day was taken away, for a database that is down"

    terms = Terms(guards="{proven_for: 0s, deployed_within: 1ms}")
    async with responder_on(ours, tmp_path / "responder", terms) as responder:
        await responder.alert(began=datetime.now(UTC) + timedelta(milliseconds=1))
        await responder.refused("not the suspect")
    assert await ours.image() == V2


async def test_a_restart_made_the_last_revision(cluster: GenuineCluster, tmp_path: Path) -> None:
    async def restarted(ground: Ground) -> None:
        await good_then_bad(ground)
        await cluster.restart(ground.namespace, "app")
        await cluster.wait_available(ground.namespace, "app")

    naive, ours = await on_both(cluster, restarted)
    await naive.undo()
    assert await naive.image() == V2, "the restart was undone, not the deployment"

    async with responder_on(ours, tmp_path / "responder") as responder:
        await responder.alert()
        await responder.changed()
    assert await ours.image() == V1


async def test_a_rollout_in_progress_that_is_not_the_suspect(cluster: GenuineCluster, tmp_path: Path) -> None:
    """Somebody restarts the bad version while the alert fires; it does not get on."""
    stuck = "shop/app:v2-unready"

    async def stuck_version(ground: Ground) -> None:
        await ground.roll_out(V1)
        await ground.deploy(stuck)

    naive, ours = await on_both(cluster, stuck_version)
    began = datetime.now(UTC)
    await asyncio.sleep(1.1)  # the server tells times in whole seconds
    for ground in (naive, ours):
        await cluster.restart(ground.namespace, "app")
        await cluster.until(lambda one=ground: cluster.replica_sets(one.namespace), lambda sets: len(sets) == 3)  # type: ignore[misc]
    await naive.undo()
    assert await naive.image() == stuck, "what somebody was doing was undone, and the bad version is still asked for"

    async with responder_on(ours, tmp_path / "responder") as responder:
        generation = (await ours.get())["metadata"]["generation"]
        await responder.alert(began=began)
        await responder.refused("it is not the suspect, and somebody is at work")
    assert (await ours.get())["metadata"]["generation"] == generation


async def test_paused_by_a_person(cluster: GenuineCluster, tmp_path: Path) -> None:
    async def paused(ground: Ground) -> None:
        await good_then_bad(ground)
        await cluster.change(ground.namespace, "app", {"spec": {"paused": True}})

    naive, ours = await on_both(cluster, paused)
    await naive.kubectl("rollout", "resume", "deployment/app")  # kubectl itself refuses to undo what is paused
    await naive.undo()
    assert not (await naive.get())["spec"].get("paused"), "whoever paused it finds it running on"

    async with responder_on(ours, tmp_path / "responder") as responder:
        await responder.alert()
        await responder.refused("paused by a person")
    assert ((await ours.get())["spec"]["paused"], await ours.image()) == (True, V2)


async def test_the_image_was_pruned_from_the_registry(cluster: GenuineCluster, tmp_path: Path) -> None:
    gone = "shop/app:v1-nopull"

    async def pruned(ground: Ground) -> None:
        await ground.deploy(gone)
        await ground.roll_out(V2)

    naive, ours = await on_both(cluster, pruned)
    await naive.undo()
    pods = await cluster.until(
        lambda: cluster.pods(naive.namespace), lambda pods: any(_waits(pod) == "ImagePullBackOff" for pod in pods)
    )
    assert pods, "kubectl said `rolled back` and was gone: nobody knows"

    terms = Terms(steps="[{uses: rollback, timeout: 3s}]")
    async with responder_on(ours, tmp_path / "responder", terms) as responder:
        await responder.alert()
        incident = await responder.closed()
        [image] = [one for one in _verdicts(incident) if one["guard"] == "image"]
        assert "shows only when its pods start" in image["reason"]
        assert (incident["status"], await ours.image()) == ("failed", gone)
        assert "ImagePullBackOff" in str(incident["events"]), "people are told why"
        assert len([one for one in incident["events"] if one["kind"] == "acting"]) == 1, "and there is no second step back"


async def test_the_alert_goes_on_because_its_window_is_long(cluster: GenuineCluster, tmp_path: Path) -> None:
    naive, ours = await on_both(cluster, good_then_bad)
    await naive.undo()
    await naive.undo()  # the alert is sent again, as Alertmanager does while it fires
    assert await naive.image() == V2

    async with responder_on(ours, tmp_path / "responder") as responder:
        began = await responder.alert()
        await responder.changed()
        for _ in range(3):
            await responder.alert(began=began)
        incident = await responder.closed()
        assert incident["status"] == "failed", "a person has to look"
        assert len(await responder.incidents()) == 1
    assert await ours.image() == V1


async def test_the_rollback_itself_causes_an_alert(cluster: GenuineCluster, tmp_path: Path) -> None:
    naive, ours = await on_both(cluster, good_then_bad)
    await naive.undo()
    await naive.undo()  # for the latency of caches that are cold again
    assert await naive.image() == V2

    async with responder_on(ours, tmp_path / "responder", Terms(guards="{proven_for: 0s, settle_for: 10m}")) as responder:
        began = await responder.alert()
        await responder.changed()
        await responder.alert(began=began, status="resolved")
        await responder.closed()
        await responder.alert("Latency")
        await responder.refused("never a second step back", "given 10m to settle", count=2)
    assert await ours.image() == V1


async def test_the_alert_began_before_the_deployment(cluster: GenuineCluster, tmp_path: Path) -> None:
    naive, ours = await on_both(cluster, good_then_bad)
    await naive.undo()
    assert await naive.image() == V1, "v2 was to mend it"

    async with responder_on(ours, tmp_path / "responder") as responder:
        await responder.alert(began=datetime.now(UTC) - timedelta(minutes=5))
        await responder.refused("before v2 was rolled out: rolling back can't help")
    assert await ours.image() == V2


async def config_changed(ground: Ground) -> None:
    configs = "/api/v1/namespaces/{namespace}/configmaps"
    await ground.create(configs, {"metadata": {"name": "app"}, "data": {"flag": "old"}})
    await ground.roll_out(V1, V2, container=CONFIG)
    await asyncio.sleep(1.1)  # the server tells times in whole seconds
    # By another hand than the one that made it: old servers tell no time of a second change by the same one.
    code, said = await ground.kubectl("patch", "configmap", "app", "--type=merge", "-p", '{"data": {"flag": "new"}}')
    assert code == 0, said


async def test_a_config_map_changed_too(cluster: GenuineCluster, tmp_path: Path) -> None:
    naive, ours = await on_both(cluster, config_changed)
    await naive.undo()
    config = (await cluster.http.get(f"/api/v1/namespaces/{naive.namespace}/configmaps/app")).json()
    assert (await naive.image(), config["data"]["flag"]) == (V1, "new"), "old code with new settings: a pair that never ran"

    strict = Terms(guards="{proven_for: 0s, changed_config: refuse}")
    async with responder_on(ours, tmp_path / "strict", strict) as responder:
        await responder.alert()
        await responder.refused("configmap/app changed after that version last ran")
    assert await ours.image() == V2
    async with responder_on(ours, tmp_path / "warning") as responder:
        await responder.alert()
        incident = await responder.changed()
        assert "warnings: configmap/app changed" in str([one["text"] for one in incident["events"] if one["kind"] == "guards"])


async def test_a_config_map_is_gone(cluster: GenuineCluster, tmp_path: Path) -> None:
    async def pruned(ground: Ground) -> None:
        await config_changed(ground)
        await ground.roll_out(V3, container={"envFrom": []})
        await cluster.http.delete(f"/api/v1/namespaces/{ground.namespace}/configmaps/app")

    naive, ours = await on_both(cluster, pruned)
    await naive.undo()
    source = (await naive.get())["spec"]["template"]["spec"]["containers"][0]["envFrom"]
    assert source == CONFIG["envFrom"], "its pods can't start: what they read is gone"

    async with responder_on(ours, tmp_path / "responder") as responder:
        await responder.alert()
        await responder.refused("configmap/app, which that version reads, is not there any more")
    assert await ours.image() == V3


async def test_a_quota_leaves_no_room(cluster: GenuineCluster, tmp_path: Path) -> None:
    async def tight(ground: Ground) -> None:
        await ground.roll_out(V1, V2)
        body = {"metadata": {"name": "team"}, "spec": {"hard": {"pods": "1"}}}
        await ground.create("/api/v1/namespaces/{namespace}/resourcequotas", body)
        path = f"/api/v1/namespaces/{ground.namespace}/resourcequotas/team"
        await cluster.until(
            lambda: cluster.http.get(path), lambda got: "pods" in (got.json().get("status") or {}).get("used", {})
        )

    naive, ours = await on_both(cluster, tight)
    await naive.undo()
    stuck = await cluster.until(
        naive.get, lambda one: any(each["type"] == "ReplicaFailure" for each in one["status"]["conditions"])
    )
    assert "exceeded quota" in str(stuck["status"]["conditions"]), "the rollout is stuck"

    async with responder_on(ours, tmp_path / "responder", Terms(guards="{proven_for: 0s, quota: refuse}")) as responder:
        await responder.alert()
        await responder.refused("ResourceQuota team has 0 pods left, and a new pod needs 1")
    assert await ours.image() == V2


async def test_the_rollout_breaks_a_disruption_budget(cluster: GenuineCluster, tmp_path: Path) -> None:
    async def budgeted(ground: Ground) -> None:
        policy = (await cluster.http.get("/apis/policy")).json()["preferredVersion"]["groupVersion"]
        budgets = f"/apis/{policy}/namespaces/{ground.namespace}/poddisruptionbudgets"
        body = {"metadata": {"name": "two"}, "spec": {"minAvailable": 2, "selector": {"matchLabels": {"app": "app"}}}}
        await ground.create(budgets, body)
        await ground.roll_out(V1, V2, replicas=3, spec={"strategy": {"type": "Recreate", "rollingUpdate": None}})
        path = f"{budgets}/two"
        await cluster.until(lambda: cluster.http.get(path), lambda got: got.json()["status"].get("desiredHealthy") == 2)

    naive, ours = await on_both(cluster, budgeted)
    await naive.undo()
    await cluster.until(naive.get, lambda one: one["status"].get("availableReplicas", 0) < 2)  # less than the budget allows

    terms = Terms(guards="{proven_for: 0s, disruption_budget: refuse}")
    async with responder_on(ours, tmp_path / "responder", terms) as responder:
        await responder.alert()
        await responder.refused("PodDisruptionBudget two wants 2 healthy pods, and the rollout may leave 0 of 3")
    assert await ours.image() == V2


async def test_many_services_are_ill_at_once(cluster: GenuineCluster, tmp_path: Path) -> None:
    names = tuple(f"app-{number}" for number in range(5))

    async def many(ground: Ground) -> None:
        await asyncio.gather(*(ground.roll_out(V1, V2, name=name) for name in names))

    naive, ours = await on_both(cluster, many)
    await asyncio.gather(*(naive.undo(name) for name in names))
    assert [await naive.image(name) for name in names] == [V1] * 5, "everything was rolled back, for one thing they all need"

    async with responder_on(ours, tmp_path / "responder", Terms(names)) as responder:
        await asyncio.gather(*(responder.alert(of=name) for name in names))
        ended = await cluster.until(
            responder.incidents, lambda found: len([one for one in found if one["status"] == "refused"]) == 2
        )
        reasons = [one["reason"] for one in ended if one["status"] == "refused"]
        assert all("limit 3" in reason for reason in reasons), reasons

        async def images() -> list[str]:
            return sorted([await ours.image(name) for name in names])

        assert await cluster.until(images, lambda seen: seen.count(V1) == 3) == [V1] * 3 + [V2] * 2


async def test_somebody_put_a_hold_on_the_object(cluster: GenuineCluster, tmp_path: Path) -> None:
    async def held(ground: Ground) -> None:
        await good_then_bad(ground)
        await ground.annotate(**{"responder.dev/hold": "ann looks into it"})

    naive, ours = await on_both(cluster, held)
    await naive.undo()
    assert await naive.image() == V1, "what ann was looking at is gone"

    async with responder_on(ours, tmp_path / "responder") as responder:
        await responder.alert()
        await responder.refused("keeps Responder away: ann looks into it")
        await ours.annotate(**{"responder.dev/hold": "false"})
        shown = (await responder.http.get("/v1/targets/app/guards")).json()
        assert [one["guard"] for one in shown["guards"] if one["outcome"] == "refuse"] == []
    assert await ours.image() == V2


async def test_a_person_deploys_between_the_decision_and_the_write(cluster: GenuineCluster, tmp_path: Path) -> None:
    naive, ours = await on_both(cluster, good_then_bad)
    await naive.roll_out(V3)  # decided upon v2, done upon v3
    await naive.undo()
    assert await naive.image() == V2, "the fix is gone, the bad version back"

    async with responder_on(
        ours, tmp_path / "responder", Terms(steps="[{uses: sleep, with: {duration: 2s}}, rollback]")
    ) as responder:
        await responder.alert()
        await responder.newest(lambda one: one["status"] == "running")
        await ours.deploy(V3)
        incident = await responder.closed()
        assert incident["status"] == "refused", incident["reason"]
    assert await ours.image() == V3


def _verdicts(incident: dict[str, Any]) -> list[dict[str, Any]]:
    return next(one["data"]["verdicts"] for one in incident["events"] if one["kind"] == "guards")  # type: ignore[no-any-return]


def _waits(pod: dict[str, Any]) -> str:
    states = [one.get("state", {}).get("waiting", {}) for one in pod.get("status", {}).get("containerStatuses", [])]
    return str(states[0].get("reason", "")) if states else ""


def _key(ground: Ground) -> str:
    return f"deployment/app in namespace {ground.namespace}"
