"""Numbers in alerts and events, and how long a point event goes on, as short timelines."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from responder.domain.condition import ValueCondition
from responder.domain.decision import DecisionKind
from responder.domain.rulebook import Response, Rule
from responder.domain.signal import Signal
from tests.unit.timelines import (
    CLEAR,
    IGNORE,
    RESPOND,
    WAIT,
    above,
    at,
    evaluator,
    fire,
    kinds,
    resolve,
    rule,
    send,
    signal,
)

# --- values ------------------------------------------------------------------------------------------------------------

READINGS = {
    "above its bound": (above(), {"text": "0.0731"}, WAIT),
    "exactly its bound": (above(), {"text": "5%"}, IGNORE),
    "a percentage": (above(), {"text": "7.31%"}, WAIT),
    "below its bound": (ValueCondition(below=10), {"text": "9"}, WAIT),
    "not below its bound": (ValueCondition(below=10), {"text": "10"}, IGNORE),
    "between, its ends included": (ValueCondition(between=(1, 2)), {"text": "2"}, WAIT),
    "outside between": (ValueCondition(between=(1, 2)), {"text": "2.01"}, IGNORE),
    "a number sent as a number": (above(source="value"), {"text": None, "value": 0.06}, WAIT),
    "a named annotation": (above(0.2, "annotations.p95"), {"annotations": {"p95": "250ms"}}, WAIT),
    "a label": (above(1, "labels.level"), {"labels": {"level": "2"}}, WAIT),
}


@pytest.mark.parametrize(("condition", "fields", "expected"), READINGS.values(), ids=READINGS)
def test_value(condition: ValueCondition, fields: dict[str, Any], expected: DecisionKind) -> None:
    [decision] = send(evaluator(rule(condition=condition)), 0, fire(**fields))
    assert (decision.kind, decision.inconclusive) == (expected, False)


UNREADABLE = {
    "missing": (above(), {"text": None}),
    "empty": (above(), {"text": ""}),
    "a word": (above(), {"text": "lots"}),
    "not a number": (above(), {"text": "NaN"}),
    "infinite": (above(), {"text": "+Inf"}),
    "minus infinite": (ValueCondition(below=1), {"text": "-Inf"}),
    "sent as NaN": (above(source="value"), {"value": float("nan")}),
    "sent as infinity": (above(source="value"), {"value": float("inf")}),
    "not sent": (above(source="value"), {}),
    "a label that is not there": (above(source="labels.level"), {}),
    "longer than any number": (above(), {"text": "9" * 5000}),
}


@pytest.mark.parametrize(("condition", "fields"), UNREADABLE.values(), ids=UNREADABLE)
def test_an_unreadable_value_asks_when_its_time_is_up_and_never_acts(condition: ValueCondition, fields: dict[str, Any]) -> None:
    subject = evaluator(rule(condition=condition))
    assert kinds(send(subject, 0, fire(**fields))) == [WAIT]
    assert not subject.is_active("errors", "app")
    [decision] = subject.tick(at(120))
    assert (decision.kind, decision.response, decision.inconclusive) == (RESPOND, Response.NOTIFY, True)
    assert decision.identity.endswith("|ask")
    assert "asking instead of acting" in decision.reason
    assert subject.firing() == [decision]


def test_a_value_that_falls_below_takes_the_alert_out() -> None:
    subject = evaluator(rule(condition=above(), seconds=0))
    assert kinds(send(subject, 0, fire(text="6%"))) == [RESPOND]
    [decision] = send(subject, 30, fire(text="4%"))
    assert (decision.kind, decision.reason) == (
        CLEAR,
        "HighErrorRate: value 0.04 is not above 0.05; the group was firing and is calm again",
    )


def test_a_value_seen_crossing_counts_from_that_moment() -> None:
    subject = evaluator(rule(condition=above()))
    assert kinds(send(subject, 300, fire(0, text="1%"))) == [IGNORE]
    [decision] = send(subject, 360, fire(0, text="6%"))
    assert (decision.kind, decision.began_at, decision.due_at) == (WAIT, at(360), at(480))


def test_a_missing_value_in_between_starts_the_count_anew() -> None:
    subject = evaluator(rule(condition=above()))
    send(subject, 0, fire(text="6%"))
    assert send(subject, 60, fire(text=None))[0].due_at == at(180)
    assert send(subject, 90, fire(text="6%"))[0].due_at == at(210)
    [decision] = subject.tick(at(210))
    assert (decision.kind, decision.inconclusive) == (RESPOND, False)


def test_a_missing_value_is_no_all_clear_for_a_group_that_fires() -> None:
    subject = evaluator(rule(condition=above(), seconds=0))
    [first] = send(subject, 0, fire(text="6%"))
    assert kinds(send(subject, 30, fire(text=None))) == [IGNORE]
    assert not subject.is_active("errors", "app")
    assert kinds(send(subject, 60, fire(text="6%"))) == [IGNORE]
    assert subject.firing()[0].identity == first.identity
    send(subject, 90, fire(text=None))
    assert kinds(send(subject, 95, resolve())) == [CLEAR]


def test_it_asks_once_and_acts_when_the_value_comes_back() -> None:
    subject = evaluator(rule(condition=above()))
    send(subject, 0, fire(text=None))
    [asked] = subject.tick(at(120))
    assert kinds(send(subject, 130, fire(text="6%"))) == [WAIT]
    assert kinds(send(subject, 140, fire(text=None))) == [IGNORE]
    assert kinds(send(subject, 150, fire(text="6%"))) == [WAIT]
    [acted] = subject.tick(at(270))
    assert (acted.inconclusive, acted.began_at) == (False, at(150))
    assert asked.identity == f"{acted.identity}|ask"


def test_an_inconclusive_alert_does_not_lend_its_age_to_one_that_holds() -> None:
    subject = evaluator(rule(condition=above()))
    send(subject, 60, fire(0, text=None, key="f1"), fire(50, key="f2"))
    assert subject.next_due() == at(170)


def test_when_the_only_alert_that_held_leaves_the_inconclusive_ones_count_from_their_own_start() -> None:
    subject = evaluator(rule(condition=above()))
    send(subject, 60, fire(0, text=None, key="f1"), fire(50, key="f2"))
    assert kinds(send(subject, 70, resolve(50, key="f2"))) == [WAIT]
    assert subject.next_due() == at(120)
    [decision] = subject.tick(at(120))
    assert decision.inconclusive


# --- point events ------------------------------------------------------------------------------------------------------

EVENTS = {
    "a point event responds at once without for": (rule(seconds=0), {}, RESPOND, False),
    "a failed check responds": (rule(seconds=0), {"passed": False}, RESPOND, False),
    "a passed check is ignored": (rule(seconds=0), {"passed": True}, IGNORE, False),
    "a mere event can't last": (rule(seconds=60), {}, IGNORE, False),
    "a failed check can last": (rule(seconds=60), {"passed": False}, WAIT, False),
    "a point event over the bound responds": (rule(seconds=0, condition=above()), {"text": "6%"}, RESPOND, False),
    "a point event over the bound can last": (rule(seconds=60, condition=above()), {"text": "6%"}, WAIT, False),
    "a point event under the bound is ignored": (rule(seconds=0, condition=above()), {"text": "4%"}, IGNORE, False),
    "a point event without its number asks": (rule(seconds=0, condition=above()), {"text": None}, RESPOND, True),
    "a point event no rule wants": (rule("r", 'alertname="Other"', seconds=0), {}, IGNORE, False),
}


@pytest.mark.parametrize(("subject_rule", "fields", "expected", "asks"), EVENTS.values(), ids=EVENTS)
def test_point_event(subject_rule: Rule, fields: dict[str, Any], expected: DecisionKind, asks: bool) -> None:
    subject = evaluator(subject_rule)
    [decision] = send(subject, 5, signal("occurred", **fields))
    assert (decision.kind, decision.inconclusive) == (expected, asks)
    assert subject.is_active("errors", "app") is (expected in (RESPOND, WAIT) and not asks)
    assert subject.is_calm("errors", "app") is (expected is IGNORE)
    assert kinds(send(subject, 6, signal("occurred", **fields))) == [IGNORE], "the same event again"


def event(started: float | None = 0, **fields: Any) -> Signal:
    return signal("occurred", started=started, **fields)


ENDINGS = {
    "a check that passed": (event(60, passed=True), 60),
    "a resolved": (resolve(60), 60),
    "a number that is calm again": (event(60, text="1%"), 60),
    "ten minutes without news": (fire(key="other", labels={"alertname": "Other"}), 600),
    "nothing: an older check that passed": (event(-5, passed=True), 600),
    "nothing: another event keeps it going": (event(60), 660),
}


@pytest.mark.parametrize(("ending", "over"), ENDINGS.values(), ids=ENDINGS)
def test_a_point_event_goes_on_until(ending: Signal, over: float) -> None:
    subject = evaluator(rule(seconds=0, condition=above()))
    [responded] = send(subject, 0, event(0))
    decisions = send(subject, 60, ending)
    if over == 60:
        [cleared] = decisions
    else:
        assert kinds(decisions) == [IGNORE]
        assert subject.next_due() is not None
        assert subject.is_active("errors", "app")
        assert subject.tick(at(over - 1)) == []
        [cleared] = subject.tick(at(over))
    assert (cleared.kind, cleared.identity) == (CLEAR, responded.identity)
    assert not subject.is_active("errors", "app")
    assert kinds(send(subject, over + 1, event(over + 1))) == [RESPOND], "the next one is another incident"


def test_the_rule_says_how_long_a_point_event_goes_on_after_its_for() -> None:
    subject = evaluator(rule(seconds=60, active_for=timedelta(seconds=90)))
    send(subject, 0, event(0, passed=False))
    assert kinds(subject.tick(at(60))) == [RESPOND]
    assert subject.is_active("errors", "app")
    assert kinds(subject.tick(at(150))) == [CLEAR]


def test_a_point_event_joins_the_group_of_an_alert_that_fires() -> None:
    subject = evaluator(rule(seconds=0))
    send(subject, 0, fire())
    assert kinds(send(subject, 5, event(5, key="e1"))) == [IGNORE]
    assert kinds(send(subject, 6, event(6, key="f1"))) == [IGNORE]
    assert kinds(send(subject, 7, resolve())) == [IGNORE], "the event goes on"
    assert kinds(subject.tick(at(605))) == [CLEAR]


def test_an_event_and_an_alert_of_one_key_and_instant_are_shown_in_the_same_order_after_a_restart() -> None:
    subject, restarted = evaluator(rule(condition=above())), evaluator(rule(condition=above()))
    send(subject, 0, event(None, text="6%"), fire(None, text="7%"))
    restarted.restore(subject.snapshot())
    assert list(restarted.groups()) == list(subject.groups())
    assert restarted.tick(at(120)) == subject.tick(at(120))


def test_an_event_that_ends_and_comes_again_in_one_instant() -> None:
    subject = evaluator(rule(seconds=0))
    decisions = send(subject, 10, event(5), resolve(6), event(7))
    assert kinds(decisions) == [RESPOND, CLEAR, RESPOND]
    assert kinds(subject.tick(at(610))) == [CLEAR]


def test_an_event_that_comes_after_a_newer_check_passed_is_no_news() -> None:
    subject = evaluator(rule(seconds=0))
    send(subject, 10, event(10, passed=True))
    assert kinds(send(subject, 11, event(9, passed=False))) == [IGNORE]
