"""Rights of the steps on Kubernetes objects: one that is missing is named, and those the documentation lists are enough."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from responder.clients.kubernetes import KubernetesClient
from responder.errors import ForbiddenError
from tests.contract.test_kubernetes_steps_crash import CASES
from tests.harness.cluster import GenuineCluster
from tests.harness.steps import StepStage

ROLE = Path(__file__).parents[2] / "deploy" / "target" / "steps" / "role.yaml"
PAGE = Path(__file__).parents[2] / "docs" / "actions-kubernetes.md"


def _rule(right: str) -> dict[str, Any]:
    """`patch deployments/scale.apps` as a rule of a Role."""
    verb, _, resource = right.partition(" ")
    plural, _, group = resource.partition(".")
    return {"apiGroups": [group], "resources": [plural], "verbs": [verb]}


READ = ["get deployments.apps", "list replicasets.apps", "list pods"]


@pytest.mark.parametrize(
    ("uses", "given", "rights", "missing"),
    [
        pytest.param("kubernetes.pause", {}, READ, "patch deployments.apps", id="pause"),
        pytest.param(
            "kubernetes.scale", {"replicas": 0}, READ, "list horizontalpodautoscalers.autoscaling", id="scale, autoscalers"
        ),
        pytest.param(
            "kubernetes.scale",
            {"replicas": 0},
            ["get deployments.apps", "get deployments/scale.apps", "list horizontalpodautoscalers.autoscaling"],
            "update deployments/scale.apps",
            id="scale",
        ),
        pytest.param("kubernetes.delete_pods", {}, READ, "delete pods", id="delete_pods"),
        pytest.param("kubernetes.snapshot", {}, READ, "list configmaps", id="snapshot"),
    ],
)
async def test_a_missing_right_is_named(
    genuine: GenuineCluster, tmp_path: Path, uses: str, given: dict[str, Any], rights: list[str], missing: str
) -> None:
    namespace = await genuine.new_namespace()
    await genuine.roll_out(namespace, "app", "shop/app:1.0")
    before = (await genuine.get(namespace, "app"))["metadata"]["generation"]
    client = KubernetesClient(str(await genuine.limited_kubeconfig(namespace, [_rule(one) for one in rights], tmp_path)))
    try:
        with pytest.raises(ForbiddenError, match=f"^missing right: {re.escape(missing)} in namespace {namespace} "):
            await StepStage(client, namespace).run(uses, given)
    finally:
        await client.close()
    assert (await genuine.get(namespace, "app"))["metadata"]["generation"] == before


@pytest.mark.parametrize("name", CASES)
async def test_the_shipped_role_is_enough(genuine: GenuineCluster, tmp_path: Path, name: str) -> None:
    namespace = await genuine.new_namespace()
    await genuine.roll_out(namespace, "app", "shop/app:1.0", replicas=2)
    rules = [
        {key: one[key] for key in ("apiGroups", "resources", "verbs")}
        for one in next(yaml.safe_load_all(ROLE.read_text()))["rules"]
    ]
    client = KubernetesClient(str(await genuine.limited_kubeconfig(namespace, rules, tmp_path)))
    case, stage = CASES[name], StepStage(client, namespace, "other")
    try:
        if case.prepare is not None:
            await case.prepare(genuine, stage)
        await stage.run(case.uses, case.given(namespace))
        seen = await genuine.until(lambda: case.look(genuine, namespace), lambda value: value == case.becomes)
    finally:
        await client.close()
    assert seen == case.becomes
