"""Driving the evaluator through time that is not the clock's: rule tests and replay."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from responder.domain.decision import Decision
from responder.domain.rule_state import GroupView
from responder.domain.rule_test import START, Course, RuleTest
from responder.domain.rulebook import Rulebook
from responder.engine.evaluator import Evaluator

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
    evaluator = Evaluator(rulebook)
    decisions: list[Decision] = []
    groups: dict[timedelta, tuple[GroupView, ...]] = {}
    deliveries = {delivery.at: delivery for delivery in test.deliveries}
    asked = {each.at for each in test.expectations}
    last = max([*deliveries, *asked], default=timedelta(0))
    end = last + AFTERWARDS if test.until is None else test.until
    decisions += evaluator.tick(START)  # rules that count from the start begin to
    for at in sorted({*deliveries, *asked}):
        if at > end:
            break
        decisions += let_time_pass(evaluator, START + at)
        if at in deliveries:
            decisions += evaluator.observe(deliveries[at].signals, START + at)
            decisions += let_time_pass(evaluator, START + at)
        if at in asked:
            groups[at] = tuple(evaluator.groups())
    decisions += let_time_pass(evaluator, START + end)
    return Course(tuple(decisions), groups)
