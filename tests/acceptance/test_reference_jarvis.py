"""JARVIS: its shipped rulebook on a genuine API server and controllers, a real PostgreSQL, the real process."""

from __future__ import annotations

import asyncio
import gzip
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from tests.harness.postgres import Postgres
from tests.harness.reference import Front, Ground, Json, Scene, database_variables, next_second, outputs_of, scene, steps_of
from tests.harness.shipped import SCRIPTS, hastened, shipped

pytestmark = [pytest.mark.acceptance, pytest.mark.asyncio(loop_scope="module"), pytest.mark.xdist_group("reference-jarvis")]

API, WORKER = "jarvis-api", "jarvis-worker"
V1, V2, V3 = (f"jarvis/api:v{number}.0.0" for number in (1, 2, 3))
SCHEMA = """
create table "User" (id int primary key, name text);
create table _prisma_migrations (migration_name text, finished_at timestamptz);
insert into "User" select n, 'user ' || n from generate_series(1, 300) n;
insert into _prisma_migrations values ('20240101_init', now());
"""
MIGRATION = """alter table "User" drop name; insert into _prisma_migrations values ('20240117_split_names', null)"""
PRISMA = """#!/bin/sh
[ "$*" = "prisma migrate status" ] || exit 2
open=$(psql -qAt -c "select count(*) from _prisma_migrations where finished_at is null" "$DATABASE")
[ "$open" = 0 ] && echo "Database schema is up to date!"
"""


class Team:
    """What the team has: backups, smoke tests, a database with a migration that failed."""

    def __init__(self, folder: Path, postgres: Postgres, database: str) -> None:
        self.postgres, self.database = postgres, database
        self.backups, self.scripts = folder / "backups", folder / "scripts"
        for made in (self.backups, self.scripts, folder / "container" / "bin"):
            made.mkdir(parents=True)
        smoke = self.scripts / "smoke-tests.sh"
        smoke.write_text(f'#!/bin/sh\nexec {sys.executable} -c "{_PROBE}" "$1/health"\n')
        npx = folder / "container" / "bin" / "npx"
        npx.write_text(PRISMA)
        for script in (smoke, npx):
            script.chmod(0o755)

    async def back_up(self, at: datetime) -> str:
        name = f"pre-migration-production-{at:%Y%m%d_%H%M%S}.sql.gz"
        text = await self.postgres.run("pg_dump", "--no-owner", self.database)
        (self.backups / name).write_bytes(gzip.compress(f"{text}\n".encode()))
        return name

    async def query(self, statement: str) -> str:
        return await self.postgres.query(self.database, statement)


_PROBE = "import sys, urllib.request; urllib.request.urlopen(sys.argv[1])"


class Metrics:
    """errors, p95: of what the application serves now. Counters go on counting from one scrape to the next."""

    def __init__(self) -> None:
        self.errors, self.scrapes = 0.001, 0

    def __str__(self) -> str:
        self.scrapes += 1
        of, total = 'service="jarvis-api"', 1000 + 10 * self.scrapes
        lines = [f'http_request_duration_seconds_bucket{{{of},le="{le}"}} {total}' for le in ("0.1", "0.5", "+Inf")]
        lines += [
            f'http_requests_total{{{of},status="200"}} {total}',
            f'http_requests_total{{{of},status="500"}} {total * self.errors}',
        ]
        lines += [f'database_query_seconds{{{of},quantile="0.95"}} 0.02', f"cache_hit_ratio{{{of}}} 0.93"]
        return "\n".join([*lines, ""])


@pytest.fixture
def stage(tmp_path: Path, ground: Ground) -> Any:
    """jarvis(...) is a running service; v1, v2 and v3 of the API and v1 and v2 of the worker were rolled out before."""

    @asynccontextmanager
    async def jarvis(*, prepare: Callable[[Scene], Any] | None = None) -> AsyncIterator[tuple[Scene, Team]]:
        cluster, postgres = ground.cluster, ground.postgres
        namespace = await cluster.new_namespace(name=ground.scraper.take())
        team = Team(tmp_path, postgres, await postgres.new_database("jarvis", SCHEMA))
        await cluster.roll_out(namespace, API, V1, replicas=3)
        await next_second()
        await cluster.roll_out(namespace, API, V2)
        await cluster.roll_out(namespace, WORKER, V1, V2, replicas=1)
        image = {"now": V3}
        pages = Front({"/health": 200, "/api": lambda *_: JSONResponse({"version": image["now"].rpartition(":")[2]})})

        async def before(on: Scene) -> None:
            if prepare is not None:
                await prepare(on)
            await team.back_up(datetime.now(UTC) - timedelta(days=3))
            await team.query("insert into \"User\" values (301, 'yesterday')")
            await team.back_up(datetime.now(UTC) - timedelta(hours=1))
            await next_second()
            await cluster.roll_out(namespace, API, V3)
            await team.query(MIGRATION)
            await team.back_up(datetime.now(UTC) + timedelta(hours=1))  # made after the deployment: no good

        def rulebook(namespace: str, url: str) -> Json:
            variables = {
                "jarvis_url": url,
                "jarvis_scripts": str(team.scripts),
                "jarvis_tools": str(SCRIPTS),
                "jarvis_backups": str(team.backups),
                **database_variables("jarvis", postgres, team.database),
            }
            return hastened(shipped("jarvis", variables=variables, namespaces={"production": namespace}))

        secret = {"RESPONDER_SECRET_JARVIS_DATABASE": postgres.environment["PGPASSWORD"]}
        inside = {**postgres.environment, "DATABASE": team.database, "PATH": f"{tmp_path / 'container' / 'bin'}:/usr/bin:/bin"}
        async with scene(
            ground,
            tmp_path,
            rulebook,
            pages,
            namespace=namespace,
            environment=secret,
            in_pods=inside,
            metrics=lambda _: Metrics(),
            prepare=before,
        ) as on:
            following = asyncio.create_task(_follow(on, image))
            try:
                yield on, team
            finally:
                following.cancel()

    return jarvis


async def _follow(on: Scene, image: dict[str, str]) -> None:
    """The application answers as the version that is rolled out."""
    while True:
        image["now"] = await on.image(API)
        await asyncio.sleep(0.1)


# --- the script's eight steps ----------------------------------------


@pytest.mark.row("JV-A1", "JV-A2", "JV-V1", "JV-V2", "JV-R1", "JV-C1")
async def test_confirmed_kept_rolled_back_verified_watched_and_reported(stage: Any) -> None:
    async with stage() as (on, team):
        code, printed = await on.say("versions", "jarvis-api")
        assert code == 0, printed
        assert [tag for tag in ("v3.0.0", "v2.0.0", "v1.0.0") if tag in printed] == ["v3.0.0", "v2.0.0", "v1.0.0"]
        words = ["rollback", "jarvis-api", "--plan", "jarvis-roll-back", "--input", "confirm=yes"]
        code, printed = await on.say(*words, "--reason", "users report a critical issue")
        assert code == 0, printed
        waiting = await on.newest("waiting_approval")
        assert await on.image(API) == V3
        assert (await on.say("approve", waiting["id"], "--reason", "confirmed"))[0] == 0
        incident = await on.end_of(waiting["id"])
        assert incident["status"] == "resolved", incident
        steps = steps_of(incident)
        assert steps.pop("database") == "skipped"
        assert set(steps.values()) == {"succeeded"}
        assert list(steps) == ["confirm", "keep-state", "undo", "jarvis-checks", "pods", "health", "version", "smoke"]
        assert (await on.image(API), await on.replicas(API)) == (V2, (3, 3))
        [kept] = [one for one in await on.objects("configmaps") if "responder/snapshot-of" in one["metadata"].get("labels", {})]
        assert V3 in kept["data"]["template.json"]
        await on.until(on.moments, lambda told: told[-1] == "resolved", "Slack was told the end")
        name, report = await on.report_file(incident["id"])
        assert name.startswith(f"incident-jarvis-api-{incident['opened_at'][:10].replace('-', '')}-")
        assert "Manual, ordered by operator: users report a critical issue" in report
        for part in ("**Date**", "**Duration**", "## Impact", "Users affected", "Revenue", "## Timeline", "## Root cause"):
            assert part in report, part
        for part in ("### Preventive measures", "### Action items", "### Lessons learned", "- [ ] Add test coverage"):
            assert part in report, part
        assert await team.query("select count(*) from _prisma_migrations") == "2", "the database was left alone"


@pytest.mark.row("JV-A2")
async def test_a_named_revision(stage: Any) -> None:
    async with stage() as (on, _):
        words = ["rollback", "jarvis-api", "--plan", "jarvis-roll-back", "--revision", "1"]
        code, printed = await on.say(*words, "--reason", "known to be good", "--follow")
        assert code == 0, printed
        assert await on.image(API) == V1


# --- blue-green ----------------------------------------


@pytest.mark.row("JV-A3")
async def test_traffic_goes_to_the_other_colour_and_back(stage: Any) -> None:
    async def colours(on: Scene) -> None:
        for colour, replicas in (("blue", 3), ("green", 0)):
            name, labels = f"{API}-{colour}", {"app": API, "color": colour}
            template = {
                "metadata": {"labels": labels},
                "spec": {"containers": [{"name": "app", "image": f"jarvis/api:{colour}"}]},
            }
            spec = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template}
            await on.create("apis/apps/v1:deployments", {"metadata": {"name": name}, "spec": spec})
            await on.cluster.wait_available(on.namespace, name)
        service = {"selector": {"app": API, "color": "blue"}, "ports": [{"port": 80}]}
        await on.create("services", {"metadata": {"name": API}, "spec": service})

    async with stage(prepare=colours) as (on, _):
        for now, other in (("blue", "green"), ("green", "blue")):
            incident = await on.order("jarvis-blue", "jarvis-blue-green")
            assert incident["status"] == "resolved", incident
            [service] = await on.objects("services")
            assert service["spec"]["selector"] == {"app": API, "color": other}
            assert (await on.replicas(f"{API}-{other}"))[1] >= 3
            [endpoints] = [one for one in await on.objects("endpoints") if one["metadata"]["name"] == API]
            pods = [address["targetRef"]["name"] for subset in endpoints["subsets"] for address in subset["addresses"]]
            assert len(pods) == 3
            assert all(pod.startswith(f"{API}-{other}") for pod in pods), (now, pods)


# --- the database ----------------------------------------


@pytest.mark.row("JV-T4", "JV-A4")
async def test_a_failed_migration_restores_the_newest_backup_before_it_once_people_said_yes(stage: Any) -> None:
    async with stage() as (on, team):
        await on.happens({"key": "migration", "status": "failed", "labels": {"alertname": "DatabaseMigration", "service": API}})
        waiting = await on.newest("waiting_approval")
        assert (await on.image(API), await on.replicas(API)) == (V3, (3, 3))
        assert (await on.say("approve", waiting["id"]))[0] == 0

        async def asked_again() -> list[Json]:
            return [one for one in (await on.service.incident(waiting["id"]))["approvals"] if one["step"] == "empty"]

        await on.until(asked_again, bool, "a person is asked before data is lost")
        assert await on.replicas(API) == (0, 0), "writers were not stopped before"
        assert (await on.say("approve", waiting["id"], "--step", "empty"))[0] == 0
        await on.newest("monitoring", "failed")
        await on.happens({"key": "migration", "status": "passed", "labels": {"alertname": "DatabaseMigration", "service": API}})
        incident = await on.newest("resolved", "failed")
        assert incident["status"] == "resolved", incident
        assert await team.query('select count(name), max(id) from "User"') == "301|301"
        assert await team.query("select count(*) from _prisma_migrations") == "1"
        assert (await on.image(API), await on.replicas(API)) == (V2, (3, 3))
        said = outputs_of(incident)
        assert said["choose"].count("\n* ") + said["choose"].startswith("* ") == 1
        assert "0 connections" in said["no-connections"]
        assert "Database schema is up to date!" in said["migrations"]
        [kept] = team.backups.glob("current-state-*.dump")
        assert "_prisma_migrations" in await team.postgres.run("pg_restore", "--list", str(kept))


@pytest.mark.row("JV-A1", "JV-A4")
async def test_the_database_goes_back_with_the_application_when_asked_for(stage: Any) -> None:
    async with stage() as (on, team):
        incident = await on.order("jarvis-api", "jarvis-roll-back", inputs={"database": "yes"})
        assert incident["status"] == "resolved", incident
        assert incident["approvals"] == [], "a person ordered it"
        assert await team.query('select count(name) from "User"') == "301"
        assert (await on.image(API), await on.replicas(API)) == (V2, (3, 3))


# --- one part only ----------------------------------------


@pytest.mark.row("JV-A5")
async def test_one_service_alone(stage: Any) -> None:
    async with stage() as (on, _):
        incident = await on.order("jarvis-api", "jarvis-one-service")
        assert incident["status"] == "resolved", incident
        assert (await on.image(API), await on.image(WORKER)) == (V2, V2)


@pytest.mark.row("JV-A5")
async def test_configuration_alone_then_a_feature_alone(stage: Any) -> None:
    async def configured(on: Scene) -> None:
        await on.configuration("ConfigMap", "jarvis-config-before", {"DASHBOARD": "old"}, snapshot_of="jarvis-config")
        await on.configuration("ConfigMap", "jarvis-config", {"DASHBOARD": "new"})

    async with stage(prepare=configured) as (on, _):
        incident = await on.order("jarvis-api", "jarvis-configuration")
        assert incident["status"] == "resolved", incident
        found = {one["metadata"]["name"]: one.get("data") for one in await on.objects("configmaps")}
        assert found["jarvis-config"] == {"DASHBOARD": "old"}
        template = (await on.deployment(API))["spec"]["template"]
        assert "kubectl.kubernetes.io/restartedAt" in template["metadata"]["annotations"]

        incident = await on.order("jarvis-api", "jarvis-feature-off")
        assert incident["status"] == "resolved", incident
        [container] = (await on.deployment(API))["spec"]["template"]["spec"]["containers"]
        assert (container["image"], container["env"]) == (V3, [{"name": "FEATURE_NEW_DASHBOARD", "value": "false"}])
        assert await on.replicas(API) == (3, 3)


# --- a third party ----------------------------------------


async def flag_of(on: Scene) -> object:
    [container] = (await on.deployment(API))["spec"]["template"]["spec"]["containers"]
    return container.get("env")


INTEGRATION = {"alertname": "IntegrationFailing", "service": API, "integration": "payments"}
OFF = [{"name": "FEATURE_NEW_INTEGRATION", "value": "false"}]


@pytest.mark.row("JV-T5")
async def test_a_feature_switched_off_that_helps_is_all_there_is(stage: Any) -> None:
    async with stage() as (on, _):
        await on.alert(INTEGRATION)
        await on.newest("monitoring", "failed")
        await on.alert(INTEGRATION, "resolved")
        incident = await on.newest("resolved", "failed")
        assert incident["status"] == "resolved", incident
        assert (await on.image(API), await flag_of(on)) == (V3, OFF)
        assert "undo" not in steps_of(incident)


@pytest.mark.row("JV-T5")
async def test_where_switching_the_feature_off_does_not_help_the_version_goes_back(stage: Any) -> None:
    async with stage() as (on, _):

        def healthy_again(_: Request, __: bytes) -> Response:
            return Response(status_code=200 if sick["image"] != V3 else 500)

        sick = {"image": V3}
        on.front.pages["/health"] = healthy_again

        async def follow() -> None:
            while True:
                sick["image"] = await on.image(API)
                await asyncio.sleep(0.1)

        following = asyncio.create_task(follow())
        await on.alert(INTEGRATION)
        await on.newest("monitoring", "failed")
        await on.alert(INTEGRATION, "resolved")
        incident = await on.newest("resolved", "failed")
        following.cancel()
        assert incident["status"] == "resolved", incident
        steps = steps_of(incident)
        assert (steps["flag"], steps["helped"], steps["undo"]) == ("succeeded", "failed", "succeeded")
        assert (await on.image(API), await flag_of(on)) == (V2, None)
        assert incident["pinned"]["from"]["version"] == "v3.0.0"
        # Neither the bad version nor what we made of it is ever gone back to.
        order = {"target": "jarvis-api", "revision": "4", "reason": "x"}
        refused = await on.send("rollbacks", order, status=409)
        assert f"rolled back by incident {incident['id']}" in refused["detail"]


# --- by themselves ----------------------------------------


@pytest.mark.row("JV-T1", "JV-V1")
async def test_smoke_tests_that_fail_after_a_deployment_roll_back(stage: Any) -> None:
    async with stage() as (on, _):
        labels = {"alertname": "SmokeTest", "service": API}
        await on.happens({"key": "smoke", "status": "failed", "labels": labels})
        await on.newest("monitoring", "failed")
        await on.happens({"key": "smoke", "status": "passed", "labels": labels})
        incident = await on.newest("resolved", "failed")
        assert incident["status"] == "resolved", incident
        assert (await on.image(API), steps_of(incident)["version"]) == (V2, "succeeded")
        await on.until(on.page_says, lambda said: "resolved" in said, "the status page says that it is over")
