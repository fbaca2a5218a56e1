"""The application that a Deployment stands for: its health and its error ratio follow the image that it is asked to run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Self

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from responder.sandbox.loopback import LoopbackServer

TROUBLED = 0.05


class Application:
    """image: what runs now. error_ratios: by image, 0 for others; healthy is what stays below 5 %."""

    def __init__(self, image: Callable[[], str], error_ratios: dict[str, float]) -> None:
        self._image = image
        self.error_ratios = error_ratios
        self.scrapes = 0
        routes = [Route("/health/ready", self._ready), Route("/metrics", self._metrics)]
        self._server = LoopbackServer(Starlette(routes=routes))

    @property
    def url(self) -> str:
        return self._server.url

    @property
    def error_ratio(self) -> float:
        return self.error_ratios.get(self._image(), 0.0)

    @property
    def is_healthy(self) -> bool:
        return self.error_ratio < TROUBLED

    async def __aenter__(self) -> Self:
        await self._server.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._server.stop()

    async def _ready(self, _: Request) -> Response:
        return PlainTextResponse("ready") if self.is_healthy else PlainTextResponse("too many errors", 500)

    async def _metrics(self, _: Request) -> Response:
        self.scrapes += 1
        text = f"# TYPE error_ratio gauge\nerror_ratio {self.error_ratio}\n"
        return PlainTextResponse(text, media_type="text/plain; version=0.0.4")
