"""The webhook endpoint, as a bare ASGI application: the hot path, which does nothing but journal before it answers."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from time import perf_counter

import orjson
import structlog
from starlette.types import Receive, Scope, Send

from responder.domain.signal import Signal
from responder.errors import InvalidInputError, JournalUnavailableError, ResponderError
from responder.intakes.delivery import Parse, ParsedDelivery
from responder.ports import EntryKind
from responder.web.admission import Admission
from responder.web.answers import WholeAnswer
from responder.web.deadline import ReadingDeadline
from responder.web.problems import INTERNAL, Problem, ProblemError, method_not_allowed, problem_of, too_large
from responder.web.services import WebServices

# Larger bodies are read in a thread, so that a body of several MB does not hold up the small ones.
READ_IN_THREAD = 256 * 1024

_NOSNIFF = (b"x-content-type-options", b"nosniff")
_JSON = (b"content-type", b"application/json")
_PROBLEM = (b"content-type", b"application/problem+json")


_CLOSE = (("Connection", "close"),)

_log = structlog.get_logger("responder.web")


def _accepted(accepted: int, ignored: int, problems: Sequence[str] = ()) -> WholeAnswer:
    told = b',"problems":%b' % orjson.dumps(problems) if problems else b""
    return WholeAnswer(202, (_JSON,), b'{"accepted":%d,"ignored":%d%b}' % (accepted, ignored, told))


_ONE = _accepted(1, 0)  # by far the most frequent


class Disconnected(Exception):  # noqa: N818 - not an error: the sender went away
    """The sender closed the connection before its body was complete."""


class IntakeEndpoint:
    """Authenticate, read, journal, then 202 `{"accepted": n, "ignored": n}`, with `problems` when some of it can't be read.

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
        self._noted: dict[int, tuple[float, int]] = {}  # by status: silent until, and how many were not said

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ordinary way: the body is read from the connection."""
        came, headers = asyncio.get_running_loop().time(), dict(scope["headers"])
        try:
            self._admit(scope["method"], headers)
            try:
                body = await self._deadline.keep(read_body(headers, receive, self._services.body_limit))
            except TimeoutError:
                raise Problem(408, "the body did not arrive in time", headers=_CLOSE).error() from None
            answer = await self._take(headers, body, came)
        except Disconnected:
            return
        except Exception as error:  # noqa: BLE001 - the web boundary
            answer = self._refusal(error)
        await _send(send, answer)

    async def answer(self, method: str, headers: Mapping[bytes, bytes], body: bytes) -> WholeAnswer:
        """The short way, for a request that has arrived whole (see `protocol`)."""
        came = asyncio.get_running_loop().time()
        try:
            self._admit(method, headers)
            check_size(len(body), self._services.body_limit)
            return await self._take(headers, body, came)
        except Exception as error:  # noqa: BLE001 - the web boundary
            return self._refusal(error)

    async def refuse(self, problem: Problem, send: Send) -> None:
        await _send(send, self._refusal(problem.error()))

    def _admit(self, method: str, headers: Mapping[bytes, bytes]) -> None:
        if method not in self._methods:
            raise method_not_allowed(self._methods).error()
        self._admission.headers(headers)
        check_content(headers)

    async def _take(self, headers: Mapping[bytes, bytes], body: bytes, came: float) -> WholeAnswer:
        """Answers with how many signals are on disk, and how many observations were ignored."""
        services = self._services
        now = services.clock()
        if len(body) <= READ_IN_THREAD:
            delivery = self._read(headers, body, now)
        else:
            delivery = await asyncio.to_thread(self._read, headers, body, now)
        if delivery.notes:
            _log.warning("intake_noted", source=self._name, receiver=delivery.receiver, notes=delivery.notes)
        accepted, ignored, seconds = len(delivery.signals), delivery.ignored, 0.0
        if accepted:
            began = perf_counter()
            await self._append(delivery.signals, now, came)
            seconds = perf_counter() - began
        services.metrics.accepted(self._name, accepted, ignored, seconds)
        if delivery.unreadable:
            services.unreadable(self._name, delivery.unreadable)
            return _accepted(accepted, ignored, delivery.notes)
        return _ONE if (accepted, ignored) == (1, 0) else _accepted(accepted, ignored)

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

    def _refusal(self, error: Exception) -> WholeAnswer:
        if isinstance(error, ProblemError):
            problem = error.problem
        elif isinstance(error, ResponderError):
            problem = problem_of(error)
        else:
            _log.exception("intake_failed", source=self._name, exc_info=error)
            problem = INTERNAL
        self._services.metrics.rejected(self._name, problem.status)
        if isinstance(error, InvalidInputError):  # from a sender that has proved who it is
            self._services.unreadable(self._name, f"{problem.field}: {problem.detail}" if problem.field else problem.detail)
        self._note_refusal(problem)
        extra = [(name.lower().encode(), value.encode()) for name, value in problem.headers]
        return WholeAnswer(problem.status, [_PROBLEM, _NOSNIFF, *extra], problem.body())

    def _note_refusal(self, problem: Problem) -> None:
        """At most one line a second for each status: a storm that is refused must not become a storm of lines."""
        now = perf_counter()
        silent_until, unsaid = self._noted.get(problem.status, (0.0, 0))
        if now < silent_until:
            self._noted[problem.status] = (silent_until, unsaid + 1)
            return
        self._noted[problem.status] = (now + 1.0, 0)
        _log.warning(
            "intake_rejected",
            source=self._name,
            status=problem.status,
            field=problem.field,
            detail=problem.detail,
            unsaid=unsaid,
        )


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


def check_size(size: int, limit: int) -> None:
    if size > limit:
        raise too_large(limit).error()


async def read_body(headers: Mapping[bytes, bytes], receive: Receive, limit: int) -> bytes:
    """The whole body, never holding more than `limit` bytes. Raises ProblemError (413) or Disconnected."""
    declared = headers.get(b"content-length", b"")
    if declared.isdigit():
        check_size(int(declared), limit)
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Disconnected
        part: bytes = message.get("body", b"")
        size += len(part)
        check_size(size, limit)
        if not message.get("more_body"):
            return b"".join([*parts, part]) if parts else part
        parts.append(part)


async def _send(send: Send, answer: WholeAnswer) -> None:
    length = (b"content-length", b"%d" % len(answer.body))
    await send({"type": "http.response.start", "status": answer.status, "headers": [*answer.headers, length]})
    await send({"type": "http.response.body", "body": answer.body})
