"""The Node queue platform (rules/node-platform.yaml) on real parts: git, npm, pm2, BullMQ on Redis, PostgreSQL, Prometheus.

The rulebook is the shipped one. What is looked at in the end is the world: commits, processes, jobs, keys and rows.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from responder.sandbox.catchers import SlackCatcher
from tests.harness.node_platform import CDN_TOKEN, PROJECTS, Platform, node_environment, node_platform
from tests.harness.postgres import PASSWORD, USER
from tests.harness.service import Json, ResponderService
from tests.harness.shipped import SCRIPTS, shipped
from tests.harness.until import closed, in_the_ledger
from tests.harness.warm_start import WarmStart

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(300)]

PROGRAMS = (
    "npm,git,pm2,psql,pg_dump,pg_restore,createdb,dropdb,redis-cli,systemctl,"
    "tail,grep,free,df,ls,tee,cp,choose-backup,keep-newest"
)
GATHERED = (
    "version-before",
    "stable-versions",
    "errors-before",
    "queues-before",
    "projects-before",
    "memory-before",
    "disks-before",
)
CHECKED = ("health", "projects", "analysis", "queue-stats", "no-new-errors", "database", "redis")
STAMP = "20251107_120000"


@dataclass
class Stage:
    """v1 of everything runs, and the ledger knows it."""

    platform: Platform
    slack: SlackCatcher
    service: ResponderService

    async def alert(self, name: str, **labels: str) -> None:
        one = {
            "status": "firing",
            "labels": {"alertname": name, "system": "platform", **labels},
            "annotations": {"value": "0.2"},
            "startsAt": datetime.now(UTC).isoformat(),
            "endsAt": "0001-01-01T00:00:00Z",
            "fingerprint": name,
        }
        self._fired = one
        await self._post(one)

    async def clear(self) -> None:
        await self._post({**self._fired, "status": "resolved", "endsAt": datetime.now(UTC).isoformat()})

    async def _post(self, one: Json) -> None:
        answer = await self.service.post_alerts({"version": "4", "status": one["status"], "groupKey": "g", "alerts": [one]})
        assert answer.status_code == 202, answer.text

    async def order(self, plan: str, target: str = "platform", **more: Any) -> Json:
        body = {"target": target, "plan": plan, "reason": "the runbook says so", **more}
        answer = await self.service.http.post("/v1/rollbacks", json=body)
        assert answer.status_code == 202, answer.text
        return dict(answer.json()["incident"])

    async def ordered(self, plan: str, target: str = "platform", **more: Any) -> Json:
        """Order it and wait for its end."""
        return await closed(self.service, (await self.order(plan, target, **more))["id"])

    async def recovered(self) -> None:
        """Wait for the end of the run of the newest incident."""

        async def is_over() -> bool:
            found = await self.service.incidents()
            return bool(found) and found[0]["status"] not in ("running", "verifying", "waiting_approval", "countdown")

        await self.service.program.until("the run over", is_over, 120)


@pytest.fixture(scope="module")
def node() -> Iterator[dict[str, str]]:
    with node_environment() as environment:
        yield environment


@pytest.fixture
async def stage(node: dict[str, str], warm: WarmStart, tmp_path: Path) -> AsyncIterator[Stage]:
    async with contextlib.AsyncExitStack() as stack:
        platform = await stack.enter_async_context(node_platform(tmp_path, node))
        slack = await stack.enter_async_context(SlackCatcher())
        settings = settings_of(platform, node, slack)
        service = ResponderService(tmp_path / "responder", rulebook(platform), settings, warm.program, tokens=False)
        await stack.enter_async_context(service)
        await in_the_ledger(service, 2)
        yield Stage(platform, slack, service)


def rulebook(platform: Platform) -> str:
    variables: dict[str, str | int] = {
        "platform_api": platform.api,
        "platform_folder": str(platform.app.folder),
        "platform_log": str(platform.log),
        "platform_emergency_log": str(platform.folder / "rollback.log"),
        "platform_window": "5s",
        "platform_start": "1s",
        "platform_watch": "2s",
        "platform_watch_every": "500ms",
        "platform_database_host": "127.0.0.1",
        "platform_database_port": str(platform.postgres.port),
        "platform_database_user": USER,
        "platform_database": platform.database,
        "platform_backups": str(platform.backups),
        "platform_redis": f"redis://127.0.0.1:{platform.redis_port}/0",
        "platform_cache": f"redis://127.0.0.1:{platform.redis_port}/1",
        "platform_frontend_folder": str(platform.frontend.folder),
        "platform_static": str(platform.folder / "www"),
        "platform_cdn": f"{platform.cdn.server.url}/purge_cache",
    }
    places = {"platform": {"folder": str(platform.app.folder)}, "platform-frontend": {"folder": str(platform.frontend.folder)}}
    durations = {
        "rules.*.for": "0s",
        "rules.*.grace": "1s",
        "plans.*.updates": "2s",
        "plans.*.steps.*.with.every": "200ms",
        "plans.*.verify.*.with.every": "200ms",
        "plans.*.monitor.for": "1s",
        "plans.*.monitor.every": "200ms",
        "plans.*.checkpoints.after-30-minutes.after": "2s",
        "plans.*.checkpoints.after-24-hours.after": "4s",
    }
    return json.dumps(shipped("node-platform", variables=variables, places=places, durations=durations))


def settings_of(platform: Platform, node: dict[str, str], slack: SlackCatcher) -> dict[str, str]:
    return {
        **node,
        "PATH": f"{platform.folder / 'redis' / 'bin'}:{SCRIPTS}:{node['PATH']}",
        "RESPONDER_SLACK_WEBHOOK_URL": slack.url,
        "RESPONDER_PROMETHEUS_URL": platform.prometheus_url,
        "RESPONDER_ALLOWED_PROGRAMS": PROGRAMS,
        "RESPONDER_SECRET_PLATFORM_DATABASE": PASSWORD,
        "RESPONDER_SECRET_PLATFORM_CDN": CDN_TOKEN,
        "TZ": os.environ.get("TZ", "UTC"),
    }


def outcomes(incident: Json) -> dict[str, str]:
    """Of the plan itself, not of what was undone afterwards."""
    return {step["name"]: step["status"] for step in incident["steps"] if step["phase"] != "compensation"}


def output(incident: Json, step: str) -> str:
    return str(next(one["output"] for one in incident["steps"] if one["name"] == step))


async def deploy_broken(stage: Stage) -> str:
    """v2 answers 500 everywhere; the commit that was good."""
    good = stage.platform.app.head
    await stage.platform.release("v2", broken=True)
    await asyncio.sleep(1)  # git's clock ticks in seconds, and the alert must begin after the deployment
    return good


# --- application code -----------------------------------------------------------------------------------------------------


@pytest.mark.row("NQ-A1")
@pytest.mark.row("NQ-T2")
@pytest.mark.row("NQ-V1")
@pytest.mark.row("NQ-V2")
@pytest.mark.row("NQ-V3")
@pytest.mark.row("NQ-C1")
@pytest.mark.row("NQ-R1")
@pytest.mark.row("NQ-R2")
async def test_the_stable_commit_runs_again_and_the_queues_go_on(stage: Stage) -> None:
    platform, service = stage.platform, stage.service
    good = await deploy_broken(stage)
    pids = {name: one["pm_uptime"] for name, one in platform.app.processes().items()}
    await platform.post("/api/cache/warm")
    await stage.alert("HighErrorRate")
    await service.program.until("the queues are paused", lambda: all_paused(platform))
    job = await platform.post("/api/queue/ai-analysis/jobs", {"ms": 0})
    await stage.recovered()
    users = asyncio.create_task(use(platform))
    await stage.clear()
    incident = await closed(service)
    assert (incident["status"], incident["rule"]) == ("resolved", "platform_errors_high"), str(incident) + service.tail()

    assert platform.app.head == good
    assert await platform.version() == "v1"
    assert {name: one["status"] for name, one in platform.app.processes().items()} == dict.fromkeys(pids, "online")
    assert all(platform.app.processes()[name]["pm_uptime"] > pids[name] for name in ("api", "queue-worker"))
    assert (await platform.stats())["paused"] == 0
    done = outcomes(incident)
    assert {done[name] for name in (*GATHERED, *CHECKED, "smoke", "none-is-paused")} == {"succeeded"}, done
    assert list(done).index("pause-queues") < list(done).index("roll-back") < list(done).index("resume-queues")

    # What was known before anything was changed stays in the report.
    assert output(incident, "version-before").split()[-1] != good
    assert "v1" in output(incident, "stable-versions")
    assert output(incident, "projects-before").endswith("3")
    report = await service.report(incident["id"])
    assert "smoke tests passed" in report
    sections = [line for line in report.splitlines() if line.startswith("##")]
    for wanted in ("## Root cause", "## Timeline", "### What went well", "### Action items", "### Preventive measures"):
        assert wanted in sections
    assert "- [ ] Was the documentation accurate?" in report

    said = "\n".join(one.shown for one in stage.slack.messages)
    assert "[ACTION] Initiating rollback of platform" in said
    assert "steps done (" in said
    assert ", now: " in said
    assert "All steps done and verified" in said

    # The job that came while the queues were paused is done by now; then the checkpoints.
    async def is_done() -> bool:
        return (await platform.stats())["queues"]["ai-analysis"]["completed"] == int(job["id"])

    await service.program.until("the job done", is_done)

    async def looked_back() -> bool:
        return sum(one["phase"] == "checkpoint" for one in (await service.incident(incident["id"]))["steps"]) == 2

    await service.program.until("both checkpoints", looked_back)
    assert not users.done()
    users.cancel()
    later = [one for one in (await service.incident(incident["id"]))["steps"] if one["phase"] == "checkpoint"]
    assert [(one["name"], one["status"], one["output"]) for one in later] == [
        ("after-30-minutes", "succeeded", "5 checks passed"),
        ("after-24-hours", "succeeded", "5 checks passed"),
    ]


async def use(platform: Platform) -> None:
    """What users ask for while the checkpoints measure it."""
    while True:
        for project in PROJECTS:
            await platform.get(f"/api/projects/{project}")
        await asyncio.sleep(0.1)


async def all_paused(platform: Platform) -> bool:
    with contextlib.suppress(Exception):
        return bool((await platform.stats())["paused"] == 2)
    return False


@pytest.mark.row("NQ-A1")
async def test_a_rollback_that_fails_leaves_no_queue_paused(stage: Stage) -> None:
    """v0 is as broken as v2: the health check fails after the restart."""
    platform = stage.platform
    await platform.release("v0", broken=True)
    await platform.release("v2", broken=True)
    incident = await stage.ordered("platform-roll-back", version="v0", override=["proven"])
    assert incident["status"] == "failed"
    done = outcomes(incident)
    assert done["healthy"] == "failed"
    assert "smoke" not in done
    assert (await platform.stats())["paused"] == 0
    [undone] = [one for one in incident["steps"] if one["phase"] == "compensation" and one["output"]]
    assert (undone["name"], undone["status"]) == ("pause-queues", "succeeded")


@pytest.mark.row("NQ-A7")
@pytest.mark.row("NQ-T1")
async def test_the_emergency_goes_through_its_eight_steps_in_order(stage: Stage) -> None:
    platform = stage.platform
    good = await deploy_broken(stage)
    await asyncio.to_thread(platform.app.run, "pm2", "stop", "api")
    await stage.alert("ServiceDown")
    await stage.recovered()
    await stage.clear()
    incident = await closed(stage.service)
    assert incident["status"] == "resolved", str(incident) + stage.service.tail()
    steps = [one["name"] for one in incident["steps"] if one["name"][0].isdigit()]
    assert steps == [
        "0-log",
        "1-pause-queues",
        "2-to-5-check-out-install-build-restart",
        "6-wait",
        "7-verify-health",
        "8-resume-queues",
        "9-log",
    ]
    assert outcomes(incident)["1-pause-queues"] == "failed", "what is down pauses nothing, and it went on"
    assert (platform.app.head, await platform.version()) == (good, "v1")
    log = (platform.folder / "rollback.log").read_text().splitlines()
    assert [line.split(": ", 1)[0] for line in log] == [incident["id"]] * 2
    assert log[-1].endswith("completed, at v1")


@pytest.mark.row("NQ-A7")
async def test_the_emergency_stops_at_a_failed_health_check_and_says_what_is_left(stage: Stage) -> None:
    platform = stage.platform
    await platform.release("v0", broken=True)
    await platform.release("v2", broken=True)
    incident = await stage.ordered("platform-emergency", version="v0", override=["proven"])
    done = outcomes(incident)
    assert (incident["status"], done["7-verify-health"], "8-resume-queues" in done) == ("failed", "failed", False)
    assert (await platform.stats())["paused"] == 2
    assert (platform.folder / "rollback.log").read_text().rstrip().endswith("the queues may still be paused")
    await stage.slack.until(lambda: "--plan platform-resume" in "".join(one.shown for one in stage.slack.messages))


@pytest.mark.row("NQ-T1")
async def test_corruption_stops_writes_first_and_a_person_allows_them_again(stage: Stage) -> None:
    platform, service = stage.platform, stage.service
    await platform.release("v2")
    await asyncio.sleep(1)  # git's clock ticks in seconds, and the alert must begin after the deployment
    await stage.alert("DataCorruption")

    async def asks() -> bool:
        found = await service.incidents()
        return bool(found) and found[0]["status"] == "waiting_approval"

    await service.program.until("a person is asked", asks, 120)
    assert await platform.version() == "v1"
    assert (await platform.stats())["paused"] == 2
    assert (await platform.http.post("/api/projects", json={"id": 9, "name": "not now"})).status_code == 503
    [waiting] = await service.incidents()
    order = list(outcomes(waiting))
    assert order.index("stop-writes") < order.index("stop-jobs") < order.index("dump") < order.index("old-code")
    assert list(platform.backups.glob("before_*.dump"))
    await service.http.post(f"/v1/incidents/{waiting['id']}/approve", json={"reason": "counts are right"})
    await stage.recovered()
    await stage.clear()
    assert (await closed(service))["status"] == "resolved"
    assert (await platform.stats())["paused"] == 0
    await platform.post("/api/projects", {"id": 9, "name": "again"})


# --- features -------------------------------------------------------------------------------------------------------------


@pytest.mark.row("NQ-T4")
@pytest.mark.parametrize(
    ("what", "version"),
    [
        pytest.param({"scenesBroken": True}, "v2", id="the flag helps: fix forward"),
        pytest.param({"broken": True}, "v1", id="it does not help: rolled back"),
    ],
)
async def test_a_broken_feature_is_switched_off_first(stage: Stage, what: dict[str, object], version: str) -> None:
    platform, service = stage.platform, stage.service
    await platform.release("v2", **what)
    await asyncio.sleep(1)  # git's clock ticks in seconds, and the alert must begin after the deployment
    await stage.alert("FeatureBroken", feature="scenes")

    async def asks() -> bool:
        found = await service.incidents()
        return bool(found) and found[0]["status"] == "waiting_approval"

    await service.program.until("a person is asked", asks)
    [waiting] = await service.incidents()
    await service.http.post(f"/v1/incidents/{waiting['id']}/approve", json={"reason": "go"})
    await stage.recovered()
    await stage.clear()
    incident = await closed(service)
    assert incident["status"] == "resolved", str(incident) + service.tail()
    assert await platform.version() == version
    assert await platform.redis("HGET", "platform:features", "scenes") == "off"
    assert (await platform.http.get("/api/projects")).status_code == 200


# --- queues ---------------------------------------------------------------------------------------------------------------


@pytest.mark.row("NQ-A2")
async def test_queue_code_alone_goes_back_and_queues_are_resumed_one_by_one(stage: Stage) -> None:
    platform, service = stage.platform, stage.service
    await platform.post("/api/queue/document-processing/jobs", {"ms": 1500})
    await platform.release_bad_queues("v2")
    bad = platform.app.head
    for queue in ("ai-analysis", "document-processing"):
        for _ in range(3):
            await platform.post(f"/api/queue/{queue}/jobs", {"ms": 1})

    async def have_failed() -> bool:
        return bool((await platform.stats())["failed"] >= 6)

    await service.program.until("jobs have failed", have_failed)
    begun = await stage.order("platform-queues", inputs={"commit": "v1"})
    await service.program.until("the queues are paused", lambda: all_paused(platform))
    await platform.post("/api/queue/ai-analysis/jobs", {"ms": 1})

    async def first_alone() -> bool:
        queues = (await platform.stats())["queues"]
        return not queues["ai-analysis"]["paused"] and bool(queues["document-processing"]["paused"])

    await service.program.until("one queue alone is resumed", first_alone, 120)
    incident = await closed(service, begun["id"])
    assert incident["status"] == "resolved", str(incident) + service.tail()
    assert await platform.version() == "v2", "only the folder of the queues went back"
    assert await platform.worker_version() == "v1"
    assert platform.app.git("diff", "--name-only", bad, "HEAD") == "backend/src/queues/jobs.js"
    assert platform.app.git("status", "--porcelain") == ""
    stats = await platform.stats()
    assert (stats["paused"], stats["failed"], stats["workers"]) == (0, 0, 1)
    assert stats["queues"]["ai-analysis"]["completed"] >= 1
    order = list(outcomes(incident))
    names = [
        "pause-queues",
        "drain",
        "stop-workers",
        "keep-queues",
        "clean-failed",
        "old-queue-code",
        "rebuild",
        "restart-workers",
    ]
    assert [name for name in order if name in names] == names
    assert (platform.backups / f"queues_{begun['id']}.rdb").stat().st_size > 0


@pytest.mark.row("NQ-A2")
async def test_queues_that_cannot_be_built_are_started_again_as_they_were(stage: Stage) -> None:
    platform = stage.platform
    await asyncio.to_thread(platform.app.commit, "v2", backend__build_dot_js="process.exit(3)")
    incident = await stage.ordered("platform-queues", inputs={"commit": "v1"})
    assert (incident["status"], outcomes(incident)["rebuild"]) == ("failed", "failed")
    assert (await platform.stats())["paused"] == 0
    assert platform.app.processes()["queue-worker"]["status"] == "online"


# --- cache and front end --------------------------------------------------------------------------------------------------


@pytest.mark.row("NQ-A3")
async def test_the_cache_is_cleared_by_pattern_or_as_a_whole_and_the_queues_stay(stage: Stage) -> None:
    platform = stage.platform
    await platform.post("/api/queue/pause-all")
    await platform.post("/api/queue/ai-analysis/jobs", {"ms": 1})
    for key in ("gemini:1", "gemini:2", "project:1", "other"):
        await platform.redis("SET", key, "stale", database=1)

    incident = await stage.ordered("platform-cache", inputs={"pattern": "gemini:*"})
    assert incident["status"] == "resolved", str(incident) + stage.service.tail()
    keys = set((await platform.redis("KEYS", "*", database=1)).split())
    assert keys == {"other", "project:1", "project:2", "project:3"}, "warmed by the API"
    assert "2 keys cleared" in output(incident, "clear")

    incident = await stage.ordered("platform-cache", inputs={"restart": "yes"})
    assert incident["status"] == "resolved", str(incident) + stage.service.tail()
    assert (platform.folder / "redis" / "restarts").read_text() == "restarted\n"
    assert set((await platform.redis("KEYS", "*", database=1)).split()) == {"project:1", "project:2", "project:3"}
    assert "Opening" in await platform.redis("GET", "project:1", database=1)
    stats = await platform.stats()
    assert (stats["waiting"], stats["paused"]) == (1, 2), "the job and the pause survived in Redis' other database"

    incident = await stage.ordered("platform-cache-entity", inputs={"entity": "project:2"})
    assert incident["status"] == "resolved"
    assert set((await platform.redis("KEYS", "*", database=1)).split()) == {"project:1", "project:3"}


@pytest.mark.row("NQ-A4")
async def test_the_front_end_is_built_deployed_and_the_cdn_cleared(stage: Stage) -> None:
    platform = stage.platform
    good = platform.frontend.head
    await platform.release_frontend("v2")
    incident = await stage.ordered("platform-frontend", "platform-frontend")
    assert incident["status"] == "resolved", str(incident) + stage.service.tail()
    assert platform.frontend.head == good
    assert await platform.frontend_version() == "v1"
    assert (platform.folder / "www" / "version.txt").read_text() == "v1"
    assert platform.cdn.purged == 1
    assert CDN_TOKEN not in stage.service.log


# --- database -------------------------------------------------------------------------------------------------------------


@pytest.mark.row("NQ-A5")
@pytest.mark.row("NQ-A7")
async def test_a_down_migration_runs_behind_maintenance_after_a_dump(stage: Stage) -> None:
    platform = stage.platform
    await platform.sql(
        "alter table projects add column colour text default 'red'; create index idx_projects_colour on projects (colour)"
    )
    for number in range(12):
        path = platform.backups / f"before_{number:02}.dump"
        path.touch()
        os.utime(path, (number, number))
    incident = await stage.ordered("platform-schema", inputs={"migration": "down_0042_rollback"})
    assert incident["status"] == "resolved", str(incident) + stage.service.tail()
    columns = await platform.sql("select column_name from information_schema.columns where table_name = 'projects' order by 1")
    assert columns.split() == ["id", "name", "status", "updated_at"]
    assert await platform.sql("select count(*) from projects") == "3"
    order = list(outcomes(incident))
    names = ["maintenance-on", "queues-paused", "dump", "migrate-down", "schema", "counts", "relationships", "validate"]
    assert [name for name in order if name in [*names, "maintenance-off"]] == [*names, "maintenance-off"]
    await platform.post("/api/projects", {"id": 9, "name": "writing again"})
    assert (await platform.stats())["paused"] == 0
    kept = sorted(one.name for one in platform.backups.glob("before_*.dump"))
    assert len(kept) == 10, "the last ten"
    assert f"before_{incident['id']}.dump" in kept
    assert PASSWORD not in stage.service.log + str(incident)


@pytest.mark.row("NQ-A5")
async def test_a_down_migration_that_fails_changes_nothing_and_lets_everybody_write(stage: Stage) -> None:
    platform = stage.platform
    await platform.sql("alter table projects add column colour text default 'red'")
    incident = await stage.ordered("platform-schema", inputs={"migration": "down_0043_rollback"})
    assert (incident["status"], outcomes(incident)["migrate-down"]) == ("failed", "failed")
    assert await platform.sql("select distinct colour from projects") == "red"
    await platform.post("/api/projects", {"id": 9, "name": "writing again"})
    assert (await platform.stats())["paused"] == 0


@pytest.mark.row("NQ-A5")
@pytest.mark.row("NQ-A6")
async def test_a_backup_takes_the_place_of_the_database_or_gives_one_record_back(stage: Stage) -> None:
    platform = stage.platform
    await platform.back_up(STAMP)
    await platform.sql(
        "update projects set name = 'overwritten' where id in (1, 2); insert into projects (id, name) values (4, 'new')"
    )
    await platform.post("/api/cache/warm")

    incident = await stage.ordered("platform-record", inputs={"backup": STAMP, "id": "2"})
    assert incident["status"] == "resolved", str(incident) + stage.service.tail()
    found = await platform.sql("select string_agg(id || ' ' || name, ', ' order by id) from projects")
    assert found == "1 overwritten, 2 Chase, 3 Ending, 4 new"
    assert await platform.sql("select count(*) from scenes where project_id = 2") == "2"
    assert (await platform.get("/api/projects/2"))["name"] == "Chase", "not out of the cache"

    refused = await stage.service.http.post(
        "/v1/rollbacks", json={"target": "platform", "plan": "platform-restore", "reason": "no backup named"}
    )
    assert (refused.status_code, "needs the input `backup`" in refused.text) == (400, True)
    wrong = await stage.ordered("platform-restore", inputs={"backup": "20200101_000000"})
    assert (outcomes(wrong)["choose"], "maintenance-on" in outcomes(wrong)) == ("failed", False)
    assert f"backup_{STAMP}.dump" in output(wrong, "backups")

    incident = await stage.ordered("platform-restore", inputs={"backup": STAMP})
    assert incident["status"] == "resolved", str(incident) + stage.service.tail()
    found = await platform.sql("select string_agg(id || ' ' || name, ', ' order by id) from projects")
    assert found == "1 Opening, 2 Chase, 3 Ending"
    databases = await platform.postgres.query("postgres", "select string_agg(datname, ' ') from pg_database")
    assert "beside" not in databases
    kept = platform.backups / f"before_{incident['id']}.dump"
    assert "overwritten" in await platform.postgres.run("pg_restore", "--data-only", "--file=-", str(kept))
    await platform.post("/api/projects", {"id": 9, "name": "writing again"})
    assert (await platform.stats())["paused"] == 0


@pytest.mark.row("NQ-A5")
async def test_a_backup_that_cannot_be_restored_never_takes_the_place_of_the_database(stage: Stage) -> None:
    platform = stage.platform
    (platform.backups / f"backup_{STAMP}.dump").write_bytes(b"PGDMP, cut off")
    incident = await stage.ordered("platform-restore", inputs={"backup": STAMP})
    done = outcomes(incident)
    assert (incident["status"], done["fill-beside"], "drop" in done) == ("failed", "failed", False)
    assert await platform.sql("select count(*) from projects") == "3"
    databases = await platform.postgres.query("postgres", "select string_agg(datname, ' ') from pg_database")
    assert "beside" not in databases
    await platform.post("/api/projects", {"id": 9, "name": "writing again"})
    assert (await platform.stats())["paused"] == 0
