"""A plain HTTP proxy in front of any service, with the same kind of rule as the proxy in front of a cluster."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Self

import httpx
from starlette.applications import Starlette
from starlette.requests import Request as HttpRequest
from starlette.responses import Response
from starlette.routing import Route

from responder.sandbox.loopback import LoopbackServer
from tests.harness.kubernetes_proxy import Forward, Request, pass_on

_OWN_TO_A_CONNECTION = ("host", "connection", "content-length", "transfer-encoding", "accept-encoding")
_PASSED_BACK = ("content-type", "retry-after")


class Gateway:
    """url: stands for the service's own root. rule: as in KubernetesProxy; None is answered as a broken gateway answers, 502."""

    def __init__(self, upstream: str) -> None:
        self._http = httpx.AsyncClient(base_url=upstream, trust_env=False, timeout=20)
        methods = ["GET", "POST", "PUT", "PATCH", "DELETE"]
        self._server = LoopbackServer(Starlette(routes=[Route("/{path:path}", self._handle, methods=methods)]))
        self.rule: Callable[[Request, Forward], Awaitable[httpx.Response | None]] = pass_on
        self.requests: list[Request] = []

    @property
    def url(self) -> str:
        return self._server.url

    async def __aenter__(self) -> Self:
        await self._server.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._server.stop()
        await self._http.aclose()

    async def _handle(self, received: HttpRequest) -> Response:
        query = f"?{received.url.query}" if received.url.query else ""
        request = Request(received.method, received.url.path + query, dict(received.headers), await received.body())
        self.requests.append(request)
        answer = await self.rule(request, lambda: self._forward(request))
        if answer is None:
            return Response(status_code=502)
        headers = {name: answer.headers[name] for name in _PASSED_BACK if name in answer.headers}
        return Response(answer.content, answer.status_code, headers)

    async def _forward(self, request: Request) -> httpx.Response:
        headers = {name: value for name, value in request.headers.items() if name not in _OWN_TO_A_CONNECTION}
        return await self._http.request(request.method, request.target, content=request.body, headers=headers)
