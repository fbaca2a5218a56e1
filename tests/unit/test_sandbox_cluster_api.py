"""The sandbox cluster's API over HTTP: answers and refusals as a genuine kube-apiserver gives them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from responder.sandbox.cluster import SandboxCluster

Json = dict[str, Any]
DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"
JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"
REJECTED = "the server rejected our request due to an error in our request"


@pytest.fixture
async def cluster() -> AsyncIterator[SandboxCluster]:
    async with SandboxCluster(start_delay=0.01, stop_delay=0.01) as cluster:
        yield cluster


@pytest.fixture
async def api(cluster: SandboxCluster) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(cluster, cluster.tokens.admin) as client:
        yield client


def client_of(cluster: SandboxCluster, token: str) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=cluster.url, headers={"Authorization": f"Bearer {token}"}, trust_env=False)


async def deployed(cluster: SandboxCluster, image: str = "web:1") -> Json:
    await cluster.deploy("default", "web", image)
    return await cluster.wait_available("default", "web")


async def patch(api: httpx.AsyncClient, body: Any, kind: str = JSON_PATCH, query: str = "") -> httpx.Response:
    return await api.patch(f"{DEPLOYMENTS}/web{query}", content=json.dumps(body), headers={"Content-Type": kind})


def manifest(**changes: Any) -> Json:
    container = {"name": "web", "image": "web:1"}
    template = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [container]}}
    spec = {"selector": {"matchLabels": {"app": "web"}}, "template": template, **changes}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": spec}


# --- patches ---


async def test_a_failed_test_is_422_and_changes_nothing(cluster: SandboxCluster, api: httpx.AsyncClient) -> None:
    before = await deployed(cluster)
    guarded = [
        {"op": "test", "path": "/metadata/generation", "value": 99},
        {"op": "replace", "path": "/spec/replicas", "value": 5},
    ]
    answer = await patch(api, guarded)
    assert answer.status_code == 422
    assert answer.json() == {
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": REJECTED, "reason": "Invalid",
        "details": {}, "code": 422,
    }  # fmt: skip
    assert cluster.deployment("default", "web") == before


async def test_a_dry_run_shows_the_outcome_and_changes_nothing(cluster: SandboxCluster, api: httpx.AsyncClient) -> None:
    before = await deployed(cluster)
    image = [{"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": "web:2"}]
    answer = await patch(api, image, query="?dryRun=All&fieldManager=responder&fieldValidation=Strict")
    shown = answer.json()
    assert shown["spec"]["template"]["spec"]["containers"][0]["image"] == "web:2"
    assert shown["metadata"]["generation"] == before["metadata"]["generation"] + 1
    assert cluster.deployment("default", "web") == before


@pytest.mark.parametrize(
    ("kind", "body", "code", "reason"),
    [
        (JSON_PATCH, [{"op": "test", "path": "/metadata/nothing/x", "value": 1}], 422, "Invalid"),
        (JSON_PATCH, [{"op": "remove", "path": "/spec/nothing"}], 422, "Invalid"),
        (JSON_PATCH, [{"op": "replace", "path": "/spec/replicas", "value": -1}], 422, "Invalid"),
        (JSON_PATCH, [{"op": "replace", "path": "/spec/replicas", "value": "x"}], 422, "Invalid"),
        (JSON_PATCH, [{"op": "replace", "path": "/spec/template/spec/containers", "value": []}], 422, "Invalid"),
        (JSON_PATCH, [{"op": "replace", "path": "/metadata/uid", "value": "other"}], 422, "Invalid"),
        (JSON_PATCH, [{"op": "replace", "path": "/metadata/name", "value": "other"}], 400, "BadRequest"),
        (JSON_PATCH, {"a": 1}, 400, "BadRequest"),
        (MERGE_PATCH, {"metadata": {"resourceVersion": "1"}, "spec": {"replicas": 3}}, 409, "Conflict"),
        ("application/json", {}, 415, "UnsupportedMediaType"),
    ],
    ids=[
        "a test of a path that is not there", "a removal of nothing", "a negative size", "a size that is no number",
        "no containers", "another uid", "another name", "a JSON patch that is no list", "a stale version", "no patch type",
    ],
)  # fmt: skip
async def test_refused_patches(
    cluster: SandboxCluster, api: httpx.AsyncClient, kind: str, body: Any, code: int, reason: str
) -> None:
    before = await deployed(cluster)
    answer = await patch(api, body, kind)
    assert (answer.status_code, answer.json()["code"], answer.json()["reason"]) == (code, code, reason)
    assert cluster.deployment("default", "web") == before


async def test_strategic_merge_joins_containers_by_name(cluster: SandboxCluster, api: httpx.AsyncClient) -> None:
    await cluster.deploy("default", "web", "web:1", env={"MODE": "fast"})
    body = {"spec": {"template": {"spec": {"containers": [{"name": "side", "image": "s:1"}, {"name": "web", "image": "web:2"}]}}}}
    await patch(api, body, STRATEGIC_PATCH)
    stored = cluster.deployment("default", "web")
    assert stored is not None
    containers = stored["spec"]["template"]["spec"]["containers"]
    assert [(found["name"], found["image"]) for found in containers] == [("web", "web:2"), ("side", "s:1")]
    assert containers[0]["env"] == [{"name": "MODE", "value": "fast"}]


async def test_merge_patch_replaces_lists(cluster: SandboxCluster, api: httpx.AsyncClient) -> None:
    await deployed(cluster)
    body = {"spec": {"template": {"spec": {"containers": [{"name": "side", "image": "s:1"}]}}}}
    answer = await patch(api, body, MERGE_PATCH)
    assert [found["name"] for found in answer.json()["spec"]["template"]["spec"]["containers"]] == ["side"]


async def test_unknown_template_fields_are_kept(api: httpx.AsyncClient) -> None:
    made = manifest()
    made["spec"]["template"]["spec"]["fieldOfTheFuture"] = {"a": [1, None, "&"]}
    answer = await api.post(DEPLOYMENTS, json=made)
    assert answer.status_code == 201
    read = (await api.get(f"{DEPLOYMENTS}/web")).json()
    assert read["spec"]["template"]["spec"]["fieldOfTheFuture"] == {"a": [1, None, "&"]}


# --- what moves generation and resourceVersion ---


@pytest.mark.parametrize(
    ("body", "moves"),
    [
        ({"spec": {"replicas": 5}}, True),
        ({"metadata": {"annotations": {"a": "b"}}}, True),
        ({"metadata": {"labels": {"a": "b"}}}, False),
        ({"status": {"replicas": 77}}, False),
    ],
    ids=["the size does", "an annotation does, on Deployments", "a label does not", "the status does not"],
)
async def test_what_moves_the_generation(cluster: SandboxCluster, api: httpx.AsyncClient, body: Json, moves: bool) -> None:
    before = await deployed(cluster)
    after = (await patch(api, body, MERGE_PATCH)).json()
    assert (after["metadata"]["generation"] > before["metadata"]["generation"]) is moves
    assert after["status"]["replicas"] == 2


async def test_a_patch_that_changes_nothing_writes_nothing(cluster: SandboxCluster, api: httpx.AsyncClient) -> None:
    before = await deployed(cluster)
    assert (await patch(api, {"spec": {"replicas": 2}}, MERGE_PATCH)).json() == before


async def test_defaults_are_filled_in(api: httpx.AsyncClient) -> None:
    spec = (await api.post(DEPLOYMENTS, json=manifest())).json()["spec"]
    assert spec["strategy"] == {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "25%", "maxSurge": "25%"}}
    assert (spec["replicas"], spec["revisionHistoryLimit"], spec["progressDeadlineSeconds"]) == (1, 10, 600)
    pod = spec["template"]["spec"]
    assert (pod["restartPolicy"], pod["dnsPolicy"], pod["terminationGracePeriodSeconds"]) == ("Always", "ClusterFirst", 30)
    assert pod["containers"][0]["imagePullPolicy"] == "IfNotPresent"


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"selector": {"matchLabels": {"app": "other"}}}, "spec.template.metadata.labels"),
        ({"selector": None}, "spec.selector"),
        ({"strategy": {"rollingUpdate": {"maxSurge": "many"}}}, "spec.strategy.rollingUpdate.maxSurge"),
        ({"replicas": -1}, "spec.replicas"),
    ],
    ids=["a selector that misses the template", "no selector", "a surge that is no number", "a negative size"],
)
async def test_invalid_deployments_are_refused(api: httpx.AsyncClient, changes: Json, field: str) -> None:
    answer = await api.post(DEPLOYMENTS, json=manifest(**changes))
    assert (answer.status_code, answer.json()["reason"]) == (422, "Invalid")
    assert field in [cause["field"] for cause in answer.json()["details"]["causes"]]


# --- replace, scale, delete ---


async def test_put_with_a_stale_version_is_409(cluster: SandboxCluster, api: httpx.AsyncClient) -> None:
    stale = await deployed(cluster)
    await patch(api, {"spec": {"replicas": 3}}, MERGE_PATCH)
    answer = await api.put(f"{DEPLOYMENTS}/web", json=stale)
    assert (answer.status_code, answer.json()["reason"]) == (409, "Conflict")
    assert "the object has been modified" in answer.json()["message"]


async def test_scale_is_read_and_written(cluster: SandboxCluster, api: httpx.AsyncClient) -> None:
    await deployed(cluster)
    scale = (await api.get(f"{DEPLOYMENTS}/web/scale")).json()
    assert (scale["kind"], scale["spec"], scale["status"]) == ("Scale", {"replicas": 2}, {"replicas": 2, "selector": "app=web"})
    scale["spec"]["replicas"] = 3
    assert (await api.put(f"{DEPLOYMENTS}/web/scale", json=scale)).json()["spec"] == {"replicas": 3}
    assert (await api.put(f"{DEPLOYMENTS}/web/scale", json=scale)).status_code == 409
    assert (await cluster.wait_available("default", "web"))["status"]["replicas"] == 3


async def test_delete_checks_the_uid_if_asked_to(cluster: SandboxCluster, api: httpx.AsyncClient) -> None:
    made = await deployed(cluster)
    path = f"{DEPLOYMENTS}/web"
    assert (await api.request("DELETE", path, json={"preconditions": {"uid": "other"}})).status_code == 409
    answer = await api.request("DELETE", path, json={"preconditions": {"uid": made["metadata"]["uid"]}})
    assert (answer.status_code, answer.json()["status"]) == (200, "Success")
    assert (await api.get(path)).status_code == 404


@pytest.mark.parametrize(
    ("method", "path", "code", "message"),
    [
        ("GET", f"{DEPLOYMENTS}/nope", 404, 'deployments.apps "nope" not found'),
        ("GET", "/api/v1/namespaces/default/wombats", 404, "the server could not find the requested resource"),
        ("POST", "/apis/apps/v1/namespaces/nope/deployments", 404, 'namespaces "nope" not found'),
        ("POST", f"{DEPLOYMENTS}/web", 405, "the server does not allow this method on the requested resource"),
        ("GET", f"{DEPLOYMENTS}?fieldSelector=spec.x%3D1", 400, '"spec.x" is not a known field selector'),
        ("GET", f"{DEPLOYMENTS}?labelSelector=a%3Db%3Dc", 400, "unable to parse requirement"),
    ],
)
async def test_refusals_say_what_is_wrong(api: httpx.AsyncClient, method: str, path: str, code: int, message: str) -> None:
    answer = await api.request(method, path, json=manifest() if method == "POST" else None)
    assert (answer.status_code, answer.json()["kind"]) == (code, "Status")
    assert message in answer.json()["message"]


@pytest.mark.parametrize("body", [b"", b'{"a":', b"[]", b"\xff\xfe"], ids=["empty", "cut off", "a list", "no text"])
async def test_broken_bodies_are_400(api: httpx.AsyncClient, body: bytes) -> None:
    answer = await api.post(DEPLOYMENTS, content=body, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["reason"]) == (400, "BadRequest")


# --- rights ---


async def test_rights_are_named_when_they_are_missing(cluster: SandboxCluster) -> None:
    await deployed(cluster)
    async with client_of(cluster, cluster.tokens.nobody) as nobody:
        read, written = await nobody.get(f"{DEPLOYMENTS}/web"), await patch(nobody, [])
    assert (read.status_code, written.status_code) == (403, 403)
    assert 'cannot get resource "deployments" in API group "apps" in the namespace "default"' in read.json()["message"]
    assert 'cannot patch resource "deployments"' in written.json()["message"]


async def test_a_viewer_reads_and_does_not_write(cluster: SandboxCluster) -> None:
    await deployed(cluster)
    async with client_of(cluster, cluster.tokens.viewer) as viewer:
        assert (await viewer.get(DEPLOYMENTS)).status_code == 200
        assert (await patch(viewer, [])).status_code == 403


async def test_an_unknown_token_is_401(cluster: SandboxCluster) -> None:
    async with client_of(cluster, "guessed") as stranger:
        assert (await stranger.get(DEPLOYMENTS)).json()["reason"] == "Unauthorized"


# --- lists and watches ---


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ({}, ["api", "web"]),
        ({"labelSelector": "app=web"}, ["web"]),
        ({"labelSelector": "app in (web, other),!absent"}, ["web"]),
        ({"labelSelector": "app!=web"}, ["api"]),
        ({"labelSelector": "app notin (web,api)"}, []),
        ({"fieldSelector": "metadata.name=api"}, ["api"]),
    ],
    ids=["everything", "by a label", "by a set and an absence", "by not being equal", "by not being in a set", "by name"],
)
async def test_lists_are_selected(
    cluster: SandboxCluster, api: httpx.AsyncClient, query: dict[str, str], names: list[str]
) -> None:
    for name in ("web", "api"):
        await cluster.deploy("default", name, "x:1")
    answer = (await api.get(DEPLOYMENTS, params=query)).json()
    assert (answer["kind"], [item["metadata"]["name"] for item in answer["items"]]) == ("DeploymentList", names)


class Watch:
    """A watch request, event by event."""

    def __init__(self, api: httpx.AsyncClient, **query: str) -> None:
        self._stream = api.stream("GET", DEPLOYMENTS, params={"watch": "true", "timeoutSeconds": "30", **query})

    async def __aenter__(self) -> Watch:
        self._lines = (await self._stream.__aenter__()).aiter_lines()
        return self

    async def __aexit__(self, *error: Any) -> None:
        await self._stream.__aexit__(*error)

    async def next(self) -> tuple[str, Json]:
        async with asyncio.timeout(10):
            event = json.loads(await anext(self._lines))
        return event["type"], event["object"]


async def test_a_watch_goes_on_from_a_version(cluster: SandboxCluster, api: httpx.AsyncClient) -> None:
    version = (await api.get(DEPLOYMENTS)).json()["metadata"]["resourceVersion"]
    made = await cluster.deploy("default", "web", "web:1")
    async with Watch(api, resourceVersion=version) as watch:
        kind, item = await watch.next()
        assert (kind, item["metadata"]["uid"]) == ("ADDED", made["metadata"]["uid"])
        kind, item = await watch.next()
        assert (kind, item["metadata"]["name"]) == ("MODIFIED", "web")
        await api.delete(f"{DEPLOYMENTS}/web")
        while kind != "DELETED":
            kind, _ = await watch.next()


async def test_an_object_that_leaves_the_selection_is_deleted_for_its_watcher(
    cluster: SandboxCluster, api: httpx.AsyncClient
) -> None:
    made = await deployed(cluster)
    version = made["metadata"]["resourceVersion"]
    async with Watch(api, resourceVersion=version, labelSelector="app=web") as watch:
        await patch(api, {"metadata": {"labels": {"app": "moved"}}}, MERGE_PATCH)
        assert (await watch.next())[0] == "DELETED"


async def test_a_watch_from_a_forgotten_version_is_gone(cluster: SandboxCluster, api: httpx.AsyncClient) -> None:
    version = (await deployed(cluster))["metadata"]["resourceVersion"]
    cluster.forget_history()
    async with Watch(api, resourceVersion=version) as watch:
        kind, status = await watch.next()
    assert (kind, status["kind"], status["code"], status["reason"]) == ("ERROR", "Status", 410, "Expired")
    fresh = (await api.get(DEPLOYMENTS)).json()["metadata"]["resourceVersion"]
    async with Watch(api, resourceVersion=fresh) as watch:
        await patch(api, {"spec": {"replicas": 3}}, MERGE_PATCH)
        assert (await watch.next())[0] == "MODIFIED"


async def test_a_watch_ends_in_time_with_a_bookmark(cluster: SandboxCluster, api: httpx.AsyncClient) -> None:
    await deployed(cluster)
    query = {"watch": "1", "timeoutSeconds": "0.01", "allowWatchBookmarks": "true"}
    lines = (await api.get(DEPLOYMENTS, params=query)).text.splitlines()
    assert [json.loads(line)["type"] for line in lines] == ["ADDED", "BOOKMARK"]


async def test_kubectl_gets_its_tables(cluster: SandboxCluster, api: httpx.AsyncClient) -> None:
    await deployed(cluster)
    accept = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
    table = (await api.get(DEPLOYMENTS, headers={"Accept": accept})).json()
    assert [column["name"] for column in table["columnDefinitions"]][:5] == ["Name", "Ready", "Up-to-date", "Available", "Age"]
    assert table["rows"][0]["cells"][:4] == ["web", "2/2", 2, 2]


# --- the embedded cluster ---


async def test_what_happens_to_pods_is_told_by_events(cluster: SandboxCluster, api: httpx.AsyncClient) -> None:
    await deployed(cluster)
    events = (await api.get("/api/v1/namespaces/default/events")).json()["items"]
    assert {"ScalingReplicaSet", "SuccessfulCreate", "Scheduled", "Started"} <= {event["reason"] for event in events}


async def test_leaving_the_cluster_ends_watches_and_frees_the_port() -> None:
    async with SandboxCluster() as cluster:
        url = cluster.url
        client = client_of(cluster, cluster.tokens.admin)
        stream = client.stream("GET", DEPLOYMENTS, params={"watch": "true"})
        lines = (await stream.__aenter__()).aiter_lines()
        reader = asyncio.create_task(anext(lines, None))  # type: ignore[arg-type]
        await asyncio.sleep(0)
    async with asyncio.timeout(5):
        assert await reader is None
    await client.aclose()
    with pytest.raises(httpx.ConnectError):
        await httpx.AsyncClient(trust_env=False).get(f"{url}/readyz")
    async with SandboxCluster(int(url.rpartition(":")[2])) as again:
        assert again.url == url


async def test_the_kubeconfig_is_for_its_owner_only(cluster: SandboxCluster, tmp_path: Path) -> None:
    path = tmp_path / "kubeconfig"
    cluster.write_kubeconfig(path, "viewer")
    assert path.stat().st_mode & 0o777 == 0o600
    written = json.loads(path.read_text())
    assert written["clusters"][0]["cluster"]["server"] == cluster.url
    assert written["users"][0]["user"]["token"] == cluster.tokens.viewer
