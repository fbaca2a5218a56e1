"""Puts back what a failed or stopped plan has begun, so that it never leaves a service stopped without saying so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

from responder.domain.incident import Incident, Phase, StepRecord, StepStatus
from responder.domain.notification import Moment
from responder.domain.plan import Retry, Step
from responder.engine.announcer import Tell
from responder.engine.desk import IncidentDesk
from responder.engine.records import ENDED, find_record
from responder.engine.runner import StepRunner

_STUBBORN = Retry(attempts=5, backoff_min=timedelta(seconds=1), backoff_max=timedelta(seconds=30))


class Compensation:
    """Each step that was begun and can be undone, in reverse order; recorded like any other step: a crash changes nothing.

    Whether something is left to put back (a later step may have done it) is for the action to find out.
    """

    def __init__(self, *, desk: IncidentDesk, runner: StepRunner) -> None:
        self._desk = desk
        self._runner = runner

    def pending(self, incident: Incident) -> list[Step]:
        """The steps to undo, last begun first."""
        if incident.plan is None or incident.recovered_at is not None:
            return []  # what a plan did that went well stays
        steps = {(Phase.STEPS, step.name): step for step in incident.plan.walk()}
        steps |= {(Phase.VERIFY, step.name): step for verify in incident.plan.verify for step in verify.walk()}
        begun = [
            (record.started_at, position, steps[record.phase, record.name])
            for position, record in enumerate(incident.steps)
            if record.started_at is not None and (record.phase, record.name) in steps and not _did_nothing(record)
        ]
        undone = [step for _, _, step in sorted(begun, key=lambda one: one[:2], reverse=True) if self._runner.can_put_back(step)]
        return [step for step in undone if find_record(incident, step, Phase.COMPENSATION).status not in ENDED]

    async def put_back(self, incident_id: str) -> str:
        """Undo what is pending. Returns what was put back and what could not be, in sentences, "" for neither."""
        incident = await self._desk.get(incident_id)
        for step in self.pending(incident) if incident is not None else ():
            await self._undo(incident_id, step)
        incident = await self._desk.get(incident_id)
        return "" if incident is None else _summary(incident.steps)

    async def _undo(self, incident_id: str, step: Step) -> None:
        incident = await self._desk.get(incident_id)
        if incident is None:
            return
        retry = step.retry if step.retry.attempts >= _STUBBORN.attempts else _STUBBORN
        outcome = await self._runner.run(incident, replace(step, retry=retry), Phase.COMPENSATION)
        if outcome.succeeded:
            return
        text = f"{step.name} ({step.uses}) could not be undone: {outcome.text}. The service may be stopped: check it now."
        told = Tell(Moment.NOTICE, text, f"{incident.target} may be stopped: a person is needed")
        await self._desk.change(incident_id, lambda known: known, [self._desk.event("compensation_failed", text)], [told])


def _did_nothing(record: StepRecord) -> bool:
    return record.refused and record.intent is None


def _summary(records: Sequence[StepRecord]) -> str:
    mine = [record for record in records if record.phase is Phase.COMPENSATION]
    done = [f"{one.name}: {one.output.rstrip('.')}" for one in mine if one.output and one.status is StepStatus.SUCCEEDED]
    failed = [one.name for one in mine if one.status is StepStatus.FAILED]
    text = f" Put back: {'; '.join(done)}." if done else ""
    return (text + (f" Could not be undone: {', '.join(failed)}; the service may be stopped." if failed else "")).strip()
