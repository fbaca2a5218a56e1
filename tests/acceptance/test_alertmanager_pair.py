"""A real pair of Alertmanagers that loses one half in the middle of an episode and gets it back, with repeats at work.

The alerts come from the test, which does as Prometheus does: it repeats to every replica what fires, again and again. Responder
asks the pair a second time before it acts and before it gives the all-clear.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from responder.sandbox.cluster import SandboxCluster
from tests.harness.alertmanager import Alertmanager, AlertmanagerPair, webhook_body
from tests.harness.cluster import Cluster, is_rolled_out
from tests.harness.control_plane import free_ports
from tests.harness.service import WEBHOOK_TOKEN, Json
from tests.harness.stage import GOOD, Stage, image_of, set_up

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(240)]

TIMING = {"group_wait": "200ms", "group_interval": "1s", "repeat_interval": "1s"}
_REPEAT_SECONDS = 0.3


class Prometheus:
    """What fires, repeated to those replicas that are to know of it."""

    def __init__(self, pair: AlertmanagerPair) -> None:
        self._replicas = pair.replicas
        self._firing: dict[tuple[str, str], tuple[Mapping[str, str], datetime]] = {}
        self._repeating: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Prometheus:
        self._repeating = asyncio.create_task(self._repeat(), name="repeats of what fires")
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._repeating is not None:
            self._repeating.cancel()
            await asyncio.gather(self._repeating, return_exceptions=True)

    def fires(self, labels: Mapping[str, str]) -> None:
        began = datetime.now(UTC)
        for replica in self._replicas:
            self._firing[replica.name, labels["alertname"]] = (labels, began)

    async def is_over(self, name: str, *replicas: Alertmanager) -> None:
        """Tell these that it is over, at once and no more; the others go on hearing that it fires."""
        for replica in replicas:
            labels, began = self._firing.pop((replica.name, name))
            await replica.post(labels, started=began, ended=datetime.now(UTC), annotations={"value": "0.12"})

    async def _repeat(self) -> None:
        while True:
            for replica in self._replicas:
                for (to, _), (labels, began) in list(self._firing.items()):
                    if to == replica.name:
                        with contextlib.suppress(httpx.TransportError):  # it is away just now
                            await replica.post(labels, started=began, annotations={"value": "0.12"})
            await asyncio.sleep(_REPEAT_SECONDS)


@asynccontextmanager
async def a_stage(folder: Path) -> AsyncIterator[tuple[Stage, AlertmanagerPair, Prometheus]]:
    (port,) = free_ports(1)
    token_file = folder / "token-for-alertmanager"
    token_file.write_text(WEBHOOK_TOKEN)
    webhook = f"http://127.0.0.1:{port}/webhooks/alertmanager"
    async with SandboxCluster(start_delay=0.2, stop_delay=0.05) as played:
        played.write_kubeconfig(folder / "sandbox.kubeconfig")
        async with (
            Cluster(folder / "sandbox.kubeconfig") as cluster,
            AlertmanagerPair(folder / "alertmanagers", webhook=webhook, token_file=token_file, **TIMING) as pair,
            Prometheus(pair) as prometheus,
            set_up(
                cluster,
                folder,
                hold="3s",
                settings={"RESPONDER_PORT": str(port), "RESPONDER_ALERTMANAGER_URL": ",".join(pair.urls)},
            ) as stage,
        ):
            stage.timeline.sources.append(pair.tail)
            await stage.service.start()
            yield stage, pair, prometheus


async def of_rule(stage: Stage, rule: str) -> list[Json]:
    return [one for one in await stage.service.incidents() if one["rule"] == rule]


async def delivers_again(stage: Stage, replica: Alertmanager, what: str) -> None:
    """Wait until this replica has delivered once more than so far, and what it delivered has been evaluated."""
    so_far = await replica.delivered()
    await stage.timeline.until(what, replica.delivered, lambda count: count > so_far)
    mark = f"{what} (mark)"
    labels = {"alertname": "ForInformation", "mark": mark}
    assert (await stage.service.post_alerts(webhook_body(labels, started=datetime.now(UTC)))).status_code == 202

    async def marks() -> list[str]:
        return [one["trigger"]["labels"]["mark"] for one in await of_rule(stage, "for_information")]

    await stage.timeline.until("what came before is evaluated", marks, lambda seen: mark in seen)


async def test_one_half_dies_and_comes_back_in_the_middle_of_an_episode(tmp_path: Path) -> None:
    async with a_stage(tmp_path) as (stage, pair, prometheus):
        timeline, (first, second) = stage.timeline, pair.replicas
        await timeline.until("the Alertmanagers are a pair", pair.peers, lambda peers: peers == [2, 2])

        # The alert begins; both tell it, and the rule waits.
        prometheus.fires(stage.labels)
        await timeline.until("both Alertmanagers have delivered", pair.delivered, lambda counts: min(counts) >= 1)

        async def pending() -> list[Json]:
            return [one for one in await stage.service.rules() if one["state"] == "pending"]

        (waiting,) = await timeline.until("the rule is pending", pending)
        assert waiting["rule"] == "error_rate_spike"

        # One half dies. The other repeats what it knows, and what begins meanwhile is not lost.
        await first.kill()
        timeline.note("the first Alertmanager is killed")
        other = {"alertname": "ForInformation", "mark": "told by one half only"}
        prometheus.fires(other)
        await timeline.until("the other half is heard alone", lambda: of_rule(stage, "for_information"))
        (opened,) = await timeline.until("the rule acts", lambda: of_rule(stage, "error_rate_spike"))
        await delivers_again(stage, second, "the second Alertmanager repeats the alert")

        # It comes back in the middle of it, has forgotten everything, and tells it all again.
        await first.revive()
        await timeline.until("the first one knows the alerts again", first.active, lambda names: len(names) == 2)
        await delivers_again(stage, first, "the first Alertmanager delivers again")
        await timeline.until(
            f"{GOOD} is back in full", stage.deployment, lambda one: is_rolled_out(one) and image_of(one) == GOOD
        )

        async def status() -> str:
            return str((await stage.service.incident(opened["id"]))["status"])

        await timeline.until("verified, and watching", status, lambda now: now == "monitoring")

        # The second one hears of the end; the first one is the slower half and goes on telling that it fires.
        await prometheus.is_over("HighErrorRate", second)

        async def states() -> list[str]:
            return [one["state"] for one in await stage.service.rules() if one["rule"] == "error_rate_spike"]

        await timeline.until("the end has come", states, lambda seen: set(seen) <= {"inactive"})
        await delivers_again(stage, first, "the slower half tells that it fires")
        assert set(await states()) <= {"inactive"}, "a late firing has begun it anew"
        assert await status() == "monitoring", "one replica still lists the alert as active: no all-clear yet"

        # Now that both know, it is over.
        await prometheus.is_over("HighErrorRate", first)
        await timeline.until("the incident is resolved", status, lambda now: now == "resolved")
        incident = await stage.service.incident(opened["id"])
        await delivers_again(stage, first, "the first Alertmanager has delivered the end")

        assert [one["id"] for one in await of_rule(stage, "error_rate_spike")] == [incident["id"]], "a second incident"
        marks = [one["trigger"]["labels"]["mark"] for one in await of_rule(stage, "for_information")]
        assert marks.count(other["mark"]) == 1
        assert len(marks) == len(set(marks))
        assert await stage.service.metric("responder_decisions_total", kind="respond") == 1 + len(marks)
        stage.history.check()
        assert len(stage.history.images) == 3, "not exactly one rollback"
        verdicts = next(event for event in incident["events"] if event["kind"] == "guards")["data"]["verdicts"]
        assert {"guard": "second_look", "outcome": "pass", "reason": "Alertmanager lists it as active"} in verdicts


async def test_a_silence_that_came_after_the_webhook_is_respected(tmp_path: Path) -> None:
    """A silence sends no `resolved`: only a second look sees it."""
    async with a_stage(tmp_path) as (stage, pair, prometheus):
        timeline = stage.timeline
        prometheus.fires(stage.labels)
        await timeline.until("both Alertmanagers have delivered", pair.delivered, lambda counts: min(counts) >= 1)
        for replica in pair.replicas:
            await replica.silence(alertname="HighErrorRate")
        (incident,) = await timeline.until(
            "the rule acts", lambda: of_rule(stage, "error_rate_spike"), lambda found: found and found[0]["closed_at"]
        )
        assert incident["status"] == "refused"
        assert "Alertmanager holds it back: silence" in incident["reason"]
        assert len(stage.history.images) == 2
