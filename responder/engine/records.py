"""The records of an incident's steps: one per step and phase."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from responder.domain.incident import Incident, Phase, StepRecord, StepStatus
from responder.domain.plan import Step

ENDED = frozenset({StepStatus.SUCCEEDED, StepStatus.FAILED, StepStatus.SKIPPED})


def find_record(incident: Incident, step: Step, phase: Phase) -> StepRecord:
    """The record of a step; a fresh one when it was never begun."""
    for record in incident.steps:
        if record.phase is phase and record.name == step.name:
            return record
    return StepRecord(step.name, step.uses, phase)


def set_record(incident: Incident, step: Step, phase: Phase, **changes: Any) -> Incident:
    """The incident with the record of this step changed, appended when it was missing."""
    record = replace(find_record(incident, step, phase), **changes)
    others = [known for known in incident.steps if (known.phase, known.name) != (phase, step.name)]
    position = next((i for i, known in enumerate(incident.steps) if (known.phase, known.name) == (phase, step.name)), len(others))
    return replace(incident, steps=(*others[:position], record, *others[position:]))


def end_running(incident: Incident, reason: str, among: Callable[[StepRecord], bool] = lambda _: True) -> tuple[StepRecord, ...]:
    """The incident's records with those in flight ended as failed."""
    return tuple(
        replace(record, status=StepStatus.FAILED, output=f"stopped: {reason}")
        if record.status is StepStatus.RUNNING and among(record)
        else record
        for record in incident.steps
    )
