"""What the engine needs from the outside, as protocols. Implementations live in stores, targets, actions, notifiers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Protocol, runtime_checkable

from responder.domain.incident import Incident, IncidentEvent, StepRecord, Word
from responder.domain.listing import Listing
from responder.domain.matcher import Matcher
from responder.domain.measurement import Measurement
from responder.domain.notification import Delivery, Message
from responder.domain.past_rollbacks import PastRollback
from responder.domain.people import AuditEntry, Hold, KeptAnswer, Suppression
from responder.domain.rulebook import ApprovalTerms
from responder.domain.signal import Signal
from responder.domain.target import Target
from responder.domain.version import LedgerEntry, Pin, RolloutStatus, WorkloadState
from responder.errors import RefusedError

Clock = Callable[[], datetime]


# --- journal ---------------------------------------------------------------------------------------------------------


class EntryKind(StrEnum):
    SIGNALS = "signals"
    TICK = "tick"
    ACTED = "acted"  # a target is about to be rolled back; see `Entry.signals`
    READING = "reading"  # what Prometheus answered; see `Entry.signals`
    STARTED = "started"  # the service listens again; since the entry before, perhaps nobody did
    UNREADABLE = "unreadable"  # never written: stands for what can't be read back, such as an entry of a newer version's kind


@dataclass(frozen=True, slots=True)
class Entry:
    """One journal entry. id: ascending, visible in order.

    signals: () for ticks and starts; for ACTED a point event of our own whose key is the target; for READING one for each query,
    whose key is the query: `value` is the number, None when there is none, and the annotation `why` says why; with the annotation
    `silence` nobody answered.
    """

    id: int
    at: datetime
    kind: EntryKind
    signals: tuple[Signal, ...] = ()


class Journal(Protocol):
    """Append-only log of everything accepted."""

    async def append(self, kind: EntryKind, at: datetime, signals: Sequence[Signal] = ()) -> int:
        """Return the entry's id once it is on disk (fsync). Raises JournalUnavailableError when full or not writable.

        Signals appended at the same time may share an entry, in the order they were appended.
        """
        ...

    async def read(self, after: int, limit: int) -> list[Entry]:
        """Entries with id > after, ascending, at most `limit`."""
        ...

    async def wait(self, after: int, timeout: timedelta | None) -> list[Entry]:
        """Like read, but waits until there is at least one entry or the time is over (then []). None waits for ever."""
        ...

    async def save_snapshot(self, entry_id: int, digest: str, body: bytes) -> None:
        """Keep the evaluator's state after entry_id, for the rulebook with this digest. Replaces the previous one."""
        ...

    async def load_snapshot(self, digest: str) -> tuple[int, bytes] | None:
        """The kept state if it was made with this rulebook, else None."""
        ...

    async def prune(self, before: datetime) -> int:
        """Delete entries older than `before` that the snapshot already covers. Returns how many."""
        ...


# --- incidents, outbox, ledger ---------------------------------------------------------------------------------------


class OpenResult(StrEnum):
    OPENED = "opened"
    KNOWN = "known"  # this identity was handled before
    BUSY = "busy"  # the target has another open incident


@dataclass(frozen=True, slots=True)
class OutboxEntry:
    """A message for one notifier, to be put into the outbox together with the incident's change."""

    to: str
    message: Message


class Prometheus(Protocol):
    """Answers queries for one number."""

    async def measure(self, query: str) -> Measurement:
        """Ask once, now. Raises nothing of its own: what goes wrong is the reason why there is no number."""
        ...


class Incidents(Protocol):
    """Each call is one transaction: incident, events and outbox entries are written together or not at all."""

    async def open(
        self, incident: Incident, events: Sequence[IncidentEvent] = (), outbox: Sequence[OutboxEntry] = ()
    ) -> tuple[OpenResult, Incident]:
        """Insert unless the identity is known or (for an open incident) the target is busy. Returns what is now on record."""
        ...

    async def save(
        self, incident: Incident, events: Sequence[IncidentEvent] = (), outbox: Sequence[OutboxEntry] = ()
    ) -> None: ...

    async def get(self, incident_id: str) -> Incident | None: ...

    async def events(self, incident_id: str) -> list[IncidentEvent]: ...

    async def list(
        self, *, target: str | None = None, open_only: bool = False, before: str | None = None, limit: int = 50
    ) -> list[Incident]:
        """Newest first. before: cursor, the id of the last incident of the previous page."""
        ...

    async def find(self, identity: str) -> Incident | None:
        """By its own identity, or by one that joined it."""
        ...

    async def prune(self, before: datetime) -> int:
        """Delete closed incidents older than `before`, with events and delivered messages; bad fingerprints stay."""
        ...


class Outbox(Protocol):
    async def put(self, entries: Sequence[OutboxEntry]) -> None:
        """Messages that belong to no incident; those of incidents are written together with the incident."""
        ...

    async def due(self, now: datetime, limit: int) -> list[Delivery]:
        """Undelivered messages whose next attempt is due: for each notifier and incident only the oldest one."""
        ...

    async def next_due(self) -> datetime | None: ...

    async def pending(self) -> int:
        """How many messages are neither delivered nor given up."""
        ...

    async def begin(self, delivery_id: int) -> None:
        """Count an attempt, before it is made."""
        ...

    async def delivered(self, delivery_id: int, at: datetime, remote: Mapping[str, str]) -> None:
        """remote is kept for the next messages of the same incident to the same notifier."""
        ...

    async def postpone(self, delivery_id: int, until: datetime, error: str) -> None: ...

    async def give_up(self, delivery_id: int, at: datetime, error: str) -> None: ...


class Ledger(Protocol):
    """target: always `Target.key`, so that another name in the rulebook forgets nothing."""

    async def put(self, *entries: LedgerEntry) -> None:
        """Insert or replace by (target, fingerprint, rolled_out_at), all in one transaction: half a history would stay half."""
        ...

    async def entries(self, target: str) -> list[LedgerEntry]:
        """Oldest first."""
        ...

    async def mark_bad(self, target: str, fingerprint: str, at: datetime, incident_id: str) -> None:
        """This version was rolled back from; never forgotten by pruning."""
        ...

    async def bad_fingerprints(self, target: str) -> Mapping[str, str]:
        """Fingerprint → id of the incident that rolled it back."""
        ...

    async def rollbacks_since(self, target: str, since: datetime) -> int:
        """How many rollbacks were begun on this target since then."""
        ...

    async def past_rollbacks(self, limit: int) -> list[PastRollback]:
        """The latest that were begun, over all targets, newest first, each with what became of it."""
        ...


# --- people ----------------------------------------------------------------------------------------------------------


class People(Protocol):
    """What people said that outlives a request: suppressions, the hold, the audit log, answers to repeated commands."""

    async def put_suppression(self, suppression: Suppression) -> None:
        """Insert or replace by id."""
        ...

    async def suppressions(self, *, ended: bool = False) -> list[Suppression]:
        """Newest first. ended: those that are over, too."""
        ...

    async def put_hold(self, hold: Hold) -> None: ...

    async def hold(self) -> Hold: ...

    async def note(self, entry: AuditEntry) -> None:
        """Write into the audit log."""
        ...

    async def audit(self, *, before: int | None = None, limit: int = 50) -> list[tuple[int, AuditEntry]]:
        """Newest first, each with its number. before: the number of the last entry of the previous page."""
        ...

    async def keep_answer(self, key: str, answer: KeptAnswer, at: datetime) -> None: ...

    async def kept_answer(self, key: str) -> KeptAnswer | None: ...

    async def prune(self, *, answers_before: datetime, others_before: datetime) -> int:
        """Delete kept answers, and audit entries and ended suppressions, that are older. Returns how many in all."""
        ...


# --- targets ---------------------------------------------------------------------------------------------------------


class Workload(Protocol):
    """One declared target at its real place."""

    async def read(self) -> WorkloadState:
        """Facts, fresh from the server. Raises the errors of `responder.errors`; a missing right is named."""
        ...

    async def roll_back(self, pin: Pin, before_write: Callable[[], Awaitable[None]]) -> str:
        """Make the target equal to `pin.to_version`; safe to call again after a crash. Returns one sentence on what was done.

        before_write is awaited once, right before the first request that changes anything.
        Raises RefusedError when the target is neither at pin.from_version nor at pin.to_version, or its uid changed.
        """
        ...

    async def rollout(self, pin: Pin) -> RolloutStatus:
        """How far the rollout of pin.to_version is."""
        ...

    def watch(self) -> AsyncIterator[WorkloadState]:
        """A state whenever something changed; the first at once. Reconnects by itself; ends only by cancellation."""
        ...


@runtime_checkable
class Inspectable(Protocol):
    """A target that can look closer than `Workload.read` needs to."""

    async def inspect(self) -> WorkloadState:
        """As `read`, with what stands around it (`WorkloadState.surroundings`)."""
        ...


@runtime_checkable
class Stepwise(Protocol):
    """A target whose rollback takes several writes, so that it can be cut off half-way."""

    async def has_begun(self, pin: Pin) -> bool:
        """Whether an earlier attempt of this very rollback changed something. Then it is finished, whatever the alert does."""
        ...


@runtime_checkable
class Traceable(Protocol):
    """A target on which a trace of a rollback can be left for whoever looks at the object."""

    async def leave_trace(self, pin: Pin) -> None:
        """Best effort: raises nothing of ours, changes nothing that runs. Once per incident, however often it is called."""
        ...


class Workloads(Protocol):
    def of(self, target: Target) -> Workload: ...


# --- actions ---------------------------------------------------------------------------------------------------------


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
    mark_acted: awaited before the first byte of a rollback: the last look, then the version it replaces is marked as bad.
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
    mark_acted: Callable[[], Awaitable[None]]
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


# --- second look -----------------------------------------------------------------------------------------------------


class AlertLists(Protocol):
    async def alerts(self, matchers: Iterable[Matcher]) -> Listing:
        """What is listed now for these matchers; may be more. What went wrong is in the answer, nothing is raised."""
        ...


# --- notifiers -------------------------------------------------------------------------------------------------------


class Notifier(Protocol):
    async def send(self, delivery: Delivery) -> Mapping[str, str]:
        """Deliver once. Returns what to remember about this incident at the service.

        Raises TemporaryError (with retry_after when the service said so) or PermanentError when trying again is no use.
        """
        ...
