"""Whether the service can do its work: everything on record is folded, and the database takes what is written to it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timedelta

import structlog

from responder.errors import JournalUnavailableError
from responder.ports import Clock

_log = structlog.get_logger(__name__)
CHECKED_FOR = timedelta(seconds=1)
"""How long an answer stands: whoever asks more often writes no more often."""
ANSWER_WITHIN = timedelta(seconds=2)


class Readiness:
    """Asked by whoever sends work here. It writes itself: where it depended on the work of others, it would never come back.

    probe: writes to the database and takes it back; raises JournalUnavailableError.
    """

    def __init__(
        self,
        *,
        is_folded: Callable[[], bool],
        position: Callable[[], int],
        probe: Callable[[], Awaitable[None]],
        clock: Clock,
    ) -> None:
        self._is_folded = is_folded
        self._position = position
        self._probe = probe
        self._clock = clock
        self._under_way: asyncio.Task[str] | None = None
        self._problem = ""
        self._checked_at: datetime | None = None

    async def look(self) -> tuple[bool, Mapping[str, object]]:
        """Whether it is ready, and facts for people; what exactly is wrong with the database is logged, not told to everybody."""
        facts: dict[str, object] = {"journal_position": self._position()}
        if not self._is_folded():
            return False, {**facts, "problem": "the journal is still being folded"}
        now = self._clock()
        if self._checked_at is None or not timedelta(0) <= now - self._checked_at < CHECKED_FOR:
            self._note(await self._ask(), now)
        return (True, facts) if not self._problem else (False, {**facts, "problem": "the database can't be written"})

    async def _ask(self) -> str:
        """One probe at a time: behind one that hangs, no others queue up."""
        if self._under_way is None or self._under_way.done():
            self._under_way = asyncio.create_task(self._try(), name="readiness")
        probe = self._under_way
        done, _ = await asyncio.wait({probe}, timeout=ANSWER_WITHIN.total_seconds())
        return probe.result() if done else f"no answer within {ANSWER_WITHIN.total_seconds():g} s"

    async def _try(self) -> str:
        try:
            await self._probe()
        except JournalUnavailableError as error:
            return str(error) or "it failed"
        return ""

    def _note(self, problem: str, now: datetime) -> None:
        if problem and not self._problem:
            _log.error("not_ready", reason=problem, consequence="nothing is accepted until the database can be written")
        elif self._problem and not problem:
            _log.info("ready_again")
        self._problem, self._checked_at = problem, now
