"""The webhook endpoint, as a bare ASGI application: the hot path, which does nothing but journal before it answers."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from time import perf_counter

import structlog
from starlette.types import Message, Receive, Scope, Send

from responder.domain.signal import Signal
from responder.errors import JournalUnavailableError, ResponderError
from responder.intakes.delivery import Parse, ParsedDelivery
from responder.ports import EntryKind
from responder.web.admission import Admission
from responder.web.deadline import ReadingDeadline
from responder.web.problems import INTERNAL, Problem, ProblemError, method_not_allowed, problem_of, too_large
from responder.web.services import WebServices

# Larger bodies are read in a thread, so that a body of several MB does not hold up the small ones.
READ_IN_THREAD = 256 * 1024

_NOSNIFF = (b"x-content-type-options", b"nosniff")
_JSON = (b"content-type", b"application/json")
_PROBLEM = (b"content-type", b"application/problem+json")


def _answer(accepted: int, ignored: int) -> tuple[Message, Message]:
    body = b'{"accepted":%d,"ignored":%d}' % (accepted, ignored)
    headers = [_JSON, (b"content-length", b"%d" % len(body))]
    return {"type": "http.response.start", "status": 202, "headers": headers}, {"type": "http.response.body", "body": body}


_ONE_START, _ONE_BODY = _answer(1, 0)  # by far the most frequent

_log = structlog.get_logger("responder.web")


class Disconnected(Exception):  # noqa: N818 - not an error: the sender went away
    """The sender closed the connection before its body was complete."""


class IntakeEndpoint:
    """Authenticate, read, journal, then 202 `{"accepted": n, "ignored": n}`.

    name: of the sender, for metrics and logs.
    answer_within: from when the request came; None leaves it to the journal's patience.
    """

    def __init__(
        self,
        name: str,
        parse: Parse,
        services: WebServices,
        admission: Admission,
        *,
        methods: Sequence[str] = ("POST",),
        answer_within: timedelta | None = None,
    ) -> None:
        self._name = name
        self._parse = parse
        self._services = services
        self._admission = admission
        self._methods = methods
        self._answer_within = answer_within
        self._deadline = ReadingDeadline(services.body_within)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            accepted, ignored = await self._take(scope, receive)
        except Disconnected:
            return
        except ProblemError as error:
            await self.refuse(error.problem, send)
        except ResponderError as error:
            await self.refuse(problem_of(error), send)
        except Exception:  # noqa: BLE001 - the web boundary
            _log.exception("intake_failed", source=self._name)
            await self.refuse(INTERNAL, send)
        else:
            if (accepted, ignored) == (1, 0):
                await send(_ONE_START)
                await send(_ONE_BODY)
            else:
                for message in _answer(accepted, ignored):
                    await send(message)

    async def _take(self, scope: Scope, receive: Receive) -> tuple[int, int]:
        """Returns how many signals are on disk, and how many observations were ignored."""
        services = self._services
        if scope["method"] not in self._methods:
            raise method_not_allowed(self._methods).error()
        came = asyncio.get_running_loop().time()
        headers = dict(scope["headers"])
        self._admission.headers(headers)
        check_content(headers)
        try:
            body = await self._deadline.keep(read_body(headers, receive, services.body_limit))
        except TimeoutError:
            raise Problem(408, "the body did not arrive in time", headers=(("Connection", "close"),)).error() from None
        now = services.clock()
        if len(body) <= READ_IN_THREAD:
            delivery = self._read(headers, body, now)
        else:
            delivery = await asyncio.to_thread(self._read, headers, body, now)
        if delivery.notes:
            _log.warning("intake_noted", source=self._name, receiver=delivery.receiver, notes=delivery.notes)
        seconds = 0.0
        if delivery.signals:
            began = perf_counter()
            await self._append(delivery.signals, now, came)
            seconds = perf_counter() - began
        services.metrics.accepted(self._name, len(delivery.signals), delivery.ignored, seconds)
        return len(delivery.signals), delivery.ignored

    def _read(self, headers: Mapping[bytes, bytes], body: bytes, now: datetime) -> ParsedDelivery:
        if self._admission.body is not None:
            self._admission.body(headers, body, now)
        return self._parse(body, now, headers)

    async def _append(self, signals: Sequence[Signal], now: datetime, came: float) -> None:
        appending = self._services.journal.append(EntryKind.SIGNALS, now, signals)
        if self._answer_within is None:
            await appending  # it has a patience of its own
            return
        try:
            async with asyncio.timeout_at(came + self._answer_within.total_seconds()):
                await appending
        except TimeoutError:
            raise JournalUnavailableError("the journal did not answer in time for this sender") from None

    async def refuse(self, problem: Problem, send: Send) -> None:
        self._services.metrics.rejected(self._name, problem.status)
        _log.warning("intake_rejected", source=self._name, status=problem.status, field=problem.field, detail=problem.detail)
        body = problem.body()
        extra = [(name.lower().encode(), value.encode()) for name, value in problem.headers]
        await _send(send, problem.status, body, [_PROBLEM, (b"content-length", b"%d" % len(body)), _NOSNIFF, *extra])


def check_content(headers: Mapping[bytes, bytes]) -> None:
    """Raises ProblemError (415) for anything but plain JSON in UTF-8."""
    content_type = headers.get(b"content-type", b"")
    if content_type != b"application/json":
        kind, *parameters = (part.strip().lower() for part in content_type.split(b";"))
        charsets = {part.partition(b"=")[2].strip(b'"') for part in parameters if part.startswith(b"charset=")}
        if kind != b"application/json" or not charsets <= {b"utf-8", b"us-ascii"}:
            raise Problem(415, "the body must be application/json in UTF-8", field="Content-Type").error()
    if headers.get(b"content-encoding", b"identity").lower() != b"identity":
        raise Problem(415, "compressed bodies are not taken", field="Content-Encoding").error()


async def read_body(headers: Mapping[bytes, bytes], receive: Receive, limit: int) -> bytes:
    """The whole body, never holding more than `limit` bytes. Raises ProblemError (413) or Disconnected."""
    declared = headers.get(b"content-length", b"")
    if declared.isdigit() and int(declared) > limit:
        raise too_large(limit).error()
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Disconnected
        part: bytes = message.get("body", b"")
        size += len(part)
        if size > limit:
            raise too_large(limit).error()
        if not message.get("more_body"):
            return b"".join([*parts, part]) if parts else part
        parts.append(part)


async def _send(send: Send, status: int, body: bytes, headers: list[tuple[bytes, bytes]]) -> None:
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
