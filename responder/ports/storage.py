"""What is kept: the journal, incidents with their messages, what ran when, what people said. Implemented by stores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Protocol

from responder.domain.incident import Incident, IncidentEvent
from responder.domain.notification import Delivery, Message
from responder.domain.past_rollbacks import PastRollback
from responder.domain.people import AuditEntry, Hold, KeptAnswer, Suppression
from responder.domain.signal import Signal
from responder.domain.version import LedgerEntry


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


class OpenResult(StrEnum):
    OPENED = "opened"
    KNOWN = "known"  # this identity was handled before
    BUSY = "busy"  # the target has another open incident


@dataclass(frozen=True, slots=True)
class OutboxEntry:
    """A message for one notifier, to be put into the outbox together with the incident's change."""

    to: str
    message: Message


class Incidents(Protocol):
    """Each call is one transaction: incident, events and outbox entries are written together or not at all."""

    async def open(
        self, incident: Incident, events: Sequence[IncidentEvent] = (), outbox: Sequence[OutboxEntry] = ()
    ) -> tuple[OpenResult, Incident]:
        """Insert unless the identity is known or (for an open incident) the target is busy. Returns what is now on record."""
        ...

    async def save(self, incident: Incident, events: Sequence[IncidentEvent] = (), outbox: Sequence[OutboxEntry] = ()) -> None:
        """Its new state. Raises NotFoundError when it was never opened, ConflictError when another is open on its target."""
        ...

    async def get(self, incident_id: str) -> Incident | None:
        """None when there is none of that id."""
        ...

    async def events(self, incident_id: str) -> list[IncidentEvent]:
        """Oldest first."""
        ...

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
    """Messages on their way to notifiers, each until delivered or given up. Raises NotFoundError for an unknown delivery."""

    async def put(self, entries: Sequence[OutboxEntry]) -> None:
        """Messages that belong to no incident; those of incidents are written together with the incident."""
        ...

    async def due(self, now: datetime, limit: int) -> list[Delivery]:
        """Undelivered messages whose next attempt is due: for each notifier and incident only the oldest one.

        None waits for hours because the clock was set back.
        """
        ...

    async def next_due(self) -> datetime | None:
        """When the next attempt is due, None when nothing waits. It may have passed."""
        ...

    async def pending(self) -> int:
        """How many messages are neither delivered nor given up."""
        ...

    async def begin(self, delivery_id: int) -> None:
        """Count an attempt, before it is made."""
        ...

    async def delivered(self, delivery_id: int, at: datetime, remote: Mapping[str, str]) -> None:
        """remote is kept for the next messages of the same incident to the same notifier."""
        ...

    async def postpone(self, delivery_id: int, until: datetime, error: str) -> None:
        """The attempt failed; the next one is due then."""
        ...

    async def give_up(self, delivery_id: int, at: datetime, error: str) -> None:
        """There is no further attempt; the later messages of the incident go on."""
        ...


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

    async def troubles(self, target: str) -> list[datetime]:
        """When the latest alerts began that asked for a rollback of it, oldest first, whatever came of them."""
        ...

    async def rollbacks_since(self, target: str, since: datetime) -> int:
        """How many rollbacks were begun on this target since then."""
        ...

    async def past_rollbacks(self, limit: int) -> list[PastRollback]:
        """The latest that were begun, over all targets, newest first, each with what became of it."""
        ...


class People(Protocol):
    """What people said that outlives a request: suppressions, the hold, the audit log, answers to repeated commands."""

    async def put_suppression(self, suppression: Suppression) -> None:
        """Insert or replace by id."""
        ...

    async def suppressions(self, *, ended: bool = False) -> list[Suppression]:
        """Newest first. ended: those that are over, too."""
        ...

    async def put_hold(self, hold: Hold) -> None:
        """In place of what was said before."""
        ...

    async def hold(self) -> Hold:
        """What was said last; not held when nobody ever said anything."""
        ...

    async def note(self, entry: AuditEntry) -> None:
        """Write into the audit log."""
        ...

    async def audit(self, *, before: int | None = None, limit: int = 50) -> list[tuple[int, AuditEntry]]:
        """Newest first, each with its number. before: the number of the last entry of the previous page."""
        ...

    async def keep_answer(self, key: str, answer: KeptAnswer, at: datetime) -> None:
        """Under the Idempotency-Key of the command."""
        ...

    async def kept_answer(self, key: str) -> KeptAnswer | None:
        """What the command with this key was answered, None for one that was never answered."""
        ...

    async def open_answers(self, status: int) -> list[tuple[str, KeptAnswer]]:
        """Those kept under this status, with their keys, oldest first."""
        ...

    async def prune(self, *, answers_before: datetime, others_before: datetime) -> int:
        """Delete kept answers, and audit entries and ended suppressions, that are older. Returns how many in all."""
        ...
