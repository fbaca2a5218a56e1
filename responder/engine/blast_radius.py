"""How many rollbacks there may be at once and in an hour: counted exactly, also when many are decided at the same moment."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from responder.domain.guard import Outcome
from responder.domain.incident import Incident
from responder.domain.past_rollbacks import PastRollback, judge_blast_radius
from responder.domain.target import Limits, Target
from responder.errors import RefusedError
from responder.ports import Clock, Ledger

GUARD = "blast_radius"
_REMEMBERED = 200  # of the rollbacks ever begun, the latest: more than any sensible limit


class BlastRadius:
    """A guard's word is older than the act: a hundred runs may have heard that there is room for one. So each takes its place
    right before its first change, in memory, where looking and taking is one step; one brain leads all runs.
    """

    def __init__(self, ledger: Ledger, clock: Clock, limits: Callable[[], Limits] = Limits) -> None:
        self._ledger = ledger
        self._clock = clock
        self._limits = limits
        self._begun: dict[tuple[str, str], PastRollback] = {}

    @property
    def limits(self) -> Limits:
        return self._limits()

    async def past(self, incident_id: str) -> tuple[PastRollback, ...]:
        """What others have begun, newest first, over all targets."""
        recorded = await self._ledger.past_rollbacks(_REMEMBERED)
        known = {(one.target, one.incident): one for one in recorded}
        for place in self._begun.keys() & known.keys():
            del self._begun[place]
        found = [one for one in (*self._begun.values(), *recorded) if one.incident != incident_id]
        return tuple(sorted(found, key=lambda one: one.at, reverse=True))

    async def take(self, incident: Incident, target: Target) -> None:
        """The rollback of this target begins now, for this incident. Raises RefusedError when there were enough."""
        past = await self.past(incident.id)  # nothing is awaited from here on: nobody takes a place in between
        now = self._clock()
        outcome, reason = judge_blast_radius(past, target.key, self.limits, now)
        if outcome is not Outcome.PASS and not _is_overridden(incident):
            raise RefusedError(reason)
        place = PastRollback(target.key, incident.id, now)
        self._begun[target.key, incident.id] = replace(place, ordered=incident.order is not None)


def _is_overridden(incident: Incident) -> bool:
    return incident.order is not None and GUARD in incident.order.override
