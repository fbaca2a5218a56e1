"""What becomes of decisions to respond: an incident each, or the one that they join. None is lost while the database is away."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable

import structlog

from responder.domain.decision import Decision
from responder.domain.incident import Incident
from responder.domain.rulebook import Response
from responder.engine.abreast import abreast
from responder.engine.desk import IncidentDesk
from responder.engine.restraint import Restraint
from responder.errors import JournalUnavailableError
from responder.ports import Clock

RETRY_PAUSE = 1.0  # seconds, when the database can't be written

_log = structlog.get_logger(__name__)


async def durably(work: Callable[[], Awaitable[object]]) -> None:
    """A decision must not be lost because the database is away for a while: try until it is back."""
    while True:
        try:
            await work()
        except JournalUnavailableError as error:
            _log.error("database_unavailable", error=str(error), retry_in_s=RETRY_PAUSE)
            await asyncio.sleep(RETRY_PAUSE)
        else:
            return


class Answers:
    """lead: has an open incident led."""

    def __init__(self, *, desk: IncidentDesk, restraint: Restraint, lead: Callable[[Incident], None], clock: Clock) -> None:
        self._desk = desk
        self._restraint = restraint
        self._lead = lead
        self._clock = clock

    async def give(
        self, decisions: Iterable[Decision], lead: Callable[[Incident], None] | None = None, *, again: bool = False
    ) -> None:
        """Those about different targets side by side. Returns when all of them are on record.

        lead: what to do with an open incident; None has it led at once. again: they fired before, maybe under other names.
        """

        async def give_one(decision: Decision) -> None:
            await durably(lambda: self._give(decision, lead or self._lead, again=again))

        await abreast(decisions, lambda decision: decision.target or decision.identity, give_one)

    async def _give(self, decision: Decision, lead: Callable[[Incident], None], *, again: bool) -> None:
        try:
            if again and await self._desk.keeps_a_no(decision):
                return
            incident = await self._respond(decision)
        except JournalUnavailableError:
            raise
        except Exception as error:  # noqa: BLE001 (the decision boundary: a bug with one decision must not stop the others)
            _log.exception("decision_failed", rule=decision.rule, group=decision.group)
            reason = f"internal error: {type(error).__name__}; nothing is done about: {decision.reason}"
            incident = await self._respond(decision._replace(response=Response.NOTIFY, reason=reason))
        if incident.is_open:
            lead(incident)

    async def _respond(self, decision: Decision) -> Incident:
        return await self._desk.respond(decision, self._restraint.stay_of(decision, self._clock()))
