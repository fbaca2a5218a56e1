"""How far a run is: told every now and then while it goes on, for plans that ask for it (`updates`)."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from datetime import datetime, timedelta

import structlog

from responder.domain.incident import Incident, Phase, StepStatus
from responder.domain.notification import Moment
from responder.domain.plan import BLOCK, PARALLEL, Plan, Step
from responder.domain.wording import spell_duration, spell_time
from responder.engine.announcer import Tell
from responder.engine.desk import IncidentDesk
from responder.engine.records import ENDED, find_record
from responder.errors import JournalUnavailableError
from responder.ports import Clock

_log = structlog.get_logger(__name__)


async def tell_pace(incident: Incident, plan: Plan, every: timedelta, desk: IncidentDesk, clock: Clock) -> None:
    """Until it is cancelled. The rhythm counts from the start of the run: a restart does not shift it."""
    began = incident.run_started_at or clock()
    deadline = clock() + plan.deadline
    while True:
        told = (clock() - began) // every
        await asyncio.sleep((began + (told + 1) * every - clock()).total_seconds())
        known = await desk.get(incident.id)
        if known is None or not known.is_open:
            return
        text = describe_pace(known, plan, clock(), began, deadline)
        try:
            await desk.change(incident.id, lambda now: now, [desk.event("progress", text)], [Tell(Moment.NOTICE, text)])
        except JournalUnavailableError as error:  # the run itself notices too; telling how far it is can wait
            _log.warning("progress_not_told", incident=incident.id, error=str(error))


def describe_pace(incident: Incident, plan: Plan, now: datetime, began: datetime, deadline: datetime) -> str:
    """Steps done of all, percent, what runs now, how long it took, when it should be over and when at the latest."""
    counted = [(step, Phase.STEPS) for step in _leaves(plan.steps)] + [(step, Phase.VERIFY) for step in _leaves(plan.verify)]
    records = [find_record(incident, step, phase) for step, phase in counted]
    done = sum(record.status in ENDED for record in records)
    running = [
        record.name for record in incident.steps if record.status is StepStatus.RUNNING and record.uses not in (PARALLEL, BLOCK)
    ]
    gone = now - began
    text = (
        f"{done} of {len(counted)} steps done ({100 * done // len(counted)} %), now: {', '.join(running) or 'between two steps'}"
    )
    text += f"; running for {spell_duration(gone)}"
    if done:
        text += f", at this pace done at about {spell_time(now + gone / done * (len(counted) - done), now)}"
    return f"{text}, at the latest at {spell_time(deadline, now)}."


def _leaves(steps: Iterable[Step]) -> Iterable[Step]:
    """What is run when all goes well: no rescues, and groups by what is in them."""
    for step in steps:
        if step.steps:
            yield from _leaves(step.steps)
        else:
            yield step
