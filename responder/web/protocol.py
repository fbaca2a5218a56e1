"""uvicorn's HTTP protocol with a short cut for webhooks that arrive whole, which almost every webhook does.

The ordinary way builds a scope, a cycle, an event and two messages for each request and writes the answer in two pieces;
for a webhook of one alert that is more work than reading and journalling it. The short cut hands headers and body to the
endpoint and writes the answer at once. Whatever is unusual (in pieces, pipelined, HTTP/1.0, `Expect`, overload) goes the
ordinary way, to the same endpoint.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Protocol

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from responder.web.answers import WholeAnswer

HEAD_LIMIT = 64 * 1024  # bytes of a request's line and headers that come in further pieces; the first piece may be all of it
HEAD_WITHIN = 10.0  # seconds for line and headers, from when the connection was opened or their first byte came

_CLOSE = (b"connection", b"close")
_TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


class WholeEndpoint(Protocol):
    """An endpoint that can be handed a whole request. It answers for its own errors."""

    async def answer(self, method: str, headers: Mapping[bytes, bytes], body: bytes) -> WholeAnswer: ...


class _Unheard:
    """An event that nobody waits for."""

    def set(self) -> None: ...


class _Shortened:
    """Stands where uvicorn keeps the cycle of the request in flight, with what its protocol reads and writes there."""

    __slots__ = ("disconnected", "keep_alive", "response_complete")
    message_event = _Unheard()

    def __init__(self) -> None:
        self.response_complete = False
        self.disconnected = False
        self.keep_alive = True


class ShortCutProtocol(HttpToolsProtocol):
    """The application offers endpoints in its attribute `short_cuts`, by path; without it everything goes the ordinary way.

    Nobody has shown a token before the headers are complete, so their size and their time are bounded here: the parser keeps
    whatever comes, and a connection that says nothing takes the place of one that does.
    """

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._short_cuts: Mapping[bytes, WholeEndpoint] = getattr(self.app, "short_cuts", {})
        self._endpoint: WholeEndpoint | None = None  # of the request being received
        self._body: list[bytes] = []
        self._in_head = False
        self._head_size = 0
        self._head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget_head()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._in_head:
            self._head_size += len(data)
            if self._head_size > HEAD_LIMIT:
                self._refuse_head()
                return
        super().data_received(data)
        if self._in_head and self._head_timer is None:
            self._await_head()
        if self._endpoint is not None:  # only a part of it has come
            self._endpoint, body = None, self._body
            self._body = []
            self._go_the_ordinary_way()
            for part in body:
                super().on_body(part)

    def on_message_begin(self) -> None:
        self._in_head = True
        if self._short_cuts:  # the scope is made when it is needed
            self.url, self.headers, self.expect_100_continue = b"", [], False
        else:
            super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._forget_head()
        endpoint = self._short_cuts.get(self.url)
        if endpoint is not None and self._is_usual():
            self._endpoint = endpoint
        else:
            self._go_the_ordinary_way()

    def _go_the_ordinary_way(self) -> None:
        if self._short_cuts:
            url, headers, expects = self.url, self.headers, self.expect_100_continue
            super().on_message_begin()
            self.url, self.expect_100_continue = url, expects
            self.headers += headers
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        if self._endpoint is None:
            super().on_body(body)
        else:
            self._body.append(body)

    def on_message_complete(self) -> None:
        if self._endpoint is None:
            super().on_message_complete()
            return
        endpoint, parts = self._endpoint, self._body
        self._endpoint, self._body = None, []
        body = parts[0] if len(parts) == 1 else b"".join(parts)
        cycle = _Shortened()
        self.cycle = cycle  # type: ignore[assignment]
        task = self.loop.create_task(self._answer(cycle, endpoint, self.parser.get_method().decode(), dict(self.headers), body))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    def _await_head(self) -> None:
        self._head_timer = self.loop.call_later(HEAD_WITHIN, self._give_up_head)

    def _forget_head(self) -> None:
        self._in_head = False
        self._head_size = 0
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _give_up_head(self) -> None:
        self._head_timer = None
        if not self.transport.is_closing():
            self.transport.close()

    def _refuse_head(self) -> None:
        if not self.transport.is_closing():
            self.transport.write(_TOO_LARGE)
            self.transport.close()

    def _is_usual(self) -> bool:
        return (
            (self.cycle is None or self.cycle.response_complete)
            and not self.expect_100_continue
            and not self.parser.should_upgrade()
            and self.parser.should_keep_alive()
            and self.parser.get_http_version() == "1.1"
            and (self.limit_concurrency is None or max(len(self.connections), len(self.tasks)) < self.limit_concurrency)
        )

    async def _answer(
        self, cycle: _Shortened, endpoint: WholeEndpoint, method: str, headers: Mapping[bytes, bytes], body: bytes
    ) -> None:
        answer = await endpoint.answer(method, headers, body)
        cycle.response_complete = True
        if cycle.disconnected or self.transport.is_closing():
            return
        says_close = _CLOSE in answer.headers
        pieces = [STATUS_LINE[answer.status]]
        for name, value in (*self.server_state.default_headers, *answer.headers):
            pieces += (name, b": ", value, b"\r\n")
        if not (cycle.keep_alive or says_close):
            pieces.append(b"connection: close\r\n")
        pieces += (b"content-length: %d\r\n\r\n" % len(answer.body), answer.body)
        self.transport.write(b"".join(pieces))
        if says_close or not cycle.keep_alive:
            self.transport.close()
        self.on_response_complete()
