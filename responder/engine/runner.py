"""Runs single steps durably: what was begun, tried and intended is on disk before it happens."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

import structlog
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_after_attempt
from tenacity.wait import wait_base, wait_exponential_jitter

from responder.clients.templates import holds
from responder.domain.incident import Incident, Phase, StepStatus
from responder.domain.people import Hold
from responder.domain.plan import Retry, Step
from responder.domain.quantity import format_duration
from responder.domain.rulebook import ApprovalTerms, Unanswered
from responder.domain.target import Target
from responder.engine.desk import IncidentDesk
from responder.engine.last_look import LastLook
from responder.engine.limit import Limit
from responder.engine.records import ENDED, find_record, set_record
from responder.engine.step_context import Ask, StepContexts, nobody_to_ask
from responder.errors import JournalUnavailableError, PermanentError, RefusedError, ResponderError, StoppedError, TemporaryError
from responder.ports import Action, Clock, Compensating, Ledger, Previewing, StepContext, Workloads

_log = structlog.get_logger(__name__)
_OUTPUT_LIMIT = 4000  # characters kept of a step's output
_PREVIEW_WITHIN = timedelta(seconds=20)
_HIDDEN = frozenset({"headers", "env", "environment"})


@dataclass(frozen=True, slots=True)
class StepOutcome:
    """refused: the step says that nothing was changed. stopped: a person stopped the run."""

    succeeded: bool
    text: str
    refused: bool = False
    stopped: bool = False


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

    note: writes into the journal that a target is about to be rolled back. ask: waits for a person's yes.
    on_change: told of every incident whose run may change something from now on.
    """

    def __init__(
        self,
        *,
        desk: IncidentDesk,
        actions: Mapping[str, Action],
        workloads: Workloads,
        ledger: Ledger,
        targets: Callable[[], Mapping[str, Target]],
        look: LastLook,
        note: Callable[[str], Awaitable[None]],
        clock: Clock,
        ask: Ask = nobody_to_ask,
        hold: Callable[[], Hold] = Hold,
        secrets: Sequence[str] = (),
        on_change: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._desk = desk
        self._actions = actions
        self._clock = clock
        self._secrets = sorted(secrets, key=len, reverse=True)  # one may be part of another
        self._contexts = StepContexts(
            desk=desk,
            workloads=workloads,
            ledger=ledger,
            targets=targets,
            look=look,
            note=note,
            clock=clock,
            ask=ask,
            hold=hold,
            secrets=secrets,
            on_change=on_change,
        )

    def can_put_back(self, step: Step) -> bool:
        return isinstance(self._actions.get(step.uses), Compensating)

    async def run(self, incident: Incident, step: Step, phase: Phase, limits: Sequence[Limit] = ()) -> StepOutcome:
        """Run a step to its end, or go on with it after a restart. A step that has ended is not run again.

        limits: those around it, which stand still while the step asks a person.
        """
        record = find_record(incident, step, phase)
        if record.status in ENDED:
            return StepOutcome(record.status is not StepStatus.FAILED, record.output, refused=record.refused)
        outcome = await self._attempts(incident, step, phase, lambda: self.begin(incident.id, step, phase), limits)
        return await self.conclude(incident.id, step, phase, outcome)

    async def check(self, incident: Incident, step: Step) -> StepOutcome:
        """Run a monitoring check once; nothing is recorded."""
        try:
            if step.condition and not holds(step.condition, incident, str(step.parameters.get("target") or incident.target)):
                return StepOutcome(True, f"not needed: `{step.condition}` is false")
        except PermanentError as error:
            return StepOutcome(False, str(error))

        async def begin() -> None:
            return None

        return await self._attempts(incident, step, Phase.MONITOR, begin)

    async def preview(self, incident: Incident, step: Step, phase: Phase) -> str:
        """What the step would do now: one sentence, then the difference if any. Changes nothing, raises nothing."""
        action = self._actions[step.uses]
        spelled = spell_parameters(step.parameters)
        shown = f"{step.uses} with {spelled}" if spelled else step.uses
        if not isinstance(action, Previewing):
            return self._clean(shown)
        try:
            async with asyncio.timeout(_PREVIEW_WITHIN.total_seconds()):
                return self._clean(await action.preview(step.parameters, self._contexts.of_preview(incident, step, phase)))
        except (ResponderError, TimeoutError) as error:
            reason = str(error) or f"no answer within {format_duration(_PREVIEW_WITHIN)}"
            return self._clean(f"{shown}; what it would change can't be told: {reason}".replace("\n", " "))
        except Exception as error:  # noqa: BLE001 (the step boundary: a bug in one preview must not hide the others)
            _log.exception("preview_crashed", step=step.name)
            return self._clean(f"{shown}; what it would change can't be told: internal error: {type(error).__name__}")

    async def begin(self, incident_id: str, step: Step, phase: Phase) -> None:
        def begun(known: Incident) -> Incident:
            record = find_record(known, step, phase)
            started = record.started_at or self._clock()
            return set_record(known, step, phase, status=StepStatus.RUNNING, started_at=started, attempts=record.attempts + 1)

        await self._desk.change(incident_id, begun)

    async def conclude(
        self, incident_id: str, step: Step, phase: Phase, outcome: StepOutcome, status: StepStatus | None = None
    ) -> StepOutcome:
        """Put the end of a step on record. status: when it is neither succeeded nor failed."""
        status = status or (StepStatus.SUCCEEDED if outcome.succeeded else StepStatus.FAILED)
        event = self._desk.event(f"step_{status.value}", f"{step.name}: {outcome.text}", phase=phase.value)
        await self._desk.change(
            incident_id,
            lambda known: set_record(
                known, step, phase, status=status, ended_at=self._clock(), output=outcome.text, refused=outcome.refused
            ),
            [event],
        )
        _log.info(event.kind, incident=incident_id, step=step.name, phase=phase.value, outcome=outcome.text)
        return outcome

    async def _attempts(
        self,
        incident: Incident,
        step: Step,
        phase: Phase,
        begin: Callable[[], Awaitable[None]],
        limits: Sequence[Limit] = (),
    ) -> StepOutcome:
        async def pause(seconds: float) -> None:
            await self._contexts.sleep(incident.id, phase, timedelta(seconds=seconds))

        retrying = AsyncRetrying(
            retry=retry_if_exception(_worth_another_try),
            stop=stop_after_attempt(step.retry.attempts),
            wait=_Wait(step.retry),
            sleep=pause,
            reraise=True,
        )
        try:
            async with Limit(step.timeout) as limit:
                async for attempt in retrying:
                    with attempt:
                        await begin()
                        output = await self._once(incident, step, phase, (*limits, limit))
                return StepOutcome(True, self._clean(output))
        except JournalUnavailableError:
            raise  # not the step's fault: the run waits for the database
        except StoppedError as error:
            return StepOutcome(False, self._clean(str(error)), stopped=True)
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

    async def _once(self, incident: Incident, step: Step, phase: Phase, limits: Sequence[Limit]) -> str:
        known = await self._desk.get(incident.id) or incident
        action = self._actions[step.uses]
        context = self._contexts.of(known, step, phase, limits)
        if phase is Phase.COMPENSATION:
            return await action.compensate(step.parameters, context) if isinstance(action, Compensating) else ""
        if step.destroys and known.order is None:
            await _ask_before_loss(step, context)
        return await action.run(step.parameters, context)

    def _clean(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, "[redacted]")
        return text if len(text) <= _OUTPUT_LIMIT else text[:_OUTPUT_LIMIT] + " … (cut)"


def spell_parameters(parameters: Mapping[str, object]) -> str:
    """Parameters for people: what may hold a secret is not shown."""
    parts = []
    for name, value in parameters.items():
        if value is None or value in ("", (), [], {}):
            continue
        hidden = name in _HIDDEN and isinstance(value, Mapping)
        shown = dict.fromkeys(value, "…") if hidden and isinstance(value, Mapping) else value
        parts.append(f"{name}: {format_duration(shown) if isinstance(shown, timedelta) else shown}")
    return ", ".join(parts)


async def _ask_before_loss(step: Step, context: StepContext) -> None:
    """The answer is on record: after a restart, or for another try, nobody is asked twice."""
    terms = replace(context.incident.asks or ApprovalTerms(), unanswered=Unanswered.REFUSE)  # silence is nobody's word
    await context.ask(terms, f"{step.name} ({step.uses}) destroys data on {context.target}. Go on?")
