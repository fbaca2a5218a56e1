"""The shop of the demo: a service whose health follows what its Deployment runs, and the pair of Alertmanagers that watch it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from responder.sandbox.loopback import LoopbackServer

NAMESPACE, NAME = "shop", "checkout"
GOOD, BAD = "checkout:v1.4.1", "checkout:v1.4.2-bad"
ERROR_RATE = 0.0731
_REPLICAS = ("http://alertmanager-0:9093", "http://alertmanager-1:9093")


class Shop:
    """running: the image that the Deployment is asked to run, None while there is none."""

    def __init__(self, running: Callable[[], str | None]) -> None:
        self._running = running
        self._server = LoopbackServer(Starlette(routes=[Route("/health/ready", self._health)]))

    @property
    def health_url(self) -> str:
        return f"{self._server.url}/health/ready"

    @property
    def is_healthy(self) -> bool:
        return self._running() == GOOD

    async def __aenter__(self) -> Shop:
        await self._server.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._server.stop()

    async def _health(self, _: Request) -> Response:
        if self.is_healthy:
            return JSONResponse({"status": "ready"})
        return JSONResponse({"status": "failing", "error": "cannot price a cart"}, 500)


def webhooks(status: str, began: datetime, ended: datetime | None) -> list[Mapping[str, object]]:
    """What both halves of a highly available Alertmanager pair send: the same alert, each with its own address."""
    labels = {
        "alertname": "HighErrorRate",
        "namespace": NAMESPACE,
        "deployment": NAME,
        "environment": "production",
        "severity": "critical",
    }
    alert = {
        "status": status,
        "labels": labels,
        "annotations": {"summary": "7.31 % of requests to checkout fail", "value": str(ERROR_RATE)},
        "startsAt": began.isoformat(),
        "endsAt": ended.isoformat() if ended else "0001-01-01T00:00:00Z",
        "generatorURL": "http://prometheus:9090/graph?g0.expr=job%3Ahttp_error_ratio%3Arate1m+%3E+0.05",
        "fingerprint": "5b2f0d6c1e7a9384",
    }
    return [
        {
            "version": "4",
            "groupKey": '{}:{alertname="HighErrorRate"}',
            "truncatedAlerts": 0,
            "status": status,
            "receiver": "responder",
            "groupLabels": {"alertname": "HighErrorRate"},
            "commonLabels": labels,
            "commonAnnotations": alert["annotations"],
            "externalURL": address,
            "alerts": [alert],
        }
        for address in _REPLICAS
    ]
