"""Catalytic SaaS: its shipped rulebook on a genuine API server, a real PostgreSQL and SQLite, the real process."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import sys
import tarfile
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from tests.harness.carriers import Carriers, carriers
from tests.harness.pod_logs import Line, PodLogs
from tests.harness.postgres import Postgres
from tests.harness.reference import Front, Ground, Json, Scene, database_variables, next_second, outputs_of, scene, steps_of
from tests.harness.shipped import SCRIPTS, hastened, shipped

pytestmark = [pytest.mark.acceptance, pytest.mark.asyncio(loop_scope="module")]

API, WORKER = "catalytic-saas-api", "catalytic-saas-worker"
V1, V2 = "registry.example/catalytic-saas-api:1.0.0", "registry.example/catalytic-saas-api:1.1.0"
INGRESSES = "apis/networking.k8s.io/v1:ingresses"
SCHEMA = """
create table tenants (id int primary key, name text, created_at timestamptz);
create table users (id int primary key, tenant int references tenants);
insert into tenants select n, 'tenant ' || n, '2025-10-06 11:00:00+00' from generate_series(1, 40) n;
insert into users select n, 1 + n % 40 from generate_series(1, 200) n;
"""
MIGRATION = "delete from users where id > 50; alter table tenants drop name; insert into tenants values (41, now())"
VERIFY = """
import os, subprocess
count = subprocess.check_output(["psql", "-qAt", "-c", "select count(name) from tenants", os.environ["DATABASE"]], text=True)
print(f"Found {count.strip()} tenants")
raise SystemExit(count.strip() == "0")
"""


def started(pod: Json) -> list[Line]:
    """What a pod of either version has written, since it runs."""
    at = datetime.fromisoformat(pod["status"]["startTime"])
    bad = ["ERROR database: column tenants.name does not exist"] if pod["spec"]["containers"][0]["image"] == V2 else []
    return [(at, line) for line in ("INFO listening on :8000", *bad)]


class Team:
    """What the team has: backups, smoke tests, a database that a migration has damaged, a pager and mail."""

    def __init__(self, folder: Path, postgres: Postgres, database: str, carriers: Carriers) -> None:
        self.postgres, self.database, self.carriers = postgres, database, carriers
        self.backups, self.sqlite, self.smoke = folder / "backups", folder / "sqlite", folder / "smoke"
        for made in (self.backups, self.sqlite, self.smoke, folder / "container" / "scripts", folder / "container" / "bin"):
            made.mkdir(parents=True)
        runner = self.smoke / "smoke_test_runner.sh"
        runner.write_text(f'#!/bin/sh\nexec {sys.executable} -c "{_PROBE}" "$PRODUCTION_URL/health"\n')
        runner.chmod(0o755)
        (folder / "container" / "scripts" / "verify_database.py").write_text(VERIFY)
        (folder / "container" / "bin" / "python").symlink_to(sys.executable)

    async def back_up(self, stamp: str) -> None:
        await self.postgres.run(
            "pg_dump", "--format=custom", f"--file={self.backups / f'catalytic_saas_{stamp}.dump'}", self.database
        )

    async def query(self, statement: str) -> str:
        return await self.postgres.query(self.database, statement)


_PROBE = "import sys, urllib.request; urllib.request.urlopen(sys.argv[1])"


class Accounts:
    """/api/auth of the application, over a table of users."""

    def __init__(self) -> None:
        self.known: dict[str, str] = {}

    def register(self, _: Request, body: bytes) -> Response:
        user = json.loads(body)
        self.known[user["email"]] = user["password"]
        return JSONResponse({"tenant": user["tenant_name"]}, 201)

    def log_in(self, _: Request, body: bytes) -> Response:
        user = json.loads(body)
        return JSONResponse({"token": "…"}, 200 if self.known.get(user["email"]) == user["password"] else 401)


def front(accounts: Accounts) -> Front:
    return Front({"/health": 200, "/api/auth/register": accounts.register, "/api/auth/login": accounts.log_in})


class Growing:
    """Counters that go on counting: each scrape sees ten more requests, this share of them failed or slow.

    alert: one fires. illegible: no scrape succeeds.
    """

    def __init__(self, namespace: str, *, errors: float = 0.001, slow: float = 0.0, alert: bool = False) -> None:
        self.namespace, self.errors, self.slow, self.alert = namespace, errors, slow, alert
        self.scrapes, self.illegible = 0, False

    def __str__(self) -> str:
        if self.illegible:
            return "{"
        self.scrapes += 1
        of, total = f'namespace="{self.namespace}"', 1000 + 10 * self.scrapes
        counts = (("0.05", total * (1 - self.slow)), ("0.1", total * (1 - self.slow)), ("0.5", total), ("+Inf", total))
        return "\n".join(
            [
                f'http_requests_total{{{of},status="200"}} {total}',
                f'http_requests_total{{{of},status="500"}} {total * self.errors}',
                *(f'http_request_duration_seconds_bucket{{{of},le="{le}"}} {count}' for le, count in counts),
                *([f'ALERTS{{alertname="HighMemory",alertstate="firing",{of}}} 1'] if self.alert else []),
                "",
            ]
        )


@pytest_asyncio.fixture(loop_scope="module")
async def told() -> AsyncIterator[Carriers]:
    async with carriers() as pager_and_mail:
        yield pager_and_mail


@pytest.fixture
def stage(tmp_path: Path, ground: Ground, told: Carriers) -> Any:
    """catalytic(...) is a running service; 1.0.0 and 1.1.0 of both Deployments were rolled out before."""

    @asynccontextmanager
    async def catalytic(
        *,
        worker: tuple[str, ...] = (V1, V2),
        written: Callable[[Json], Sequence[Line]] = started,
        durations: dict[str, str] | None = None,
        prepare: Callable[[Scene], Any] | None = None,
        metrics: Callable[[str], object] = Growing,
    ) -> AsyncIterator[tuple[Scene, Team]]:
        cluster, postgres = ground.cluster, ground.postgres
        namespace = await cluster.new_namespace(name=ground.scraper.take())
        team = Team(tmp_path, postgres, await postgres.new_database("catalytic", SCHEMA), told)
        await team.back_up("20251005_120000")
        await team.back_up("20251006_120000")
        await cluster.roll_out(namespace, API, V1, replicas=3)
        for image in worker:
            await cluster.roll_out(namespace, WORKER, image, replicas=2)
            await next_second()

        async def before(on: Scene) -> None:
            on.kubernetes.rule = PodLogs(cluster, written)
            if prepare is not None:
                await prepare(on)
            await next_second()
            await cluster.roll_out(namespace, API, V2)
            await team.query(MIGRATION)
            await team.back_up(f"{datetime.now(UTC).year + 1}0101_000000")  # made after the failed deployment: no good

        def rulebook(namespace: str, url: str) -> Json:
            variables = {
                "catalytic_api": url,
                "catalytic_backups": str(team.backups),
                "catalytic_tools": str(SCRIPTS),
                "catalytic_smoke_tests": str(team.smoke),
                **database_variables("catalytic", postgres, team.database),
                "catalytic_sqlite": str(team.sqlite),
            }
            namespaces = {"catalytic-saas": namespace}
            return hastened(shipped("catalytic-saas", variables=variables, namespaces=namespaces, durations=durations))

        settings = {"RESPONDER_SECRET_CATALYTIC_DATABASE": postgres.environment["PGPASSWORD"], **told.settings}
        inside = {**postgres.environment, "DATABASE": team.database, "PATH": f"{tmp_path / 'container' / 'bin'}:/usr/bin:/bin"}
        async with scene(
            ground,
            tmp_path,
            rulebook,
            front(Accounts()),
            namespace=namespace,
            environment=settings,
            in_pods=inside,
            metrics=metrics,
            prepare=before,
        ) as on:
            yield on, team

    return catalytic


@pytest.mark.row("CS-T1", "CS-A1", "CS-V1", "CS-V2", "CS-R1", "CS-R2", "CS-C1")
async def test_level_1_by_an_alert(stage: Any) -> None:
    async with stage() as (on, team):
        labels = {"alertname": "HighErrorRate", "namespace": on.namespace, "deployment": API}
        await on.alert(labels, value="0.08")
        await on.newest("monitoring")
        assert (await on.image(API), await on.image(WORKER)) == (V1, V2)
        await on.alert(labels, "resolved", value="0.001")
        incident = await on.newest("resolved", "failed")
        assert incident["status"] == "resolved", incident
        assert steps_of(incident) == {
            "stop": "skipped",
            "undo": "succeeded",
            "resume": "skipped",
            "catalytic-checks": "succeeded",
            "pods": "succeeded",
            "health": "succeeded",
            "smoke-tests": "succeeded",
            "no-errors-logged": "succeeded",
        }
        assert "3 lines of 3 pods lack ERROR" in outputs_of(incident)["no-errors-logged"]
        await on.until(on.moments, lambda told: told[-1] == "resolved", "Slack was told the end")
        assert await on.moments() == ["opened", "acting", "recovered", "resolved"]
        await on.until(on.page_says, lambda said: "resolved" in said, "the status page says that it is over")
        await on.until(lambda: team.carriers.paged(incident["id"]), lambda known: known == "resolved", "the pager rests")
        read = await on.until(
            lambda: team.carriers.mailed("oncall-devops@example.com"), lambda mails: len(mails) == 4, "DevOps are mailed"
        )
        assert ("HighErrorRate" in read[0], "1.0.0" in read[1]) == (True, True), read
        customers = await team.carriers.mailed("status@lists.example.com")
        assert len(customers) == 2
        assert "works normally again" in customers[-1]
        assert all("HighErrorRate" not in mail and "1.0.0" not in mail for mail in customers), "customers read neutral words"
        _, report = await on.report_file(incident["id"])
        for part in ("## Trigger", "## Actions taken", "## Verification", "Smoke", "## Follow-up", "- [ ] Find the root cause"):
            assert part.lower() in report.lower(), part
        assert "### Immediate (within 1 hour)" in report


@pytest.mark.row("CS-V2", "CS-R2")
@pytest.mark.parametrize(
    ("now", "check"),
    [
        pytest.param({"errors": 0.03}, "error-rate", id="3 % of errors"),
        pytest.param({"slow": 0.2}, "p95", id="a fifth of the answers is slow"),
        pytest.param({"alert": True}, "no-alert", id="an alert fires"),
        pytest.param({}, "metrics-collected", id="no metrics are collected"),
    ],
)
async def test_the_watch_sees_what_is_not_well(stage: Any, now: dict[str, Any], check: str) -> None:
    shown: list[Growing] = []

    def metrics(namespace: str) -> Growing:
        shown.append(Growing(namespace, **now))
        return shown[-1]

    async with stage(metrics=metrics) as (on, _):
        shown[0].illegible = not now
        incident = await on.order("catalytic-api", "catalytic-level-1")
        assert incident["status"] == "failed", incident
        seen = [event["text"] for event in incident["events"] if event["kind"] == "check_failed"]
        found = [text for text in seen if text.startswith(f"{check}: ")]
        assert len(found) == 3, seen
        assert not now or found == seen, "nothing else is wrong, unless there are no metrics at all"
        assert await on.image(API) == V1, "there is no second step back"
        await on.until_told("oncall-devops@example.com")


@pytest.mark.row("CS-V1")
async def test_a_version_that_logs_errors_has_not_recovered(stage: Any) -> None:
    def ill(pod: Json) -> Sequence[Line]:
        at = datetime.fromisoformat(pod["status"]["startTime"])
        return [(at, "INFO listening on :8000"), (datetime.now(UTC), "ERROR stripe: signature of the web hook is wrong")]

    async with stage(written=ill) as (on, _):
        incident = await on.order("catalytic-api", "catalytic-level-1")
        assert (incident["status"], steps_of(incident)["no-errors-logged"]) == ("failed", "failed"), incident
        assert "3 lines with ERROR" in incident["reason"]
        assert "signature of the web hook is wrong" in outputs_of(incident)["no-errors-logged"]
        await on.until_told("oncall-devops@example.com")


@pytest.mark.row("CS-C2")
async def test_while_nobody_acknowledges_one_after_the_other_is_called(stage: Any) -> None:
    """The run book's 5, 15, 30 and 60 minutes are 1, 2, 3 and 15 seconds here."""
    durations = {f"escalation.{number}.after": after for number, after in enumerate(("1s", "2s", "3s", "15s"))}
    async with stage(durations=durations) as (on, team):
        await on.alert({"alertname": "DataIntegrityFailure", "project": "catalytic-saas"})
        waiting = await on.newest("waiting_approval")

        async def called() -> list[str]:
            known = await on.service.incident(waiting["id"])
            return [event["text"] for event in known["events"] if event["kind"] == "escalated"]

        told = await on.until(called, lambda texts: len(texts) == 3, "three levels are called")
        assert told == [
            "level 1 of 4, after 1s: told slack, pagerduty; contacts: On-call engineer: oncall-devops@example.com, "
            "Security: security@example.com, Database: dba@example.com",
            "level 2 of 4, after 2s: told slack, email; contacts: Team lead: oncall-eng@example.com",
            "level 3 of 4, after 3s: told slack, email; contacts: VP Engineering: vp-engineering@example.com",
        ]
        await on.until_told("Team lead: oncall-eng@example.com", "VP Engineering: vp-engineering@example.com")
        await on.until(lambda: team.carriers.paged(waiting["id"]), lambda known: known == "triggered", "the pager rings")
        for address in ("oncall-eng@example.com", "vp-engineering@example.com"):
            [mail] = await on.until(lambda to=address: team.carriers.mailed(to), bool, f"{address} is mailed")
            assert "Nobody has acknowledged this" in mail

        assert (await on.say("acknowledge", waiting["id"]))[0] == 0
        await on.until(lambda: team.carriers.paged(waiting["id"]), lambda known: known == "acknowledged", "the pager knows")
        due = datetime.fromisoformat(waiting["opened_at"]) + timedelta(seconds=15)
        await asyncio.sleep((due - datetime.now(UTC)).total_seconds() + 2)
        assert len(await called()) == 3
        assert await team.carriers.mailed("cto@example.com") == []
        assert await on.image(API) == V2, "nobody said yes"


@pytest.mark.row("CS-A1")
async def test_level_1_with_all_traffic_stopped_meanwhile(stage: Any) -> None:
    async with stage() as (on, _):
        words = ["rollback", "catalytic-api", "--plan", "catalytic-level-1", "--input", "stop_traffic=yes"]
        code, printed = await on.say(*words, "--reason", "minor bug", "--follow")
        assert code == 0, printed
        said = outputs_of(await on.newest("resolved"))
        assert ("from 3 to 0 pods" in said["stop"], "from 0 to 3 pods" in said["resume"]) == (True, True)
        assert (await on.image(API), await on.replicas(API)) == (V1, (3, 3))


@pytest.mark.row("CS-A2")
async def test_level_2_brings_configuration_of_before_the_deployment_back_and_restarts(stage: Any) -> None:
    async def configured(on: Scene) -> None:
        for kind, name in (("ConfigMap", "catalytic-config"), ("Secret", "catalytic-secrets")):
            await on.configuration(kind, f"{name}-before", {"LEVEL": "old"}, snapshot_of=name)
            await on.configuration(kind, name, {"LEVEL": "new"})

    async with stage(prepare=configured) as (on, _):
        incident = await on.order("catalytic-api", "catalytic-level-2")
        assert incident["status"] == "resolved", incident
        data = {
            one["metadata"]["name"]: one.get("data") for one in (*await on.objects("configmaps"), *await on.objects("secrets"))
        }
        assert (data["catalytic-config"], data["catalytic-secrets"]) == ({"LEVEL": "old"}, {"LEVEL": "b2xk"})
        template = (await on.deployment(API))["spec"]["template"]
        assert template["spec"]["containers"][0]["image"] == V1
        assert "kubectl.kubernetes.io/restartedAt" in template["metadata"]["annotations"]
        assert list(steps_of(incident))[:6] == ["keep-config", "keep-secrets", "config", "secrets", "undo", "restart"]


INGRESS = {
    "apiVersion": "networking.k8s.io/v1",
    "kind": "Ingress",
    "metadata": {"name": "catalytic-ingress", "annotations": {"team": "platform"}},
    "spec": {"defaultBackend": {"service": {"name": "api", "port": {"number": 80}}}},
}


async def reachable(on: Scene) -> None:
    await on.create(INGRESSES, INGRESS)


@pytest.mark.row("CS-A3", "CS-A4", "CS-A6", "CS-V1", "CS-V3")
async def test_level_3_restores_the_backup_that_was_named(stage: Any) -> None:
    async with stage(prepare=reachable) as (on, team):
        order = {"target": "catalytic-api", "plan": "catalytic-level-3", "reason": "the migration failed"}
        refused = await on.send("rollbacks", order, status=400)
        assert refused["detail"] == (
            "plan catalytic-level-3 needs the input `backup` (time stamp of the backup to restore, such as 20251006_120000)"
        )
        assert on.kubernetes.writes == []

        incident = await on.order("catalytic-api", "catalytic-level-3", inputs={"backup": "20251006_120000"})
        assert incident["status"] == "resolved", incident
        assert await team.query("select count(*), count(name), max(created_at) at time zone 'UTC' from tenants") == (
            "40|40|2025-10-06 11:00:00"
        )
        assert await team.query("select count(*) from users") == "200"
        assert (await on.image(API), await on.replicas(API)) == (V1, (3, 3))
        [ingress] = await on.objects(INGRESSES)
        assert (ingress["spec"], ingress["metadata"]["annotations"]["team"]) == (INGRESS["spec"], "platform")
        [(pod, argv)] = on.kubernetes.executed
        assert argv == ["python", "scripts/verify_database.py"]
        assert pod.startswith(API)
        said = outputs_of(incident)
        assert "Found 40 tenants" in said["compatible"]
        assert "lack database*error, error*database" in said["no-database-errors"]
        assert "* catalytic_saas_20251006_120000.dump" in said["choose"]
        order_of_things = [
            "stop",
            "ingress-out",
            "drained",
            "state-of-now",
            "drop",
            "create",
            "restore",
            "rows",
            "undo",
            "resume",
        ]
        assert [name for name in steps_of(incident) if name in order_of_things] == order_of_things
        assert {"tables", "register", "log-in"} <= steps_of(incident).keys()
        [kept] = team.backups.glob("before-*.dump")
        assert "tenants" in await team.postgres.run("pg_restore", "--list", str(kept))


@pytest.mark.row("CS-T5", "CS-A3", "CS-A4")
async def test_corrupt_data_asks_a_person_then_restores_the_last_backup_before_the_deployment(stage: Any) -> None:
    async with stage(prepare=reachable) as (on, team):
        labels = {"alertname": "DataIntegrityFailure", "project": "catalytic-saas"}
        await on.alert(labels)
        waiting = await on.newest("waiting_approval")
        assert await on.image(API) == V2
        assert (await on.say("approve", waiting["id"], "--reason", "yes"))[0] == 0

        async def asked_again() -> list[Json]:
            return [one for one in (await on.service.incident(waiting["id"]))["approvals"] if one["step"] == "drop"]

        await on.until(asked_again, bool, "a person is asked before data is lost")
        assert await team.query("select count(*) from tenants") == "41", "dropped before anybody said yes"
        assert (await on.say("approve", waiting["id"], "--step", "drop"))[0] == 0
        await on.newest("monitoring", "failed")
        await on.alert(labels, "resolved")
        incident = await on.newest("resolved", "failed")
        assert incident["status"] == "resolved", incident
        assert "* catalytic_saas_20251006_120000.dump" in outputs_of(incident)["choose"]
        assert await team.query("select count(name) from tenants") == "40"


@pytest.mark.row("CS-A3")
async def test_a_restore_that_fails_puts_pods_and_ingress_back_and_says_so(stage: Any) -> None:
    async with stage(prepare=reachable) as (on, team):
        (team.backups / "catalytic_saas_20251007_120000.dump").write_bytes(b"no dump at all")
        incident = await on.order("catalytic-api", "catalytic-level-3", inputs={"backup": "20251007_120000"})
        assert (incident["status"], "restore: " in incident["reason"]) == ("failed", True), incident
        assert (await on.image(API), await on.replicas(API)) == (V2, (3, 3))
        assert [one["metadata"]["name"] for one in await on.objects(INGRESSES)] == ["catalytic-ingress"]
        await on.until_told("dba@example.com")
        # What was there is kept, and brings it back.
        [kept] = team.backups.glob("before-*.dump")
        await team.postgres.run("pg_restore", "--no-owner", f"--dbname={team.database}", str(kept))
        assert await team.query("select count(*) from tenants") == "41"


@pytest.mark.row("CS-A5")
async def test_level_3_with_sqlite_keeps_the_corrupted_file_and_checks_the_restored_one(stage: Any) -> None:
    async with stage() as (on, team):
        good, live = team.backups / "catalytic_saas_20251006_120000.db", team.sqlite / "catalytic_saas.db"
        with sqlite3.connect(good) as made:
            made.executescript("create table tenants (id integer primary key); insert into tenants values (1), (2), (3)")
        made.close()
        live.write_bytes(good.read_bytes()[:1000] + b"\xff" * 5000)
        (team.sqlite / "catalytic_saas.db-wal").write_bytes(b"a write-ahead log of the corrupted file")
        corrupted = live.read_bytes()
        incident = await on.order("catalytic-api", "catalytic-level-3-sqlite", inputs={"backup": "20251006_120000"})
        assert incident["status"] == "resolved", incident
        assert live.read_bytes() == good.read_bytes()
        assert not (team.sqlite / "catalytic_saas.db-wal").exists()
        [aside] = team.sqlite.glob("catalytic_saas_corrupted_*.tar")
        with tarfile.open(aside) as kept:
            member = kept.extractfile("catalytic_saas.db")
            assert member is not None
            assert member.read() == corrupted
            assert "catalytic_saas.db-wal" in kept.getnames()
        assert (await on.image(API), await on.replicas(API)) == (V1, (3, 3))

        # A backup that is corrupt itself: the check says so, and the service is not left stopped.
        (team.backups / "catalytic_saas_20251001_120000.db").write_bytes(corrupted)
        await on.cluster.roll_out(on.namespace, API, V2.replace("1.1.0", "1.2.0"))
        incident = await on.order("catalytic-api", "catalytic-level-3-sqlite", inputs={"backup": "20251001_120000"})
        assert (incident["status"], incident["reason"].startswith("integrity: ")) == ("failed", True), incident
        assert await on.replicas(API) == (3, 3)


@pytest.mark.row("CS-A7")
async def test_both_services_go_back_together_or_neither(stage: Any) -> None:
    async with stage() as (on, _):
        incident = await on.order("catalytic-api", "catalytic-together")
        assert incident["status"] == "resolved", incident
        assert (await on.image(API), await on.image(WORKER)) == (V1, V1)
        assert (await on.replicas(API), await on.replicas(WORKER)) == ((3, 3), (2, 2))
        assert list(steps_of(incident))[:4] == ["stop-worker", "api", "worker", "resume-worker"]


@pytest.mark.row("CS-A7")
async def test_where_one_can_not_go_back_the_other_is_left_alone(stage: Any) -> None:
    async with stage(worker=(V2,)) as (on, _):
        order = {"target": "catalytic-api", "plan": "catalytic-together", "reason": "x"}
        refused = await on.send("rollbacks", order, status=409)
        assert "there is no earlier version to go back to" in refused["detail"]
        assert on.kubernetes.writes == []
        assert (await on.image(API), await on.image(WORKER)) == (V2, V2)
