"""What a step of a plan can do, and what it is given for that. Implemented by actions; the context by the engine."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Protocol, runtime_checkable

from responder.domain.incident import Incident, StepRecord, Word
from responder.domain.rulebook import ApprovalTerms
from responder.domain.target import Target
from responder.domain.version import Pin
from responder.errors import RefusedError
from responder.ports.outside import Clock
from responder.ports.targets import Workload


async def _nobody_to_ask(_terms: ApprovalTerms, _question: str) -> Word:
    raise RefusedError("nobody can be asked here")


@dataclass(slots=True)
class StepContext:
    """What a step may know and use. Everything durable goes through `record`.

    intent: what an earlier, interrupted attempt of this very step wrote down; None on a first attempt.
    record: write the intent durably; await it before the effect.
    progress: tell people how far it is; cheap, not durable.
    tell: put a message into the outbox (title, text), to all routes or only to the named notifier.
    pin_of: the pin of a target for this run; raises RefusedError when the run has none for it.
    secrets: values that must never appear in the output.
    sleep: every wait of a step goes through it: it raises StoppedError when a person stopped the run, so a step ends there.
    mark_acted: awaited before the first byte of a rollback, with the intent to record: the last look, then the version that it
    replaces is marked as bad.
    mark_changed: the same before any other change, without a word about versions; refuses when nothing must be changed now.
    declared: a declared target by name; raises RefusedError when there is none of that name.
    targets: every declared target by name.
    step: name of this step, unique in its plan.
    record_of: the record of another step of this run by its name, None when it was not begun.
    ask: wait for a person's yes, on these terms; asked once, and the same request goes on after a restart. Returns who said yes
    (by "" when nobody answered and the terms say to proceed). Raises RefusedError for a no, StoppedError when the run is stopped.
    """

    incident: Incident
    target: str
    now: Clock
    intent: Mapping[str, object] | None
    record: Callable[[Mapping[str, object]], Awaitable[None]]
    progress: Callable[[str], None]
    tell: Callable[[str, str, str | None], Awaitable[None]]
    pin_of: Callable[[str], Pin]
    workload_of: Callable[[str], Workload]
    mark_acted: Callable[[Mapping[str, object]], Awaitable[None]]
    sleep: Callable[[timedelta], Awaitable[None]]
    declared: Callable[[str], Target]
    record_of: Callable[[str], StepRecord | None]
    mark_changed: Callable[[], Awaitable[None]]
    targets: Callable[[], Mapping[str, Target]]
    step: str = ""
    secrets: Sequence[str] = field(default_factory=tuple)
    ask: Callable[[ApprovalTerms, str], Awaitable[Word]] = _nobody_to_ask


class Action(Protocol):
    """One kind of step. Raises TemporaryError (retry as the step says) or PermanentError (the step has failed).

    It must be safe to run again after a crash at any moment: what matters is recorded before the effect, and a step that finds
    an intent asks the world first. It may have more: see Previewing and Compensating.
    """

    async def run(self, parameters: Mapping[str, object], context: StepContext) -> str:
        """Do it; return what is shown as the step's output."""
        ...


@runtime_checkable
class Previewing(Protocol):
    """An action that can tell what it would do now. An action without this is shown by its name and parameters."""

    async def preview(self, parameters: Mapping[str, object], context: StepContext) -> str:
        """Change nothing. First line: one sentence on what would happen; then, if any, the difference (unified diff)."""
        ...


@runtime_checkable
class Compensating(Protocol):
    """An action whose effect must not stay when the plan fails later (scaled to 0, queues paused, traffic cut off)."""

    async def compensate(self, parameters: Mapping[str, object], context: StepContext) -> str:
        """Undo what was done; `context.intent` says what was before. Safe to repeat. Returns what is shown, "" for nothing.

        Called for steps that succeeded or were begun, in reverse order, after the plan has failed or was cancelled.
        """
        ...
