"""Steps on other objects: deleted, applied, kept and put back, run as Jobs; and what may be changed at all."""

from __future__ import annotations

import asyncio
import base64
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from responder.actions.kubernetes.difference import content_hash
from responder.clients.kubernetes import JOBS, KubernetesClient
from responder.domain.version import Pin, Version
from responder.errors import PermanentError, RefusedError
from responder.sandbox.cluster import SandboxCluster
from tests.harness.cluster import Cluster
from tests.harness.objects import change, config_map, put, read
from tests.harness.steps import StepStage

RESTARTED = "kubectl.kubernetes.io/restartedAt"


@pytest.fixture
async def stage(cluster: Cluster, namespace: str, client: KubernetesClient) -> StepStage:
    """`app` runs two pods of 1.0."""
    await cluster.roll_out(namespace, "app", "shop/app:1.0", replicas=2)
    return StepStage(client, namespace)


INGRESS = {
    "metadata": {"name": "shop"},
    "spec": {
        "rules": [
            {
                "host": "shop.example.com",
                "http": {
                    "paths": [
                        {"path": "/", "pathType": "Prefix", "backend": {"service": {"name": "app", "port": {"number": 80}}}}
                    ]
                },
            }
        ]
    },
}


class TestDeleteAndApply:
    @pytest.fixture
    async def ingress(self, cluster: Cluster, stage: StepStage) -> str:
        path = f"/apis/networking.k8s.io/v1/namespaces/{stage.namespace}/ingresses"
        await put(cluster, path, INGRESS)
        return f"{path}/shop"

    @staticmethod
    def out(stage: StepStage, **more: Any) -> dict[str, Any]:
        return {"object": {"kind": "Ingress", "namespace": stage.namespace, "name": "shop"}, **more}

    async def test_ingress_out_ingress_back_by_a_step(self, cluster: Cluster, stage: StepStage, ingress: str) -> None:
        said = await stage.run("kubernetes.delete", self.out(stage), step="out")
        assert said == f"deleted ingress/shop in namespace {stage.namespace}"
        assert (await cluster.http.get(ingress)).status_code == 404
        said = await stage.run("kubernetes.apply", {"deleted_by": "out"}, step="back")
        assert said == f"created ingress/shop in namespace {stage.namespace} again"
        assert (await read(cluster, ingress))["spec"]["rules"][0]["host"] == "shop.example.com"
        assert "is there again" in await stage.compensate("kubernetes.delete", self.out(stage), step="out")

    async def test_ingress_back_when_the_plan_fails(self, cluster: Cluster, stage: StepStage, ingress: str) -> None:
        await stage.run("kubernetes.delete", self.out(stage))
        assert "again" in await stage.compensate("kubernetes.delete", self.out(stage))
        assert (await read(cluster, ingress))["spec"]["rules"][0]["host"] == "shop.example.com"

    async def test_what_is_not_there(self, stage: StepStage) -> None:
        assert (await stage.run("kubernetes.delete", self.out(stage))).startswith("nothing to do")
        with pytest.raises(PermanentError, match="does not exist"):
            await stage.run("kubernetes.delete", self.out(stage, missing_ok=False))

    async def test_the_preview_of_a_delete(self, cluster: Cluster, stage: StepStage, ingress: str) -> None:
        text = await stage.preview("kubernetes.delete", self.out(stage))
        assert text.startswith(f"would delete ingress/shop in namespace {stage.namespace}\n")
        assert "host: shop.example.com" in text
        await read(cluster, ingress)

    async def test_a_secret_is_not_written_down(self, cluster: Cluster, stage: StepStage) -> None:
        path = f"/api/v1/namespaces/{stage.namespace}/secrets"
        await put(
            cluster, path, {"metadata": {"name": "keys"}, "stringData": {"token": "s3cr3t-v4lue"}, "data": {"other": "czNjcjN0"}}
        )
        gone = {"object": {"kind": "Secret", "namespace": stage.namespace, "name": "keys"}}
        shown = await stage.preview("kubernetes.delete", gone)
        await stage.run("kubernetes.delete", gone)
        assert "czNjcjN0" not in str(stage.intents) + shown
        assert "stays deleted" in await stage.compensate("kubernetes.delete", gone)

    async def test_apply_creates_then_changes_then_does_nothing(self, cluster: Cluster, stage: StepStage) -> None:
        meta = {"name": "banner", "namespace": stage.namespace}
        manifest = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": {"text": "hello"}}
        assert "create configmap/banner" in await stage.run("kubernetes.apply", {"manifest": manifest}, step="one")
        changed = {**manifest, "data": {"text": "maintenance"}}
        assert "-  text: hello\n+  text: maintenance" in await stage.preview("kubernetes.apply", {"manifest": changed})
        assert "change configmap/banner" in await stage.run("kubernetes.apply", {"manifest": changed}, step="two")
        assert "as the manifest says" in await stage.run("kubernetes.apply", {"manifest": changed}, step="three")
        found = await read(cluster, f"/api/v1/namespaces/{stage.namespace}/configmaps/banner")
        assert found["data"] == {"text": "maintenance"}
        assert stage.story == ["mark", "record write"] * 2


async def test_apply_of_a_field_that_somebody_else_owns_is_refused_unless_forced(genuine: Any) -> None:
    """PM-A9: show the difference, replace forcefully. Only a genuine server knows owners of fields."""
    namespace = await genuine.new_namespace()
    client = KubernetesClient(str(genuine.kubeconfig))
    stage = StepStage(client, namespace)
    path = await config_map(genuine, namespace, text="by hand")
    await change(genuine, f"{path}?fieldManager=somebody", {"data": {"text": "by hand, again"}})
    meta = {"name": "settings", "namespace": namespace}
    manifest = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": {"text": "ours"}}
    try:
        with pytest.raises(RefusedError, match="conflict"):
            await stage.run("kubernetes.apply", {"manifest": manifest})
        assert (await read(genuine, path))["data"] == {"text": "by hand, again"}
        await stage.run("kubernetes.apply", {"manifest": manifest, "force": True})
    finally:
        await client.close()
    assert (await read(genuine, path))["data"] == {"text": "ours"}


class TestSnapshotAndRestore:
    @staticmethod
    def on(stage: StepStage, kind: str = "ConfigMap", **more: Any) -> dict[str, Any]:
        return {"object": {"kind": kind, "namespace": stage.namespace, "name": "settings"}, **more}

    async def test_kept_replaced_put_back_and_consumers_restarted(self, cluster: Cluster, stage: StepStage) -> None:
        path = await config_map(cluster, stage.namespace, colour="blue", size="1")
        said = await stage.run("kubernetes.snapshot", self.on(stage), step="keep")
        assert "kept what configmap/settings" in said
        await change(cluster, path, {"data": {"colour": "red", "size": None, "extra": "x"}})
        stage.incident = _later(stage)
        shown = await stage.preview("kubernetes.restore", self.on(stage))
        assert "-  colour: red\n-  extra: x\n+  colour: blue\n+  size: 1" in shown
        said = await stage.run("kubernetes.restore", self.on(stage, restart=["app"]))
        assert "put back what responder-snapshot-configmap-settings-" in said
        assert "restart deployment/app" in said
        assert (await read(cluster, path))["data"] == {"colour": "blue", "size": "1"}
        kept = await read(cluster, f"/api/v1/namespaces/{stage.namespace}/configmaps/{stage.intents['step']['kept']}")
        assert kept["data"] == {"colour": "red", "extra": "x"}
        stamp = (await cluster.get(stage.namespace, "app"))["spec"]["template"]["metadata"]["annotations"][RESTARTED]
        assert stamp
        await stage.run("kubernetes.restore", self.on(stage, restart=["app"]))
        assert (await cluster.get(stage.namespace, "app"))["spec"]["template"]["metadata"]["annotations"][RESTARTED] == stamp

    async def test_of_a_secret_only_names_and_hashes_are_shown_or_written_down(self, cluster: Cluster, stage: StepStage) -> None:
        good, bad = (base64.b64encode(word).decode() for word in (b"good-passw0rd", b"evil-passw0rd"))
        path = f"/api/v1/namespaces/{stage.namespace}/secrets"
        await put(cluster, path, {"metadata": {"name": "settings"}, "data": {"password": good}})
        said = await stage.run("kubernetes.snapshot", self.on(stage, "Secret"), step="keep")
        await change(cluster, f"{path}/settings", {"data": {"password": bad}})
        stage.incident = _later(stage)
        said += await stage.preview("kubernetes.restore", self.on(stage, "Secret"))
        assert "password: (13 bytes, sha256 " in said
        said += await stage.run("kubernetes.restore", self.on(stage, "Secret"))
        assert (await read(cluster, f"{path}/settings"))["data"] == {"password": good}
        everything = said + str(stage.intents) + str(stage.shown)
        assert not [word for word in (good, bad, "good-passw0rd", "evil-passw0rd") if word in everything]

    async def test_the_same_content_is_kept_once_and_old_ones_go(self, cluster: Cluster, stage: StepStage) -> None:
        path = await config_map(cluster, stage.namespace, n="0")
        for number in range(4):
            await change(cluster, path, {"data": {"n": str(number)}})
            await stage.run("kubernetes.snapshot", self.on(stage, keep=3), step=f"keep-{number}")
        assert "keeps already" in await stage.run("kubernetes.snapshot", self.on(stage, keep=3), step="again")
        listed = await read(
            cluster, f"/api/v1/namespaces/{stage.namespace}/configmaps?labelSelector=responder.dev/snapshot-of=settings"
        )
        assert len(listed["items"]) == 3

    async def test_by_name(self, cluster: Cluster, stage: StepStage) -> None:
        path = await config_map(cluster, stage.namespace, n="1")
        await stage.run("kubernetes.snapshot", self.on(stage), step="keep-1")
        await change(cluster, path, {"data": {"n": "2"}})
        await stage.run("kubernetes.snapshot", self.on(stage), step="keep-2")
        await change(cluster, path, {"data": {"n": "3"}})
        name = stage.intents["keep-1"]["snapshot"]
        await stage.run("kubernetes.restore", self.on(stage, snapshot=name, force=True))
        assert (await read(cluster, path))["data"] == {"n": "1"}
        with pytest.raises(PermanentError, match="no snapshot nonsense of"):
            await stage.run("kubernetes.restore", self.on(stage, snapshot="nonsense"), step="other")
        with pytest.raises(PermanentError, match="is older than 2020"):
            await stage.run("kubernetes.restore", self.on(stage, before="2020-01-01T00:00:00Z"), step="third")

    async def test_seven_digits_do_not_name_the_bad_content(self, cluster: Cluster, stage: StepStage) -> None:
        path = await config_map(cluster, stage.namespace, n="good")
        await stage.run("kubernetes.snapshot", self.on(stage), step="keep")
        await change(cluster, path, {"data": {"n": "bad"}})
        digest = content_hash(await read(cluster, path))
        for bad in ("", digest[:7], f"{digest[1:]}0"):
            with pytest.raises(RefusedError, match="not the bad one"):
                await stage.run("kubernetes.restore", self.on(stage, bad=bad))
        assert (await read(cluster, path))["data"] == {"n": "bad"}
        await stage.run("kubernetes.restore", self.on(stage, bad=digest[:8]))
        assert (await read(cluster, path))["data"] == {"n": "good"}

    async def test_by_default_what_was_kept_before_the_bad_version(self, cluster: Cluster, stage: StepStage) -> None:
        """Kept by a pipeline, which writes labels and a time and nothing else."""
        path = await config_map(cluster, stage.namespace, n="bad")
        for hour, n in ((9, "old"), (11, "good"), (13, "bad, too")):
            meta = {
                "name": f"before-deploy-{hour}",
                "labels": {"responder.dev/snapshot": "configmap", "responder.dev/snapshot-of": "settings"},
                "annotations": {"responder.dev/taken-at": f"2026-03-01T{hour:02}:00:00Z"},
            }
            await put(cluster, f"/api/v1/namespaces/{stage.namespace}/configmaps", {"metadata": meta, "data": {"n": n}})
        noon = datetime(2026, 3, 1, 12, tzinfo=UTC)
        bad, good = Version("1.5", "5", "f-bad", "d-bad", created_at=noon), Version("1.4", "4", "f-good", "d-good")
        stage.incident = replace(_later(stage), pins={"app": Pin("app", "uid", bad, good)})
        said = await stage.run("kubernetes.restore", self.on(stage))
        assert "put back what before-deploy-11 keeps" in said
        assert (await read(cluster, path))["data"] == {"n": "good"}

    async def test_only_the_content_that_is_known_to_be_bad(self, cluster: Cluster, stage: StepStage) -> None:
        path = await config_map(cluster, stage.namespace, n="1")
        await stage.run("kubernetes.snapshot", self.on(stage), step="keep")
        await change(cluster, path, {"data": {"n": "2"}})
        with pytest.raises(RefusedError, match="not the bad one"):
            await stage.run("kubernetes.restore", self.on(stage, bad="0123456789abcdef"))
        assert (await read(cluster, path))["data"] == {"n": "2"}

    async def test_an_immutable_one_is_refused(self, cluster: Cluster, stage: StepStage) -> None:
        path = await config_map(cluster, stage.namespace, n="1")
        await stage.run("kubernetes.snapshot", self.on(stage), step="keep")
        await change(cluster, path, {"data": {"n": "2"}})
        await change(cluster, path, {"immutable": True})
        with pytest.raises(RefusedError, match="is immutable"):
            await stage.run("kubernetes.restore", self.on(stage, force=True))

    async def test_a_snapshot_that_was_changed_is_not_trusted(self, cluster: Cluster, stage: StepStage) -> None:
        path = await config_map(cluster, stage.namespace, n="1")
        await stage.run("kubernetes.snapshot", self.on(stage), step="keep")
        name = stage.intents["keep"]["snapshot"]
        folder = f"/api/v1/namespaces/{stage.namespace}/configmaps"
        kept = await read(cluster, f"{folder}/{name}")
        assert (await cluster.http.delete(f"{folder}/{name}")).is_success
        meta = {key: kept["metadata"][key] for key in ("name", "labels", "annotations")}
        await put(cluster, folder, {"metadata": meta, "data": {"n": "evil"}})
        await change(cluster, path, {"data": {"n": "2"}})
        with pytest.raises(RefusedError, match="does not hold what was kept"):
            await stage.run("kubernetes.restore", self.on(stage, force=True))

    async def test_a_template_is_kept_for_the_record(self, cluster: Cluster, stage: StepStage) -> None:
        await stage.run("kubernetes.snapshot", {})
        name = stage.intents["step"]["snapshot"]
        kept = await read(cluster, f"/api/v1/namespaces/{stage.namespace}/configmaps/{name}")
        assert '"image": "shop/app:1.0"' in kept["data"]["template.json"]


async def test_what_somebody_mended_during_the_incident_is_not_replaced(genuine: Any) -> None:
    """Only a genuine server keeps books on who changed what when."""
    namespace = await genuine.new_namespace()
    client = KubernetesClient(str(genuine.kubeconfig))
    stage = StepStage(client, namespace)
    on = {"object": {"kind": "ConfigMap", "namespace": namespace, "name": "settings"}}
    path = await config_map(genuine, namespace, n="1")
    try:
        await stage.run("kubernetes.snapshot", on, step="keep")
        stage.incident = replace(stage.incident, opened_at=stage.incident.opened_at - timedelta(minutes=1))
        await change(genuine, f"{path}?fieldManager=a-person", {"data": {"n": "mended"}})
        with pytest.raises(RefusedError, match=r"was changed by .*a-person at .* somebody may have mended it"):
            await stage.run("kubernetes.restore", on)
        assert (await read(genuine, path))["data"] == {"n": "mended"}
        await stage.run("kubernetes.restore", {**on, "force": True})
        assert (await read(genuine, path))["data"] == {"n": "1"}
    finally:
        await client.close()


class TestJob:
    @staticmethod
    def job(stage: StepStage, image: str = "shop/tool:1", **more: Any) -> dict[str, Any]:
        template = {"spec": {"restartPolicy": "Never", "containers": [{"name": "tool", "image": image}]}}
        spec = {"backoffLimit": 0, "template": template}
        return {"manifest": {"kind": "Job", "metadata": {"namespace": stage.namespace}, "spec": spec}, **more}

    async def test_runs_once_and_is_found_again(self, cluster: Cluster, stage: StepStage) -> None:
        job = self.job(stage, env={"BACKUP": "{{ incident.id }}"})
        said = await stage.run("kubernetes.job", job, step="row-counts")
        assert said.startswith(f"job/inc-01k3-row-counts in namespace {stage.namespace} is complete")
        path = f"/apis/batch/v1/namespaces/{stage.namespace}/jobs"
        found = await read(cluster, f"{path}/inc-01k3-row-counts")
        assert found["spec"]["template"]["spec"]["containers"][0]["env"] == [{"name": "BACKUP", "value": "inc_01k3"}]
        await stage.run("kubernetes.job", job, step="row-counts")
        assert [one["metadata"]["uid"] for one in (await read(cluster, path))["items"]] == [found["metadata"]["uid"]]

    async def test_a_failed_one_fails_the_step(self, stage: StepStage) -> None:
        with pytest.raises(PermanentError, match="failed: BackoffLimitExceeded"):
            await stage.run("kubernetes.job", self.job(stage, image="shop/tool:1-bad"))

    async def test_one_of_the_same_name_that_is_not_ours(self, cluster: Cluster, stage: StepStage) -> None:
        body = {**self.job(stage)["manifest"], "metadata": {"name": "inc-01k3-step"}}
        await put(cluster, f"/apis/batch/v1/namespaces/{stage.namespace}/jobs", body)
        with pytest.raises(RefusedError, match="exists and is not ours"):
            await stage.run("kubernetes.job", self.job(stage))

    async def test_one_that_is_gone_is_never_run_a_second_time(self, cluster: Cluster, stage: StepStage) -> None:
        job = self.job(stage)
        await stage.run("kubernetes.job", job)
        await stage.client.delete(JOBS, stage.namespace, "inc-01k3-step", uid=str(stage.intents["step"]["uid"]))
        async with asyncio.timeout(20):
            while await stage.client.get_or_none(JOBS, stage.namespace, "inc-01k3-step") is not None:  # noqa: ASYNC110 - no event tells
                await asyncio.sleep(0.05)
        with pytest.raises(PermanentError, match="is gone: whether it came to its end is not known"):
            await stage.run("kubernetes.job", job)
        assert (await read(cluster, f"/apis/batch/v1/namespaces/{stage.namespace}/jobs"))["items"] == []

    async def test_one_that_somebody_made_anew_is_not_ours(self, stage: StepStage) -> None:
        job = self.job(stage)
        await stage.run("kubernetes.job", job)
        stage.intents["step"] = {**stage.intents["step"], "uid": "uid-of-the-first"}
        with pytest.raises(RefusedError, match="was deleted and made anew by somebody else"):
            await stage.run("kubernetes.job", job)

    async def test_the_preview_makes_none(self, cluster: Cluster, stage: StepStage) -> None:
        assert "+kind: Job" in await stage.preview("kubernetes.job", self.job(stage))
        assert (await read(cluster, f"/apis/batch/v1/namespaces/{stage.namespace}/jobs"))["items"] == []


async def test_the_end_of_a_jobs_log_is_shown_without_secrets(tmp_path: Path) -> None:
    """On the sandbox: the genuine control plane has no kubelet that keeps logs."""
    async with SandboxCluster(start_delay=0.02) as sandbox:
        sandbox.create_namespace("shop")
        sandbox.write_kubeconfig(tmp_path / "kubeconfig")
        client = KubernetesClient(str(tmp_path / "kubeconfig"))
        stage = StepStage(client, "shop")
        try:
            said = await stage.run("kubernetes.job", TestJob.job(stage, image="shop/hunter2-the-password:1"))
        finally:
            await client.close()
    assert said == "job/inc-01k3-step in namespace shop is complete\nstarting shop/[secret]:1"


class TestWhatMayBeChanged:
    async def test_a_namespace_without_a_target(self, stage: StepStage) -> None:
        other = {"object": {"kind": "ConfigMap", "namespace": "kube-system", "name": "x"}}
        with pytest.raises(RefusedError, match="namespace kube-system has no declared target"):
            await stage.run("kubernetes.delete", other)
        assert "does not exist" in await stage.run("kubernetes.delete", {"object": {**other["object"], "elsewhere": True}})

    async def test_a_target_is_named_as_a_target(self, stage: StepStage) -> None:
        app = {"object": {"kind": "Deployment", "namespace": stage.namespace, "name": "app"}}
        with pytest.raises(RefusedError, match="name it by `target`"):
            await stage.run("kubernetes.scale", {**app, "replicas": 0})

    async def test_when_the_engine_says_no_nothing_is_changed(self, cluster: Cluster, stage: StepStage) -> None:
        stage.refuse_change = "on hold"
        before = (await cluster.get(stage.namespace, "app"))["metadata"]["generation"]
        for uses, parameters in {
            "kubernetes.pause": {}, "kubernetes.restart": {}, "kubernetes.scale": {"replicas": 0},
            "kubernetes.set_image": {"images": {"app": "x/y:1"}}, "kubernetes.delete_pods": {},
            "kubernetes.job": TestJob.job(stage),
        }.items():  # fmt: skip
            with pytest.raises(RefusedError, match="on hold"):
                await stage.run(uses, parameters)
        assert (await cluster.get(stage.namespace, "app"))["metadata"]["generation"] == before
        assert stage.intents == {}

    async def test_an_object_with_the_holds_annotation_is_left_alone(self, cluster: Cluster, stage: StepStage) -> None:
        """By the steps too that do not edit an object's fields."""
        hold = {"metadata": {"annotations": {"responder.dev/hold": "ann is looking"}}}
        settings = await config_map(cluster, stage.namespace, colour="blue")
        await stage.run("kubernetes.snapshot", TestSnapshotAndRestore.on(stage), step="keep")
        await change(cluster, settings, {"data": {"colour": "red"}, **hold})
        await cluster.change(stage.namespace, "app", hold)
        stage.intents.clear()
        stage.story.clear()
        manifest = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"namespace": stage.namespace, "name": "settings"}}
        steps: dict[str, dict[str, Any]] = {
            "kubernetes.apply": {"manifest": {**manifest, "data": {"colour": "green"}}, "force": True},
            "kubernetes.restore": TestSnapshotAndRestore.on(stage, force=True),
            "kubernetes.job": TestJob.job(stage),
        }
        for uses, parameters in steps.items():
            with pytest.raises(RefusedError, match="keeps Responder away: ann is looking"):
                await stage.run(uses, parameters, step=uses)
        assert stage.story == []
        assert (await read(cluster, settings))["data"] == {"colour": "red"}
        await stage.run("kubernetes.job", TestJob.job(stage, changes=False), step="check")

    async def test_an_object_made_anew_is_another_object(self, cluster: Cluster, stage: StepStage) -> None:
        await stage.run("kubernetes.pause", {})
        await cluster.delete(stage.namespace, "app")
        await cluster.deploy(stage.namespace, "app", image="shop/app:1.0")
        with pytest.raises(RefusedError, match="deleted and made anew"):
            await stage.run("kubernetes.pause", {})
        assert "made anew" in await stage.compensate("kubernetes.pause", {})

    async def test_what_somebody_else_changed_meanwhile_is_left_alone(self, cluster: Cluster, stage: StepStage) -> None:
        parameters = {"images": {"app": "shop/app:1.1"}, "wait": False}
        await stage.run("kubernetes.set_image", parameters)
        await cluster.deploy(stage.namespace, "app", image="shop/app:1.2")
        with pytest.raises(PermanentError, match="changed by somebody else"):
            await stage.run("kubernetes.set_image", parameters)


def _later(stage: StepStage) -> Any:
    """The incident as if it were opened after the change: nobody has touched anything since."""
    return replace(stage.incident, opened_at=stage.incident.opened_at + timedelta(minutes=5))
