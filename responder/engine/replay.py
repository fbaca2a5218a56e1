"""What a rulebook would have decided on a recorded journal."""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime

from responder.domain.condition import query_users
from responder.domain.decision import Decision, DecisionKind
from responder.domain.rulebook import Rulebook
from responder.engine.evaluator import Evaluator
from responder.engine.timeline import let_time_pass
from responder.ports import Entry, EntryKind

ACTS_LIMIT = 100_000
OTHERS_LIMIT = 20_000
"""Decisions that are kept; what acts has its own share, so that waiting and clearing never crowd it out."""
_GARBAGE_EVERY = 200_000  # allocations; the usual 700 would cost a fifth of the time
_IGNORE = DecisionKind.IGNORE
_ACTS = frozenset({DecisionKind.RESPOND, DecisionKind.SUPPRESS})


@dataclass(slots=True)
class Replayed:
    """counts: all decisions in the window, by kind. decisions: those that are not to ignore, in order; left_out: how many of
    them there was no room for. groups: how many are pending or firing at the end. unread: queries that these rules would have
    asked, and that nobody asked then: nothing is known of their numbers."""

    entries: int = 0
    signals: int = 0
    first_at: datetime | None = None
    last_at: datetime | None = None
    counts: Counter[DecisionKind] = field(default_factory=Counter)
    decisions: list[Decision] = field(default_factory=list)
    left_out: int = 0
    groups: int = 0
    unread: list[str] = field(default_factory=list)


class Replay:
    """Everything before the window is folded too: state is what the whole journal made it. Only the window is told about."""

    def __init__(self, rulebook: Rulebook, since: datetime | None = None, until: datetime | None = None) -> None:
        self._evaluator = Evaluator(rulebook)
        self._since = since
        self._until = until
        self._acts = 0
        self._others = 0
        self._has_queries = any(any(query_users(rule.condition)) for rule in rulebook.rules)
        self._asked: set[str] = set()
        self._answered: set[str] = set()
        self.found = Replayed()

    def run(self, entries: Iterable[Entry], on_entry: Callable[[Entry], None] | None = None) -> Replayed:
        """Deadlines run out at their own time; the ticks on record are those of other rules and count for nothing."""
        thresholds = gc.get_threshold()
        gc.set_threshold(_GARBAGE_EVERY, *thresholds[1:])
        try:
            return self._run(entries, on_entry)
        finally:
            gc.set_threshold(*thresholds)

    def _run(self, entries: Iterable[Entry], on_entry: Callable[[Entry], None] | None) -> Replayed:
        found, evaluator, until = self.found, self._evaluator, self._until
        for entry in entries:
            if until is not None and entry.at > until:
                break
            if entry.kind is EntryKind.STARTED and found.last_at is not None:
                self._keep(let_time_pass(evaluator, found.last_at))
                self._keep(evaluator.listen_again(found.last_at, entry.at))
            due = evaluator.next_due()
            if due is not None and due <= entry.at:
                self._keep(let_time_pass(evaluator, entry.at))
            if entry.kind is EntryKind.SIGNALS:
                self._keep(evaluator.observe(entry.signals, entry.at))
                found.signals += len(entry.signals)
            elif entry.kind is EntryKind.ACTED:
                evaluator.fold(entry)  # what was rolled back was rolled back, whatever these rules would have done
            elif entry.kind is EntryKind.READING:
                self._keep(evaluator.fold(entry))
                self._answered.update(signal.key for signal in entry.signals)
            if self._has_queries and evaluator.wanted:
                self._asked.update(evaluator.wanted)
            found.entries += 1
            if found.first_at is None:
                found.first_at = entry.at
            found.last_at = entry.at
            if on_entry is not None:
                on_entry(entry)
        if until is not None:
            self._keep(let_time_pass(evaluator, until))
        found.unread = sorted(self._asked - self._answered)
        found.groups = sum(1 for _ in evaluator.groups())
        return found

    def _keep(self, decisions: Iterable[Decision]) -> None:
        found, since = self.found, self._since
        ignored = 0
        for decision in decisions:
            if since is not None and decision.at < since:
                continue
            if decision.kind is _IGNORE:
                ignored += 1
                continue
            found.counts[decision.kind] += 1
            if decision.kind in _ACTS:
                self._acts += 1
                has_room = self._acts <= ACTS_LIMIT
            else:
                self._others += 1
                has_room = self._others <= OTHERS_LIMIT
            if has_room:
                found.decisions.append(decision)
            else:
                found.left_out += 1
        if ignored:
            found.counts[DecisionKind.IGNORE] += ignored
