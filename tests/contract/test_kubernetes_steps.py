"""Steps on workloads, pods and traffic: what they do, show, refuse and take back."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest

from responder.clients.kubernetes import KubernetesClient
from responder.domain.target import Mode, Target, WorkloadRef
from responder.errors import PermanentError, RefusedError, TemporaryError
from tests.harness.cluster import Cluster
from tests.harness.objects import put, read
from tests.harness.steps import StepStage

RESTARTED = "kubectl.kubernetes.io/restartedAt"


@pytest.fixture
async def stage(cluster: Cluster, namespace: str, client: KubernetesClient) -> StepStage:
    """`app` runs two pods of 1.0."""
    await cluster.roll_out(namespace, "app", "shop/app:1.0", replicas=2)
    return StepStage(client, namespace)


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
