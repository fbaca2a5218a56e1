"""`responder serve` as an operator meets it: what it refuses to start with, and how it ends."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Mapping
from pathlib import Path

import pytest

from responder.sandbox.cluster import SandboxCluster
from tests.harness.cluster import Cluster
from tests.harness.kubernetes_proxy import Request
from tests.harness.moments import Moment
from tests.harness.service import VIEWER_TOKEN, WEBHOOK_TOKEN, ResponderService
from tests.harness.stage import set_up

pytestmark = pytest.mark.acceptance

NOTIFY_ONLY = """
version: 1
rules:
  - name: anything
    match: ['alertname="DiskFull"']
    respond: notify
"""
THREE_TIMES_WRONG = """version: 1
rules:
  - name: error_rate_spike
    match: ['alertname="HighErrorRate"']
    for: 5
    respond: rollback
    plan: there-is-none
"""


async def refused(folder: Path, rules: str = NOTIFY_ONLY, environment: Mapping[str, str] | None = None) -> str:
    """What it says as it refuses to start; with exit code 2, as for every wrong usage."""
    service = ResponderService(folder, rules, environment or {})
    service.launch()
    try:
        assert await service.program.exited() == 2, service.tail()
    finally:
        await service.program.end()
    assert "Traceback" not in service.log
    return service.log


async def test_a_wrong_rulebook_is_refused_with_every_problem_and_its_place(tmp_path: Path) -> None:
    said = await refused(tmp_path, THREE_TIMES_WRONG)
    places = re.findall(r"rules\.yaml:(\d+):(\d+): (.+)", said)
    assert [(line, column) for line, column, _ in places] == [("5", "10"), ("6", "14"), ("7", "11")], said
    assert "has no unit" in places[0][2]
    assert "no target is declared" in places[1][2]
    assert "there-is-none" in places[2][2]
    assert not (tmp_path / "responder.db").exists(), "the database was touched before the rulebook was right"


async def test_wrong_settings_are_refused_all_at_once_and_no_secret_is_shown(tmp_path: Path) -> None:
    environment = {
        "RESPONDER_STATUSPAGE_API_KEY": "a-key-that-nobody-may-see",
        "RESPONDER_OPERATOR_TOKEN": "a token that nobody may see",
        "RESPONDER_SLACK_WEBHOOK_URL": "ftp://hooks.example/services/that-nobody-may-see",
        "RESPONDER_PORTT": "8080",
    }
    said = await refused(tmp_path, environment=environment)
    for name in ("RESPONDER_STATUSPAGE_PAGE_ID", "RESPONDER_OPERATOR_TOKEN", "RESPONDER_SLACK_WEBHOOK_URL"):
        assert name in said
    assert "did you mean RESPONDER_PORT?" in said
    for secret in ("nobody-may-see", "nobody may see", WEBHOOK_TOKEN, VIEWER_TOKEN):
        assert secret not in said


async def test_without_tokens_only_loopback_is_served(tmp_path: Path) -> None:
    service = ResponderService(tmp_path, NOTIFY_ONLY, {"RESPONDER_HOST": "0.0.0.0"}, tokens=False)
    service.launch()
    try:
        assert await service.program.exited() == 2
    finally:
        await service.program.end()
    assert "RESPONDER_HOST" in service.log


async def test_a_port_in_use_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        said = await refused(tmp_path, environment={"RESPONDER_PORT": str(taken.getsockname()[1])})
    assert "RESPONDER_PORT" in said
    assert "in use" in said.lower()


async def test_a_second_service_on_the_same_database_is_refused_and_the_first_one_serves_on(tmp_path: Path) -> None:
    async with ResponderService(tmp_path / "first", NOTIFY_ONLY, {}) as first:
        database = first.environment["RESPONDER_DATABASE_URL"]
        said = await refused(tmp_path / "second", environment={"RESPONDER_DATABASE_URL": database})
        assert "in use by another Responder" in said
        assert str(first.program.pid) in said
        assert await first.incidents() == []


async def test_told_to_stop_in_the_middle_of_a_run_it_ends_with_0_and_goes_on_at_the_next_start(tmp_path: Path) -> None:
    async with SandboxCluster(start_delay=0.2, stop_delay=0.05) as played:
        played.write_kubeconfig(tmp_path / "sandbox.kubeconfig")
        async with Cluster(tmp_path / "sandbox.kubeconfig") as cluster, set_up(cluster, tmp_path) as stage:

            async def during_the_verification(_: Request) -> bool:
                return bool((await stage.service.incidents())[0]["status"] == "verifying")

            moment = Moment(during_the_verification)
            stage.health.rule = moment.rule
            await stage.service.start()
            await stage.alert_fires()
            clearing = asyncio.create_task(stage.alert_clears_with_recovery())
            try:
                await stage.timeline.until("reached the verification", moment.is_reached)
                assert await stage.service.stop(seconds=10) == 0
                assert "Traceback" not in stage.service.log
                moment.let_go()
                await stage.service.start()
                await clearing
                incident = await stage.check_one_rollback()
            finally:
                clearing.cancel()
    (rollback,) = [step for step in incident["steps"] if step["uses"] == "rollback"]
    assert rollback["attempts"] == 1, "the step that had ended was run again"
