"""What the catchers share: a server, faults to order, and a page that shows what was caught."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Self

import orjson
from pydantic import TypeAdapter, ValidationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from responder.ports import Clock
from responder.sandbox.loopback import LoopbackServer

Handler = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Fault:
    """What a service does instead of answering properly.

    status, text: its answer. hang: it never answers. after_accepting: it does what was asked first.
    retry_after: the header as it is, "" for none. method: only for requests with this method, "" for all.
    times: for how many requests.
    """

    status: int = 500
    text: str = "internal error"
    retry_after: str = ""
    after_accepting: bool = False
    hang: bool = False
    method: str = ""
    times: int = 1


_FAULT = TypeAdapter(Fault)


class Catcher(ABC):
    """Use it with `async with`. For other processes: `GET /messages` shows what was caught, `POST /faults` orders a fault.

    clock: None counts the seconds of 2026 by what is caught.
    """

    def __init__(self, clock: Clock | None = None, port: int = 0) -> None:
        self._clock = clock
        self._faults: list[list[Fault]] = []
        self._released = asyncio.Event()
        self._changed = asyncio.Condition()
        self.requests: list[tuple[str, str]] = []
        control = [Route("/messages", self._show, methods=["GET"]), Route("/faults", self._order, methods=["POST"])]
        self._server = LoopbackServer(Starlette(routes=[*control, *self._routes()]), port)

    @abstractmethod
    def caught(self) -> object:
        """Everything caught so far, ready for JSON."""

    @abstractmethod
    def _routes(self) -> Sequence[Route]: ...

    @property
    def base_url(self) -> str:
        return self._server.url

    def fail(self, fault: Fault) -> None:
        """Order a fault; they come in the order in which they were ordered."""
        self._faults.append([fault] * fault.times)

    async def until(self, reached: Callable[[], bool], timeout: timedelta = timedelta(seconds=10)) -> None:
        """Wait until something holds; it is looked at after every request. Raises TimeoutError."""
        async with asyncio.timeout(timeout.total_seconds()), self._changed:
            await self._changed.wait_for(reached)

    async def __aenter__(self) -> Self:
        await self._server.start()
        return self

    async def __aexit__(self, _kind: type[BaseException] | None, _error: BaseException | None, _at: TracebackType | None) -> None:
        self._released.set()
        await self._server.stop()

    def _now(self, number: int) -> datetime:
        return self._clock() if self._clock is not None else datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=number)

    def _guarded(self, handle: Handler) -> Handler:
        """The handler, unless a fault was ordered."""

        async def guarded(request: Request) -> Response:
            self.requests.append((request.method, request.url.path))
            fault = self._next_fault(request.method)
            try:
                if fault is None:
                    return await handle(request)
                if fault.after_accepting:
                    await handle(request)
            finally:
                async with self._changed:
                    self._changed.notify_all()
            if fault.hang:
                await self._released.wait()
            headers = {"Retry-After": fault.retry_after} if fault.retry_after else None
            return PlainTextResponse(fault.text, fault.status, headers)

        return guarded

    def _next_fault(self, method: str) -> Fault | None:
        for waiting in self._faults:
            if waiting and waiting[0].method in ("", method):
                return waiting.pop()
        return None

    async def _show(self, _request: Request) -> Response:
        return Response(orjson.dumps(self.caught()), media_type="application/json")

    async def _order(self, request: Request) -> Response:
        try:
            self.fail(_FAULT.validate_json(await request.body()))
        except ValidationError as error:
            return PlainTextResponse(str(error), 400)
        return PlainTextResponse("ok")
