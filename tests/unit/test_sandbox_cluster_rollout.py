"""The controllers of the sandbox cluster, in simulated time."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from responder.sandbox.api.operations import Operations
from responder.sandbox.api.patching import STRATEGIC_PATCH
from responder.sandbox.api.resources import DEPLOYMENTS, NAMESPACES, PODS, REPLICA_SETS
from responder.sandbox.api.store import Store
from responder.sandbox.controllers.kubelet import Pace
from responder.sandbox.controllers.loop import ControllerLoop
from responder.sandbox.controllers.ownership import condition_of

Json = dict[str, Any]
PREFIX = "deployment.kubernetes.io/"


class World:
    """A cluster without HTTP whose clock stands still until the test moves it."""

    def __init__(self) -> None:
        self.now = datetime(2026, 1, 1, tzinfo=UTC)
        self.operations = Operations(Store(), lambda: self.now)
        self.loop = ControllerLoop(self.operations, Pace(start=timedelta(seconds=1), stop=timedelta(seconds=1)), lambda: self.now)
        self.operations.create(NAMESPACES, "", {"metadata": {"name": "shop"}})
        self.smallest_availability = 10**6
        self.most_pods = 0

    def deploy(self, image: str, *, replicas: int = 4, **spec: Any) -> None:
        labels = {"app": "web"}
        template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "web", "image": image}]}}
        body = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template, **spec}
        self.operations.create(DEPLOYMENTS, "shop", {"metadata": {"name": "web"}, "spec": body})

    def change(self, **spec: Any) -> None:
        body = json.dumps({"spec": spec}).encode()
        self.operations.patch(DEPLOYMENTS, "shop", "web", STRATEGIC_PATCH, body)

    def set_image(self, image: str) -> None:
        self.change(template={"spec": {"containers": [{"name": "web", "image": image}]}})

    def run(self, seconds: float) -> None:
        """Let time pass, going from one due moment to the next."""
        end = self.now + timedelta(seconds=seconds)
        while True:
            due = self.loop.settle(self.now)
            active = [pod for pod in self.pods if "deletionTimestamp" not in pod["metadata"]]
            ready = sum(condition_of(pod["status"], "Ready")["status"] == "True" for pod in active)  # type: ignore[index]
            self.smallest_availability = min(self.smallest_availability, ready)
            self.most_pods = max(self.most_pods, len(active))
            if due is None or due > end:
                break
            self.now = max(due, self.now)
        self.now = end
        self.loop.settle(self.now)

    @property
    def web(self) -> Json:
        return self.operations.get(DEPLOYMENTS, "shop", "web")

    @property
    def pods(self) -> list[Json]:
        return self.operations.store.items(PODS.plural, "shop")

    def sets(self) -> dict[str, Json]:
        """ReplicaSets by image."""
        found = self.operations.store.items(REPLICA_SETS.plural, "shop")
        return {item["spec"]["template"]["spec"]["containers"][0]["image"]: item for item in found}

    def revisions(self) -> dict[str, str]:
        return {image: item["metadata"]["annotations"][f"{PREFIX}revision"] for image, item in self.sets().items()}

    def sizes(self) -> dict[str, int]:
        return {image: item["spec"]["replicas"] for image, item in self.sets().items()}

    def condition(self, kind: str) -> tuple[str, str]:
        found = condition_of(self.web["status"], kind)
        assert found is not None
        return found["status"], found["reason"]


@pytest.fixture
def world() -> World:
    return World()


def test_a_new_deployment_becomes_available(world: World) -> None:
    world.deploy("web:1")
    world.loop.settle(world.now)
    assert world.condition("Available") == ("False", "MinimumReplicasUnavailable")
    assert world.condition("Progressing")[0] == "True"
    world.run(5)
    status = world.web["status"]
    assert (status["replicas"], status["updatedReplicas"], status["readyReplicas"], status["availableReplicas"]) == (4, 4, 4, 4)
    assert status["observedGeneration"] == world.web["metadata"]["generation"] == 1
    assert world.condition("Available") == ("True", "MinimumReplicasAvailable")
    assert world.condition("Progressing") == ("True", "NewReplicaSetAvailable")
    annotations = world.sets()["web:1"]["metadata"]["annotations"]
    assert annotations == {f"{PREFIX}revision": "1", f"{PREFIX}desired-replicas": "4", f"{PREFIX}max-replicas": "5"}


def test_a_rolling_update_keeps_to_surge_and_availability(world: World) -> None:
    world.deploy("web:1")
    world.run(5)
    world.smallest_availability, world.most_pods = 4, 0
    world.set_image("web:2")
    world.run(20)
    assert world.sizes() == {"web:1": 0, "web:2": 4}
    assert world.smallest_availability >= 3, "maxUnavailable is 25 % of 4"
    assert world.most_pods == 5, "maxSurge is 25 % of 4"


def test_going_back_reuses_the_replica_set_and_numbers_it_anew(world: World) -> None:
    world.deploy("web:1")
    world.run(5)
    uid = world.sets()["web:1"]["metadata"]["uid"]
    world.set_image("web:2")
    world.run(20)
    world.set_image("web:1")
    world.run(20)
    assert world.revisions() == {"web:1": "3", "web:2": "2"}
    assert world.sets()["web:1"]["metadata"]["uid"] == uid
    assert world.sets()["web:1"]["metadata"]["annotations"][f"{PREFIX}revision-history"] == "1"
    assert world.web["metadata"]["annotations"][f"{PREFIX}revision"] == "3"


@pytest.mark.parametrize(
    ("image", "reason"),
    [("web:bad", "CrashLoopBackOff"), ("web:nopull", "ImagePullBackOff"), ("web:unready", None)],
    ids=["a crashing image gets stuck", "an image that is not there gets stuck", "a pod that never gets ready gets stuck"],
)
def test_a_bad_image_gets_stuck_and_the_old_pods_stay(world: World, image: str, reason: str | None) -> None:
    world.deploy("web:1", progressDeadlineSeconds=30)
    world.run(5)
    world.smallest_availability = 4
    world.set_image(image)
    world.run(20)
    assert world.condition("Progressing") == ("True", "ReplicaSetUpdated")
    world.run(20.5)
    assert world.condition("Progressing") == ("False", "ProgressDeadlineExceeded")
    assert world.condition("Available") == ("True", "MinimumReplicasAvailable")
    assert world.smallest_availability >= 3
    waiting = {
        pod["status"]["containerStatuses"][0]["state"].get("waiting", {}).get("reason")
        for pod in world.pods
        if pod["spec"]["containers"][0]["image"] == image
    }
    assert reason in waiting


def test_a_crashing_container_is_restarted_again_and_again(world: World) -> None:
    world.deploy("web:bad", replicas=1)
    world.run(1.1)
    before = world.pods[0]["status"]["containerStatuses"][0]["restartCount"]
    world.run(10)
    assert before == 0
    assert world.pods[0]["status"]["containerStatuses"][0]["restartCount"] >= 4
    assert world.condition("Available")[0] == "False"


def test_recreate_ends_the_old_pods_before_it_starts_new_ones(world: World) -> None:
    world.deploy("web:1", strategy={"type": "Recreate"})
    world.run(5)
    world.most_pods = 0
    world.set_image("web:2")
    world.run(10)
    assert world.sizes() == {"web:1": 0, "web:2": 4}
    assert world.most_pods == 4
    assert world.smallest_availability == 0


def test_a_paused_deployment_does_not_roll_but_scales(world: World) -> None:
    world.deploy("web:1")
    world.run(5)
    world.change(paused=True)
    world.set_image("web:2")
    world.change(replicas=6)
    world.run(5)
    assert world.sizes() == {"web:1": 6}
    assert world.condition("Progressing") == ("Unknown", "DeploymentPaused")
    world.change(paused=False)
    world.run(20)
    assert world.sizes() == {"web:1": 0, "web:2": 6}


def test_scaling_in_the_middle_of_a_rollout_is_shared_in_proportion(world: World) -> None:
    world.deploy("web:1", replicas=10, strategy={"rollingUpdate": {"maxSurge": 3, "maxUnavailable": 2}})
    world.run(5)
    world.set_image("web:unready")
    world.run(5)
    assert world.sizes() == {"web:1": 8, "web:unready": 5}
    world.change(replicas=15)
    world.run(1)
    # The example of the Kubernetes documentation: 5 more pods, 3 for the larger set and 2 for the smaller one.
    assert world.sizes() == {"web:1": 11, "web:unready": 7}


def test_old_revisions_beyond_the_limit_are_pruned_lowest_first(world: World) -> None:
    world.deploy("web:1", revisionHistoryLimit=2)
    for image in ("web:2", "web:3", "web:1", "web:4"):
        world.run(20)
        world.set_image(image)
    world.run(20)
    assert world.revisions() == {"web:3": "3", "web:1": "4", "web:4": "5"}


def test_pods_count_as_available_only_after_min_ready_seconds(world: World) -> None:
    world.deploy("web:1", minReadySeconds=10)
    world.run(5)
    assert world.web["status"].get("availableReplicas", 0) == 0
    assert world.web["status"]["readyReplicas"] == 4
    world.run(10)
    assert world.web["status"]["availableReplicas"] == 4


def test_annotations_of_the_deployment_go_to_the_new_replica_set_only(world: World) -> None:
    world.deploy("web:1")
    world.run(5)
    body = {
        "metadata": {"annotations": {"kubernetes.io/change-cause": "second"}},
        "spec": {"template": {"spec": {"containers": [{"name": "web", "image": "web:2"}]}}},
    }
    world.operations.patch(DEPLOYMENTS, "shop", "web", STRATEGIC_PATCH, json.dumps(body).encode())
    world.run(20)
    causes = {image: item["metadata"]["annotations"].get("kubernetes.io/change-cause") for image, item in world.sets().items()}
    assert causes == {"web:1": None, "web:2": "second"}


@pytest.mark.parametrize("policy", ["Background", "Foreground"])
def test_deleting_a_deployment_takes_everything_it_made_with_it(world: World, policy: str) -> None:
    world.deploy("web:1")
    world.run(5)
    world.operations.delete(DEPLOYMENTS, "shop", "web", {"propagationPolicy": policy})
    world.run(5)
    assert (world.sets(), world.pods) == ({}, [])
    assert world.operations.store.get(DEPLOYMENTS.plural, "shop", "web") is None


def test_orphans_stay_and_are_adopted_by_the_next_deployment(world: World) -> None:
    world.deploy("web:1")
    world.run(5)
    world.operations.delete(DEPLOYMENTS, "shop", "web", {"propagationPolicy": "Orphan"})
    world.run(5)
    orphan = world.sets()["web:1"]["metadata"]
    assert "ownerReferences" not in orphan
    assert len(world.pods) == 4
    world.deploy("web:1")
    world.run(5)
    adopted = world.sets()["web:1"]["metadata"]
    assert adopted["uid"] == orphan["uid"]
    assert adopted["ownerReferences"][0]["uid"] == world.web["metadata"]["uid"]


def test_a_namespace_takes_everything_with_it(world: World) -> None:
    world.deploy("web:1")
    world.run(5)
    world.operations.delete(NAMESPACES, "", "shop", {})
    world.run(5)
    assert world.operations.store.metadata() == []


def test_the_controllers_come_to_rest(world: World) -> None:
    world.deploy("web:1")
    world.run(5)
    version = world.operations.store.version
    assert world.loop.settle(world.now) is None
    assert world.operations.store.version == version
