"""Watching what can only be asked: a state whenever it differs from the one before."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import replace
from datetime import timedelta

import structlog

from responder.domain.version import RolloutPhase, WorkloadState
from responder.errors import ResponderError

POLL_EVERY = timedelta(seconds=30)
GLANCE_EVERY = timedelta(seconds=3)

_log = structlog.get_logger(__name__)


async def poll(
    place: str,
    read: Callable[[], Awaitable[WorkloadState]],
    glance: Callable[[], Awaitable[str]],
    every: timedelta = POLL_EVERY,
    glance_every: timedelta = GLANCE_EVERY,
) -> AsyncGenerator[WorkloadState]:
    """The first state at once; ends only by cancellation. What can't be read is said once and asked for again.

    glance: something cheap that changes when somebody deploys, so that this is seen long before the next reading.
    """
    known: WorkloadState | None = None
    trouble = ""
    while True:
        seen = ""
        try:
            seen = await glance()
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
        settled = known is not None and known.rollout.phase is not RolloutPhase.PROGRESSING
        for _ in range(max(1, round(every / glance_every))):
            await asyncio.sleep(min(every, glance_every).total_seconds())
            if not trouble and (not settled or await _differs(glance, seen)):
                break


async def _differs(glance: Callable[[], Awaitable[str]], seen: str) -> bool:
    try:
        return await glance() != seen
    except ResponderError:
        return True  # reading says why
