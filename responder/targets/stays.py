"""When a rollback of several writes fails half-way: the error says what was changed and stays so, or nobody would know."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta

import structlog

from responder.errors import PermanentError, ResponderError, TemporaryError

_LOOK_WITHIN = timedelta(seconds=5)
_log = structlog.get_logger(__name__)


async def told(work: Awaitable[str], look: Callable[[], Awaitable[str]], known: Callable[[], str] = lambda: "") -> str:
    """The rollback's own work. look: what stays changed, by a look at the world, "" for nothing. known: what is known without."""
    try:
        return await work
    except (TemporaryError, PermanentError) as error:
        said = known() or await _looked(look)
        if not said or said in str(error):
            raise
        text = f"{error}; {said}"
        if isinstance(error, TemporaryError):
            raise type(error)(text, retry_after=error.retry_after) from error
        raise PermanentError(text) from error  # not a refusal: something was changed


async def _looked(look: Callable[[], Awaitable[str]]) -> str:
    try:
        async with asyncio.timeout(_LOOK_WITHIN.total_seconds()):
            return await look()
    except (ResponderError, TimeoutError) as error:
        _log.warning("what_stays_not_looked_at", error=str(error))
        return ""
