"""Steps on Kubernetes objects: what they do, show, refuse and take back."""

from __future__ import annotations

import base64
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar

import pytest

from responder.clients.kubernetes import KubernetesClient
from responder.domain.target import Mode, Target, WorkloadRef
from responder.domain.version import Pin, Version
from responder.errors import PermanentError, RefusedError, TemporaryError
from responder.sandbox.cluster import SandboxCluster
from tests.harness.cluster import Cluster
from tests.harness.steps import StepStage

RESTARTED = "kubectl.kubernetes.io/restartedAt"


@pytest.fixture
async def stage(cluster: Cluster, namespace: str, client: KubernetesClient) -> StepStage:
    """`app` runs two pods of 1.0."""
    await cluster.roll_out(namespace, "app", "shop/app:1.0", replicas=2)
    return StepStage(client, namespace)


async def put(cluster: Cluster, path: str, body: dict[str, Any]) -> dict[str, Any]:
    response = await cluster.http.post(path, json=body)
    assert response.is_success, response.text
    return dict(response.json())


async def read(cluster: Cluster, path: str) -> dict[str, Any]:
    response = await cluster.http.get(path)
    assert response.is_success, response.text
    return dict(response.json())


async def config_map(cluster: Cluster, namespace: str, name: str = "settings", **data: str) -> str:
    await put(cluster, f"/api/v1/namespaces/{namespace}/configmaps", {"metadata": {"name": name}, "data": data})
    return f"/api/v1/namespaces/{namespace}/configmaps/{name}"


async def change(cluster: Cluster, path: str, body: dict[str, Any]) -> None:
    response = await cluster.http.patch(path, json=body, headers={"Content-Type": "application/merge-patch+json"})
    assert response.is_success, response.text


class TestPauseAndResume:
    async def test_paused_then_resumed(self, cluster: Cluster, stage: StepStage) -> None:
        said = await stage.run("kubernetes.pause", {})
        assert said == f"pause deployment/app in namespace {stage.namespace}: done"
        assert stage.shown == [f"about to pause deployment/app in namespace {stage.namespace}"]
        assert stage.story == ["mark", "record write"]
        assert (await cluster.get(stage.namespace, "app"))["spec"]["paused"] is True
        await stage.run("kubernetes.resume", {}, step="resume")
        assert not (await cluster.get(stage.namespace, "app"))["spec"].get("paused")

    async def test_taken_back_when_the_plan_fails(self, cluster: Cluster, stage: StepStage) -> None:
        await stage.run("kubernetes.pause", {})
        assert (
            await stage.compensate("kubernetes.pause", {}) == f"put deployment/app in namespace {stage.namespace} back as it was"
        )
        assert not (await cluster.get(stage.namespace, "app"))["spec"].get("paused")
        assert "as it was before" in await stage.compensate("kubernetes.pause", {})

    async def test_a_pause_of_somebody_else_stays(self, cluster: Cluster, stage: StepStage) -> None:
        await cluster.change(stage.namespace, "app", {"spec": {"paused": True}})
        assert (await stage.run("kubernetes.pause", {})).startswith("nothing to do")
        assert await stage.compensate("kubernetes.pause", {}) == ""
        assert stage.story == []
        assert (await cluster.get(stage.namespace, "app"))["spec"]["paused"] is True

    async def test_the_preview_shows_the_difference_and_changes_nothing(self, cluster: Cluster, stage: StepStage) -> None:
        before = await cluster.get(stage.namespace, "app")
        sentence, _, diff = (await stage.preview("kubernetes.pause", {})).partition("\n")
        assert sentence == f"would pause deployment/app in namespace {stage.namespace}"
        assert [line for line in diff.splitlines() if line[0] in "+-"] == ["--- now", "+++ then", "+  paused: true"]
        assert (await cluster.get(stage.namespace, "app"))["metadata"]["generation"] == before["metadata"]["generation"]


class TestRestart:
    async def test_all_pods_anew(self, cluster: Cluster, stage: StepStage) -> None:
        before = {pod["metadata"]["uid"] for pod in await cluster.pods(stage.namespace)}
        said = await stage.run("kubernetes.restart", {})
        assert said.endswith("2 of 2 pods available")
        template = (await cluster.get(stage.namespace, "app"))["spec"]["template"]
        assert (
            template["metadata"]["annotations"][RESTARTED]
            == stage.intents["step"]["after"][f"/spec/template/metadata/annotations/{RESTARTED.replace('/', '~1')}"]
        )
        gone = await cluster.until(lambda: cluster.pods(stage.namespace), lambda pods: len(pods) == 2)
        assert not before & {pod["metadata"]["uid"] for pod in gone}

    async def test_not_while_paused(self, cluster: Cluster, stage: StepStage) -> None:
        await cluster.change(stage.namespace, "app", {"spec": {"paused": True}})
        with pytest.raises(RefusedError, match="is paused"):
            await stage.run("kubernetes.restart", {})
        assert stage.story == []


class TestScale:
    async def test_to_zero_and_back_as_it_was(self, cluster: Cluster, stage: StepStage) -> None:
        said = await stage.run("kubernetes.scale", {"replicas": 0}, step="down")
        assert said == f"scale deployment/app in namespace {stage.namespace} from 2 to 0 pods: done; 0 of 0 pods"
        await stage.run("kubernetes.wait", {"for": "no_pods"}, step="gone")
        assert await cluster.pods(stage.namespace) == []
        said = await stage.run("kubernetes.scale", {"as_before": "down"}, step="up")
        assert said.endswith("from 0 to 2 pods: done; app: 2 of 2 pods available")
        assert await stage.compensate("kubernetes.scale", {"as_before": "down"}, step="up") == "", "never down again"
        assert "as it was before" in await stage.compensate("kubernetes.scale", {"replicas": 0}, step="down")

    async def test_a_failed_plan_never_leaves_it_at_zero(self, cluster: Cluster, stage: StepStage) -> None:
        await stage.run("kubernetes.scale", {"replicas": 0})
        assert "back as it was" in await stage.compensate("kubernetes.scale", {"replicas": 0})
        assert (await cluster.get(stage.namespace, "app"))["spec"]["replicas"] == 2

    async def test_not_even_when_the_target_is_declared_no_more(self, cluster: Cluster, stage: StepStage) -> None:
        await stage.run("kubernetes.scale", {"replicas": 0})
        del stage.targets["app"]
        await stage.compensate("kubernetes.scale", {"replicas": 0})
        assert (await cluster.get(stage.namespace, "app"))["spec"]["replicas"] == 2

    async def test_unless_it_is_to_be_kept_or_somebody_else_scaled(self, cluster: Cluster, stage: StepStage) -> None:
        kept = {"replicas": 0, "when_plan_fails": "keep"}
        await stage.run("kubernetes.scale", kept)
        assert await stage.compensate("kubernetes.scale", kept) == ""
        await cluster.scale(stage.namespace, "app", 1)
        assert "changed by somebody else" in await stage.compensate("kubernetes.scale", {"replicas": 0})
        assert (await cluster.get(stage.namespace, "app"))["spec"]["replicas"] == 1

    async def test_the_preview_of_going_back_needs_no_first_step(self, stage: StepStage) -> None:
        said = await stage.preview("kubernetes.scale", {"as_before": "down"}, step="up")
        assert said == f"would scale deployment/app in namespace {stage.namespace} back to the number that step down finds"
        with pytest.raises(RefusedError, match="step down has not run"):
            await stage.run("kubernetes.scale", {"as_before": "down"}, step="up")

    async def test_only_from_the_number_that_is_expected(self, cluster: Cluster, stage: StepStage) -> None:
        with pytest.raises(RefusedError, match="has 2 pods, not 3"):
            await stage.run("kubernetes.scale", {"replicas": 0, "expect": 3})

    async def test_at_least_never_scales_down(self, stage: StepStage) -> None:
        assert (await stage.run("kubernetes.scale", {"at_least": 1})).startswith("nothing to do")

    async def test_an_autoscaler_owns_the_number(self, cluster: Cluster, stage: StepStage) -> None:
        versions = (await read(cluster, "/apis/autoscaling"))["versions"]
        version = "v2" if any(one["version"] == "v2" for one in versions) else "v1"
        scaler = {
            "metadata": {"name": "load"},
            "spec": {
                "maxReplicas": 5,
                "minReplicas": 2,
                "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "app"},
            },
        }
        await put(cluster, f"/apis/autoscaling/{version}/namespaces/{stage.namespace}/horizontalpodautoscalers", scaler)
        with pytest.raises(RefusedError, match="the autoscaler load owns the number of pods"):
            await stage.run("kubernetes.scale", {"replicas": 0})
        assert (await cluster.get(stage.namespace, "app"))["spec"]["replicas"] == 2
        await stage.run("kubernetes.scale", {"replicas": 0, "despite_autoscaler": True, "wait": False})
        assert (await cluster.get(stage.namespace, "app"))["spec"]["replicas"] == 0

    async def test_the_preview(self, stage: StepStage) -> None:
        text = await stage.preview("kubernetes.scale", {"replicas": 5})
        assert text.startswith(f"would scale deployment/app in namespace {stage.namespace} from 2 to 5 pods\n")
        assert "-  replicas: 2\n+  replicas: 5" in text


class TestContainers:
    async def test_the_image_of_one_container(self, cluster: Cluster, stage: StepStage) -> None:
        said = await stage.run("kubernetes.set_image", {"images": {"app": "shop/app:1.1"}})
        assert "app from shop/app:1.0 to shop/app:1.1: done; app: 2 of 2 pods available" in said
        assert (await cluster.get(stage.namespace, "app"))["spec"]["template"]["spec"]["containers"][0]["image"] == "shop/app:1.1"

    async def test_an_init_container_by_name(self, cluster: Cluster, stage: StepStage) -> None:
        await cluster.deploy(
            stage.namespace, "app", image="shop/app:1.0", pod={"initContainers": [{"name": "migrate", "image": "shop/db:1"}]}
        )
        await stage.run("kubernetes.set_image", {"images": {"migrate": "shop/db:2"}, "wait": False})
        pod = (await cluster.get(stage.namespace, "app"))["spec"]["template"]["spec"]
        assert (pod["initContainers"][0]["image"], pod["containers"][0]["image"]) == ("shop/db:2", "shop/app:1.0")

    @pytest.mark.parametrize(
        ("uses", "parameters"),
        [
            pytest.param("kubernetes.set_image", {"images": {"web": "shop/web:1"}}, id="set_image"),
            pytest.param("kubernetes.set_env", {"env": {"A": "1"}, "containers": ["web"]}, id="set_env"),
        ],
    )
    async def test_a_container_that_is_not_there(self, stage: StepStage, uses: str, parameters: dict[str, Any]) -> None:
        with pytest.raises(PermanentError, match="has no container web; it has app"):
            await stage.run(uses, parameters)
        assert stage.story == []

    async def test_a_feature_flag_off_and_back(self, cluster: Cluster, stage: StepStage) -> None:
        env = [{"name": "FEATURE_A", "value": "true"}, {"name": "OLD", "value": "x"}]
        await cluster.deploy(stage.namespace, "app", image="shop/app:1.0", container={"env": env})
        await cluster.wait_available(stage.namespace, "app")
        flags = {"env": {"FEATURE_A": "false", "NEW": "{{ incident.id }}", "OLD": None}, "when_plan_fails": "undo"}
        await stage.run("kubernetes.set_env", flags)

        async def now() -> list[dict[str, str]]:
            container = (await cluster.get(stage.namespace, "app"))["spec"]["template"]["spec"]["containers"][0]
            return list(container.get("env") or [])

        assert await now() == [{"name": "FEATURE_A", "value": "false"}, {"name": "NEW", "value": "inc_01k3"}]
        await stage.compensate("kubernetes.set_env", flags)
        assert sorted(await now(), key=lambda one: one["name"]) == env

    async def test_fields_by_patch(self, cluster: Cluster, stage: StepStage) -> None:
        operations = [
            {"op": "test", "path": "/spec/replicas", "value": 2},
            {"op": "add", "path": "/metadata/labels/tier", "value": "web"},
            {"op": "replace", "path": "/spec/minReadySeconds", "value": 1},
        ]
        await cluster.change(stage.namespace, "app", {"spec": {"minReadySeconds": 3}, "metadata": {"labels": {"team": "shop"}}})
        patch = {"operations": operations, "wait": False, "when_plan_fails": "undo"}
        assert "+    tier: web" in await stage.preview("kubernetes.patch", patch)
        await stage.run("kubernetes.patch", patch)
        found = await cluster.get(stage.namespace, "app")
        assert (found["metadata"]["labels"], found["spec"]["minReadySeconds"]) == ({"team": "shop", "tier": "web"}, 1)
        await stage.compensate("kubernetes.patch", patch)
        found = await cluster.get(stage.namespace, "app")
        assert (found["metadata"]["labels"], found["spec"]["minReadySeconds"]) == ({"team": "shop"}, 3)
        side = {"op": "add", "path": "/spec/template/spec/containers/[app]/workingDir", "value": "/srv"}
        await stage.run("kubernetes.patch", {"operations": [side], "wait": False}, step="by name")
        assert (await cluster.get(stage.namespace, "app"))["spec"]["template"]["spec"]["containers"][0]["workingDir"] == "/srv"
        with pytest.raises(RefusedError, match="is not what the plan expects"):
            await stage.run(
                "kubernetes.patch", {"operations": [{"op": "test", "path": "/spec/replicas", "value": 9}]}, step="other"
            )


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


class TestDeletePods:
    async def test_exactly_those_that_are_there(self, cluster: Cluster, stage: StepStage) -> None:
        before = {pod["metadata"]["uid"] for pod in await cluster.pods(stage.namespace)}
        said = await stage.run("kubernetes.delete_pods", {"force": True})
        assert "deleted 2 pods: " in said
        assert said.endswith("; all gone")
        after = await cluster.until(lambda: cluster.pods(stage.namespace), lambda pods: len(pods) == 2)
        assert not before & {pod["metadata"]["uid"] for pod in after}
        assert await stage.run("kubernetes.delete_pods", {"force": True}) == said, "again: those are gone, the new ones stay"
        assert {pod["metadata"]["uid"] for pod in await cluster.pods(stage.namespace)} == {
            pod["metadata"]["uid"] for pod in after
        }

    async def test_only_the_unready(self, cluster: Cluster, stage: StepStage) -> None:
        assert (await stage.run("kubernetes.delete_pods", {"unready": True})).startswith("nothing to do")
        await cluster.deploy(stage.namespace, "app", image="shop/app:1.1-unready")
        await cluster.until(lambda: cluster.pods(stage.namespace), lambda pods: len(pods) == 3)
        assert "would delete 1 pods" in await stage.preview("kubernetes.delete_pods", {"unready": True})
        assert "deleted 1 pod: " in await stage.run("kubernetes.delete_pods", {"unready": True, "force": True})

    async def test_only_those_with_a_label(self, stage: StepStage) -> None:
        assert (await stage.run("kubernetes.delete_pods", {"labels": {"app": "app", "no": "such"}})).startswith("nothing to do")


class TestSwitchService:
    COLOURS: ClassVar[dict[str, Any]] = {
        "service": "shop",
        "key": "colour",
        "colours": {"blue": "app-blue", "green": "app-green"},
    }

    @pytest.fixture
    async def colours(self, cluster: Cluster, client: KubernetesClient, namespace: str) -> StepStage:
        for colour in ("blue", "green"):
            labels = {"app": f"app-{colour}", "tier": "shop", "colour": colour}
            template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "app", "image": "shop/app:1.0"}]}}
            spec = {
                "replicas": 1 if colour == "blue" else 0,
                "selector": {"matchLabels": {"app": f"app-{colour}"}},
                "template": template,
            }
            await put(
                cluster,
                f"/apis/apps/v1/namespaces/{namespace}/deployments",
                {"metadata": {"name": f"app-{colour}"}, "spec": spec},
            )
        await cluster.wait_available(namespace, "app-blue")
        service = {
            "metadata": {"name": "shop"},
            "spec": {"selector": {"tier": "shop", "colour": "blue"}, "ports": [{"port": 80}]},
        }
        await put(cluster, f"/api/v1/namespaces/{namespace}/services", service)
        return StepStage(client, namespace, "app-blue", "app-green")

    async def selector(self, cluster: Cluster, stage: StepStage) -> Any:
        return (await read(cluster, f"/api/v1/namespaces/{stage.namespace}/services/shop"))["spec"]["selector"]

    async def test_scale_the_idle_colour_up_then_switch(self, cluster: Cluster, colours: StepStage) -> None:
        with pytest.raises(TemporaryError, match="0 of at least 1 pods with colour=green are ready"):
            await colours.run("kubernetes.switch_service", self.COLOURS, step="early")
        assert await self.selector(cluster, colours) == {"tier": "shop", "colour": "blue"}
        said = await colours.run("kubernetes.scale", {"idle_of": self.COLOURS, "at_least": 2}, step="up")
        assert "scale deployment/app-green" in said
        assert "-    colour: blue\n+    colour: green" in await colours.preview("kubernetes.switch_service", self.COLOURS)
        said = await colours.run("kubernetes.switch_service", self.COLOURS)
        assert "from colour=blue to colour=green: done; traffic goes to " in said
        assert await self.selector(cluster, colours) == {"tier": "shop", "colour": "green"}
        assert await colours.compensate("kubernetes.switch_service", self.COLOURS) == "", "never a second step back"
        again = await colours.run("kubernetes.switch_service", self.COLOURS)
        assert "from colour=blue to colour=green: done" in again, "a repeated step knows which way it went"
        assert await self.selector(cluster, colours) == {"tier": "shop", "colour": "green"}
        again = await colours.run("kubernetes.scale", {"idle_of": self.COLOURS, "at_least": 2}, step="up")
        assert "scale deployment/app-green" in again, "whoever is idle by now"

    async def test_back_to_blue_if_it_must_not_stay(self, cluster: Cluster, colours: StepStage) -> None:
        await colours.run("kubernetes.scale", {"target": "app-green", "replicas": 1}, step="up")
        switch = {**self.COLOURS, "to": "green", "when_plan_fails": "undo"}
        await colours.run("kubernetes.switch_service", switch)
        await colours.compensate("kubernetes.switch_service", switch)
        assert await self.selector(cluster, colours) == {"tier": "shop", "colour": "blue"}

    async def test_an_observed_colour_gets_no_traffic(self, colours: StepStage) -> None:
        await colours.run("kubernetes.scale", {"target": "app-green", "replicas": 1}, step="up")
        colours.targets["app-green"] = Target("app-green", WorkloadRef(colours.namespace, "app-green"), (), Mode.OBSERVE)
        with pytest.raises(RefusedError, match="observe mode"):
            await colours.run("kubernetes.switch_service", self.COLOURS)


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
            cluster, f"/api/v1/namespaces/{stage.namespace}/configmaps?labelSelector=responder/snapshot-of=settings"
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

    async def test_by_default_what_was_kept_before_the_bad_version(self, cluster: Cluster, stage: StepStage) -> None:
        """Kept by a pipeline, which writes labels and a time and nothing else."""
        path = await config_map(cluster, stage.namespace, n="bad")
        for hour, n in ((9, "old"), (11, "good"), (13, "bad, too")):
            meta = {
                "name": f"before-deploy-{hour}",
                "labels": {"responder/snapshot": "configmap", "responder/snapshot-of": "settings"},
                "annotations": {"responder/taken-at": f"2026-03-01T{hour:02}:00:00Z"},
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
        with pytest.raises(RefusedError, match=r"was changed by a-person at .* somebody may have mended it"):
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


class TestWait:
    async def test_for_a_condition_and_for_the_rollout(self, stage: StepStage) -> None:
        assert "Available is True" in await stage.run("kubernetes.wait", {"for": "condition", "condition": "Available"})
        assert await stage.run("kubernetes.wait", {"for": "rollout"}) == "app: 2 of 2 pods available"
        assert stage.story == []

    async def test_until_it_is_gone(self, stage: StepStage) -> None:
        on = {"object": {"kind": "ConfigMap", "namespace": stage.namespace, "name": "none"}, "for": "gone"}
        assert "is gone" in await stage.run("kubernetes.wait", on)

    async def test_a_failed_rollout_ends_it(self, cluster: Cluster, stage: StepStage) -> None:
        await cluster.deploy(stage.namespace, "app", image="shop/app:2-unready", spec={"progressDeadlineSeconds": 1})
        with pytest.raises(PermanentError, match="the rollout of app failed"):
            await stage.run("kubernetes.wait", {"for": "rollout"})


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
