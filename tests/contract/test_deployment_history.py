"""What a Deployment's state says about the versions it runs and has run."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from responder.domain.version import RolloutPhase
from responder.errors import NotFoundError
from responder.targets.kubernetes import TemplateWorkload
from tests.harness.cluster import Cluster


async def test_history_lists_every_version_newest_first(cluster: Cluster, namespace: str, workload: TemplateWorkload) -> None:
    await cluster.roll_out(namespace, "app", "shop/app:1.0", "shop/app:1.1", "shop/app:1.2", replicas=2)

    state = await workload.read()

    assert [(one.version, one.revision, one.current) for one in state.history] == [
        ("1.2", "3", True),
        ("1.1", "2", False),
        ("1.0", "1", False),
    ]
    assert state.current == state.history[0]
    assert state.current.images == ("shop/app:1.2",)
    assert state.replicas == 2
    assert state.paused is False
    assert state.rollout.phase is RolloutPhase.COMPLETE
    assert state.owners == ()
    assert state.owner_unknown == ""
    assert len({one.fingerprint for one in state.history}) == 3


async def test_a_version_is_as_old_as_its_first_rollout(cluster: Cluster, namespace: str, workload: TemplateWorkload) -> None:
    before = datetime.now(UTC) - timedelta(seconds=2)
    await cluster.roll_out(namespace, "app", "shop/app:1.0", "shop/app:1.1")

    state = await workload.read()

    for version in state.history:
        assert version.created_at is not None
        assert before <= version.created_at <= state.read_at


async def test_a_version_that_came_back_has_the_time_of_its_comeback(
    cluster: Cluster, namespace: str, workload: TemplateWorkload
) -> None:
    await cluster.roll_out(namespace, "app", "shop/app:1.0", "shop/app:1.1")
    first = (await workload.read()).history[1].created_at
    assert first is not None

    # The server's times are whole seconds: the comeback must fall into a later one than the first rollout.
    await cluster.until(_clock, lambda now: now >= first + timedelta(seconds=1.5))
    await cluster.roll_out(namespace, "app", "shop/app:1.0")
    state = await cluster.until(workload.read, lambda state: state.current.created_at is not None)

    assert state.current.version == "1.0"
    assert state.current.revision == "3"
    assert first < state.current.created_at <= state.read_at


async def test_a_version_that_came_and_went_twice_has_no_time(
    cluster: Cluster, namespace: str, workload: TemplateWorkload
) -> None:
    await cluster.roll_out(namespace, "app", "shop/app:1.0", "shop/app:1.1", "shop/app:1.0", "shop/app:1.2")

    state = await workload.read()

    assert [(one.version, one.created_at is None) for one in state.history] == [("1.2", False), ("1.0", True), ("1.1", False)]


async def test_a_restart_makes_a_revision_but_no_material_change(
    cluster: Cluster, namespace: str, workload: TemplateWorkload
) -> None:
    await cluster.roll_out(namespace, "app", "shop/app:1.0")
    await cluster.restart(namespace, "app")
    await cluster.wait_available(namespace, "app")

    newest, older = (await workload.read()).history

    assert newest.revision == "2"
    assert newest.fingerprint == older.fingerprint
    assert newest.digest != older.digest


@pytest.mark.parametrize(
    "container",
    [
        pytest.param({"env": [{"name": "MODE", "value": "b"}]}, id="an environment variable is material"),
        pytest.param({"resources": {"limits": {"memory": "64Mi"}}}, id="a memory limit is material"),
        pytest.param({"args": ["--new"]}, id="an argument is material"),
        pytest.param(
            {"envFrom": [{"configMapRef": {"name": "settings", "optional": True}}]}, id="a config reference is material"
        ),
    ],
)
async def test_material_changes(
    cluster: Cluster, namespace: str, workload: TemplateWorkload, container: dict[str, object]
) -> None:
    await cluster.deploy(namespace, "app", image="shop/app:1.0", replicas=0)
    await cluster.wait_available(namespace, "app")
    await cluster.deploy(namespace, "app", image="shop/app:1.0", container=container)

    state = await cluster.until(workload.read, lambda state: len(state.history) == 2)

    assert state.history[0].fingerprint != state.history[1].fingerprint


async def test_replica_sets_of_others_are_not_history(cluster: Cluster, namespace: str, workload: TemplateWorkload) -> None:
    """A ReplicaSet that carries the labels but belongs to a Deployment of the same name that is gone."""
    await cluster.roll_out(namespace, "app", "shop/app:1.0")
    template = (await cluster.replica_sets(namespace))[0]["spec"]["template"]
    labels = {"app": "app", "pod-template-hash": "stray"}
    spec = {"selector": {"matchLabels": labels}, "template": {**template, "metadata": {"labels": labels}}, "replicas": 0}
    other = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "app", "uid": "of-a-former-life", "controller": True}
    meta = {
        "name": "stray",
        "labels": labels,
        "annotations": {"deployment.kubernetes.io/revision": "7"},
        "ownerReferences": [other],
    }
    body = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": meta, "spec": spec}
    (await cluster.http.post(f"/apis/apps/v1/namespaces/{namespace}/replicasets", json=body)).raise_for_status()

    state = await workload.read()

    assert [one.revision for one in state.history] == ["1"]


async def test_owners_are_read_from_the_object(cluster: Cluster, namespace: str, workload: TemplateWorkload) -> None:
    annotations = {"meta.helm.sh/release-name": "shop", "meta.helm.sh/release-namespace": namespace}
    metadata = {"labels": {"app.kubernetes.io/managed-by": "Helm"}, "annotations": annotations}
    await cluster.deploy(namespace, "app", image="shop/app:1.0", metadata=metadata)

    state = await workload.read()

    assert [(owner.kind, owner.name) for owner in state.owners] == [("Helm", f"{namespace}/shop")]


async def test_a_deployment_that_does_not_exist(workload: TemplateWorkload, namespace: str) -> None:
    with pytest.raises(NotFoundError, match=f"get deployments.apps app in namespace {namespace}"):
        await workload.read()


async def _clock() -> datetime:
    return datetime.now(UTC)
