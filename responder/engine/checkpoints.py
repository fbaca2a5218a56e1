"""Looks back at resolved incidents: the checks that a plan wants 30 minutes or a day later.

The target is free meanwhile. What is still to come is found again after a restart; what came due while nobody ran is looked at
late, and says so.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import structlog

from responder.domain.incident import Incident, IncidentStatus, Phase, StepRecord, StepStatus
from responder.domain.notification import Moment
from responder.domain.plan import Checkpoint, Step
from responder.domain.wording import spell_duration
from responder.engine.announcer import Tell
from responder.engine.desk import IncidentDesk
from responder.engine.records import find_record, set_record
from responder.engine.runner import StepRunner
from responder.engine.steady import LOOK_AGAIN
from responder.errors import JournalUnavailableError, ResponderError
from responder.ports import Clock, Incidents

_log = structlog.get_logger(__name__)

_LOOK_BACK = timedelta(days=62)  # the longest `after`, and as much again for the incident itself
_PAGE = 20
_TRY_AGAIN = timedelta(minutes=1)  # when the database can't be written
_WORTH_SAYING = timedelta(minutes=5)  # later than this is late


@dataclass(frozen=True, slots=True)
class _Due:
    at: datetime
    incident_id: str
    name: str


class CheckpointKeeper:
    def __init__(self, *, desk: IncidentDesk, incidents: Incidents, runner: StepRunner, clock: Clock) -> None:
        self._desk = desk
        self._incidents = incidents
        self._runner = runner
        self._clock = clock
        self._due: set[_Due] = set()
        self._changed = asyncio.Event()

    def note(self, incident: Incident) -> None:
        """An incident closed: remember what is to be looked at later."""
        for checkpoint in _open_checkpoints(incident):
            closed = incident.closed_at or self._clock()
            self._due.add(_Due(closed + checkpoint.after, incident.id, checkpoint.name))
            self._changed.set()

    async def run(self) -> None:
        """Find what is still to come, then look at each when it is due. Ends only by cancellation."""
        try:
            await self._recall()
        except ResponderError as error:
            _log.error("checkpoints_not_recalled", error=str(error), consequence="only those of new incidents are looked at")
        async with asyncio.TaskGroup() as group:
            while True:
                self._changed.clear()
                now = self._clock()
                for due in sorted((one for one in self._due if one.at <= now), key=lambda one: one.at):
                    self._due.discard(due)
                    group.create_task(self._look(due), name=f"checkpoint {due.name}")
                await self._wait(min((one.at for one in self._due), default=None))

    async def _wait(self, until: datetime | None) -> None:
        rest = None if until is None else max(0.0, min(until - self._clock(), LOOK_AGAIN).total_seconds())
        try:
            async with asyncio.timeout(rest):
                await self._changed.wait()
        except TimeoutError:
            return

    async def _recall(self) -> None:
        oldest = self._clock() - _LOOK_BACK
        before: str | None = None
        while page := await self._incidents.list(before=before, limit=_PAGE):
            for incident in page:
                self.note(incident)
            before = page[-1].id
            if page[-1].opened_at < oldest:
                return
            await asyncio.sleep(0)  # reading documents takes time: let others in between

    async def _look(self, due: _Due) -> None:
        try:
            incident = await self._desk.get(due.incident_id)
            checkpoint = next((one for one in _open_checkpoints(incident) if one.name == due.name), None) if incident else None
            if incident is not None and checkpoint is not None:
                await self._check(incident, checkpoint, late=self._clock() - due.at)
        except JournalUnavailableError as error:
            _log.error("checkpoint_not_recorded", incident=due.incident_id, checkpoint=due.name, error=str(error))
            self._due.add(replace(due, at=self._clock() + _TRY_AGAIN))
            self._changed.set()
        except Exception:  # noqa: BLE001 (the boundary of side work: rollbacks must not depend on it)
            _log.exception("checkpoint_crashed", incident=due.incident_id, checkpoint=due.name)

    async def _check(self, incident: Incident, checkpoint: Checkpoint, *, late: timedelta) -> None:
        began = self._clock()
        failed = []
        for step in checkpoint.checks:
            outcome = await self._runner.check(incident, step)
            if not outcome.succeeded:
                failed.append(f"{step.name}: {outcome.text}")
        text = "; ".join(failed) or f"{len(checkpoint.checks)} {'check' if len(checkpoint.checks) == 1 else 'checks'} passed"
        if late > _WORTH_SAYING:
            text = f"{text} (looked at {spell_duration(late)} late: Responder was not running)"
        status = StepStatus.FAILED if failed else StepStatus.SUCCEEDED
        after = spell_duration(checkpoint.after)

        def looked(known: Incident) -> Incident:
            place = _place(checkpoint)
            return set_record(
                known, place, Phase.CHECKPOINT, status=status, attempts=1, started_at=began, ended_at=self._clock(), output=text
            )

        event = self._desk.event(
            "checkpoint_failed" if failed else "checkpoint_passed", f"{checkpoint.name}, {after} later: {text}"
        )
        told = f"Checkpoint {checkpoint.name}, {after} after {incident.target} was healthy again: {text}. A person should look."
        tell = [Tell(Moment.NOTICE, told, f"{incident.target}: checkpoint {checkpoint.name} failed", closes=True)]
        await self._desk.change(incident.id, looked, [event], tell if failed else [])
        _log.info(event.kind, incident=incident.id, checkpoint=checkpoint.name, outcome=text)


def _place(checkpoint: Checkpoint) -> Step:
    return Step(checkpoint.name, "checkpoint")


def _open_checkpoints(incident: Incident) -> list[Checkpoint]:
    """What is still to be looked at."""
    if incident.plan is None or incident.status is not IncidentStatus.RESOLVED:
        return []

    def record(checkpoint: Checkpoint) -> StepRecord:
        return find_record(incident, _place(checkpoint), Phase.CHECKPOINT)

    return [one for one in incident.plan.checkpoints if record(one).status is StepStatus.PENDING]
