"""Watching what can only be asked: a state whenever it differs from the one before."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import replace
from datetime import timedelta

import structlog

from responder.domain.version import WorkloadState
from responder.errors import ResponderError

POLL_EVERY = timedelta(seconds=15)

_log = structlog.get_logger(__name__)


async def poll(
    place: str, read: Callable[[], Awaitable[WorkloadState]], every: timedelta = POLL_EVERY
) -> AsyncGenerator[WorkloadState]:
    """The first state at once; ends only by cancellation. What can't be read is said once and asked for again."""
    known: WorkloadState | None = None
    trouble = ""
    while True:
        try:
            state = await read()
        except ResponderError as error:
            if str(error) != trouble:
                trouble = str(error)
                _log.warning("target_unreadable", place=place, reason=trouble)
        else:
            trouble = ""
            if known is None or replace(state, read_at=known.read_at) != known:
                yield state
            known = state
        await asyncio.sleep(every.total_seconds())
