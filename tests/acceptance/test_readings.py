"""Numbers that a real Prometheus is asked for: they decide about a rollback, and they confirm it."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from responder.sandbox.cluster import SandboxCluster
from tests.harness.alertmanager import webhook_body
from tests.harness.application import Application
from tests.harness.cluster import Cluster
from tests.harness.program import clean_environment
from tests.harness.prometheus import Prometheus
from tests.harness.service import Json, ResponderService, serve_later
from tests.harness.stage import BAD, GOOD, Stage, set_up
from tests.harness.timeline import Timeline

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(120)]

NEVER = {"alert": "Never", "expr": "vector(0) > 1"}
RULES = """
version: 1
targets:
  app:
    kubernetes: {{namespace: {namespace}, deployment: app}}
    match: ['namespace="{namespace}"', 'deployment="app"']
    mode: armed
    guards: {{deployed_within: 1h, proven_for: 0s}}
rules:
  - name: errors
    match: 'alertname="HighErrorRate"'
    when: {{value: {{above: 5%, from: {{query: 'max(error_ratio)'}}}}}}
    for: 2s
    severity: P1
    respond: rollback
    plan: roll-back
plans:
  roll-back:
    steps:
      - rollback
    verify:
      - uses: prometheus.check
        with: {{query: 'max_over_time(max(error_ratio)[3s:1s])', below: 5%, for: 1s, every: 200ms}}
        timeout: 60s
    monitor:
      for: 300ms
      every: 100ms
"""
CALM = "max(error_ratio) + 0"
ASKING = """
version: 1
rules:
  - {name: much, match: 'alertname="A"', respond: notify, when: {value: {above: 5%, from: {query: 'max(error_ratio)'}}}}
  - {name: little, match: 'alertname="A"', respond: notify, when: {value: {above: 50%, from: {query: 'max(error_ratio) + 0'}}}}
  - {name: nothing, match: 'alertname="A"', respond: notify, when: {value: {above: 5%, from: {query: 'max(no_such_series)'}}}}
  - {name: by_job, match: 'alertname="B"', by: job, respond: notify,
     when: {value: {above: 5%, from: {query: 'max(error_ratio{job={{ labels.job }}})'}}}}
"""


@asynccontextmanager
async def scraped(folder: Path, ratios: dict[str, float], image: Any) -> AsyncIterator[tuple[Application, Prometheus]]:
    async with (
        Application(image, ratios) as page,
        Prometheus(folder / "prometheus", page=page.url, alert=NEVER, alertmanagers=[]) as prometheus,
    ):
        await Timeline().until(
            "Prometheus sees the metric", lambda: prometheus.value("error_ratio"), lambda ratio: ratio is not None
        )
        yield page, prometheus


def alert(name: str, **labels: str) -> Json:
    return webhook_body({"alertname": name, **labels}, status="firing", started=datetime.now(UTC))


async def test_from_a_number_that_is_asked_for_to_a_rollback_that_another_one_confirms(tmp_path: Path) -> None:
    stages: list[Stage] = []

    def image() -> str:
        return stages[0].history.image if stages else GOOD

    kubeconfig = tmp_path / "sandbox.kubeconfig"
    async with scraped(tmp_path, {GOOD: 0.002, BAD: 0.12}, image) as (_, prometheus), SandboxCluster() as sandbox:
        sandbox.write_kubeconfig(kubeconfig)
        async with (
            Cluster(kubeconfig) as cluster,
            set_up(cluster, tmp_path, settings={"RESPONDER_PROMETHEUS_URL": prometheus.url}) as stage,
        ):
            stages.append(stage)
            stage.service.rules_file.write_text(RULES.format(namespace=stage.namespace))
            await stage.service.start()
            await stage.timeline.until("the errors show", lambda: prometheus.value("error_ratio"), lambda ratio: ratio == 0.12)
            await stage.alert_fires()
            await stage.alert_clears_with_recovery()
            incident = await stage.timeline.until(
                "it is over", stage.service.incidents, lambda one: one[0]["status"] == "resolved"
            )
            told = await stage.service.incident(incident[0]["id"])
            assert told["trigger"]["value"] == 0.12
            assert "HighErrorRate: query 0.12 is above 0.05" in stage.service.log
            [check] = [step for step in told["steps"] if step["uses"] == "prometheus.check"]
            assert check["status"] == "succeeded"
            assert "0.002 is below 0.05" in check["output"]
            assert "also holds what was before the rollback" in stage.service.log


async def test_what_is_no_number_asks_and_the_journal_says_so_ever_after(tmp_path: Path) -> None:
    timeline = Timeline()
    async with scraped(tmp_path, {"v": 0.12}, lambda: "v") as (_, prometheus):
        environment = {"RESPONDER_PROMETHEUS_URL": prometheus.url}
        async with ResponderService(tmp_path / "service", ASKING, environment) as service:
            timeline.sources.append(service.tail)

            async def rules() -> dict[str, Json]:
                return {one["rule"]: one for one in await service.incidents()}

            async def nobody_answers() -> set[str]:
                lines = [json.loads(line) for line in service.log.splitlines() if '"no_number"' in line]
                return {line["query"] for line in lines if "can't be reached" in line["reason"]}

            assert (await service.post_alerts(alert("A"))).status_code == 202
            found = await timeline.until("two were told", rules, lambda known: {"much", "nothing"} <= known.keys())
            assert found["much"]["reason"].startswith("A: query 0.12 is above 0.05")
            assert "query max(no_such_series) has no number (the result is empty" in found["nothing"]["reason"]
            assert "asking instead of acting" in found["nothing"]["reason"]
            assert found.keys() == {"much", "nothing"}, "12 % is not above 50 %"
            listed = {one["rule"]: one for one in await service.rules()}
            assert "query 0.12 is not above 0.5" in json.dumps(listed["little"])

            await prometheus.__aexit__()
            assert (await service.post_alerts(alert("B", job='a"b'))).status_code == 202
            found = await timeline.until("a third was told", rules, lambda known: "by_job" in known)
            assert "Prometheus can't be reached" in found["by_job"]["reason"]

            await service.kill()
            await service.start()
            await timeline.until("the calm number is asked for again", nobody_answers, lambda asked: CALM in asked)
            assert "little" not in await rules(), "while nobody answers the last number counts"
            await service.kill()

        async with ResponderService(tmp_path / "service", ASKING, environment, serve_later(timedelta(minutes=1))) as service:
            timeline.sources.append(service.tail)
            found = await timeline.until("the calm number is too old", rules, lambda known: "little" in known)
            assert "was heard: Prometheus can't be reached" in found["little"]["reason"]
            assert len(await service.incidents()) == 4, "a restart tells nothing twice"
            await service.stop()

            replay = [sys.executable, "-m", "responder", "replay", "--rules", str(service.rules_file), "--json"]
            process = await asyncio.create_subprocess_exec(
                *replay, env=clean_environment(**service.environment), stdout=asyncio.subprocess.PIPE
            )
            out, _ = await process.communicate()
            replayed = json.loads(out)
            assert {(one["rule"], one["inconclusive"]) for one in replayed["decisions"] if one["kind"] == "respond"} == {
                ("much", False),
                ("nothing", True),
                ("by_job", True),
                ("little", True),
            }
            assert replayed["unread"] == []
            assert not [one for one in replayed["differences"] if one["difference"] != "same"]


async def test_without_prometheus_the_start_says_who_needs_it(tmp_path: Path) -> None:
    async with ResponderService(tmp_path, ASKING, {}) as service:
        [line] = [json.loads(one) for one in service.log.splitlines() if "prometheus_not_configured" in one]
        assert line["needed_by"] == ["rule much", "rule little", "rule nothing", "rule by_job"]
        await service.post_alerts(alert("A"))
        found = await Timeline().until("it asks", service.incidents, lambda known: len(known) == 3)
        assert all("RESPONDER_PROMETHEUS_URL is not set" in one["reason"] for one in found)
