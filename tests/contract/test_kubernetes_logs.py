"""`kubernetes.logs`. The node's part is played (`PodLogs`): neither cluster of the tests has processes that write.

What the sandbox's own pods are said to write, and the rights on the genuine API server, are at the end.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from responder.clients.kubernetes import KubernetesClient
from responder.errors import ForbiddenError, PermanentError, ResponderError, TemporaryError
from responder.sandbox.cluster import SandboxCluster
from tests.harness.cluster import Cluster, GenuineCluster
from tests.harness.kubernetes_proxy import KubernetesProxy
from tests.harness.pod_logs import Line, PodLogs
from tests.harness.steps import StepStage

ROLE = Path(__file__).parents[2] / "deploy" / "target" / "steps" / "role.yaml"
LOGS = "kubernetes.logs"


class Written:
    """What every pod has written: lines, and the age of each in seconds."""

    def __init__(self) -> None:
        self.lines: list[tuple[float, str]] = [(0, "listening on :8080")]

    def __call__(self, _pod: dict[str, Any]) -> list[Line]:
        now = datetime.now(UTC)
        return [(now - timedelta(seconds=age), text) for age, text in self.lines]


@pytest.fixture
def written() -> Written:
    return Written()


@pytest.fixture
def node(proxy: KubernetesProxy, cluster: Cluster, written: Written) -> PodLogs:
    proxy.rule = node = PodLogs(cluster, written)
    return node


@pytest.fixture
async def stage(
    cluster: Cluster, namespace: str, proxy: KubernetesProxy, node: PodLogs, tmp_path: Path
) -> AsyncIterator[StepStage]:
    """`app` runs two pods; a minute ago the run changed something."""
    await cluster.roll_out(namespace, "app", "shop/app:1.0", replicas=2)
    client = KubernetesClient(str(proxy.write_kubeconfig(tmp_path / "proxied")))
    stage = StepStage(client, namespace)
    stage.incident = replace(stage.incident, acted_at=datetime.now(UTC) - timedelta(minutes=1))
    yield stage
    await client.close()


ERROR = "ERROR payment refused"


@pytest.mark.parametrize(
    ("lines", "given", "said"),
    [
        pytest.param([(0, "ready")], {"lacks": "ERROR"}, "2 lines of 2 pods lack ERROR", id="nothing of the kind"),
        pytest.param([(0, ERROR)], {"lacks": "ERROR"}, None, id="an unwanted line"),
        pytest.param([(0, ERROR)], {"lacks": "error"}, "lack error", id="upper and lower case are told apart"),
        pytest.param([(0, ERROR)], {"lacks": "error", "ignore_case": True}, None, id="unless told otherwise"),
        pytest.param([(0, ERROR)], {"lacks": "ERR*refused"}, None, id="an asterisk is anything"),
        pytest.param([(0, ERROR)], {"lacks": "refused*ERR"}, "lack refused*ERR", id="in that order"),
        pytest.param([(0, ERROR)], {"lacks": ["FATAL", "ERROR"]}, None, id="one of several texts"),
        pytest.param([(0, ERROR)], {"lacks": "ERROR", "ignore": "payment"}, "lack ERROR", id="a line that does not count"),
        pytest.param([(0, ERROR)], {"lacks": "ERROR", "at_most": 2}, "lack ERROR but 2, and 2 may", id="as many as may be"),
        pytest.param([(0, ERROR)], {"lacks": "ERROR", "at_most": 1}, None, id="the pods are counted together"),
        pytest.param([(90, ERROR)], {"lacks": "ERROR"}, "0 lines of 2 pods", id="written before the rollback"),
        pytest.param([(30, ERROR)], {"lacks": "ERROR", "since": "10s"}, "0 lines of 2 pods", id="older than what is looked at"),
        pytest.param([(90, ERROR)], {"lacks": "ERROR", "since": "2m"}, None, id="further back than the rollback"),
        pytest.param(
            [(2, ERROR), (1, "a"), (0, "b")],
            {"lacks": "ERROR", "lines": 2},
            "4 lines of 2 pods (only the last 2 of a container) lack ERROR",
            id="more lines than are read: it says so",
        ),
        pytest.param([(0, "ready")], {"contains": "ready"}, "2 lines of 2 pods have ready", id="a line that must come"),
        pytest.param([(0, "ready")], {"contains": "ready", "lacks": "E"}, "have ready and lack E", id="both"),
        pytest.param(
            [(0, ERROR)], {"contains": "ERROR", "lacks": "ERROR"}, None, id="an unwanted line is one also while it waits"
        ),
    ],
)
async def test_what_passes(stage: StepStage, written: Written, lines: Any, given: dict[str, Any], said: str | None) -> None:
    written.lines = lines
    if said is None:
        with pytest.raises(TemporaryError, match="ERROR payment refused"):
            await stage.run(LOGS, given)
    else:
        assert said in await stage.run(LOGS, given)
    assert stage.story == [], "it only looks"


async def test_a_line_that_must_come_is_waited_for(stage: StepStage, written: Written, node: PodLogs) -> None:
    def ready_at_the_third_look(_pod: dict[str, Any]) -> list[Line]:
        lines = ["starting", *(["migrations are done"] if len(node.read) > 4 else [])]
        return [(datetime.now(UTC), line) for line in lines]

    node.written = ready_at_the_third_look
    assert "have migrations*done" in await stage.run(LOGS, {"contains": ["migrations*done", "starting"], "every": "1s"})
    assert stage.shown == [f"deployment/app in namespace {stage.namespace}: no line with migrations*done yet"]


async def test_none_may_come_for_a_while(stage: StepStage, node: PodLogs) -> None:
    def broken_at_the_second_look(_pod: dict[str, Any]) -> list[Line]:
        return [(datetime.now(UTC), ERROR if len(node.read) > 2 else "ready")]

    node.written = broken_at_the_second_look
    with pytest.raises(TemporaryError, match="2 lines with ERROR"):
        await stage.run(LOGS, {"lacks": "ERROR", "for": "10s"})


async def test_unwanted_lines_are_shown_without_secrets_and_cut(stage: StepStage, written: Written) -> None:
    written.lines = [(0, f"ERROR for hunter2-the-password {number} {'x' * 500}\x1b[31m") for number in range(9)]
    with pytest.raises(TemporaryError) as told:
        await stage.run(LOGS, {"lacks": "ERROR"})
    first, *lines = str(told.value).splitlines()
    assert first == f"deployment/app in namespace {stage.namespace}: 18 lines with ERROR"
    assert len(lines) == 3
    assert all("ERROR for [secret]" in line and len(line) < 300 and "\x1b" not in line for line in lines)


@pytest.mark.parametrize(
    ("kept", "ended", "passes"),
    [
        pytest.param([(5, "FATAL out of memory")], 4, False, id="its last words"),
        pytest.param([(90, "FATAL out of memory")], 80, True, id="it was before the rollback"),
        pytest.param(None, 4, True, id="the node has not kept them"),
    ],
)
async def test_what_a_container_wrote_before_it_was_started_anew(
    cluster: Cluster, stage: StepStage, node: PodLogs, kept: list[tuple[float, str]] | None, ended: float, passes: bool
) -> None:
    def ago(seconds: float) -> datetime:
        return datetime.now(UTC) - timedelta(seconds=seconds)

    node.written_before = None if kept is None else [(ago(age), text) for age, text in kept]
    [pod, _] = await cluster.pods(stage.namespace)
    last = {"terminated": {"exitCode": 137, "finishedAt": f"{ago(ended):%Y-%m-%dT%H:%M:%SZ}"}}
    statuses = [{**one, "restartCount": 1, "lastState": last} for one in pod["status"]["containerStatuses"]]
    response = await cluster.http.patch(
        f"/api/v1/namespaces/{stage.namespace}/pods/{pod['metadata']['name']}/status",
        json={"status": {"containerStatuses": statuses}},
        headers={"Content-Type": "application/merge-patch+json"},
    )
    assert response.is_success, response.text
    if passes:
        assert "2 pods lack FATAL" in await stage.run(LOGS, {"lacks": "FATAL"})
    else:
        with pytest.raises(TemporaryError, match=r"1 line with FATAL\n.*FATAL out of memory"):
            await stage.run(LOGS, {"lacks": "FATAL"})


async def test_a_log_too_long_to_be_looked_through_lets_nothing_pass(
    stage: StepStage, written: Written, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("responder.actions.kubernetes.logs._LIMIT", 1 << 20)
    written.lines = [(0, "x" * 1000)] * 1200
    with pytest.raises(PermanentError, match="is longer than 1 MiB: lower `lines`, or look at less by `since`"):
        await stage.run(LOGS, {"lacks": "ERROR"})


async def test_without_a_running_pod_nothing_passes(cluster: Cluster, stage: StepStage) -> None:
    await cluster.change(stage.namespace, "app", {"spec": {"replicas": 0}})
    await cluster.until(lambda: cluster.pods(stage.namespace), lambda pods: not pods)
    with pytest.raises(TemporaryError, match=r"no pod of .* is running"):
        await stage.run(LOGS, {"lacks": "ERROR"})


async def test_one_container_of_several(stage: StepStage) -> None:
    assert "2 lines" in await stage.run(LOGS, {"lacks": "ERROR", "container": "app"})
    with pytest.raises(PermanentError, match="has no container sidecar, only app"):
        await stage.run(LOGS, {"lacks": "ERROR", "container": "sidecar"})


async def test_the_preview_reads_none(stage: StepStage, node: PodLogs) -> None:
    said = await stage.preview(LOGS, {"lacks": ["ERROR", "FATAL"], "contains": "ready"})
    assert said.endswith("write lacks ERROR, FATAL and has ready")
    assert node.read == []


async def test_what_the_pods_of_the_sandbox_write(tmp_path: Path) -> None:
    async with SandboxCluster(start_delay=0.02) as sandbox:
        sandbox.write_kubeconfig(tmp_path / "kubeconfig")
        async with Cluster(tmp_path / "kubeconfig") as cluster:
            namespace = await cluster.new_namespace()
            await cluster.roll_out(namespace, "app", "shop/app:1.0", replicas=2)
            client = KubernetesClient(str(tmp_path / "kubeconfig"))
            stage = StepStage(client, namespace)
            try:
                assert "2 lines of 2 pods have starting shop/app:1.0" in await stage.run(
                    LOGS, {"contains": "starting shop/app:1.0", "since": "1m"}
                )
                with pytest.raises(TemporaryError, match="2 lines with starting"):
                    await stage.run(LOGS, {"lacks": "starting", "since": "1m"})
            finally:
                await client.close()


@pytest.mark.parametrize("may_read", [True, False], ids=["with the shipped role", "without the right to read logs"])
async def test_rights(genuine: GenuineCluster, tmp_path: Path, may_read: bool) -> None:
    """The API server asks for the right first, then for the pod's node, which is not there."""
    namespace = await genuine.new_namespace()
    await genuine.roll_out(namespace, "app", "shop/app:1.0")
    rules = [
        rule for rule in next(yaml.safe_load_all(ROLE.read_text()))["rules"] if may_read or rule["resources"] != ["pods/log"]
    ]
    client = KubernetesClient(str(await genuine.limited_kubeconfig(namespace, rules, tmp_path)))
    try:
        with pytest.raises(ResponderError) as told:
            await StepStage(client, namespace).run(LOGS, {"lacks": "ERROR"})
    finally:
        await client.close()
    if may_read:
        assert not isinstance(told.value, ForbiddenError), told.value
        assert str(told.value).startswith("get pods/log app-"), told.value
    else:
        assert str(told.value).startswith(f"missing right: get pods/log in namespace {namespace} ")
