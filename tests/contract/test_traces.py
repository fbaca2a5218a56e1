"""What a rollback leaves on the object for whoever looks at it, and that nothing about it can spoil the rollback."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from responder.clients.kubernetes import KubernetesClient
from responder.ports import Traceable
from responder.targets.kubernetes import TemplateWorkload
from responder.targets.trace import TRACE_ANNOTATION
from tests.contract.test_deployment_rights import GET, LIST, PATCH
from tests.harness.cluster import Cluster, GenuineCluster
from tests.harness.rollback import Intent, pin_of, workload_of

EVENTS = {"apiGroups": [""], "resources": ["events"], "verbs": ["create"]}


async def events(cluster: Cluster, namespace: str) -> list[dict[str, Any]]:
    listed = (await cluster.http.get(f"/api/v1/namespaces/{namespace}/events")).json()["items"]
    return [one for one in listed if one["reason"] == "RolledBack"]


async def rolled_back(cluster: Cluster, namespace: str, workload: TemplateWorkload) -> dict[str, Any]:
    """Roll back to 1.0 for inc_1, trace included; the Deployment before it."""
    await cluster.roll_out(namespace, "app", "shop/app:1.0", "shop/app:1.1")
    before = await cluster.get(namespace, "app")
    pin = replace(await pin_of(workload, "1.0"), incident="inc_1")
    await workload.roll_back(pin, Intent())
    await workload.leave_trace(pin)
    return before


async def test_annotation_and_event_say_who_did_what(cluster: Cluster, namespace: str, workload: TemplateWorkload) -> None:
    before = await rolled_back(cluster, namespace, workload)
    after = await cluster.wait_available(namespace, "app")

    told = json.loads(after["metadata"]["annotations"][TRACE_ANNOTATION])
    assert {name: told[name] for name in ("incident", "from", "to")} == {
        "incident": "inc_1",
        "from": "1.1 (revision 2)",
        "to": "1.0 (revision 1)",
    }
    assert told["at"]
    assert after["metadata"]["generation"] == before["metadata"]["generation"] + 1, "one write with the change itself"
    assert "annotations" not in after["spec"]["template"]["metadata"], "the pods know nothing of it"
    assert len(await cluster.replica_sets(namespace)) == 2, "the old ReplicaSet was used again"
    others = {key for key in before["metadata"]["annotations"] if "revision" not in key}
    assert others <= after["metadata"]["annotations"].keys()


async def test_the_event_is_there_once_however_often_it_is_left(genuine: GenuineCluster) -> None:
    client = KubernetesClient(str(genuine.kubeconfig))
    namespace = await genuine.new_namespace()
    workload = workload_of(client, namespace)
    try:
        await rolled_back(genuine, namespace, workload)
        await workload.leave_trace(replace(await pin_of(workload, "1.1"), incident="inc_1"))
        [event] = await events(genuine, namespace)
        await workload.leave_trace(replace(await pin_of(workload, "1.1"), incident="inc_2"))
        assert len(await events(genuine, namespace)) == 2
    finally:
        await client.close()
    assert event["message"] == "Responder rolled back from 1.1 (revision 2) to 1.0 (revision 1) for incident inc_1"
    assert event["involvedObject"]["uid"] == (await genuine.get(namespace, "app"))["metadata"]["uid"]
    assert (event["involvedObject"]["kind"], event["involvedObject"]["apiVersion"]) == ("Deployment", "apps/v1")


@pytest.mark.parametrize("rights", [[GET, LIST, PATCH], [GET, LIST, PATCH, EVENTS]], ids=["without the right", "with it"])
async def test_a_missing_right_is_named_once_and_spoils_nothing(
    genuine: GenuineCluster, tmp_path: Path, rights: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    namespace = await genuine.new_namespace()
    client = KubernetesClient(str(await genuine.limited_kubeconfig(namespace, rights, tmp_path)))
    workload = workload_of(client, namespace)
    try:
        await rolled_back(genuine, namespace, workload)
        await workload.leave_trace(replace(await pin_of(workload, "1.1"), incident="inc_2"))
    finally:
        await client.close()
    assert TRACE_ANNOTATION in (await genuine.get(namespace, "app"))["metadata"]["annotations"]
    missing = EVENTS not in rights
    assert capsys.readouterr().out.count("missing right: create events") == (1 if missing else 0)
    assert len(await events(genuine, namespace)) == (0 if missing else 2)


async def test_an_object_without_annotations_gets_its_first(genuine: GenuineCluster) -> None:
    client = KubernetesClient(str(genuine.kubeconfig))
    namespace = await genuine.new_namespace()
    try:
        await genuine.roll_out(namespace, "app", "shop/app:1.0", "shop/app:1.1")
        workload = workload_of(client, namespace)
        pin = replace(await pin_of(workload, "1.0"), incident="inc_1")
        await genuine.change(namespace, "app", {"metadata": {"annotations": None}})
        await workload.roll_back(pin, Intent())
    finally:
        await client.close()
    assert TRACE_ANNOTATION in (await genuine.get(namespace, "app"))["metadata"]["annotations"]


def test_workloads_of_kubernetes_leave_traces() -> None:
    made: Callable[..., TemplateWorkload] = workload_of
    assert isinstance(made(KubernetesClient(), "shop"), Traceable)
