"""People and the running service: the real process, its command line, a simulated cluster."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from responder.sandbox.cluster import SandboxCluster
from tests.harness.alertmanager import webhook_body
from tests.harness.cluster import Cluster
from tests.harness.service import Json, ResponderService
from tests.harness.warm_start import WarmStart

pytestmark = pytest.mark.acceptance

OPERATOR_TOKEN = "operator-token-of-the-tests"
RULES = """\
version: 1
targets:
  app:
    kubernetes: {{namespace: {namespace}, deployment: app}}
    match: ['namespace="{namespace}"', 'deployment="app"']
    mode: armed
    guards: {{proven_for: 0s, max_rollbacks: 10 per 24h}}
rules:
  - {{name: errors, match: ['alertname="Errors"'], severity: P1, respond: approve, approve: {{by: operator}}, plan: back}}
  - {{name: slow, match: ['alertname="Slow"'], severity: P2, respond: rollback, grace: 10m, plan: back}}
plans:
  back:
    steps: [rollback]
    monitor: {{for: 0s, every: 100ms}}
"""


@dataclass
class Scene:
    service: ResponderService
    cluster: Cluster
    namespace: str
    began: datetime

    async def alert(self, name: str, status: str = "firing") -> None:
        labels = {"alertname": name, "namespace": self.namespace, "deployment": "app"}
        body = webhook_body(labels, status=status, started=self.began)
        assert (await self.service.post_alerts(body)).status_code == 202

    async def newest(self, status: str) -> Json:
        """Wait until the newest incident has this status."""
        async with asyncio.timeout(30):
            while True:
                found = await self.service.incidents()
                if found and found[0]["status"] == status:
                    return await self.service.incident(found[0]["id"])
                await asyncio.sleep(0.05)

    async def say(self, *arguments: str) -> tuple[int, str]:
        """`responder …` as an operator types it: its exit code and what it printed."""
        environment = {**os.environ, "RESPONDER_URL": self.service.url, "RESPONDER_TOKEN": OPERATOR_TOKEN}
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "responder", *arguments,
            env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        printed, _ = await process.communicate()
        return process.returncode or 0, printed.decode()

    async def image(self) -> str:
        deployment = await self.cluster.get(self.namespace, "app")
        return str(deployment["spec"]["template"]["spec"]["containers"][0]["image"])


@asynccontextmanager
async def scene(folder: Path, warm: WarmStart) -> AsyncIterator[Scene]:
    """v2 was rolled out over v1 just now."""
    kubeconfig = folder / "kubeconfig"
    async with SandboxCluster(start_delay=0.02, stop_delay=0.02, backoff=0.5) as sandbox:
        sandbox.write_kubeconfig(kubeconfig)
        async with Cluster(kubeconfig) as cluster:
            namespace = await cluster.new_namespace()
            await cluster.roll_out(namespace, "app", "shop/app:v1", "shop/app:v2")
            rules = RULES.format(namespace=namespace)
            environment = {"RESPONDER_OPERATOR_TOKEN": OPERATOR_TOKEN, "KUBECONFIG": str(kubeconfig)}
            async with ResponderService(folder / "service", rules, environment, warm.program) as service:
                yield Scene(service, cluster, namespace, datetime.now(UTC) + timedelta(seconds=1))


async def test_a_yes_outlives_kill_nine_and_a_hold_stops_even_an_order(tmp_path: Path, warm: WarmStart) -> None:
    async with scene(tmp_path, warm) as on:
        await on.alert("Errors")
        waiting = await on.newest("waiting_approval")
        await on.service.kill()
        await on.service.start()
        assert (await on.newest("waiting_approval"))["approvals"] == waiting["approvals"]
        assert await on.image() == "shop/app:v2"

        code, printed = await on.say("approve", waiting["id"], "--reason", "do it")
        assert code == 0, printed
        await on.alert("Errors", "resolved")
        done = await on.newest("resolved")
        assert await on.image() == "shop/app:v1"
        assert done["approvals"][0]["given"]["by"] == "operator"
        assert done["approvals"][0]["given"]["reason"] == "do it"

        code, printed = await on.say("hold", "on", "--reason", "release day")
        assert (code, "by operator: release day" in printed) == (0, True)
        code, printed = await on.say("rollback", "app", "--reason", "once more", "--version", "v2")
        assert (code, "on hold by operator: release day" in printed) == (3, True)
        assert (await on.say("hold", "off"))[0] == 0


async def test_an_order_that_guards_refuse_is_done_by_who_answers_for_it(tmp_path: Path, warm: WarmStart) -> None:
    async with scene(tmp_path, warm) as on:
        code, printed = await on.say("rollback", "app", "--reason", "it is broken", "--plan", "back", "--follow")
        assert code == 0, printed
        assert "resolved: nothing went wrong for 0s" in printed
        assert await on.image() == "shop/app:v1"

        order = ["rollback", "app", "--reason", "it was not that", "--version", "v2", "--plan", "back"]
        code, printed = await on.say(*order, "--dry-run", "--json")
        assert code == 3
        seen: dict[str, Any] = json.loads(printed)
        assert {"proven", "second_step"} <= set(seen["may_override"])
        code, printed = await on.say(*order, "--follow")
        assert (code, "If you answer for it:" in printed) == (3, True)
        assert await on.image() == "shop/app:v1"

        answered = [word for name in seen["may_override"] for word in ("--override", name)]
        code, printed = await on.say(*order, *answered, "--follow")
        assert code == 0, printed
        assert await on.image() == "shop/app:v2"
        code, printed = await on.say("audit", "--json")
        log = [(row["action"], row["outcome"]) for row in json.loads(printed)["audit"]]
        assert log == [("rollback", "done"), ("rollback", "refused"), ("rollback", "done")]


async def test_a_countdown_is_stopped_and_what_is_suppressed_waits_for_its_end(tmp_path: Path, warm: WarmStart) -> None:
    async with scene(tmp_path, warm) as on:
        code, printed = await on.say("suppress", 'target="app"', "--for", "1h", "--reason", "load test", "--json")
        assert code == 0, printed
        made = json.loads(printed)["suppression"]["id"]
        await on.alert("Slow")
        await on.newest("suppressed")
        assert (await on.say("suppress", "--end", made))[0] == 0
        counting = await on.newest("countdown")
        assert counting["countdown_until"]
        assert (await on.say("cancel", counting["id"], "--reason", "a fix is out"))[0] == 0
        assert (await on.newest("cancelled"))["reason"] == "cancelled by operator: a fix is out"
        assert await on.image() == "shop/app:v2"
        code, printed = await on.say("cancel", counting["id"])
        assert code == 0, "the same word by the same person is no news"
        code, printed = await on.say("approve", counting["id"])
        assert (code, "it is closed: cancelled" in printed) == (1, True)
