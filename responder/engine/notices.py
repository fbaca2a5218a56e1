"""Telling people what concerns no single incident: the hold was turned, the rulebook or what a sender sends can't be used.

They go where messages of P2 go, and wake nobody: a notice closes nothing, so a pager leaves it alone.
Best effort: what is told has happened already, and nothing may fail because nobody could be told.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import structlog

from responder.domain.announcement import recipients
from responder.domain.notification import Message, Moment
from responder.domain.people import Hold
from responder.domain.rulebook import Rulebook, Severity
from responder.errors import JournalUnavailableError
from responder.ports import Clock, Outbox, OutboxEntry

_log = structlog.get_logger(__name__)
_SHOWN = 5  # problems of a rulebook
_AGAIN_AFTER = timedelta(days=1)  # the same sender can't be read, still or again


class Notices:
    """Each has an id of its own in the place of an incident's. on_outbox: called after something was put into the outbox."""

    def __init__(
        self,
        *,
        outbox: Outbox,
        rulebook: Callable[[], Rulebook],
        configured: Collection[str],
        new_id: Callable[[datetime], str],
        clock: Clock,
        on_outbox: Callable[[], None] = lambda: None,
    ) -> None:
        self._outbox = outbox
        self._rulebook = rulebook
        self._configured = configured
        self._new_id = new_id
        self._clock = clock
        self._on_outbox = on_outbox
        self._problems: tuple[str, ...] = ()
        self._unreadable: dict[str, datetime] = {}  # by sender: when it was told
        self._telling: set[asyncio.Task[None]] = set()

    async def hold_turned(self, hold: Hold) -> None:
        why = f": {hold.reason}" if hold.reason else ""
        if hold.held:
            await self._tell("Everything is on hold", f"Held by {hold.by}{why}. No rollback begins until somebody lets go.")
        else:
            await self._tell("The hold is over", f"Let go by {hold.by}{why}. What still fires is acted on now.")

    async def rulebook_refused(self, problems: Sequence[str]) -> None:
        """Once for the same problems in a row, however often somebody tries."""
        if tuple(problems) == self._problems:
            return
        self._problems = tuple(problems)
        more = f"\n… and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
        text = "The changed rulebook can't be used: the one before stays in force.\n"
        await self._tell("The rulebook was refused", text + "\n".join(problems[:_SHOWN]) + more)

    def rulebook_accepted(self) -> None:
        self._problems = ()

    def sender_unreadable(self, source: str, what: str) -> None:
        """What a sender sends can't be read, all of it or a part. Does not wait; once a day for each sender."""
        now = self._clock()
        told = self._unreadable.get(source)
        if told is not None and now - told < _AGAIN_AFTER:
            return
        self._unreadable[source] = now
        text = (
            f"{what}. Such alerts count for nothing until that is mended at the sender; what can be read beside them is taken."
            " Every one is in the log (`intake_noted`, `intake_rejected`); here this is said once a day."
        )
        task = asyncio.create_task(self._tell(f"Some of what {source} sends can't be read", text))
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)

    async def late_answer(self, key: str, who: str, text: str) -> None:
        """What somebody who gave a command could not be told alone. key: of the command; told once for it.

        Raises JournalUnavailableError.
        """
        notice = f"note_{hashlib.sha256(key.encode()).hexdigest()[:16]}"
        await self._put(notice, f"To {who}, whose command took longer than Slack waits", text)

    async def _tell(self, title: str, text: str) -> None:
        try:
            await self._put(self._new_id(self._clock()).replace("inc_", "note_", 1), title, text)
        except JournalUnavailableError as error:
            _log.warning("notice_not_told", title=title, error=str(error))

    async def _put(self, notice: str, title: str, text: str) -> None:
        message = Message(
            id=f"{notice}-1",
            incident_id=notice,
            moment=Moment.NOTICE,
            severity=Severity.P2,
            target="",
            title=title,
            text=text,
            at=self._clock(),
        )
        told = recipients(self._rulebook().routes, message, self._configured)
        await self._outbox.put([OutboxEntry(to, replace(one, customers=())) for to, one in told])
        self._on_outbox()
