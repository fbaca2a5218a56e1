"""The audit log: every command, with who gave it and how it ended, before it is answered."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

import structlog

from responder.domain.people import Actor, AuditEntry
from responder.errors import DeniedError, PermanentError
from responder.ports import Clock, People

_log = structlog.get_logger(__name__)
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class AuditLog:
    """Writes down who did what, and how it ended."""

    people: People
    clock: Clock

    async def noting(self, actor: Actor, action: str, subject: str, what: str, work: Callable[[], Awaitable[T]]) -> T:
        """Do the work; its outcome is in the log when this returns or raises."""
        try:
            done = await work()
        except PermanentError as error:
            outcome = "denied" if isinstance(error, DeniedError) else "refused"
            await self.note(actor, action, subject, outcome, f"{error} (asked for: {what})")
            raise
        await self.note(actor, action, subject, "done", what)
        return done

    async def note(self, actor: Actor, action: str, subject: str, outcome: str, text: str) -> None:
        _log.info("command", by=actor.name, action=action, subject=subject, outcome=outcome, text=text)
        await self.people.note(AuditEntry(self.clock(), actor.name, action, subject, outcome, text))
