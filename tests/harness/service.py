"""The real `responder serve` as a process of its own, with settings by environment only."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, Self

import httpx

from tests.harness.program import Program, clean_environment

WEBHOOK_TOKEN = "webhook-token-of-the-tests"
VIEWER_TOKEN = "viewer-token-of-the-tests"

_ROOT = Path(__file__).parents[2]

Json = dict[str, Any]


MakeProgram = Callable[[Path, Mapping[str, str]], Program]


def serve(log: Path, environment: Mapping[str, str]) -> Program:
    """`responder serve` as anybody starts it."""
    return Program([sys.executable, "-m", "responder", "serve"], log, environment)


def serve_later(by: timedelta) -> MakeProgram:
    """`responder serve` as it will be after this time: its clock is ahead."""
    code = f"""
import sys
from datetime import timedelta
from responder.wiring import clock
now = clock.wall_clock
clock.wall_clock = lambda: now() + timedelta(seconds={by.total_seconds()})
from responder.__main__ import main
sys.argv = ["responder", "serve"]
main()
"""
    return lambda log, environment: Program([sys.executable, "-c", code], log, environment)


class ResponderService:
    """One database, one port after the other: `start` again after `kill` or `stop` is a restart of the same service.

    folder: of its own; holds rulebook, database, tokens and log. environment: further RESPONDER_* variables and KUBECONFIG.
    make: how the process comes about. tokens: without, everybody on loopback may do everything.
    """

    def __init__(
        self, folder: Path, rules: str, environment: Mapping[str, str], make: MakeProgram = serve, *, tokens: bool = True
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.rules_file = folder / "rules.yaml"
        self.rules_file.write_text(rules)
        self.token_file = folder / "webhook-token"
        self.token_file.write_text(WEBHOOK_TOKEN + "\n")
        settings = {
            "RESPONDER_PORT": "0",
            "RESPONDER_RULES": str(self.rules_file),
            "RESPONDER_DATABASE_URL": f"sqlite:///{folder / 'responder.db'}",
        }
        if tokens:
            settings |= {"RESPONDER_WEBHOOK_TOKEN_FILE": str(self.token_file), "RESPONDER_VIEWER_TOKEN": VIEWER_TOKEN}
        sources = os.pathsep.join(filter(None, (str(_ROOT), os.environ.get("PYTHONPATH"))))  # also where it is not installed
        self.environment = {**settings, "PYTHONPATH": sources, **environment}
        self.program = make(folder / "responder.log", clean_environment(**self.environment))
        self._log_from = 0
        self._http: httpx.AsyncClient | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.program.end()
        await self._forget()

    @property
    def url(self) -> str:
        """Where it listens, "" until it has said so."""
        return next((str(line["url"]) for line in self._lines() if line.get("event") == "ready"), "")

    @property
    def is_up(self) -> bool:
        """Started and not ended since by this test."""
        return self._http is not None

    @property
    def log(self) -> str:
        return self.program.log.read_text(errors="replace") if self.program.log.exists() else ""

    @property
    def http(self) -> httpx.AsyncClient:
        assert self._http is not None, "the service is not started"
        return self._http

    async def start(self) -> None:
        """Start it and wait until it is ready."""
        self.launch()

        async def is_ready() -> bool:
            return bool(self.url)

        await self.program.until("ready", is_ready)
        headers = {"Authorization": f"Bearer {VIEWER_TOKEN}"}
        self._http = httpx.AsyncClient(base_url=self.url, headers=headers, trust_env=False, timeout=20)
        answer = await self._http.get("/readyz")
        assert answer.json()["ready"] is True, answer.text

    def launch(self) -> None:
        """Start it without waiting."""
        self._log_from = len(self.log)
        self.program.launch()

    async def kill(self) -> None:
        """kill -9: no goodbye to anybody."""
        await self.program.kill()
        await self._forget()

    async def stop(self, seconds: float = 30) -> int:
        """SIGTERM; the exit code."""
        code = await self.program.terminate(seconds)
        await self._forget()
        return code

    async def post_alerts(self, body: object) -> httpx.Response:
        return await self.http.post("/webhooks/alertmanager", json=body, headers={"Authorization": f"Bearer {WEBHOOK_TOKEN}"})

    async def get(self, path: str, **parameters: str) -> Json:
        answer = await self.http.get(path, params=parameters)
        assert answer.status_code == 200, f"{path}: {answer.status_code} {answer.text}"
        return dict(answer.json())

    async def incidents(self) -> list[Json]:
        """Newest first, without their events."""
        return list((await self.get("/v1/incidents"))["incidents"])

    async def incident(self, incident_id: str) -> Json:
        return dict((await self.get(f"/v1/incidents/{incident_id}"))["incident"])

    async def rules(self) -> list[Json]:
        return list((await self.get("/v1/rules"))["rules"])

    async def report(self, incident_id: str) -> str:
        answer = await self.http.get(f"/v1/incidents/{incident_id}/report")
        assert answer.status_code == 200, answer.text
        return answer.text

    async def metric(self, name: str, **labels: str) -> float:
        """The value of one series, 0 when it is not there (a counter that never counted)."""
        text = (await self.http.get("/metrics")).text
        series = name + ("{" + ",".join(f'{key}="{value}"' for key, value in labels.items()) + "}" if labels else "")
        return next((float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith(f"{series} ")), 0.0)

    def tail(self) -> str:
        return self.program.tail()

    def _lines(self) -> Iterator[Json]:
        """What it has logged since its last start."""
        for line in self.log[self._log_from :].splitlines():
            if line.startswith("{"):
                try:
                    yield json.loads(line)
                except ValueError:  # still being written
                    return

    async def _forget(self) -> None:
        http, self._http = self._http, None  # before anything is awaited: others ask whether it is up
        if http is not None:
            await http.aclose()
