"""Runs single steps durably: what was begun, tried and intended is on disk before it happens."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import structlog
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_after_attempt
from tenacity.wait import wait_base, wait_exponential_jitter

from responder.domain.incident import Incident, Phase, StepRecord, StepStatus
from responder.domain.notification import Moment
from responder.domain.plan import Retry, Step
from responder.domain.quantity import format_duration
from responder.domain.target import Target
from responder.domain.version import Pin
from responder.engine.desk import IncidentDesk, Tell
from responder.engine.last_look import may_change
from responder.errors import JournalUnavailableError, RefusedError, ResponderError, TemporaryError
from responder.ports import Action, Clock, Ledger, StepContext, Workload, Workloads

_log = structlog.get_logger(__name__)
_OUTPUT_LIMIT = 4000  # characters kept of a step's output


@dataclass(frozen=True, slots=True)
class StepOutcome:
    """refused: the step says that nothing was changed."""

    succeeded: bool
    text: str
    refused: bool = False


class _Wait(wait_base):
    """Exponential backoff with jitter, but never sooner than the peer asked for."""

    def __init__(self, retry: Retry) -> None:
        low, high = retry.backoff_min.total_seconds(), retry.backoff_max.total_seconds()
        self._backoff = wait_exponential_jitter(multiplier=low, max=high, jitter=low / 2)

    def __call__(self, retry_state: RetryCallState) -> float:
        error = retry_state.outcome.exception() if retry_state.outcome else None
        asked = error.retry_after if isinstance(error, TemporaryError) else None
        return max(self._backoff(retry_state), asked.total_seconds() if asked else 0.0)


def _worth_another_try(error: BaseException) -> bool:
    return isinstance(error, TemporaryError) and not isinstance(error, JournalUnavailableError)


class StepRunner:
    """look: the last look before a rollback's first byte. targets: the declared targets, looked up at the time of use.

    note: writes into the journal that a target is about to be rolled back.
    """

    def __init__(
        self,
        *,
        desk: IncidentDesk,
        actions: Mapping[str, Action],
        workloads: Workloads,
        ledger: Ledger,
        targets: Callable[[], Mapping[str, Target]],
        look: Callable[[Incident, Pin], Awaitable[None]],
        note: Callable[[str], Awaitable[None]],
        clock: Clock,
        secrets: Sequence[str] = (),
    ) -> None:
        self._desk = desk
        self._actions = actions
        self._workloads = workloads
        self._ledger = ledger
        self._targets = targets
        self._look = look
        self._note = note
        self._clock = clock
        self._secrets = secrets

    async def run(self, incident: Incident, step: Step, phase: Phase) -> StepOutcome:
        """Run a step to its end, or go on with it after a restart. A step that has ended is not run again."""
        record = find_record(incident, step, phase)
        if record.status is StepStatus.SUCCEEDED:
            return StepOutcome(True, record.output)
        if record.status is StepStatus.FAILED:
            return StepOutcome(False, record.output)
        outcome = await self._attempts(incident, step, phase, lambda: self._begin(incident.id, step, phase))
        status = StepStatus.SUCCEEDED if outcome.succeeded else StepStatus.FAILED
        kind = "step_succeeded" if outcome.succeeded else "step_failed"
        event = self._desk.event(kind, f"{step.name}: {outcome.text}", phase=phase.value)
        await self._desk.change(
            incident.id,
            lambda known: set_record(known, step, phase, status=status, ended_at=self._clock(), output=outcome.text),
            [event],
        )
        _log.info(kind, incident=incident.id, step=step.name, phase=phase.value, outcome=outcome.text)
        return outcome

    async def check(self, incident: Incident, step: Step) -> StepOutcome:
        """Run a monitoring check once; nothing is recorded."""

        async def begin() -> None:
            return None

        return await self._attempts(incident, step, Phase.MONITOR, begin)

    async def _begin(self, incident_id: str, step: Step, phase: Phase) -> None:
        def begun(known: Incident) -> Incident:
            record = find_record(known, step, phase)
            started = record.started_at or self._clock()
            return set_record(known, step, phase, status=StepStatus.RUNNING, started_at=started, attempts=record.attempts + 1)

        await self._desk.change(incident_id, begun)

    async def _attempts(self, incident: Incident, step: Step, phase: Phase, begin: Callable[[], Awaitable[None]]) -> StepOutcome:
        retrying = AsyncRetrying(
            retry=retry_if_exception(_worth_another_try),
            stop=stop_after_attempt(step.retry.attempts),
            wait=_Wait(step.retry),
            reraise=True,
        )
        try:
            async with asyncio.timeout(step.timeout.total_seconds()):
                async for attempt in retrying:
                    with attempt:
                        await begin()
                        output = await self._once(incident, step, phase)
                return StepOutcome(True, self._clean(output))
        except JournalUnavailableError:
            raise  # not the step's fault: the run waits for the database
        except RefusedError as error:
            return StepOutcome(False, self._clean(str(error)), refused=True)
        except ResponderError as error:
            return StepOutcome(False, self._clean(str(error)))
        except TimeoutError:
            return StepOutcome(False, f"timed out after {format_duration(step.timeout)}{self._last_seen(incident, step)}")
        except Exception as error:  # noqa: BLE001 (the step boundary: a bug in an action must fail its step, not the run)
            _log.exception("step_crashed", incident=incident.id, step=step.name)
            return StepOutcome(False, f"internal error: {type(error).__name__}")

    def _last_seen(self, incident: Incident, step: Step) -> str:
        name, _, text = self._desk.progress_of(incident.id).partition(": ")
        return f"; last seen: {self._clean(text)}" if text and name == step.name else ""

    async def _once(self, incident: Incident, step: Step, phase: Phase) -> str:
        known = await self._desk.get(incident.id) or incident
        return await self._actions[step.uses].run(step.parameters, self._context(known, step, phase))

    def _context(self, incident: Incident, step: Step, phase: Phase) -> StepContext:
        target = str(step.parameters.get("target") or incident.target)

        async def record(intent: Mapping[str, object]) -> None:
            await self._desk.change(incident.id, lambda known: set_record(known, step, phase, intent=dict(intent)))

        async def tell(title: str, text: str, to: str | None) -> None:
            public = {"public_title": title, "public_text": text} if to == "statuspage" else {}
            message = Tell(Moment.NOTICE, text, title, to, extra=public)
            await self._desk.change(incident.id, lambda known: known, [self._desk.event("told", text)], [message])

        def pin_of(name: str) -> Pin:
            if name not in incident.pins:
                raise RefusedError(f"this run has no pinned version for target {name}")
            return incident.pins[name]

        async def mark_acted() -> None:
            await self._mark_acted(incident.id, pin_of(target))

        async def mark_changed() -> None:
            await self._mark_changed(incident.id, target)

        def declared(name: str) -> Target:
            if name not in self._targets():
                raise RefusedError(f"target {name} is not declared any more")
            return self._targets()[name]

        def workload_of(name: str) -> Workload:
            return self._workloads.of(declared(name))

        def record_of(name: str) -> StepRecord | None:
            return next((one for one in incident.steps if one.name == name), None)

        async def sleep(duration: timedelta) -> None:
            await asyncio.sleep(duration.total_seconds())

        def progress(text: str) -> None:
            _log.info("step_progress", incident=incident.id, step=step.name, text=text)
            self._desk.note_progress(incident.id, step.name, text)

        return StepContext(
            incident=incident,
            target=target,
            now=self._clock,
            intent=find_record(incident, step, phase).intent,
            record=record,
            progress=progress,
            tell=tell,
            pin_of=pin_of,
            workload_of=workload_of,
            mark_acted=mark_acted,
            sleep=sleep,
            declared=declared,
            record_of=record_of,
            mark_changed=mark_changed,
            targets=self._targets,
            step=step.name,
            secrets=self._secrets,
        )

    async def _mark_acted(self, incident_id: str, pin: Pin) -> None:
        """After the last look, the bad version is marked for ever."""
        incident = await self._desk.get(incident_id)
        if incident is None:
            raise RefusedError(f"incident {incident_id} is gone")
        await self._look(incident, pin)
        now = self._clock()
        await self._ledger.mark_bad(pin.target, pin.from_version.fingerprint, now, incident_id)
        event = self._desk.event("acting", f"changing {pin.target} from {pin.from_version.version} to {pin.to_version.version}")
        await self._desk.change(incident_id, lambda known: replace(known, acted_at=known.acted_at or now), [event])
        await self._note(pin.target)

    async def _mark_changed(self, incident_id: str, target: str) -> None:
        """A step other than a rollback is about to change something: the version is not blamed, but a failure has to say so."""
        may_change(self._targets().get(target), target)
        now = self._clock()

        def changed(known: Incident) -> Incident:
            return replace(known, acted_at=known.acted_at or now)

        await self._desk.change(incident_id, changed)

    def _clean(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, "[redacted]")
        return text if len(text) <= _OUTPUT_LIMIT else text[:_OUTPUT_LIMIT] + " … (cut)"


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
