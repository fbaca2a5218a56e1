"""Other rules for a running process, by signal and over HTTP; and a replay of its journal while it runs."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.harness.service import ResponderService

pytestmark = pytest.mark.acceptance

OPERATOR_TOKEN = "operator-token-of-the-tests"
RULES = """\
version: 1
rules:
  - {name: disk, match: ['alertname="DiskFull"'], for: 1h, respond: notify}
"""


def alert() -> dict[str, object]:
    began = (datetime.now(UTC) - timedelta(minutes=2)).isoformat().replace("+00:00", "Z")
    return {"version": "4", "alerts": [{"status": "firing", "labels": {"alertname": "DiskFull"}, "startsAt": began}]}


async def until_logged(service: ResponderService, event: str, times: int = 1) -> None:
    async with asyncio.timeout(20):
        while True:
            if service.log.count(f'"{event}"') >= times:
                return
            await asyncio.sleep(0.02)


async def test_new_rules_take_over_by_signal_and_bad_ones_do_not(tmp_path: Path) -> None:
    async with ResponderService(tmp_path, RULES, {"RESPONDER_OPERATOR_TOKEN": OPERATOR_TOKEN}) as service:
        assert (await service.post_alerts(alert())).status_code == 202
        service.rules_file.write_text(RULES.replace("for:", "four:"))
        service.program.signal(signal.SIGHUP)
        await until_logged(service, "rulebook_refused")
        assert await service.metric("responder_rulebook_reload_ok") == 0
        assert [row["for"] for row in await service.rules()] == ["1h"]

        service.rules_file.write_text(RULES.replace("1h", "1m"))
        service.program.signal(signal.SIGHUP)
        await until_logged(service, "rulebook_reloaded")
        assert await service.metric("responder_rulebook_reload_ok") == 1
        await until_logged(service, "incident_opened")

        service.rules_file.write_text(RULES.replace("1h", "90s"))
        headers = {"Authorization": f"Bearer {OPERATOR_TOKEN}"}
        assert (await service.http.post("/-/reload", headers=headers)).json()["changed"] is True
        assert (await service.http.post("/-/reload")).status_code == 403, "a viewer may not"
        [incident] = await service.incidents()  # nothing past happens twice

        document = await replay(tmp_path, service.rules_file)
        assert [one["kind"] for one in document["decisions"]] == ["respond"]
        assert [one["incident"]["id"] for one in document["differences"]] == [incident["id"]]
        assert await service.stop() == 0


async def replay(folder: Path, rules: Path) -> dict[str, list[dict[str, Any]]]:
    """By the command, on the database that the service has open."""
    command = ["-m", "responder", "replay", "--rules", str(rules), "--database", f"sqlite:///{folder / 'responder.db'}", "--json"]
    process = await asyncio.create_subprocess_exec(sys.executable, *command, stdout=asyncio.subprocess.PIPE)
    printed, _ = await process.communicate()
    assert process.returncode == 0
    found: dict[str, list[dict[str, Any]]] = json.loads(printed)
    return found
