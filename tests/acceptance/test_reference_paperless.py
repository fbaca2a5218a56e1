"""Paperless Maverick: its shipped rulebook on a genuine API server and controllers, a real PostgreSQL, the real process.

The team's own scripts (backup-database.sh and its kin) are not ours: those here do with psql and pg_dump what their names say.
"""

from __future__ import annotations

import asyncio
import stat
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.harness.carriers import Carriers, carriers
from tests.harness.postgres import Postgres
from tests.harness.reference import Front, Ground, Json, Scene, database_variables, next_second, outputs_of, scene, steps_of
from tests.harness.shipped import hastened, shipped

pytestmark = [pytest.mark.acceptance, pytest.mark.asyncio(loop_scope="module")]

APP, WORKERS = "paperless-maverick", "embedding-queue-workers"
V1, V2, V3 = (f"paperless-maverick:v1.2.{number}" for number in (1, 2, 3))
HEALTH = ("/health", "/health/live", "/health/ready", "/health/database", "/metrics")
SCHEMA = """
create table schema_migrations (version text primary key);
insert into schema_migrations values ('20250101000000'), ('20250120120000'), ('20250121090000');
create table receipts (id int primary key, total numeric);
insert into receipts select n, n from generate_series(1, 500) n;
alter table receipts add embedding text default 'v2';
insert into receipts values (501, 501, 'v2');
"""
SCRIPTS = {
    "deployment-validation-framework.sh": "exit 1 # something is wrong, or nobody would roll back",
    "backup-database.sh": 'pg_dump --format=custom --file="$BACKUPS/$(date +%Y-%m-%d-%H-%M-%S).dump" "$DATABASE"',
    "rollback-database.sh": """
        [ "$1 $2 $3 $5 $6" = "--environment production --target-migration --validate-before --validate-after" ]
        sql "select 1 from schema_migrations where version = '$4'" | grep -q 1
        sql "begin; alter table receipts drop embedding; delete from schema_migrations where version > '$4'; commit" """,
    "rollback-data-migration.sh": """
        [ "$3 $4 $5 $6" = "--migration-id embedding_enhancement_v2 --preserve-new-data --validate-integrity" ]
        sql "update receipts set embedding = 'v1' where id <= 500" """,
    "restore-from-backup.sh": """
        [ "$3 $5" = "--backup-timestamp --full-restore" ]
        test -s "$BACKUPS/$4.dump"
        dropdb --force "$DATABASE"; createdb "$DATABASE"
        pg_restore --exit-on-error --no-owner --dbname="$DATABASE" "$BACKUPS/$4.dump" """,
    "test-core-functionality.sh": "sql 'select count(*) >= 500 from receipts' | grep -q t",
    "test-user-workflows.sh": "sql 'select total from receipts where id = 42' | grep -q 42",
    "validate-data-integrity.sh": "sql 'select count(*) from receipts where total is null' | grep -qx 0",
}


class Team:
    """What the team has: scripts and backups in folders, a database of 501 receipts."""

    def __init__(self, folder: Path, postgres: Postgres, database: str) -> None:
        self.postgres, self.database = postgres, database
        self.scripts, self.backups, self.calls = folder / "scripts", folder / "backups", folder / "calls"
        for made in (self.scripts, self.backups):
            made.mkdir()
        exports = {**postgres.environment, "DATABASE": database, "BACKUPS": str(self.backups)}
        head = ["#!/bin/sh", "set -eu", *(f"export {name}={value}" for name, value in exports.items())]
        head.append('sql() { psql --no-psqlrc -v ON_ERROR_STOP=1 -qAt -c "$1" "$DATABASE"; }')
        for name, body in SCRIPTS.items():
            script = self.scripts / name
            script.write_text("\n".join([*head, f'echo "{name} $*" >> {self.calls}', body, ""]))
            script.chmod(script.stat().st_mode | stat.S_IXUSR)

    def called(self) -> list[str]:
        return self.calls.read_text().splitlines() if self.calls.exists() else []

    async def query(self, statement: str) -> str:
        return await self.postgres.query(self.database, statement)


def front() -> Front:
    return Front(dict.fromkeys(HEALTH, 200))


Prepare = Callable[[Scene], Any]
CALL_NOBODY = {"escalation.0.after": "5m"}  # as shipped, the first level is called as soon as the guards have looked


@pytest_asyncio.fixture(loop_scope="module")
async def told() -> AsyncIterator[Carriers]:
    async with carriers() as pager_and_mail:
        yield pager_and_mail


@pytest.fixture
def stage(tmp_path: Path, ground: Ground, told: Carriers) -> Any:
    """paperless(...) is a running service; v1.2.1, v1.2.2 and v1.2.3 of both Deployments were rolled out before."""

    @asynccontextmanager
    async def paperless(
        *,
        pages: Front | None = None,
        bad: str = V3,
        prepare: Prepare | None = None,
        metrics: Callable[[str], str] | None = None,
        durations: Mapping[str, str] = CALL_NOBODY,
    ) -> AsyncIterator[tuple[Scene, Team]]:
        cluster, postgres = ground.cluster, ground.postgres
        namespace = await cluster.new_namespace(name=ground.scraper.take())
        container = {"name": APP}
        for app, workers in ((V1, V1), (V2, V2), (bad, V3)):
            await cluster.deploy(namespace, APP, image=app, replicas=3, container=container)
            await cluster.deploy(namespace, WORKERS, image=workers, replicas=2)
            if "stuck" not in app:
                await cluster.wait_available(namespace, APP)
            await cluster.wait_available(namespace, WORKERS)
            await next_second()
        team = Team(tmp_path, postgres, await postgres.new_database("paperless", SCHEMA))

        def rulebook(namespace: str, url: str) -> Json:
            variables = {
                "paperless_api": url,
                "paperless_scripts": str(team.scripts),
                **database_variables("paperless", postgres, team.database),
            }
            namespaces = {"paperless-maverick": namespace}
            return hastened(shipped("paperless-maverick", variables=variables, namespaces=namespaces, durations=durations))

        settings = {"RESPONDER_SECRET_PAPERLESS_DATABASE": postgres.environment["PGPASSWORD"], **told.settings}
        async with scene(
            ground,
            tmp_path,
            rulebook,
            pages or front(),
            namespace=namespace,
            environment=settings,
            metrics=metrics,
            prepare=prepare,
        ) as on:
            yield on, team

    return paperless


# --- 1. emergency ----------------------------------------


@pytest.mark.row("PM-A1", "PM-T6")
async def test_an_emergency_takes_both_back_at_once_without_validation(stage: Any) -> None:
    sick = Front(dict.fromkeys(HEALTH, 500))  # validation would never pass, and is skipped
    async with stage(pages=sick) as (on, _):
        words = ["rollback", "app", "--plan", "paperless-emergency", "--immediate", "--skip-validation"]
        code, printed = await on.say(*words, "--reason", "Critical production issue", "--json")
        assert code == 0, printed
        incident = await on.newest("monitoring", "failed", "resolved")
        assert steps_of(incident) == {"both": "succeeded", "app": "succeeded", "workers": "succeeded"}
        assert (await on.image(APP), await on.image(WORKERS)) == (V2, V2)
        assert (await on.replicas(APP), await on.replicas(WORKERS)) == ((3, 3), (2, 2))
        assert "Critical production issue" in incident["reason"]
        await on.end_of(incident["id"])  # the watch afterwards is not skipped: it says that the service is still sick
        assert (await on.service.incident(incident["id"]))["status"] == "failed"
        await on.until_told("Critical production issue", "rollback-support@mataresit.com")


# --- the automatic one ----------------------------------------


@pytest.mark.row("PM-T2", "PM-V1", "PM-C1", "PM-R1", "PM-R3")
async def test_an_error_rate_rolls_back_by_itself_and_the_report_says_everything(stage: Any) -> None:
    async with stage() as (on, _):
        labels = {
            "alertname": "HighErrorRate",
            "namespace": on.namespace,
            "deployment": APP,
            "environment": "production",
        }
        await on.alert(labels, value="0.08")
        await on.newest("monitoring", "resolved")
        assert (await on.image(APP), await on.image(WORKERS)) == (V2, V3)
        await on.alert(labels, "resolved", value="0.01")
        incident = await on.newest("resolved")
        assert {
            name: status for name, status in steps_of(incident).items() if name in ("live", "ready", "database", "metrics")
        } == (dict.fromkeys(("live", "ready", "database", "metrics"), "succeeded"))
        assert {path for _, path in on.front.asked} >= {"/health/live", "/health/ready", "/health/database", "/metrics"}
        await on.until(on.moments, lambda told: told[-1] == "resolved", "Slack was told the end")
        assert await on.moments() == ["opened", "acting", "recovered", "resolved"]
        await on.until(on.page_says, lambda said: "resolved" in said, "the status page says that it is over")
        assert await on.page_says() == ["investigating", "identified", "monitoring", "resolved"]

        async def looked_back() -> list[str]:
            return [event["kind"] for event in (await on.service.incident(incident["id"]))["events"]]

        await on.until(looked_back, lambda kinds: sum("checkpoint" in kind for kind in kinds) >= 3, "three checkpoints")
        report = await on.service.report(incident["id"])
        for field in ("Date", "Time", "Duration", "Trigger", "Target version", "Rolled back from"):
            assert f"**{field}**" in report, field
        for blank in ("Users affected", "Downtime", "Data loss", "Revenue impact"):
            assert f"**{blank}**" in report
        for heading in ("## Impact", "## Root cause", "## Actions taken", "## Follow-up"):
            assert heading in report
        assert "v1.2.3" in report
        assert "Automatic (error" in report
        for period in ("Immediate (0-30 minutes)", "Short-term (30 minutes - 4 hours)", "Long-term (4 hours - 7 days)"):
            assert f"### {period}" in report
        assert report.count("- [ ] ") == 15


def memory(namespace: str) -> str:
    pods = [(f"app-{number}", 700e6) for number in range(3)]
    lines = [f'container_memory_working_set_bytes{{namespace="{namespace}",pod="{pod}"}} {used}' for pod, used in pods]
    lines += [f'container_spec_memory_limit_bytes{{namespace="{namespace}",pod="{pod}"}} 1e9' for pod, _ in pods]
    return "\n".join([*lines, ""])


@pytest.mark.row("PM-C1", "PM-T5")
async def test_a_security_finding_calls_one_after_the_other_until_somebody_says_yes(stage: Any, told: Carriers) -> None:
    """The run book's 0, 15, 30 and 60 minutes are 0 to 2 seconds and an hour here."""
    durations = {f"escalation.{number}.after": after for number, after in enumerate(("0s", "1s", "2s", "1h"))}
    async with stage(durations=durations) as (on, _):
        labels = {
            "alertname": "SecurityFinding",
            "namespace": on.namespace,
            "deployment": APP,
            "environment": "production",
        }
        await on.alert(labels)
        waiting = await on.newest("waiting_approval")

        async def called() -> list[str]:
            known = await on.service.incident(waiting["id"])
            return [event["text"] for event in known["events"] if event["kind"] == "escalated"]

        assert await on.until(called, lambda texts: len(texts) == 3, "three levels are called") == [
            "level 1 of 4, after 0s: told slack; contacts: Operations engineer: rollback-support@mataresit.com, "
            "Security: security-oncall@mataresit.com, Database: dba-oncall@mataresit.com",
            "level 2 of 4, after 1s: told slack, email; contacts: Senior engineer: infra-oncall@mataresit.com",
            "level 3 of 4, after 2s: told slack, email; contacts: Engineering manager: engineering-manager@mataresit.com",
        ]
        await on.until_told("Security: security-oncall@mataresit.com", "Engineering manager: engineering-manager@mataresit.com")
        for address in ("infra-oncall@mataresit.com", "engineering-manager@mataresit.com"):
            [mail] = await on.until(lambda to=address: told.mailed(to), bool, f"{address} is mailed")
            assert "it waits for approval" in mail
        assert await on.image(APP) == V3, "rolled back before anybody said yes"

        assert (await on.say("approve", waiting["id"], "--reason", "the token leaks"))[0] == 0
        await on.newest("monitoring", "failed")
        await on.alert(labels, "resolved")
        assert (await on.newest("resolved", "failed"))["status"] == "resolved"
        assert await on.image(APP) == V2
        stakeholders = await on.until(
            lambda: told.mailed("stakeholders@mataresit.com"), lambda mails: len(mails) == 2, "stakeholders are told the end"
        )
        assert "works normally again" in stakeholders[-1]
        assert not any("SecurityFinding" in mail or "v1.2" in mail for mail in stakeholders)
        assert await told.mailed("vp-engineering@mataresit.com") == []
        report = await on.service.report(waiting["id"])
        assert "level 3 of 4" in report


# --- 2. standard ----------------------------------------


@pytest.mark.row("PM-A2", "PM-A3", "PM-V1", "PM-V2", "PM-V3")
async def test_a_named_version_with_a_backup_and_validation_before_and_after(stage: Any) -> None:
    async def keep(on: Scene) -> None:
        await on.configuration("ConfigMap", "paperless-maverick-config", {"mode": "new"})
        await on.configuration("Secret", "paperless-maverick-secrets", {"key": "new"})

    async with stage(prepare=keep, metrics=memory) as (on, team):
        code, printed = await on.say("versions", "app")
        assert code == 0, printed
        assert [tag for tag in ("v1.2.3", "v1.2.2", "v1.2.1") if tag in printed] == ["v1.2.3", "v1.2.2", "v1.2.1"]
        order = ["rollback", "app", "--plan", "paperless-standard", "--version", "v1.2.1", "--create-backup"]
        code, printed = await on.say(*order, "--reason", "Performance regression in v1.2.3", "--follow")
        assert code == 0, printed
        incident = await on.newest("resolved")
        steps = steps_of(incident)
        assert steps.pop("validate-before") == "failed"  # what it said is on record, and it goes on
        assert set(steps.values()) == {"succeeded"}, incident
        assert list(steps)[:4] == ["backup", "keep-settings", "keep-secrets", "back"]
        looked_at = {"app-rollout", "workers-rollout", "live", "ready", "database", "metrics", "response-time", "memory"}
        assert looked_at <= steps.keys()
        assert (await on.image(APP), await on.image(WORKERS)) == (V1, V3)
        assert team.called() == [
            "deployment-validation-framework.sh --environment production --pre-rollback-validation",
            "backup-database.sh --environment production --pre-rollback",
            "test-core-functionality.sh --environment production --post-rollback",
            "test-user-workflows.sh --environment production --critical-paths",
            "validate-data-integrity.sh --environment production --post-rollback",
        ]
        [dump] = team.backups.iterdir()
        assert "TABLE DATA public receipts" in await team.postgres.run("pg_restore", "--list", str(dump))
        assert "1 good probe of 20 requests in a row" in outputs_of(incident)["response-time"]
        assert len([one for one in on.front.asked if one == ("GET", "/health")]) >= 20
        kept = [one["metadata"].get("labels", {}).get("responder.dev/snapshot-of") for one in await on.objects("configmaps")]
        assert "paperless-maverick-config" in kept


# --- 3. the database ----------------------------------------


@pytest.mark.row("PM-A6", "PM-V4")
async def test_the_schema_goes_down_to_a_named_migration_after_a_backup(stage: Any) -> None:
    async with stage() as (on, team):
        refused = await on.send("rollbacks", {"target": "app", "plan": "paperless-schema-down", "reason": "x"}, status=400)
        assert (refused["field"], "needs the input `migration`" in refused["detail"]) == ("inputs", True)
        assert team.called() == []

        incident = await on.order("app", "paperless-schema-down", inputs={"migration": "20250120120000"})
        assert incident["status"] == "resolved", incident
        assert steps_of(incident)["schema-version"] == "succeeded"
        assert await team.query("select max(version) from schema_migrations") == "20250120120000"
        assert await team.query("select count(*) from information_schema.columns where column_name = 'embedding'") == "0"
        assert await team.query("select count(*) from receipts") == "501"
        [dump] = team.backups.iterdir()
        assert "embedding" in await team.postgres.run("pg_restore", "--schema-only", "--file=-", str(dump))
        assert [call.split()[0] for call in team.called()][:2] == ["backup-database.sh", "rollback-database.sh"]
        assert (await on.image(APP)) == V3

        # A migration that was never applied: the script says no, and people hear of it.
        incident = await on.order("app", "paperless-schema-down", inputs={"migration": "20990101000000"})
        assert incident["status"] == "failed"
        assert await team.query("select max(version) from schema_migrations") == "20250120120000"
        await on.until_told("dba-oncall@mataresit.com must look now")


@pytest.mark.row("PM-A7", "PM-V3")
async def test_a_data_migration_is_taken_back_and_new_data_stays(stage: Any) -> None:
    async with stage() as (on, team):
        incident = await on.order("app", "paperless-data-migration-back", inputs={"migration": "embedding_enhancement_v2"})
        assert incident["status"] == "resolved", incident
        assert await team.query("select embedding, count(*) from receipts group by 1 order by 1") == "v1|500\nv2|1"
        assert steps_of(incident)["integrity"] == "succeeded"
        assert len(list(team.backups.iterdir())) == 1


# --- 4. one part only ----------------------------------------


@pytest.mark.row("PM-A4", "PM-R2")
async def test_the_application_alone_and_the_workers_alone(stage: Any) -> None:
    async with stage() as (on, _):
        order = ["--plan", "paperless-partial", "--reason", "one part only", "--follow"]
        code, printed = await on.say("rollback", "app", "--revision", "2", *order)
        assert code == 0, printed
        assert (await on.image(APP), await on.image(WORKERS)) == (V2, V3)
        code, printed = await on.say("rollback", "workers", "--revision", "1", *order)
        assert code == 0, printed
        assert (await on.image(APP), await on.image(WORKERS)) == (V2, V1)
        await on.send("rollbacks", {"target": "app", "plan": "paperless-partial", "revision": "99", "reason": "x"}, status=409)
        code, printed = await on.say("incidents", "--summary", "30d")
        assert (code, "Rollbacks in the last 30d: 2 (of 2 incidents)" in printed, "Success rate: 100%" in printed) == (
            0,
            True,
            True,
        )
        found = (await on.service.get("/v1/statistics", window="30d"))["statistics"]
        assert (found["rollbacks"], found["resolved"], found["by_target"]) == (2, 2, {"app": 1, "workers": 1})
        took = [moment(one["recovered_at"]) - moment(one["acted_at"]) for one in await on.service.incidents()]
        assert found["mean_duration_seconds"] == pytest.approx(sum(took) / 2, abs=0.001)


def moment(stamp: str) -> float:
    return datetime.fromisoformat(stamp).timestamp()


@pytest.mark.row("PM-A5")
async def test_configuration_of_an_earlier_version_comes_back_and_pods_restart(stage: Any) -> None:
    async with stage(prepare=configured) as (on, _):
        before = {pod["metadata"]["uid"] for pod in await on.objects("pods") if pod["metadata"]["labels"]["app"] == APP}
        incident = await on.order("app", "paperless-configuration", inputs={"version": "v1.2.2"})
        assert incident["status"] == "resolved", incident
        assert (await settings_of(on), await secret_of(on)) == ({"mode": "old", "limit": "5"}, {"key": "b2xk"})
        after = {pod["metadata"]["uid"] for pod in await on.objects("pods") if pod["metadata"]["labels"]["app"] == APP}
        assert not before & after
        assert await on.image(APP) == V3
        assert "b2xk" not in str(incident)
        kept = [one for one in await on.objects("configmaps") if one["metadata"]["name"].startswith("responder-snapshot-")]
        assert {"mode": "new", "limit": "5"} in [one["data"] for one in kept]


@pytest.mark.row("PM-A9")
async def test_configuration_that_somebody_changes_meanwhile_is_replaced_by_force_only(stage: Any) -> None:
    async with stage(prepare=configured) as (on, _):

        async def meddle(request: Any, forward: Any) -> Any:
            """As soon as the content was kept, somebody else changes it."""
            answer = await forward()
            if request.is_write and request.method == "POST" and request.target.partition("?")[0].endswith("/configmaps"):
                on.kubernetes.rule = lambda _, forward: forward()
                await asyncio.sleep(1.1)  # the server's books on who changed what are kept by the second
                await on.configuration("ConfigMap", "paperless-maverick-config", {"mode": "by hand"})
            return answer

        on.kubernetes.rule = meddle
        incident = await on.order("app", "paperless-configuration", inputs={"version": "v1.2.2"})
        assert incident["status"] in ("refused", "failed"), incident
        assert await settings_of(on) == {"mode": "by hand"}

        words = ["paperless-configuration-by-force", "--target", "app", "--input", "version=v1.2.2"]
        code, printed = await on.say("plan", *words)
        assert code == 0, printed
        assert ("mode: by hand" in printed, "mode: old" in printed) == (True, True), printed
        incident = await on.order("app", "paperless-configuration-by-force", inputs={"version": "v1.2.2"})
        assert incident["status"] == "resolved", incident
        assert await settings_of(on) == {"mode": "old", "limit": "5"}


async def configured(on: Scene) -> None:
    for version, mode in (("v1.2.2", "old"), ("v1.2.3", "new")):
        settings = {"mode": mode, "limit": "5"}
        await on.configuration("ConfigMap", f"paperless-config-{version}", settings, snapshot_of="paperless-maverick-config")
        await on.configuration("Secret", f"paperless-secrets-{version}", {"key": mode}, snapshot_of="paperless-maverick-secrets")
        await on.configuration("ConfigMap", "paperless-maverick-config", settings)
        await on.configuration("Secret", "paperless-maverick-secrets", {"key": mode})


async def settings_of(on: Scene) -> object:
    return next(one["data"] for one in await on.objects("configmaps") if one["metadata"]["name"] == "paperless-maverick-config")


async def secret_of(on: Scene) -> object:
    return next(one["data"] for one in await on.objects("secrets") if one["metadata"]["name"] == "paperless-maverick-secrets")


# --- 5. when it does not go as it should ----------------------------------------


@pytest.mark.row("PM-A8")
async def test_a_stuck_rollout_is_ended_by_setting_the_image_and_deleting_its_pods(stage: Any) -> None:
    async with stage(bad="paperless-maverick:v1.2.3-stuck") as (on, _):
        incident = await on.order("app", "paperless-stuck", inputs={"version": "v1.2.2"})
        assert incident["status"] == "resolved", incident
        assert (await on.image(APP), await on.replicas(APP)) == (V2, (3, 3))
        forced = [one for one in on.kubernetes.writes if one.method == "DELETE" and "/pods/" in one.target]
        assert forced
        assert all(one.json()["gracePeriodSeconds"] == 0 for one in forced)
        images = {
            pod["spec"]["containers"][0]["image"] for pod in await on.objects("pods") if pod["metadata"]["labels"]["app"] == APP
        }
        assert images == {V2}


@pytest.mark.row("PM-A10")
async def test_everything_is_stopped_restored_and_started_again(stage: Any) -> None:
    async with stage() as (on, team):
        await team.postgres.run(
            "pg_dump", "--format=custom", f"--file={team.backups / '2025-01-21-10-30-00.dump'}", team.database
        )
        await team.query("delete from receipts where id > 100")  # the damage
        order = {"target": "app", "plan": "paperless-start-over", "reason": "x"}
        refused = await on.send("rollbacks", order, status=400)
        assert "needs the input `backup` (time stamp of the backup, such as 2025-01-21-10-30-00)" in refused["detail"]

        incident = await on.order("app", "paperless-start-over", inputs={"backup": "2025-01-21-10-30-00"})
        assert incident["status"] == "resolved", incident
        said = outputs_of(incident)
        assert ("from 3 to 0 pods" in said["app-off"], "from 2 to 0 pods" in said["workers-off"]) == (True, True)
        assert ("from 0 to 3 pods" in said["app-on"], "from 0 to 2 pods" in said["workers-on"]) == (True, True)
        assert (await on.replicas(APP), await on.replicas(WORKERS)) == ((3, 3), (2, 2))
        assert await team.query("select count(*) from receipts") == "501"
        assert len(list(team.backups.iterdir())) == 2, "the state before the restore was not kept"
        await on.until_told("the backup 2025-01-21-10-30-00 is restored")


@pytest.mark.row("PM-A10")
async def test_a_restore_that_fails_leaves_nothing_stopped(stage: Any) -> None:
    async with stage() as (on, team):
        incident = await on.order("app", "paperless-start-over", inputs={"backup": "2020-01-01-00-00-00"})
        assert (incident["status"], "full-restore" in incident["reason"]) == ("failed", True), incident
        assert (await on.replicas(APP), await on.replicas(WORKERS)) == ((3, 3), (2, 2))
        assert await team.query("select count(*) from receipts") == "501"
        await on.until_told("dba-oncall@mataresit.com")
