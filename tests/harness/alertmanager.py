"""Debian's Alertmanager as a highly available pair, and the bodies that a pair sends for tests that need no real one."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self

import httpx
import yaml

from tests.harness.control_plane import free_ports
from tests.harness.program import Program, find_program

ZERO_TIME = "0001-01-01T00:00:00Z"


class Alertmanager:
    """One replica, configured by the folder's `alertmanager.yml`. cluster: its own port and its peer's; None alone."""

    def __init__(self, folder: Path, name: str, port: int, cluster: tuple[int, int] | None = None) -> None:
        self.name = name
        self.url = f"http://127.0.0.1:{port}"
        command = [
            find_program("prometheus-alertmanager", "prometheus-alertmanager"),
            f"--config.file={folder / 'alertmanager.yml'}",
            f"--storage.path={folder / name}",
            f"--web.listen-address=127.0.0.1:{port}",
            f"--web.external-url={self.url}",
            *(_cluster_flags(*cluster) if cluster else ["--cluster.listen-address="]),
        ]
        self.program = Program(command, folder / f"{name}.log")

    async def launch(self) -> None:
        self.program.launch()
        self._http = httpx.AsyncClient(base_url=self.url, trust_env=False, timeout=20)
        await self.program.until("ready", self._is_ready)

    async def end(self) -> None:
        """Without a goodbye: to its peer that would take seconds, with gossip as slow as here."""
        if self.program.is_running:
            await self.program.kill()
        await self._http.aclose()

    async def restart(self) -> None:
        """kill -9 and a new start: alerts are in memory only."""
        await self.kill()
        await self.revive()

    async def post(
        self,
        labels: Mapping[str, str],
        *,
        started: datetime,
        ended: datetime | None = None,
        annotations: Mapping[str, str] | None = None,
    ) -> None:
        """As Prometheus sends an alert; without an end it goes on for hours."""
        alert = {
            "labels": dict(labels),
            "annotations": dict(annotations or {}),
            "startsAt": started.isoformat(),
            "endsAt": (ended or datetime.now(UTC) + timedelta(hours=4)).isoformat(),
        }
        (await self._http.post("/api/v2/alerts", json=[alert])).raise_for_status()

    async def silence(self, **labels: str) -> str:
        """The id of a silence for these labels, which begins now."""
        matchers = [{"name": name, "value": value, "isRegex": False, "isEqual": True} for name, value in labels.items()]
        now = datetime.now(UTC)
        body = {
            "matchers": matchers,
            "startsAt": now.isoformat(),
            "endsAt": (now + timedelta(hours=1)).isoformat(),
            "createdBy": "test",
            "comment": "test",
        }
        return str((await self._http.post("/api/v2/silences", json=body)).raise_for_status().json()["silenceID"])

    async def kill(self) -> None:
        """kill -9; `revive` starts it again. What it delivered before is forgotten."""
        await self.program.kill()

    async def revive(self) -> None:
        self.program.launch()
        await self.program.until("ready", self._is_ready)

    async def active(self) -> list[str]:
        """Names of the alerts that it lists as active."""
        alerts = (await self._http.get("/api/v2/alerts", params={"active": "true"})).raise_for_status().json()
        return [str(alert["labels"]["alertname"]) for alert in alerts]

    async def peers(self) -> int:
        """Members of its cluster, itself included."""
        status = (await self._http.get("/api/v2/status")).raise_for_status().json()
        return len(status["cluster"]["peers"])

    async def delivered(self) -> int:
        """Webhooks that were sent and answered with success."""
        return await self._counted("alertmanager_notifications_total") - await self.failed()

    async def failed(self) -> int:
        return await self._counted("alertmanager_notifications_failed_total")

    async def _counted(self, name: str) -> int:
        text = (await self._http.get("/metrics")).raise_for_status().text
        lines = [line for line in text.splitlines() if line.startswith(f"{name}{{") and 'integration="webhook"' in line]
        return sum(int(float(line.rpartition(" ")[2])) for line in lines)

    async def _is_ready(self) -> bool:
        try:
            return (await self._http.get("/-/ready")).is_success
        except httpx.TransportError:
            return False


class AlertmanagerPair:
    """Two replicas, each other's peer. webhook: where both deliver, with the token of a file. timing: of the route."""

    def __init__(self, folder: Path, *, webhook: str, token_file: Path, **timing: str) -> None:
        folder.mkdir(parents=True)
        (folder / "alertmanager.yml").write_text(yaml.safe_dump(alertmanager_config(webhook, token_file, **timing)))
        first, second, first_peer, second_peer = free_ports(4)
        self.replicas = (
            Alertmanager(folder, "alertmanager-a", first, (first_peer, second_peer)),
            Alertmanager(folder, "alertmanager-b", second, (second_peer, first_peer)),
        )
        self._running = AsyncExitStack()

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            for replica in self.replicas:
                stack.push_async_callback(replica.end)
                await replica.launch()
            self._running = stack.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._running.aclose()

    @property
    def urls(self) -> list[str]:
        return [replica.url for replica in self.replicas]

    async def peers(self) -> list[int]:
        return list(await asyncio.gather(*(replica.peers() for replica in self.replicas)))

    async def delivered(self) -> list[int]:
        """By replica: webhooks that were answered with success."""
        return list(await asyncio.gather(*(replica.delivered() for replica in self.replicas)))

    async def failed(self) -> list[int]:
        return list(await asyncio.gather(*(replica.failed() for replica in self.replicas)))

    def tail(self) -> str:
        return "\n".join(replica.program.tail(3000) for replica in self.replicas)


def _cluster_flags(own: int, peer: int) -> list[str]:
    return [
        f"--cluster.listen-address=127.0.0.1:{own}",
        f"--cluster.advertise-address=127.0.0.1:{own}",
        f"--cluster.peer=127.0.0.1:{peer}",
        # A pair de-duplicates by gossip and only as well as the gossip is fast. This one is slow on purpose and nobody
        # waits for the other: both deliver, as a pair does whenever its network is bad.
        "--cluster.peer-timeout=1ms",
        "--cluster.gossip-interval=5m",
        "--cluster.probe-interval=5m",
        "--cluster.pushpull-interval=5m",
        "--cluster.settle-timeout=1s",
    ]


def alertmanager_config(webhook: str, token_file: Path, **timing: str) -> dict[str, Any]:
    """timing: `group_wait`, `group_interval`, `repeat_interval`, where they shall differ."""
    receiver = {
        "url": webhook,
        "send_resolved": True,
        "http_config": {"authorization": {"type": "Bearer", "credentials_file": str(token_file)}},
    }
    return {
        "route": {
            "receiver": "responder",
            "group_by": ["alertname", "namespace", "deployment"],
            "group_wait": "500ms",
            "group_interval": "1s",
            "repeat_interval": "1h",
            **timing,
        },
        "receivers": [{"name": "responder", "webhook_configs": [receiver]}],
    }


def webhook_body(
    labels: Mapping[str, str],
    *,
    status: str = "firing",
    started: datetime,
    value: str = "0.12",
    replica: str = "a",
) -> dict[str, Any]:
    """What one replica sends about one alert. The fingerprint, like the real one, depends on the labels alone."""
    alert = {
        "status": status,
        "labels": dict(labels),
        "annotations": {"value": value, "summary": "too many requests fail"},
        "startsAt": started.isoformat(),
        "endsAt": datetime.now(UTC).isoformat() if status == "resolved" else ZERO_TIME,
        "generatorURL": "http://prometheus.example/graph",
        "fingerprint": hashlib.sha256(repr(sorted(labels.items())).encode()).hexdigest()[:16],
    }
    return {
        "version": "4",
        "groupKey": f'{{}}:{{alertname="{labels["alertname"]}"}}',
        "truncatedAlerts": 0,
        "status": status,
        "receiver": "responder",
        "groupLabels": {"alertname": labels["alertname"]},
        "commonLabels": dict(labels),
        "commonAnnotations": alert["annotations"],
        "externalURL": f"http://alertmanager-{replica}.example",
        "alerts": [alert],
    }
