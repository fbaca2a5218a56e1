"""What holds a rule back, or keeps it firing: other alerts, time after a response, many ill targets; as short timelines."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from responder.domain.condition import (
    AnyOf,
    CountCondition,
    Firing,
    Part,
    ValueCondition,
)
from responder.domain.matcher import parse_matcher
from responder.domain.rule_state import GroupState
from responder.domain.rulebook import MassHold, Response, Rulebook, Severity
from responder.domain.signal import Signal
from responder.engine.evaluator import Evaluator
from tests.unit.timelines import (
    CLEAR,
    IGNORE,
    MINUTE,
    RESPOND,
    WAIT,
    alert,
    at,
    evaluator,
    kinds,
    play,
    rule,
    send,
    target,
)

# --- unless, cooldown, settle, keep_firing_for -------------------------------------------------------------------------

DOWN = (parse_matcher('alertname="DatabaseDown"'),)


def down(status: str = "firing", started: float = 0, **fields: Any) -> Signal:
    return alert("DatabaseDown", started=started, status=status, labels={"deployment": "db"}, **fields)


UNLESS = {
    "a dependency is down": ([(0, down()), (10, alert("HighErrorRate", started=10))], [(10, "wait")]),
    "it goes down in the meantime": ([(0, alert("HighErrorRate", started=0)), (30, down())], [(0, "wait"), (60, "wait")]),
    "when it is up again, the time counts anew": (
        [(0, down()), (10, alert("HighErrorRate", started=10)), (100, down("resolved"))],
        [(10, "wait"), (100, "wait"), (160, "respond")],
    ),
    "even when it was only down in between": (
        [(0, alert("HighErrorRate", started=0)), (30, down()), (40, down("resolved"))],
        [(0, "wait"), (60, "wait"), (100, "respond")],
    ),
    "while one of two is down": (
        [(0, down()), (0, down(key="other")), (10, alert("HighErrorRate", started=10)), (50, down("resolved"))],
        [(10, "wait")],
    ),
    "what clears meanwhile is over": (
        [(0, down()), (1, alert("HighErrorRate", started=1)), (2, alert("HighErrorRate", started=1, status="resolved"))],
        [(1, "wait"), (2, "clear")],
    ),
    "what fired before goes on firing": (
        [(0, alert("HighErrorRate", started=0)), (70, down()), (80, alert("HighErrorRate", key="second", started=80))],
        [(0, "wait"), (60, "respond")],
    ),
}


@pytest.mark.parametrize(("timeline", "expected"), UNLESS.values(), ids=UNLESS)
def test_unless(timeline: list[tuple[float, Signal]], expected: list[tuple[float, str]]) -> None:
    assert play(evaluator(rule(seconds=60, unless=DOWN)), timeline) == expected


def test_a_rule_held_back_says_by_what() -> None:
    subject = evaluator(rule(seconds=60, unless=DOWN))
    [gate] = send(subject, 0, down())
    assert gate.reason == "DatabaseDown fires; the rule is held back meanwhile"
    [waits] = send(subject, 10, alert("HighErrorRate", started=10))
    assert (waits.due_at, waits.reason) == (None, "HighErrorRate fires; held back while DatabaseDown fires")
    [view] = subject.groups()
    assert (view.state, view.due_at) == (GroupState.PENDING, None)
    assert "held back while DatabaseDown fires" in view.reason
    assert subject.next_due() is None
    opened, freed = send(subject, 100, down("resolved"))
    assert opened.reason == "DatabaseDown: resolved; it holds the rule back no more"
    assert (freed.kind, freed.due_at) == (WAIT, at(160))
    [decision] = subject.tick(at(160))
    assert decision.began_at == at(10), "the trouble began before it was held back"


def test_of_what_arrives_together_the_dependency_is_looked_at_first() -> None:
    subject = evaluator(rule(seconds=0, unless=DOWN))
    assert kinds(send(subject, 0, alert("HighErrorRate", started=0), down())) == [IGNORE, WAIT]


def test_unless_asks_nobody_either() -> None:
    subject = evaluator(rule(seconds=0, condition=ValueCondition(above=1), unless=DOWN))
    assert play(subject, [(0, down()), (1, alert("HighErrorRate", started=1, text=None))]) == [(1, "wait")]


NO_DATA = {"grafana_state": "nodata"}
UNDECIDED: dict[str, dict[str, Any]] = {
    "a rule that looks at no number": {},
    "one whose number is there all the same": {"condition": ValueCondition(above=0.01)},
    "one part of several": {"condition": AnyOf((Part(Firing(), DOWN), Part(Firing(), ())))},
}


@pytest.mark.parametrize("fields", UNDECIDED.values(), ids=UNDECIDED)
def test_an_alert_that_grafana_could_not_evaluate_asks(fields: dict[str, Any]) -> None:
    subject = evaluator(rule(seconds=0, **fields))
    [decision] = send(subject, 0, alert("HighErrorRate", labels=NO_DATA))
    assert (decision.kind, decision.response, decision.inconclusive) == (RESPOND, Response.NOTIFY, True)
    assert "HighErrorRate: Grafana could not evaluate it (nodata), so nobody knows whether it should fire" in decision.reason
    assert not subject.is_active("errors", "app")
    assert not subject.is_calm("errors", "app"), "no data is no all-clear"


def test_an_alert_that_grafana_could_not_evaluate_does_not_count() -> None:
    subject = evaluator(rule(seconds=0, condition=CountCondition(0, MINUTE)))
    [decision] = send(subject, 0, alert("HighErrorRate", labels=NO_DATA))
    assert (decision.kind, decision.reason) == (IGNORE, "Grafana could not evaluate it: it does not count")


@pytest.mark.parametrize(
    ("matcher", "acts"),
    [
        pytest.param('grafana_state="nodata"', True, id="the very state"),
        pytest.param('grafana_state=~"nodata|error"', True, id="any such state"),
        pytest.param('grafana_state!=""', True, id="whatever state it is"),
        pytest.param('grafana_state!="error"', False, id="what an ordinary alert matches too"),
    ],
)
def test_a_rule_that_asks_for_the_state_decides_for_itself(matcher: str, acts: bool) -> None:
    subject = evaluator(rule("errors", 'alertname="HighErrorRate"', matcher, seconds=0))
    [decision] = send(subject, 0, alert("HighErrorRate", labels=NO_DATA))
    assert decision.response is (Response.ROLLBACK if acts else Response.NOTIFY)


def test_data_that_goes_missing_and_comes_back() -> None:
    """The same alert, whose rule fires in that case too: no second response, and no all-clear in between."""
    subject = evaluator(rule(seconds=0))
    assert kinds(send(subject, 0, alert("HighErrorRate", started=0))) == [RESPOND]
    assert kinds(send(subject, 5, alert("HighErrorRate", started=0, labels=NO_DATA))) == [IGNORE]
    assert not subject.is_active("errors", "app")
    assert kinds(send(subject, 9, alert("HighErrorRate", started=0))) == [IGNORE]
    assert subject.is_active("errors", "app")
    assert kinds(send(subject, 12, alert("HighErrorRate", started=0, status="resolved"))) == [CLEAR]


def test_what_holds_back_does_so_in_doubt() -> None:
    subject = evaluator(rule(seconds=0, unless=DOWN))
    dependency = down()
    send(subject, 0, replace(dependency, labels={**dependency.labels, **NO_DATA}))
    assert kinds(send(subject, 1, alert("HighErrorRate", started=1))) == [WAIT]


def test_after_a_response_the_group_cools_down() -> None:
    subject = evaluator(rule(seconds=10, cooldown=timedelta(seconds=300)))
    timeline = [
        (0, alert("HighErrorRate", started=0)),
        (20, alert("HighErrorRate", started=0, status="resolved")),
        (30, alert("HighErrorRate", started=30)),
    ]
    assert play(subject, timeline) == [(0, "wait"), (10, "respond"), (20, "clear"), (30, "wait"), (310, "respond")]


def test_a_cooldown_is_the_group_s_own() -> None:
    subject = evaluator(rule(seconds=0, cooldown=10 * MINUTE, by=("pod",)))
    one, other = alert("HighErrorRate", started=0), alert("HighErrorRate", key="f2", started=1, labels={"pod": "p2"})
    assert play(subject, [(0, one), (1, other)]) == [(0, "respond"), (1, "respond")]


def test_after_a_rollback_the_target_settles() -> None:
    subject = evaluator(
        rule(seconds=10, settle=5 * MINUTE), targets=(target("app", 'deployment="app"'), target("web", 'pod="w"'))
    )
    subject.acted("app", at(0))
    subject.acted("app", at(-100))
    [waits] = send(subject, 20, alert("HighErrorRate", started=20))
    assert (waits.kind, waits.due_at) == (WAIT, at(300))
    assert "settling after the rollback of 22:55:50" in waits.reason
    subject.restore(subject.snapshot())
    assert kinds(send(subject, 30, alert("HighErrorRate", key="f2", started=20, labels={"deployment": "x", "pod": "w"}))) == [
        RESPOND
    ]
    assert kinds(subject.tick(at(300))) == [RESPOND]


def test_an_alert_that_waits_while_its_target_is_rolled_back_waits_on() -> None:
    subject = evaluator(rule(seconds=10, settle=5 * MINUTE))
    send(subject, 0, alert("HighErrorRate", started=0))
    subject.acted("app", at(5))
    assert [(d.kind, d.due_at) for d in subject.tick(at(10))] == [(WAIT, at(305))]


def test_what_goes_on_after_its_target_was_rolled_back_settles_until_it_clears() -> None:
    subject = evaluator(rule(seconds=10))
    subject.acted("app", at(0))  # an earlier one
    send(subject, 5, alert("HighErrorRate", started=5))
    assert kinds(subject.tick(at(15))) == [RESPOND]
    [view] = subject.groups()
    assert view.state is GroupState.FIRING
    subject.acted("app", at(16))
    subject.restore(subject.snapshot())
    [view] = subject.groups()
    assert view.state is GroupState.SETTLING
    assert kinds(send(subject, 30, alert("HighErrorRate", started=5, status="resolved"))) == [CLEAR]
    assert list(subject.groups()) == []


KEPT = {
    "an alert that flaps is one incident": (
        [
            (0, alert("HighErrorRate", started=0)),
            (20, alert("HighErrorRate", started=0, status="resolved")),
            (40, alert("HighErrorRate", started=40)),
            (90, alert("HighErrorRate", started=40, status="resolved")),
        ],
        [(0, "wait"), (10, "respond"), (150, "clear")],
    ),
    "what never fired is not kept firing": (
        [(0, alert("HighErrorRate", started=0)), (5, alert("HighErrorRate", started=0, status="resolved"))],
        [(0, "wait"), (5, "clear")],
    ),
}


@pytest.mark.parametrize(("timeline", "expected"), KEPT.values(), ids=KEPT)
def test_keep_firing_for(timeline: list[tuple[float, Signal]], expected: list[tuple[float, str]]) -> None:
    assert play(evaluator(rule(seconds=10, keep_firing_for=MINUTE)), timeline) == expected


def test_a_group_that_is_kept_firing_is_active() -> None:
    subject = evaluator(rule(seconds=0, keep_firing_for=MINUTE))
    [responded] = send(subject, 0, alert("HighErrorRate", started=0))
    [ignored] = send(subject, 20, alert("HighErrorRate", started=0, status="resolved"))
    assert ignored.reason == "HighErrorRate: resolved; kept firing until 22:57:10 UTC"
    subject.restore(subject.snapshot())
    assert subject.is_active("errors", "app")
    assert not subject.is_calm("errors", "app")
    assert [d.identity for d in subject.firing()] == [responded.identity]
    [cleared] = subject.tick(at(80))
    assert (cleared.kind, cleared.identity) == (CLEAR, responded.identity)
    assert "kept firing for 1m" in cleared.reason


# --- many are ill ------------------------------------------------------------------------------------------------------


def many(count: int | None = 2, share: float | None = None, seconds: float = 0, **fields: Any) -> Evaluator:
    names = ["a", "b", "c", "d"]
    targets = {name: target(name, f'deployment="{name}"') for name in names}
    rules = (rule(seconds=seconds, **fields), rule("told", response=Response.NOTIFY, seconds=seconds))
    return Evaluator(Rulebook(targets=targets, rules=rules[:1], hold=MassHold(5 * MINUTE, count, share)))


def ill(name: str, now: float, status: str = "firing", started: float | None = None) -> Signal:
    return alert(
        "HighErrorRate", key=name, started=now if started is None else started, status=status, labels={"deployment": name}
    )


def responses(decisions: list[Any]) -> list[tuple[str, str]]:
    return [(d.target or d.rule, d.response.value) for d in decisions if d.kind is RESPOND]


def test_when_more_targets_fall_ill_than_that_nothing_is_rolled_back() -> None:
    subject = many(2)
    found = [responses(send(subject, now, ill(name, now))) for now, name in enumerate("abcd")]
    subject.restore(subject.snapshot())
    assert found == [
        [("a", "rollback")],
        [("b", "rollback")],
        [("c", "notify"), ("many_targets_ill", "notify")],
        [("d", "notify")],
    ]
    assert responses(subject.firing()) == [
        ("a", "rollback"),
        ("b", "rollback"),
        ("c", "notify"),
        ("d", "notify"),
        ("many_targets_ill", "notify"),
    ]


def test_those_that_wait_count_so_that_the_first_of_many_is_not_rolled_back() -> None:
    subject = many(2, seconds=60)
    for now, name in enumerate("abc"):
        send(subject, now, ill(name, now))
    subject.restore(subject.snapshot())
    first = subject.tick(at(60))
    assert responses(first) == [("a", "notify"), ("many_targets_ill", "notify")]
    loud = first[1]
    assert (loud.severity, loud.rule, loud.target) == (Severity.P0, "many_targets_ill", "")
    assert loud.reason == (
        "3 of 4 targets fell ill within 5m: it is the cluster or a dependency, so nothing is rolled back: a, b, c"
    )
    assert "it is the cluster or a dependency" in first[0].reason
    assert responses(subject.tick(at(62))) == [("b", "notify"), ("c", "notify")]


HOLDS = {
    "half is not more than half": ((None, 0.5), [(0, "a"), (1, "b")], "rollback"),
    "three of four are": ((None, 0.5), [(0, "a"), (1, "b"), (2, "c")], "notify"),
    "those of before the window do not count": ((2, None), [(0, "a"), (1, "b"), (400, "c")], "rollback"),
    "the same target twice counts once": ((2, None), [(0, "a"), (1, "b"), (2, "b")], "rollback"),
}


@pytest.mark.parametrize(("bound", "timeline", "last"), HOLDS.values(), ids=HOLDS)
def test_hold(bound: tuple[int | None, float | None], timeline: list[tuple[float, str]], last: str) -> None:
    subject = many(*bound, by=("pod",))
    decisions = [
        send(subject, now, alert("HighErrorRate", key=f"{name}{now}", started=now, labels={"deployment": name, "pod": f"p{now}"}))
        for now, name in timeline
    ]
    assert responses(decisions[-1])[0][1] == last


def test_what_waits_and_clears_again_does_not_count_but_what_responded_does() -> None:
    waiting = many(1, seconds=60)
    send(waiting, 0, ill("a", 0))
    send(waiting, 10, ill("a", 10, "resolved", 0))
    send(waiting, 20, ill("b", 20))
    assert responses(waiting.tick(at(80))) == [("b", "rollback")]
    responded = many(1)
    send(responded, 0, ill("a", 0))
    send(responded, 10, ill("a", 10, "resolved", 0))
    assert responses(send(responded, 20, ill("b", 20))) == [("b", "notify"), ("many_targets_ill", "notify")]


def test_it_is_told_once_per_outbreak() -> None:
    subject = many(1)
    loud = 0
    for now in (0, 10, 20, 1000, 1010):
        decisions = send(subject, now, ill("abcd"[now % 4], now)) + send(subject, now + 1, ill("abcd"[(now + 1) % 4], now + 1))
        loud += sum(decision.rule == "many_targets_ill" for decision in decisions)
        for name in "abcd":
            send(subject, now + 2, ill(name, now + 2, "resolved"))
    assert loud == 2


def test_notifications_neither_count_nor_are_held() -> None:
    subject = many(0, response=Response.NOTIFY)
    assert responses(send(subject, 0, ill("a", 0))) == [("a", "notify")]
    assert "cluster" not in subject.firing()[0].reason
