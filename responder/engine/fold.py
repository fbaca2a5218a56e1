"""The journal folded into an evaluator: how far it is, and when somebody was heard last."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from datetime import datetime

import structlog

from responder.domain.decision import Decision, DecisionKind
from responder.domain.rulebook import Severity
from responder.engine.evaluator import Evaluator
from responder.ports import Entry, EntryKind, Journal

_log = structlog.get_logger(__name__)
_BATCH = 250  # entries; in a storm each holds many deliveries
_HEARD_WITHIN = 2000  # entries, looked through for the newest signals
_CATCH_UP_BATCH = 100  # entries folded for a new rulebook at a time: the live work gets its turn between two
UNREADABLE = "unreadable_journal_entry"  # in the place of a rule's name


class Fold:
    """The evaluator belongs to it: nobody else feeds it. digest: of the rulebook that the evaluator decides by.

    position: id of the last entry folded. last_heard: when the newest signals on record came.
    unsaved: signals and ticks folded since the state was kept.
    """

    def __init__(self, evaluator: Evaluator, digest: str, journal: Journal) -> None:
        self.evaluator = evaluator
        self.position = 0
        self.last_heard: datetime | None = None
        self.unsaved = 0
        self._digest = digest
        self._journal = journal

    async def recall(self, on_recalled: Callable[[Decision], None]) -> tuple[bool, list[Decision]]:
        """Fold what is on record. Afterwards the state is what it would be had the process never stopped.

        Returns whether there was a snapshot, and the responses that were decided since and may have been missed.
        """
        missed: dict[str, Decision] = {}
        kept = await self._journal.load_snapshot(self._digest)
        is_restored = kept is not None and self._restore(*kept)
        while entries := await self._journal.read(self.position, _BATCH):
            for decision in self.take(entries):
                on_recalled(decision)
                if decision.kind is DecisionKind.RESPOND and (is_restored or decision.rule == UNREADABLE):
                    missed[decision.identity] = decision
            await asyncio.sleep(0)
        _log.info("journal_folded", position=self.position, from_snapshot=is_restored)
        await self._hear_the_newest()
        return is_restored, list(missed.values())

    def _restore(self, position: int, body: bytes) -> bool:
        try:
            self.evaluator.restore(body)
        except ValueError as error:
            _log.warning("snapshot_unusable", error=str(error), consequence="the whole journal is folded")
            return False
        self.position = position
        return True

    async def _hear_the_newest(self) -> None:
        """What the snapshot holds was heard too; its newest entry is still in the journal unless it is long gone."""
        first = self.position
        while self.last_heard is None and first > max(0, self.position - _HEARD_WITHIN):
            first = max(0, first - _BATCH)
            entries = await self._journal.read(first, _BATCH)
            self.last_heard = next((entry.at for entry in reversed(entries) if entry.kind is EntryKind.SIGNALS), None)

    def take(self, entries: Iterable[Entry]) -> list[Decision]:
        decisions: list[Decision] = []
        for entry in entries:
            decisions += _fold_one(self.evaluator, entry)
            self.position = entry.id
            self.unsaved += max(1, len(entry.signals))
            if entry.kind is EntryKind.SIGNALS:
                self.last_heard = entry.at
        return decisions

    async def catch_up(self, other: Fold) -> bool:
        """Fold the next few entries that another has folded; returns whether there were any."""
        entries = await self._journal.read(self.position, _CATCH_UP_BATCH)
        known = [entry for entry in entries if entry.id <= other.position]
        self.take(known)
        return bool(known)

    def is_near(self, other: Fold) -> bool:
        """Whether a few entries are missing at most."""
        return other.position - self.position <= _CATCH_UP_BATCH

    def in_place_of(self, other: Fold, *, unsaved: int) -> Fold:
        """Take over what is known about entries that are no longer on record."""
        self.position, self.last_heard, self.unsaved = other.position, other.last_heard, unsaved
        return self

    async def save(self) -> None:
        self.unsaved = 0
        await self._journal.save_snapshot(self.position, self._digest, self.evaluator.snapshot())


def _fold_one(evaluator: Evaluator, entry: Entry) -> list[Decision]:
    """Fold an entry. One that breaks the evaluator is told and passed over: it would break every start after this one, too."""
    if entry.kind is EntryKind.UNREADABLE:
        _log.error("entry_unreadable", entry=entry.id, consequence="it is passed over")
        reason = f"entries of the journal can't be read, {entry.id} among them: from a newer version of Responder, or damaged"
        day = f"entries of {entry.at:%Y-%m-%d}"  # told once for all of them
        lost = Decision(DecisionKind.RESPOND, entry.at, reason, UNREADABLE, day, severity=Severity.P1)
        return [*evaluator.tick(entry.at), lost]
    try:
        return evaluator.fold(entry)
    except Exception as error:  # noqa: BLE001 (the entry's boundary: all later alerts are behind it)
        _log.exception("entry_unreadable", entry=entry.id, entry_kind=entry.kind.value)
        names = ", ".join(sorted({signal.labels.get("alertname", signal.key) for signal in entry.signals}))[:300]
        reason = f"journal entry {entry.id} can't be evaluated ({type(error).__name__}): a person must look at {names or 'it'}"
        return [Decision(DecisionKind.RESPOND, entry.at, reason, UNREADABLE, f"entry {entry.id}", severity=Severity.P1)]
