"""Moments at which a test stops the world: a request has arrived at a proxy, and nothing goes on until the test says so."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import httpx

from tests.harness.kubernetes_proxy import Forward, Request

IsIt = Callable[[Request], Awaitable[bool]]


class Moment:
    """The first request for which `is_it` holds; use `rule` as a proxy's rule.

    landed: hold the request only after the server has taken it and answered, so that the answer alone is lost.
    late: a request that was held before it landed is lost, unless it is late: then it lands when it is let go.
    """

    def __init__(self, is_it: IsIt, *, landed: bool = False, late: bool = False) -> None:
        self._is_it = is_it
        self._landed = landed
        self._late = late
        self._let_go = asyncio.Event()
        self._reached = False
        self._over = asyncio.Event()
        self._answer: httpx.Response | None = None

    async def is_reached(self) -> bool:
        return self._reached

    def let_go(self) -> None:
        self._let_go.set()

    async def answer_when_let_go(self) -> httpx.Response:
        """Let the held request go and return what the server answered to it in the end."""
        self.let_go()
        await self._over.wait()
        assert self._answer is not None
        return self._answer

    async def rule(self, request: Request, forward: Forward) -> httpx.Response | None:
        # Asking may take a while: another request may have been the one meanwhile.
        if self._reached or not await self._is_it(request) or self._reached:
            return await forward()
        self._reached = not self._landed
        if self._landed:
            self._answer = await forward()
            self._reached = True
        await self._let_go.wait()
        if self._late:
            self._answer = await forward()
        self._over.set()
        return None
