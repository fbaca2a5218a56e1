"""Debian's Prometheus on a free loopback port, scraping one page every second and sending alerts to Alertmanagers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

import httpx
import yaml

from tests.harness.control_plane import free_ports
from tests.harness.program import Program, find_program


class Prometheus:
    """page: address of the metrics. labels: of all that is scraped there; the page is scraped once for each set of them.

    alert: a rule as Prometheus writes it. alertmanagers: their addresses.
    """

    def __init__(
        self,
        folder: Path,
        *,
        page: str,
        alert: Mapping[str, Any],
        alertmanagers: Sequence[str],
        job: str = "application",
        labels: Sequence[Mapping[str, str]] = ({},),
    ) -> None:
        program = find_program("prometheus", "prometheus")
        folder.mkdir(parents=True)
        (port,) = free_ports(1)
        self.url = f"http://127.0.0.1:{port}"
        (folder / "rules.yml").write_text(yaml.safe_dump({"groups": [{"name": "test", "rules": [dict(alert)]}]}))
        (folder / "prometheus.yml").write_text(yaml.safe_dump(_config(folder, page, alertmanagers, job, labels)))
        command = [
            program,
            f"--config.file={folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
        ]
        self._program = Program(command, folder / "prometheus.log")

    async def __aenter__(self) -> Self:
        self._program.launch()
        self._http = httpx.AsyncClient(base_url=self.url, trust_env=False, timeout=20)
        await self._program.until("ready", self._is_ready)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._program.end()
        await self._http.aclose()

    async def alerts(self) -> list[dict[str, Any]]:
        """Its own active alerts, pending and firing."""
        return list((await self._http.get("/api/v1/alerts")).raise_for_status().json()["data"]["alerts"])

    async def alertmanagers(self) -> list[str]:
        """Those it sends to."""
        data = (await self._http.get("/api/v1/alertmanagers")).raise_for_status().json()["data"]
        return [str(one["url"]) for one in data["activeAlertmanagers"]]

    async def value(self, expression: str) -> float | None:
        """An instant query of one series; None when it has no value."""
        answer = await self._http.get("/api/v1/query", params={"query": expression})
        result = answer.raise_for_status().json()["data"]["result"]
        return float(result[0]["value"][1]) if result else None

    def tail(self) -> str:
        return self._program.tail(3000)

    async def _is_ready(self) -> bool:
        try:
            return (await self._http.get("/-/ready")).is_success
        except httpx.TransportError:
            return False


def _config(
    folder: Path, page: str, alertmanagers: Sequence[str], job: str, labels: Sequence[Mapping[str, str]]
) -> dict[str, Any]:
    scraped = [{"targets": [urlsplit(page).netloc], "labels": dict(of_one)} for of_one in labels]
    return {
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(folder / "rules.yml")],
        "scrape_configs": [{"job_name": job, "static_configs": scraped}],
        "alerting": {
            "alertmanagers": [{"static_configs": [{"targets": [urlsplit(one).netloc for one in alertmanagers]}]}],
        },
    }
