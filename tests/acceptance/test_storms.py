"""What a pair of Alertmanagers sends on a bad day: everything twice, late and out of order. Nothing is done twice."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from responder.sandbox.cluster import SandboxCluster
from tests.harness.alertmanager import webhook_body
from tests.harness.cluster import Cluster
from tests.harness.service import Json
from tests.harness.stage import BAD, GOOD, Stage, message_id, moment_of, set_up

pytestmark = pytest.mark.acceptance


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    async with SandboxCluster(start_delay=0.2, stop_delay=0.05) as played:
        played.write_kubeconfig(tmp_path / "sandbox.kubeconfig")
        async with Cluster(tmp_path / "sandbox.kubeconfig") as cluster, set_up(cluster, tmp_path) as stage:
            await stage.service.start()
            yield stage


async def everything_so_far_is_evaluated(stage: Stage, mark: str) -> None:
    """The journal is evaluated in order: once an alert that came last is answered, all before it have been."""
    labels = {"alertname": "ForInformation", "mark": mark}
    answer = await stage.service.post_alerts(webhook_body(labels, started=datetime.now(UTC)))
    assert answer.status_code == 202

    async def marks() -> list[str]:
        return [one["trigger"]["labels"]["mark"] for one in await stage.service.incidents() if one["status"] == "notified"]

    await stage.timeline.until(f"the mark `{mark}` is evaluated", marks, lambda seen: mark in seen)


async def rollbacks(stage: Stage) -> list[Json]:
    return [one for one in await stage.service.incidents() if one["rule"] == "error_rate_spike"]


async def waiting(stage: Stage) -> list[str]:
    return [
        one["state"] for one in await stage.service.rules() if one["rule"] == "error_rate_spike" and one["state"] != "inactive"
    ]


async def test_the_same_webhooks_twice_late_and_out_of_order_change_nothing(stage: Stage) -> None:
    # An episode whose end overtakes its beginning: over before it was seen to begin.
    earlier = datetime.now(UTC) - timedelta(seconds=1)
    await stage.post("resolved", started=earlier, replica="a")
    await stage.post("firing", started=earlier, replica="b")
    await everything_so_far_is_evaluated(stage, "after the end that came first")
    assert await waiting(stage) == []
    assert await rollbacks(stage) == []

    # The real one, from both replicas and once more.
    stage.began = datetime.now(UTC)
    for replica in ("a", "b", "a"):
        await stage.post("firing", replica=replica)

    async def statuses() -> list[str]:
        return [one["status"] for one in await rollbacks(stage)]

    await stage.timeline.until("it acts", statuses, lambda seen: seen != [])
    await stage.post("firing", replica="b")
    await stage.timeline.until("it watches", statuses, lambda seen: seen == ["monitoring"])

    # The end from one replica, then the slower one's firing of the same episode, its end, and both again.
    for status, replica in (("resolved", "a"), ("firing", "b"), ("resolved", "b"), ("firing", "a"), ("resolved", "a")):
        await stage.post(status, replica=replica)
    await stage.timeline.until("it is resolved", statuses, lambda seen: seen == ["resolved"])
    await stage.timeline.until("the status page says resolved", stage.page_statuses, lambda seen: seen == ["resolved"])

    # And when all is over, everything once more, oldest last.
    for started, status in ((stage.began, "firing"), (stage.began, "resolved"), (earlier, "firing"), (stage.began, "firing")):
        await stage.post(status, started=started, replica="b")
    await everything_so_far_is_evaluated(stage, "after everything")

    assert await waiting(stage) == [], "a late firing of an episode that is over began a new one"
    (incident,) = await rollbacks(stage)
    stage.history.check()
    assert stage.history.images == [GOOD, BAD, GOOD]
    assert (await stage.deployment())["metadata"]["generation"] == stage.generation + 1
    assert [request.is_dry_run for request in stage.kubernetes.requests if request.method == "PATCH"] == [True, False]
    ours = [one.payload for one in stage.slack.messages if moment_of(one.payload) != "notice"]
    assert [message_id(payload) for payload in ours] == [f"{incident['id']}-{number}" for number in (1, 2, 3, 4)]
    stage.check_statuspage(incident["id"])
