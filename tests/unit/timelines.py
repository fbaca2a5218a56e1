"""Short timelines for the evaluator: signals by the second, and what is decided."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from responder.domain.condition import ValueCondition
from responder.domain.decision import Decision, DecisionKind
from responder.domain.matcher import parse_matcher
from responder.domain.rulebook import Response, Rule, Rulebook, Severity
from responder.domain.signal import Signal, SignalStatus
from responder.domain.target import Target, WorkloadRef
from responder.engine.evaluator import Evaluator

MINUTE = timedelta(minutes=1)
START = datetime(2026, 11, 21, 22, 55, 50, 632000, tzinfo=UTC)
LABELS = {"source": "alertmanager", "alertname": "HighErrorRate", "deployment": "app", "pod": "p1"}
IGNORE, WAIT, RESPOND, CLEAR = DecisionKind.IGNORE, DecisionKind.WAIT, DecisionKind.RESPOND, DecisionKind.CLEAR


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def target(name: str, *matchers: str) -> Target:
    return Target(name, WorkloadRef("prod", name), tuple(parse_matcher(text) for text in matchers))


def rule(name: str = "errors", *matchers: str, seconds: float = 120, **fields: Any) -> Rule:
    texts = matchers or ('alertname="HighErrorRate"',)
    fields = {"response": Response.ROLLBACK, "severity": Severity.P1, **fields}
    return Rule(name, tuple(parse_matcher(text) for text in texts), hold=timedelta(seconds=seconds), **fields)


def rulebook(*rules: Rule, targets: tuple[Target, ...] = (target("app", 'deployment="app"'),)) -> Rulebook:
    return Rulebook(targets={one.name: one for one in targets}, rules=rules)


def evaluator(*rules: Rule, **fields: Any) -> Evaluator:
    return Evaluator(rulebook(*(rules or (rule(),)), **fields))


def signal(status: str = "firing", *, started: float | None = 0, now: float = 0, key: str = "f1", **fields: Any) -> Signal:
    labels = {**LABELS, **fields.pop("labels", {})}
    text = fields.pop("text", "0.0731")
    annotations = fields.pop("annotations", {} if text is None else {"value": text})
    return Signal(
        source="alertmanager",
        key=key,
        status=SignalStatus(status),
        labels=labels,
        annotations=annotations,
        started_at=None if started is None else at(started),
        ended_at=None,
        received_at=at(now),
        **fields,
    )


def send(subject: Evaluator, now: float, *signals: Signal) -> list[Decision]:
    return subject.observe([replace(one, received_at=at(now)) for one in signals], at(now))


def kinds(decisions: list[Decision]) -> list[DecisionKind]:
    return [decision.kind for decision in decisions]


def above(bound: float = 0.05, source: str = "annotations.value") -> ValueCondition:
    return ValueCondition(above=bound, source=source)


def fire(started: float | None = 0, **fields: Any) -> Signal:
    return signal("firing", started=started, **fields)


def resolve(started: float | None = 0, **fields: Any) -> Signal:
    return signal("resolved", started=started, **fields)


def check(passed: bool, started: float | None = None, **fields: Any) -> Signal:
    return signal("occurred", started=started, passed=passed, **fields)


def alert(name: str, *, key: str | None = None, started: float | None = None, status: str = "firing", **fields: Any) -> Signal:
    labels = {"alertname": name, **fields.pop("labels", {})}
    return signal(status, key=key or name, started=started, labels=labels, **fields)


def play(subject: Evaluator, timeline: list[tuple[float, Signal]]) -> list[tuple[float, str]]:
    """When what was decided, apart from what was ignored; ticking at every deadline. Times in seconds."""
    found = []
    for now, one in [*timeline, (100_000, None)]:
        while (due := subject.next_due()) is not None and due <= at(now):
            found += [((due - at(0)).total_seconds(), decision) for decision in subject.tick(due)]
            subject.restore(subject.snapshot())
        if one is not None:
            found += [(now, decision) for decision in send(subject, now, one)]
    return [(when, decision.kind.value) for when, decision in found if decision.kind is not IGNORE]
