"""One Prometheus for all tests of a module, each with metrics of its own."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Self

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from responder.sandbox.loopback import LoopbackServer
from tests.harness.prometheus import Prometheus

NEVER = {"alert": "Never", "expr": "vector(0) > 1"}


class Scraper:
    """A Prometheus looks for targets every five seconds only. So this one knows them from its start: namespaces that do not exist
    yet, each with a page that is 404 until a test takes the name. All that is scraped there has the label `namespace`.

    most: how many tests there are at most.
    """

    def __init__(self, folder: Path, *, most: int = 24) -> None:
        self._folder = folder
        self._free = [f"scraped-{secrets.token_hex(4)}" for _ in range(most)]
        self._pages: dict[str, Callable[[], str]] = {}
        self._server = LoopbackServer(Starlette(routes=[Route("/{namespace}", self._page)]))

    async def __aenter__(self) -> Self:
        await self._server.start()
        labels = [{"namespace": name, "__metrics_path__": f"/{name}"} for name in self._free]
        self.prometheus = Prometheus(self._folder, page=self._server.url, alert=NEVER, alertmanagers=[], labels=labels)
        await self.prometheus.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.prometheus.__aexit__()
        await self._server.stop()

    def take(self) -> str:
        """The name of a namespace that is still to be made."""
        assert self._free, "more tests than names: raise `most`"
        return self._free.pop()

    def show(self, namespace: str, metrics: Callable[[], str]) -> None:
        """metrics: the page, asked for anew by each scrape."""
        self._pages[namespace] = metrics

    def hide(self, namespace: str) -> None:
        self._pages.pop(namespace, None)

    async def has_scraped(self, namespace: str, times: int) -> bool:
        return (await self.prometheus.value(f'sum_over_time(up{{namespace="{namespace}"}}[1m])') or 0) >= times

    async def _page(self, request: Request) -> Response:
        metrics = self._pages.get(request.path_params["namespace"])
        if metrics is None:
            return PlainTextResponse("no test has taken it", 404)
        return PlainTextResponse(metrics(), media_type="text/plain; version=0.0.4")
