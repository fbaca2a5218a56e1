"""JARVIS: its shipped rulebook on a genuine API server and controllers, a real PostgreSQL, the real process."""

from __future__ import annotations

import asyncio
import gzip
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from tests.harness.carriers import Carriers, carriers
from tests.harness.postgres import Postgres
from tests.harness.reference import Front, Ground, Json, Scene, database_variables, next_second, outputs_of, scene, steps_of
from tests.harness.shipped import SCRIPTS, hastened, shipped

pytestmark = [pytest.mark.acceptance, pytest.mark.asyncio(loop_scope="module")]

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
    """Of what the application serves: share of errors and of slow answers, time of a query, share of cache hits.

    Counters go on counting from one scrape to the next.
    """

    def __init__(self, *, errors: float = 0.001, slow: float = 0.0, query: float = 0.02, hits: float = 0.93) -> None:
        self.errors, self.slow, self.query, self.hits, self.scrapes = errors, slow, query, hits, 0

    def __str__(self) -> str:
        self.scrapes += 1
        of, total = 'service="jarvis-api"', 1000 + 10 * self.scrapes
        fast = total * (1 - self.slow)
        lines = [
            f'http_request_duration_seconds_bucket{{{of},le="{le}"}} {count}'
            for le, count in (("0.1", fast), ("0.5", fast), ("2", total), ("+Inf", total))
        ]
        lines += [
            f'http_requests_total{{{of},status="200"}} {total}',
            f'http_requests_total{{{of},status="500"}} {total * self.errors}',
        ]
        lines += [f'database_query_seconds{{{of},quantile="0.95"}} {self.query}', f"cache_hit_ratio{{{of}}} {self.hits}"]
        return "\n".join([*lines, ""])


@pytest_asyncio.fixture(loop_scope="module")
async def told() -> AsyncIterator[Carriers]:
    async with carriers() as pager_and_mail:
        yield pager_and_mail


@pytest.fixture
def stage(tmp_path: Path, ground: Ground, told: Carriers) -> Any:
    """jarvis(...) is a running service; v1, v2 and v3 of the API and v1 and v2 of the worker were rolled out before."""

    @asynccontextmanager
    async def jarvis(
        *,
        prepare: Callable[[Scene], Any] | None = None,
        metrics: Callable[[str], object] = lambda _: Metrics(),
        durations: Mapping[str, str] | None = None,
    ) -> AsyncIterator[tuple[Scene, Team]]:
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
            return hastened(shipped("jarvis", variables=variables, namespaces={"production": namespace}, durations=durations))

        settings = {"RESPONDER_SECRET_JARVIS_DATABASE": postgres.environment["PGPASSWORD"], **told.settings}
        inside = {**postgres.environment, "DATABASE": team.database, "PATH": f"{tmp_path / 'container' / 'bin'}:/usr/bin:/bin"}
        async with scene(
            ground,
            tmp_path,
            rulebook,
            pages,
            namespace=namespace,
            environment=settings,
            in_pods=inside,
            metrics=metrics,
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


@pytest.mark.row("JV-A1", "JV-A2", "JV-V1", "JV-V2", "JV-R1")
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
        labelled = [(one, one["metadata"].get("labels", {})) for one in await on.objects("configmaps")]
        [kept] = [one for one, labels in labelled if "responder.dev/snapshot-of" in labels]
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


@pytest.mark.row("JV-V1", "JV-V2")
@pytest.mark.parametrize(
    ("now", "check"),
    [
        pytest.param({"errors": 0.03}, "error-rate", id="3 % of errors"),
        pytest.param({"slow": 0.2}, "latency", id="a fifth of the answers is slow"),
        pytest.param({"query": 0.4}, "database-time", id="a slow database"),
        pytest.param({"hits": 0.4}, "cache-hits", id="a cold cache"),
    ],
)
async def test_what_does_not_go_back_to_normal_is_seen_while_watching(stage: Any, now: dict[str, float], check: str) -> None:
    async with stage(metrics=lambda _: Metrics(**now)) as (on, _):
        incident = await on.order("jarvis-api", "jarvis-roll-back")
        assert incident["status"] == "failed", incident
        seen = [event["text"] for event in incident["events"] if event["kind"] == "check_failed"]
        assert len(seen) == 3
        assert all(text.startswith(f"{check}: ") for text in seen), seen
        await on.until_told("incidents@jarvis-ai.app")


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


@pytest.mark.row("JV-T4", "JV-A4", "JV-C1")
async def test_a_failed_migration_restores_the_newest_backup_before_it_once_people_said_yes(stage: Any, told: Carriers) -> None:
    durations = {f"escalation.{number}.after": after for number, after in enumerate(("1s", "2s", "1h"))}
    async with stage(durations=durations) as (on, team):
        await on.happens({"key": "migration", "status": "failed", "labels": {"alertname": "DatabaseMigration", "service": API}})
        waiting = await on.newest("waiting_approval")
        assert (await on.image(API), await on.replicas(API)) == (V3, (3, 3))
        await on.until_told("DevOps lead: see the on-call schedule", "Engineering manager: see the on-call schedule")
        await on.until(lambda: told.paged(waiting["id"]), lambda known: known == "triggered", "PagerDuty has an incident")
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
        await on.until(lambda: told.paged(waiting["id"]), lambda known: known == "resolved", "PagerDuty's is resolved")
        assert "CTO" not in on.told(), "the last level was not due"
        assert await told.mailed("incidents@jarvis-ai.app")


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


@pytest.mark.row("JV-T1", "JV-V1", "JV-C1")
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
