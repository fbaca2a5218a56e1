"""What raw Deployments and ReplicaSets say, in the moments that a cluster rarely shows."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from responder.domain.version import Owner, RolloutPhase
from responder.targets import deployment as deployments
from responder.targets.owners import owners_on
from responder.targets.revision import selector_text

Object = dict[str, Any]
CREATED = "2026-03-01T10:00:00Z"


def template_of(version: str) -> Object:
    return {"metadata": {"labels": {"app": "shop"}}, "spec": {"containers": [{"name": "app", "image": f"shop/app:{version}"}]}}


def a_deployment(version: str, *, generation: int = 5, observed: int = 5, **status: Any) -> Object:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "app", "namespace": "shop", "uid": "u1", "generation": generation},
        "spec": {"replicas": 3, "selector": {"matchLabels": {"app": "shop"}}, "template": template_of(version)},
        "status": {"observedGeneration": observed, **status},
    }


def a_replica_set(version: str, revision: int, *, reused: bool = False, owner: str = "u1") -> Object:
    annotations = {deployments.REVISION: str(revision)}
    if reused:
        annotations["deployment.kubernetes.io/revision-history"] = "1"
    template = template_of(version)
    template["metadata"]["labels"]["pod-template-hash"] = version
    meta = {
        "name": f"app-{version}",
        "annotations": annotations,
        "creationTimestamp": CREATED,
        "ownerReferences": [{"controller": True, "uid": owner, "kind": "Deployment", "name": "app"}],
    }
    return {"metadata": meta, "spec": {"template": template}}


def progressing(reason: str, message: str, updated: str = "2026-03-01T12:00:00Z") -> Object:
    return {"type": "Progressing", "reason": reason, "message": message, "lastUpdateTime": updated}


def shown(deployment: Object, *replica_sets: Object) -> list[tuple[str, str, bool]]:
    known = deployments.revisions(deployment, replica_sets)
    return [(one.version, one.revision, one.current) for one in deployments.history(deployment, known)]


def test_a_new_version_that_the_controller_has_not_seen_gets_the_next_number() -> None:
    found = shown(a_deployment("3"), a_replica_set("1", 1), a_replica_set("2", 2))

    assert found == [("3", "3", True), ("2", "2", False), ("1", "1", False)]


def test_a_reused_version_that_is_not_numbered_again_yet_gets_the_next_number() -> None:
    found = shown(a_deployment("1"), a_replica_set("1", 1), a_replica_set("2", 2))

    assert found == [("1", "3", True), ("2", "2", False)]


def test_revisions_are_numbers_not_text() -> None:
    found = shown(a_deployment("10"), a_replica_set("9", 9), a_replica_set("10", 10))

    assert found == [("10", "10", True), ("9", "9", False)]


def test_replica_sets_of_an_object_of_the_same_name_are_not_ours() -> None:
    found = shown(a_deployment("2"), a_replica_set("1", 1, owner="u0"), a_replica_set("2", 1))

    assert found == [("2", "1", True)]


@pytest.mark.parametrize(
    ("reused", "condition", "created_at"),
    [
        pytest.param(False, None, datetime(2026, 3, 1, 10, tzinfo=UTC), id="a first rollout is as old as its ReplicaSet"),
        pytest.param(
            True,
            progressing("NewReplicaSetAvailable", 'ReplicaSet "app-1" has successfully progressed.'),
            datetime(2026, 3, 1, 12, tzinfo=UTC),
            id="a comeback is as old as the condition that names it",
        ),
        pytest.param(
            True,
            progressing("NewReplicaSetAvailable", 'ReplicaSet "app-2" has successfully progressed.'),
            None,
            id="a condition about another ReplicaSet is not believed",
        ),
        pytest.param(True, None, None, id="without a condition it is unknown"),
    ],
)
def test_when_the_current_version_was_rolled_out(reused: bool, condition: Object | None, created_at: datetime | None) -> None:
    deployment = a_deployment("1", conditions=[condition] if condition else [])
    known = deployments.revisions(deployment, [a_replica_set("1", 3, reused=reused), a_replica_set("2", 2)])

    assert deployments.history(deployment, known)[0].created_at == created_at


@pytest.mark.parametrize(
    ("observed", "status", "phase", "reason"),
    [
        pytest.param(4, {}, RolloutPhase.PROGRESSING, "the change has not been observed yet", id="not observed"),
        pytest.param(5, {"replicas": 3}, RolloutPhase.PROGRESSING, "0 of 3 pods updated", id="none updated"),
        pytest.param(
            5,
            {"replicas": 4, "updatedReplicas": 3, "availableReplicas": 4},
            RolloutPhase.PROGRESSING,
            "1 old pods still to end",
            id="an old pod is left",
        ),
        pytest.param(
            5,
            {"replicas": 3, "updatedReplicas": 3, "availableReplicas": 2},
            RolloutPhase.PROGRESSING,
            "2 of 3 new pods available",
            id="one not available",
        ),
        pytest.param(
            5,
            {"replicas": 3, "updatedReplicas": 3, "availableReplicas": 3},
            RolloutPhase.COMPLETE,
            "3 of 3 pods available",
            id="all there",
        ),
        pytest.param(
            5,
            {"conditions": [progressing("ProgressDeadlineExceeded", 'ReplicaSet "app-1" has timed out progressing.')]},
            RolloutPhase.FAILED,
            "the progress deadline was exceeded: 0 of 3 pods available",
            id="deadline exceeded",
        ),
        pytest.param(
            5,
            {"conditions": [progressing("ProgressDeadlineExceeded", 'ReplicaSet "app-2" has timed out progressing.')]},
            RolloutPhase.PROGRESSING,
            "0 of 3 pods updated",
            id="another version's deadline",
        ),
        pytest.param(
            4,
            {"conditions": [progressing("ProgressDeadlineExceeded", 'ReplicaSet "app-1" has timed out progressing.')]},
            RolloutPhase.PROGRESSING,
            "the change has not been observed yet",
            id="the deadline of an earlier generation",
        ),
    ],
)
def test_rollout(observed: int, status: Object, phase: RolloutPhase, reason: str) -> None:
    found = deployments.rollout_status(a_deployment("1", observed=observed, **status), a_replica_set("1", 3))

    assert (found.phase, found.reason) == (phase, reason)


def test_an_exceeded_deadline_without_a_known_replica_set_fails() -> None:
    condition = progressing("ProgressDeadlineExceeded", 'Deployment "app" has timed out progressing.')

    assert deployments.rollout_status(a_deployment("1", conditions=[condition]), None).phase is RolloutPhase.FAILED


def test_a_deployment_scaled_to_nothing_is_complete() -> None:
    deployment = a_deployment("1")
    deployment["spec"]["replicas"] = 0

    assert deployments.rollout_status(deployment, None).phase is RolloutPhase.COMPLETE


def a_pod(*, waiting: str = "", ended: str = "", scheduled: bool = True) -> Object:
    state = {"waiting": {"reason": waiting}} if waiting else {"running": {}}
    last = {"terminated": {"reason": ended}} if ended else {}
    conditions = [{"type": "PodScheduled", "status": str(scheduled)}]
    return {"status": {"conditions": conditions, "containerStatuses": [{"state": state, "lastState": last, "ready": False}]}}


@pytest.mark.parametrize(
    ("pods", "reason"),
    [
        pytest.param(
            [a_pod(waiting="ImagePullBackOff")], "0 of 3 pods updated (1x ImagePullBackOff)", id="image can't be pulled"
        ),
        pytest.param([a_pod(waiting="ContainerCreating")], "0 of 3 pods updated", id="a pod that starts is no trouble"),
        pytest.param([a_pod(ended="OOMKilled")], "0 of 3 pods updated (1x OOMKilled)", id="killed for its memory"),
        pytest.param([a_pod(scheduled=False)], "0 of 3 pods updated (1x Unschedulable)", id="no node takes it"),
        pytest.param(
            [a_pod(waiting="ErrImagePull"), *[a_pod(waiting="CrashLoopBackOff")] * 2],
            "0 of 3 pods updated (2x CrashLoopBackOff, 1x ErrImagePull)",
            id="the most frequent first",
        ),
    ],
)
def test_what_pods_wait_for(pods: list[Object], reason: str) -> None:
    assert deployments.rollout_status(a_deployment("1"), None, pods).reason == reason


def test_selectors_become_text() -> None:
    selector = {
        "matchLabels": {"app": "shop"},
        "matchExpressions": [
            {"key": "tier", "operator": "In", "values": ["web", "api"]},
            {"key": "stage", "operator": "NotIn", "values": ["dev"]},
            {"key": "track", "operator": "Exists"},
            {"key": "canary", "operator": "DoesNotExist"},
        ],
    }

    assert selector_text(selector) == "app=shop,tier in (web,api),stage notin (dev),track,!canary"


ARGO = {"argocd.argoproj.io/tracking-id": "shop:apps/Deployment:shop/app"}
FLUX = {"kustomize.toolkit.fluxcd.io/name": "apps", "kustomize.toolkit.fluxcd.io/namespace": "flux-system"}
HELM = {"meta.helm.sh/release-name": "shop", "meta.helm.sh/release-namespace": "shop"}
MANAGED = {"app.kubernetes.io/managed-by": "Helm"}


@pytest.mark.parametrize(
    ("meta", "owners"),
    [
        pytest.param({}, (), id="nobody"),
        pytest.param(
            {"ownerReferences": [{"kind": "Rollout", "name": "shop", "controller": True}]},
            (Owner("Rollout", "shop"),),
            id="a controller reference",
        ),
        pytest.param({"ownerReferences": [{"kind": "App", "name": "shop"}]}, (), id="a reference that is no controller"),
        pytest.param({"annotations": ARGO}, (Owner("ArgoCD", "shop"),), id="Argo CD's tracking id"),
        pytest.param(
            {"annotations": {"argocd.argoproj.io/tracking-id": "shop:apps/Deployment:shop/other"}}, (), id="a copied tracking id"
        ),
        pytest.param(
            {"labels": {"app.kubernetes.io/instance": "shop"}, "managedFields": [{"manager": "argocd-controller"}]},
            (Owner("ArgoCD", "shop"),),
            id="Argo CD tracking by label",
        ),
        pytest.param({"labels": {"app.kubernetes.io/instance": "shop"}}, (), id="the instance label alone"),
        pytest.param({"labels": FLUX}, (Owner("Flux", "kustomize/flux-system/apps"),), id="a Flux Kustomization"),
        pytest.param(
            {"labels": FLUX, "annotations": {"kustomize.toolkit.fluxcd.io/reconcile": "disabled"}}, (), id="Flux told to keep off"
        ),
        pytest.param({"labels": MANAGED, "annotations": HELM}, (Owner("Helm", "shop/shop"),), id="a Helm release"),
        pytest.param({"annotations": HELM}, (), id="Helm annotations that were left behind"),
    ],
)
def test_owners_that_the_object_names(meta: Object, owners: tuple[Owner, ...]) -> None:
    deployment = a_deployment("1")
    deployment["metadata"] |= meta

    assert owners_on(deployment) == owners
