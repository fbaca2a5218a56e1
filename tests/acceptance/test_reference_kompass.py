"""KOMPASS (rules/kompass.yaml) on real parts: Compose projects on Docker engines behind SSH, CouchDB's replication, an index.

Every environment is an engine of its own, reached as another host by the real sshd. The rulebook is the shipped one.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from responder.sandbox.catchers import SlackCatcher, StatuspageCatcher
from tests.harness import docker
from tests.harness.carriers import Carriers, carriers
from tests.harness.kompass import (
    API_TOKEN,
    COUCHDB_PASSWORD,
    LINEAR_KEY,
    LOGIN_PASSWORD,
    SEARCH_KEY,
    Couch,
    Kompass,
    Linear,
    Search,
    couchdb,
    kompass,
    make_images,
)
from tests.harness.program import find_program
from tests.harness.service import Json, ResponderService
from tests.harness.shipped import SCRIPTS, shipped
from tests.harness.sshd import SshServer, ssh_server
from tests.harness.stage import messengers
from tests.harness.until import closed, in_the_ledger

pytestmark = [
    pytest.mark.acceptance,
    pytest.mark.skipif(bool(docker.what_is_missing()), reason=docker.what_is_missing()),
]

BACKUP = "kompass_backup_20250127-120000"
CUSTOMERS = [{"_id": f"customer-{n}", "name": f"Customer {n}"} for n in (1, 2, 3)]
CHECKS = ("backend", "frontend", "couchdb", "search", "containers", "authenticated", "log-in", "logs")


@pytest.fixture(scope="module")
def engines() -> Iterator[dict[str, docker.Docker]]:
    for name, package in (("docker-compose", "docker-compose"), ("busybox", "busybox-static"), ("curl", "curl")):
        find_program(name, package)
    with docker.engine() as production, docker.engine() as staging:
        for one in (production, staging):
            make_images(one, "v1", "v2", "v3")
        yield {"production": production, "staging": staging}


@dataclass
class Stage:
    """Both environments run v1, and the ledger knows it."""

    production: Kompass
    staging: Kompass
    couch: Couch
    search: Search
    linear: Linear
    slack: SlackCatcher
    page: StatuspageCatcher
    told: Carriers
    service: ResponderService

    async def health(self, environment: str, *outcomes: str) -> None:
        """What the deployment's health check posts."""
        labels = {"alertname": "HealthCheck", "system": "kompass", "environment": environment}
        for outcome in outcomes:  # one after the other, as a deployment looks
            event = {"key": environment, "status": outcome, "labels": labels}
            answer = await self.service.http.post("/webhooks/events", json=event)
            assert answer.status_code == 202, answer.text

    async def order(self, target: str, plan: str, **more: Any) -> Json:
        body = {"target": target, "plan": plan, "reason": "the runbook says so", **more}
        answer = await self.service.http.post("/v1/rollbacks", json=body)
        assert answer.status_code == 202, answer.text
        return dict(answer.json()["incident"])


@pytest.fixture
async def stage(engines: dict[str, docker.Docker], tmp_path: Path) -> AsyncIterator[Stage]:
    async with contextlib.AsyncExitStack() as stack:
        couch = await stack.enter_async_context(couchdb(tmp_path / "couchdb"))
        search, linear = Search(), Linear()
        for server in (search.server, linear.server):
            await server.start()
            stack.push_async_callback(server.stop)
        slack = await stack.enter_async_context(SlackCatcher())
        page = await stack.enter_async_context(StatuspageCatcher({"component": "KOMPASS"}))
        await couch.create("kompass", *CUSTOMERS)
        environments, hosts = {}, {}
        for name, engine in engines.items():
            one = environments[name] = kompass(engine, name, tmp_path / name, couch, search)
            stack.callback(one.clear)
            await asyncio.to_thread(one.deploy, "v1")
            hosts[name] = await stack.enter_async_context(ssh_server(tmp_path / f"sshd-{name}", DOCKER_HOST=one.docker_host))
        rules = rulebook(environments, hosts, couch, search, linear)
        told = await stack.enter_async_context(carriers())
        settings = {**settings_of(tmp_path, hosts, slack, page), **told.settings}
        service = await stack.enter_async_context(ResponderService(tmp_path / "responder", rules, settings, tokens=False))
        await in_the_ledger(service, 2)
        yield Stage(environments["production"], environments["staging"], couch, search, linear, slack, page, told, service)


def rulebook(environments: dict[str, Kompass], hosts: dict[str, SshServer], couch: Couch, search: Search, linear: Linear) -> str:
    variables: dict[str, str | int] = {"kompass_linear": f"{linear.server.url}/graphql"}
    places = {}
    for name, one in environments.items():
        where = {"folder": str(one.folder), "host": hosts[name].host}
        places[f"kompass-{name}"] = where
        addresses = {"backend": one.backend, "frontend": one.frontend, "couchdb": couch.url, "search": search.server.url}
        variables |= {f"kompass_{name}_{what}": value for what, value in {**where, **addresses}.items()}
    durations = {
        "plans.*.steps.*.with.every": "200ms",
        "plans.*.monitor.for": "1s",
    }
    return json.dumps(shipped("kompass", variables=variables, places=places, durations=durations))


def settings_of(folder: Path, hosts: dict[str, SshServer], slack: SlackCatcher, page: StatuspageCatcher) -> dict[str, str]:
    """One key for both hosts: whoever has one host's key is let in there only, so the key files are joined by a configuration."""
    lines = [
        f'Match host 127.0.0.1 exec "test %p = {one.port}"\n  IdentityFile {one.folder}/client_key\n'
        f"  UserKnownHostsFile {one.folder}/known_hosts\n"
        for one in hosts.values()
    ]
    (folder / "ssh_config").write_text("".join(lines))
    return {
        **messengers(slack, page),
        "RESPONDER_SSH_CONFIG_FILE": str(folder / "ssh_config"),
        "RESPONDER_ALLOWED_PROGRAMS": "docker,docker-compose,couchdb-same-documents",
        "RESPONDER_SECRET_KOMPASS_COUCHDB": COUCHDB_PASSWORD,
        "RESPONDER_SECRET_KOMPASS_SEARCH": SEARCH_KEY,
        "RESPONDER_SECRET_KOMPASS_API": API_TOKEN,
        "RESPONDER_SECRET_KOMPASS_LOGIN": LOGIN_PASSWORD,
        "RESPONDER_SECRET_LINEAR": LINEAR_KEY,
        "PATH": f"{SCRIPTS}:{os.environ['PATH']}",
    }


def outcomes(incident: Json) -> dict[str, str]:
    return {step["name"]: step["status"] for step in incident["steps"]}


@pytest.mark.row("KP-T1")
@pytest.mark.row("KP-A1")
@pytest.mark.row("KP-V1")
@pytest.mark.row("KP-C1")
async def test_a_bad_deployment_is_rolled_back_looked_at_and_told(stage: Stage) -> None:
    production, service = stage.production, stage.service
    await asyncio.to_thread(production.deploy, "v2")
    await stage.health("production", "failed", "failed", "failed")
    await service.program.until("an incident", lambda: has_recovered(service))
    await stage.health("production", "passed")
    incident = await closed(service)

    assert (incident["status"], incident["severity"]) == ("resolved", "P0"), service.tail()
    assert production.runs() == {"backend": "v1", "frontend": "v1"}
    assert stage.staging.runs() == {"backend": "v1", "frontend": "v1"}
    done = outcomes(incident)
    assert {done[f"production-{check}"] for check in CHECKS} == {"succeeded"}
    assert not [name for name in done if name.startswith("staging-")]

    [issue] = stage.linear.issues
    assert issue["title"] == "kompass-production: v2 was rolled back to v1"
    assert incident["id"] in issue["description"]
    await stage.slack.until(lambda: "kompass-production is back at v1" in "".join(one.shown for one in stage.slack.messages))
    assert "devops@kompass.de" in "".join(one.shown for one in stage.slack.messages)
    await stage.page.until(lambda: [one["status"] for one in stage.page.incidents] == ["resolved"])

    async def users_know() -> bool:
        return len(await stage.told.mailed("users@lists.kompass.example")) == 2

    await service.program.until("users are told the beginning and the end", users_know)
    *_, last = await stage.told.mailed("users@lists.kompass.example")
    assert ("works normally again" in last, "v2" in last) == (True, False), last
    assert await stage.told.mailed("devops@kompass.de") == await stage.told.mailed("tech-lead@kompass.de") != []
    assert API_TOKEN not in service.log + str(incident)
    assert LOGIN_PASSWORD not in service.log + str(incident)


async def has_recovered(service: ResponderService) -> bool:
    found = await service.incidents()
    return bool(found) and found[0]["status"] in ("monitoring", "failed", "refused")


@pytest.mark.row("KP-V1")
async def test_a_version_whose_health_check_fails_has_not_recovered(stage: Stage) -> None:
    staging, service = stage.staging, stage.service
    for kept in ("backend", "frontend"):
        staging.docker("tag", f"kompass/{kept}:v2", f"kompass/{kept}:rollback")
    begun = await stage.order("kompass-staging", "kompass-roll-back", override=["proven"], version="v2")
    await service.program.until("it is being verified", lambda: is_at(service, begun["id"], "staging-backend"))
    await service.http.post(f"/v1/incidents/{begun['id']}/cancel", json={"reason": "seen enough"})
    incident = await closed(service, begun["id"])
    assert incident["status"] == "cancelled"
    assert "production-backend" not in outcomes(incident)


@pytest.mark.row("KP-V1")
async def test_a_version_that_logs_errors_has_not_recovered(stage: Stage) -> None:
    staging, service = stage.staging, stage.service
    for kept in ("backend", "frontend"):
        staging.docker("tag", f"kompass/{kept}:v3", f"kompass/{kept}:rollback")
    begun = await stage.order("kompass-staging", "kompass-roll-back", override=["proven"], version="v3")
    incident = await closed(service, begun["id"])
    done = outcomes(incident)
    assert (incident["status"], done["staging-log-in"], done["staging-logs"]) == ("failed", "succeeded", "failed"), service.tail()
    assert "ERROR the session was not kept" in str(incident["steps"])
    await stage.slack.until(lambda: "emergency@kompass.de" in "".join(one.shown for one in stage.slack.messages))


async def is_at(service: ResponderService, incident_id: str, step: str) -> bool:
    incident = await service.incident(incident_id)
    found = outcomes(incident)
    return found.get(step) == "running" and "500" in str(incident)


@pytest.mark.row("KP-A2")
@pytest.mark.row("KP-R1")
async def test_a_person_orders_it_for_one_environment_and_it_is_in_the_history(stage: Stage) -> None:
    staging, service = stage.staging, stage.service
    for one in (stage.production, staging):
        await asyncio.to_thread(one.deploy, "v2")
    begun = await stage.order("kompass-staging", "kompass-roll-back", reason="customers can't be saved")
    incident = await closed(service, begun["id"])
    assert incident["status"] == "resolved", service.tail()
    assert staging.runs() == {"backend": "v1", "frontend": "v1"}
    assert stage.production.runs() == {"backend": "v2", "frontend": "v2"}
    assert outcomes(incident)["staging-logs"] == "succeeded"

    # Date, environment, reason, by whom, duration, resolution: every column of the team's table.
    [row] = await service.incidents()
    assert row["opened_at"] < row["closed_at"]
    assert row["target"] == "kompass-staging"
    ordered = next(event["text"] for event in incident["events"] if event["kind"] == "ordered")
    assert "local ordered the rollback of kompass-staging" in ordered
    assert "customers can't be saved" in ordered
    assert row["status"] == "resolved"
    report = await service.report(begun["id"])
    assert "| **Duration** |" in report
    assert "customers can't be saved" in report


@pytest.mark.row("KP-A3")
async def test_couchdb_is_filled_from_the_chosen_backup_and_what_was_there_is_kept(stage: Stage) -> None:
    couch, service = stage.couch, stage.service
    before = await couch.documents("kompass")
    await couch.back_up("kompass", BACKUP)
    await couch.put("kompass", {"_id": "customer-4", "name": "made up by a bug"})
    damaged = (await couch.http.get("/kompass/customer-1")).json()
    await couch.put("kompass", {**damaged, "name": "overwritten by a bug"})

    refused = await service.http.post(
        "/v1/rollbacks", json={"target": "kompass-production", "plan": "kompass-restore-production", "reason": "no backup named"}
    )
    assert refused.status_code == 400
    assert "needs the input `backup`" in refused.text
    wrong = await stage.order("kompass-production", "kompass-restore-production", inputs={"backup": BACKUP[:-6] + "000000"})
    done = outcomes(await closed(service, wrong["id"]))
    assert (done["backup-is-there"], "stop-backend" in done) == ("failed", False)

    begun = await stage.order("kompass-production", "kompass-restore-production", inputs={"backup": BACKUP})
    incident = await closed(service, begun["id"])
    assert incident["status"] == "resolved", str(incident) + service.tail()
    assert await couch.documents("kompass") == before
    kept = await couch.documents(f"kompass_before_{begun['id'].lower()}")
    assert kept["customer-1"] == {"name": "overwritten by a bug"}
    assert len(kept) == 4
    assert stage.search.documents == sorted(before)
    listed = next(step["output"] for step in incident["steps"] if step["name"] == "list-backups")
    assert BACKUP in listed
    assert COUCHDB_PASSWORD not in service.log + str(incident)


@pytest.mark.row("KP-A4")
async def test_the_search_index_is_deleted_and_the_backend_fills_it_again(stage: Stage) -> None:
    stage.search.documents = ["nonsense"]
    backend = stage.staging.docker("ps", "--quiet", "--filter", "label=com.docker.compose.service=backend")
    begun = await stage.order("kompass-staging", "kompass-reindex-staging")
    incident = await closed(stage.service, begun["id"])
    assert incident["status"] == "resolved", stage.service.tail()
    assert stage.search.deleted == 1
    assert stage.search.documents == ["customer-1", "customer-2", "customer-3"]
    assert backend in stage.staging.docker("ps", "--quiet"), "restarted, not recreated"
