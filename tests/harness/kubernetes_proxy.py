"""A plain HTTP proxy in front of a cluster: remembers every request, and loses or changes answers as a test wants."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

import httpx

from tests.harness.cluster import Cluster

_GONE = {"type": "ERROR", "object": {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old resource version"}}
_EXPIRED = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n" + json.dumps(_GONE).encode() + b"\n"
Forward = Callable[[], Awaitable[httpx.Response]]


@dataclass(frozen=True)
class Request:
    method: str
    target: str
    headers: dict[str, str]
    body: bytes

    @property
    def query(self) -> dict[str, list[str]]:
        return parse_qs(urlsplit(self.target).query)

    @property
    def is_dry_run(self) -> bool:
        return "dryRun" in self.query

    @property
    def is_write(self) -> bool:
        return self.method != "GET" and not self.is_dry_run

    @property
    def is_watch(self) -> bool:
        return "watch" in self.query

    @property
    def is_list_of_one(self) -> bool:
        return "fieldSelector" in self.query and not self.is_watch

    def json(self) -> Any:
        return json.loads(self.body)


async def pass_on(_: Request, forward: Forward) -> httpx.Response | None:
    return await forward()


class KubernetesProxy:
    """rule: gets every request but watches and a way to forward it; what it returns is answered, None cuts the connection.

    expire_watches: every watch is told that its resourceVersion is too old, until the object has been listed again.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._server: asyncio.Server | None = None
        self._watches: set[asyncio.StreamWriter] = set()
        self._handlers: set[asyncio.Task[None]] = set()
        self.requests: list[Request] = []
        self.expire_watches = False
        self.rule: Callable[[Request, Forward], Awaitable[httpx.Response | None]] = pass_on

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for handler in list(self._handlers):
            handler.cancel()
        await asyncio.gather(*self._handlers, return_exceptions=True)

    def write_kubeconfig(self, path: Path) -> Path:
        context = {"cluster": "proxy", "user": "nobody"}
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "proxy", "cluster": {"server": self.url}}],
            "users": [{"name": "nobody", "user": {"token": "unused"}}],
            "contexts": [{"name": "proxy", "context": context}],
            "current-context": "proxy",
        }
        path.write_text(json.dumps(config))
        return path

    @property
    def writes(self) -> list[Request]:
        return [request for request in self.requests if request.is_write]

    @property
    def watches(self) -> int:
        """How many watches are open."""
        return len(self._watches)

    def cut_watches(self) -> None:
        for writer in list(self._watches):
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._handlers.add(task)
        try:
            # Cancelled only by ourselves, at the end.
            with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError, httpx.HTTPError, asyncio.CancelledError):
                while True:
                    request = await _read_request(reader)
                    self.requests.append(request)
                    if not await self._answer(request, reader, writer):
                        writer.transport.abort()
                        return
        finally:
            self._handlers.discard(task)
            self._watches.discard(writer)
            writer.close()

    async def _answer(self, request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        if request.is_watch:
            await self._stream_until_left(request, reader, writer)
            return False
        if request.is_list_of_one:
            self.expire_watches = False
        response = await self.rule(request, lambda: self._forward(request))
        if response is None:
            return False
        kind, retry = response.headers.get("content-type", "application/json"), response.headers.get("retry-after")
        extra = f"Retry-After: {retry}\r\n" if retry else ""
        head = (
            f"HTTP/1.1 {response.status_code} X\r\nContent-Type: {kind}\r\nContent-Length: {len(response.content)}\r\n{extra}\r\n"
        )
        writer.write(head.encode() + response.content)
        await writer.drain()
        return True

    async def _forward(self, request: Request) -> httpx.Response:
        return await self._cluster.http.request(
            request.method, request.target, content=request.body, headers=_passed_on(request.headers)
        )

    async def _stream_until_left(self, request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        left = asyncio.create_task(reader.read())
        streaming = asyncio.create_task(self._stream(request, writer))
        try:
            await asyncio.wait({left, streaming}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (left, streaming):
                task.cancel()
            await asyncio.gather(left, streaming, return_exceptions=True)

    async def _stream(self, request: Request, writer: asyncio.StreamWriter) -> None:
        if self.expire_watches:
            writer.write(_EXPIRED)
            await writer.drain()
            return
        headers, limit = _passed_on(request.headers), httpx.Timeout(5, read=None)
        self._watches.add(writer)
        async with self._cluster.http.stream("GET", request.target, headers=headers, timeout=limit) as upstream:
            head = f"HTTP/1.1 {upstream.status_code} X\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n"
            writer.write(head.encode())
            async for piece in upstream.aiter_bytes():
                writer.write(piece)
                await writer.drain()


def _passed_on(headers: dict[str, str]) -> dict[str, str]:
    return {key: value for key, value in headers.items() if key in ("content-type", "accept")}


async def _read_request(reader: asyncio.StreamReader) -> Request:
    head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    method, target, _ = head[0].split(" ")
    headers = {key.strip().lower(): value.strip() for key, _, value in (line.partition(":") for line in head[1:] if line)}
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    return Request(method, target, headers, body)
