"""What goes on beside and after an incident: calling people who have not answered, and seeing how it turned out."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from datetime import timedelta

from responder.domain.incident import Incident
from responder.domain.rulebook import Rulebook
from responder.engine.aftermath import Aftermath
from responder.engine.desk import IncidentDesk
from responder.engine.escalation import HOLD_OFF, Escalator
from responder.engine.watch import Pulse
from responder.ports import Clock, Incidents


class FollowUp:
    def __init__(
        self,
        *,
        desk: IncidentDesk,
        incidents: Incidents,
        rulebook: Callable[[], Rulebook],
        configured: Collection[str],
        has_cleared: Callable[[Incident], bool],
        pulse: Pulse,
        clock: Clock,
        hold_off: timedelta = HOLD_OFF,
    ) -> None:
        self._escalator = Escalator(
            desk=desk,
            incidents=incidents,
            rulebook=rulebook,
            configured=configured,
            has_cleared=has_cleared,
            clock=clock,
            hold_off=hold_off,
        )
        self._aftermath = Aftermath(desk=desk, incidents=incidents, has_cleared=has_cleared, pulse=pulse, clock=clock)

    def note(self, incident: Incident) -> None:
        """An incident as it is on record now."""
        self._escalator.note(incident)
        self._aftermath.note(incident)

    def look(self) -> None:
        """The rulebook is another one."""
        self._escalator.look()

    async def run(self) -> None:
        """Ends only by cancellation."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._escalator.run(), name="escalation")
            group.create_task(self._aftermath.run(), name="aftermath")
