"""Reading the facts that the guards judge: fresh from the target, the ledger and the incidents."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt, wait_exponential_jitter

from responder.domain.guard import Verdict
from responder.domain.guards import Facts
from responder.domain.incident import Incident
from responder.domain.ledger import blame, up_to_date
from responder.domain.own_changes import as_found, made_by
from responder.domain.past_rollbacks import PastRollback
from responder.domain.target import Target
from responder.domain.version import LedgerEntry, WorkloadState
from responder.engine.blast_radius import BlastRadius
from responder.errors import ResponderError, TemporaryError
from responder.ports import Clock, Incidents, Inspectable, Ledger, Workloads

_READ_WITHIN = timedelta(seconds=30)
_READ_ATTEMPTS = 6


SecondLook = Callable[[Incident], Coroutine[Any, Any, Verdict | None]]
"""Asks the sender whether the alerts of this incident still stand."""


class _Record(NamedTuple):
    """What our own store knows about a target."""

    bad: Mapping[str, str]
    entries: list[LedgerEntry]
    troubles: list[datetime]
    past: tuple[PastRollback, ...]


class FactFinder:
    """Gathers facts; what can't be read is said, never guessed. looked_at: when a person last lifted a hold."""

    def __init__(
        self,
        workloads: Workloads,
        ledger: Ledger,
        incidents: Incidents,
        clock: Clock,
        second_look: SecondLook | None = None,
        *,
        radius: BlastRadius | None = None,
        looked_at: Callable[[], datetime | None] = lambda: None,
    ) -> None:
        self._workloads = workloads
        self._ledger = ledger
        self._incidents = incidents
        self._clock = clock
        self._second_look = second_look
        self._radius = radius or BlastRadius(ledger, clock)
        self._looked_at = looked_at

    async def gather(self, target: Target, incident: Incident, *, still_firing: bool, acting: str = "") -> Facts:
        """Facts about one target for one incident. Our own marks of this incident don't count against it.

        acting: another incident that acts on the target, "" when none does.
        """
        asked = asyncio.create_task(self._second_look(incident)) if self._second_look else None  # while the target is read
        recorded = asyncio.create_task(self._record(target, incident))
        try:
            state = as_found(await self._read(target), incident.pins.get(target.name), made_by(incident, target.name))
            second_look = await asked if asked else None
        except (ResponderError, TimeoutError) as error:
            reason = str(error) or f"no answer within {_READ_WITHIN.total_seconds():.0f} s"
            return Facts(target, self._clock(), None, f"{target.workload} can't be read: {reason}")
        finally:
            if asked:
                asked.cancel()
            if sys.exc_info()[0] is not None:
                recorded.cancel()
        record = await recorded
        bad, now = record.bad, self._clock()
        # The ledger's own watch may not have looked yet, after a start or a deployment: judge what it will write down.
        entries = up_to_date(record.entries, target.key, state, now)
        return Facts(
            target=target,
            now=now,
            state=state,
            began_at=incident.began_at,
            still_firing=still_firing,
            ledger=tuple(blame(entries, record.troubles, target.guards.deployed_within)),
            bad_fingerprints={mark: by for mark, by in bad.items() if by != incident.id},
            past=record.past,
            limits=self._radius.limits,
            looked_at=self._looked_at(),
            restored_by=await self._restored_by(state, bad.values(), incident),
            acting=acting,
            second_look=second_look,
        )

    async def _record(self, target: Target, incident: Incident) -> _Record:
        bad, entries, troubles, past = await asyncio.gather(
            self._ledger.bad_fingerprints(target.key),
            self._ledger.entries(target.key),
            self._ledger.troubles(target.key),
            self._radius.past(incident.id),
        )
        return _Record(bad, entries, troubles, past)

    async def look_again(self, incident: Incident) -> Verdict | None:
        """The second look alone, for a plan that rolls nothing back; None when nobody is asked."""
        return await self._second_look(incident) if self._second_look else None

    async def _read(self, target: Target) -> WorkloadState:
        """A blip of the API server must not turn into a refusal: try for a while."""
        async with asyncio.timeout(_READ_WITHIN.total_seconds()):
            async for attempt in AsyncRetrying(
                retry=retry_if_exception_type(TemporaryError),
                stop=stop_after_attempt(_READ_ATTEMPTS),
                wait=wait_exponential_jitter(multiplier=0.2, max=8, jitter=0.2),
                reraise=True,
            ):
                with attempt:
                    workload = self._workloads.of(target)
                    return await (workload.inspect() if isinstance(workload, Inspectable) else workload.read())
        raise AssertionError("unreachable")

    async def _restored_by(self, state: WorkloadState, culprits: Iterable[str], incident: Incident) -> str:
        """The incident whose rollback put the current version there."""
        for incident_id in dict.fromkeys(culprits):
            if incident_id == incident.id:
                continue
            earlier = await self._incidents.get(incident_id)
            pins = earlier.pins.values() if earlier else ()  # by the object: the target may have had another name
            if any(one.uid == state.uid and one.to_version.fingerprint == state.current.fingerprint for one in pins):
                return incident_id
        return ""
