"""Driving the evaluator through time that is not the clock's: rule tests and replay."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from responder.domain.decision import Decision
from responder.domain.rule_state import GroupView
from responder.domain.rule_test import START, UNANSWERED, Course, RuleTest
from responder.domain.rulebook import Rulebook
from responder.domain.signal import Signal
from responder.engine.evaluator import Evaluator
from responder.engine.readings import Rounds, reading
from responder.ports import Entry, EntryKind

AFTERWARDS = timedelta(days=1)
"""How long after the last delivery a test without an end waits for what is still due."""


def let_time_pass(evaluator: Evaluator, until: datetime) -> Iterator[Decision]:
    """Tick at every moment something is due, up to and including `until`."""
    ticked: datetime | None = None
    while (due := evaluator.next_due()) is not None and due <= until and due != ticked:
        yield from evaluator.tick(due)
        ticked = due


def run_test(rulebook: Rulebook, test: RuleTest) -> Course:
    """Deliver what the test delivers, at its times, and let everything run out that waits."""
    return _Stage(rulebook, test).play()


class _Stage:
    """One test: the evaluator, and a reader of numbers that is answered at once."""

    def __init__(self, rulebook: Rulebook, test: RuleTest) -> None:
        self._test = test
        self._rules = {rule.name: rule for rule in rulebook.rules}
        self._evaluator = Evaluator(rulebook)
        self._rounds = Rounds()
        self._answers = {each.query: each for each in test.answers}
        self._decisions: list[Decision] = []
        self._now = START

    def play(self) -> Course:
        test, evaluator = self._test, self._evaluator
        groups: dict[timedelta, tuple[GroupView, ...]] = {}
        deliveries = {delivery.at: delivery for delivery in test.deliveries}
        asked = {each.at for each in test.expectations}
        last = max([*deliveries, *asked], default=timedelta(0))
        end = last + AFTERWARDS if test.until is None else test.until
        self._decisions += evaluator.tick(START)  # rules that count from the start begin to
        for at in sorted({*deliveries, *asked}):
            if at > end:
                break
            self._pass_time(START + at)
            if at in deliveries:
                self._decisions += evaluator.observe(deliveries[at].signals, START + at)
                self._pass_time(START + at)
            if at in asked:
                groups[at] = tuple(evaluator.groups())
        self._pass_time(START + end)
        return Course(tuple(self._decisions), groups, self._rules)

    def _pass_time(self, until: datetime) -> None:
        """Everything up to and including that moment; what is due at a moment is decided before what is read then."""
        self._read()
        while (at := self._rounds.next(self._evaluator.wanted)) is not None and at <= until:
            self._decisions += let_time_pass(self._evaluator, at)
            self._now = at
            self._read()
        self._decisions += let_time_pass(self._evaluator, until)
        self._now = until

    def _read(self) -> None:
        """Prometheus answers at once: what is newly wanted, and what is due again."""
        found = [self._reading(query) for query in self._rounds.due(self._evaluator.wanted, self._now)]
        if found:
            self._decisions += self._evaluator.fold(Entry(0, self._now, EntryKind.READING, tuple(found)))

    def _reading(self, query: str) -> Signal:
        answers = self._answers.get(query)
        told = UNANSWERED if answers is None else answers.at(self._now - START)
        return reading(query, self._now, self._now, told)
