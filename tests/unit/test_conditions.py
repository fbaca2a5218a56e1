"""Conditions with a memory, joined ones, and baselines, as short timelines."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from responder.domain.condition import (
    AbsentCondition,
    AllOf,
    AnyOf,
    Baseline,
    Condition,
    ConsecutiveCondition,
    CountCondition,
    Firing,
    Part,
    RatioCondition,
    ValueCondition,
)
from responder.domain.matcher import parse_matcher
from responder.domain.rule_state import GroupState
from responder.domain.rulebook import Response, Severity
from responder.domain.signal import Signal
from responder.engine.evaluator import Evaluator
from responder.engine.replay import Replay
from responder.intakes.events import parse as parse_events
from responder.ports import Entry, EntryKind
from tests.unit.timelines import (
    CLEAR,
    IGNORE,
    LABELS,
    MINUTE,
    RESPOND,
    WAIT,
    alert,
    at,
    check,
    evaluator,
    kinds,
    play,
    rule,
    rulebook,
    send,
    signal,
)

# --- count -------------------------------------------------------------------------------------------------------------


def began(now: float, number: int, **fields: Any) -> tuple[float, Signal]:
    return now, alert("HighErrorRate", key=f"f{number}", started=fields.pop("started", now), **fields)


COUNTS: dict[str, tuple[CountCondition, list[tuple[float, Signal]], list[tuple[float, str]]]] = {
    "more than two episodes in a minute, until the first of three is older": (
        CountCondition(2, MINUTE),
        [began(0, 1), began(10, 2), began(20, 3)],
        [(20, "respond"), (60, "clear")],
    ),
    "two are not more than two": (CountCondition(2, MINUTE), [began(0, 1), began(10, 2)], []),
    "exactly a minute apart is not within a minute": (CountCondition(1, MINUTE), [began(0, 1), began(60, 2)], []),
    "a moment less is": (CountCondition(1, MINUTE), [began(0, 1), began(59, 2)], [(59, "respond"), (60, "clear")]),
    "repeats of an episode count once": (CountCondition(1, MINUTE), [began(0, 1), began(5, 1, started=0)], []),
    "a new episode of the same alert counts": (
        CountCondition(1, MINUTE),
        [began(0, 1), (5, alert("HighErrorRate", key="f1", started=0, status="resolved")), began(9, 1)],
        [(9, "respond"), (60, "clear")],
    ),
    "it goes on when the episodes are over": (
        CountCondition(1, MINUTE),
        [began(0, 1), began(1, 2), (2, alert("HighErrorRate", key="f1", started=0, status="resolved"))],
        [(1, "respond"), (60, "clear")],
    ),
    "an episode that began before the window does not count": (
        CountCondition(0, MINUTE),
        [began(100, 1, started=0), began(101, 2, started=100)],
        [(101, "respond"), (160, "clear")],
    ),
    "different pods, not kills": (
        CountCondition(1, MINUTE, "pod"),
        [began(0, 1), began(1, 2), began(2, 3, labels={"pod": "p2"})],
        [(2, "respond"), (61, "clear")],
    ),
    "a pod counts from its latest kill": (
        CountCondition(1, MINUTE, "pod"),
        [began(0, 1), began(50, 2), began(90, 3, labels={"pod": "p2"})],
        [(90, "respond"), (110, "clear")],
    ),
    "point events count, each once, but not those that passed": (
        CountCondition(2, MINUTE),
        [
            (0, check(False, 0)),
            (1, check(False, 0)),
            (2, check(True, 2)),
            (3, check(False, 3)),
            (4, signal("occurred", started=4)),
        ],
        [(4, "respond"), (60, "clear")],
    ),
    "events told late and out of order count at their own time": (
        CountCondition(2, MINUTE),
        [(30, check(False, 30)), (31, check(False, 10)), (32, check(False, 20))],
        [(32, "respond"), (70, "clear")],
    ),
    "events of one second are told apart by their ids": (
        CountCondition(2, MINUTE),
        [
            (9, check(False, 5, id="a")),
            (9, check(False, 5, id="b")),
            (10, check(False, 5, id="b")),
            (11, check(False, 5, id="c")),
        ],
        [(11, "respond"), (65, "clear")],
    ),
    "an event with an id, older than the newest of its key, counts": (
        CountCondition(1, MINUTE),
        [(9, check(False, 9, id="a")), (10, check(False, 4, id="b")), (11, check(False, 4, id="b"))],
        [(10, "respond"), (64, "clear")],
    ),
    "an id makes no second episode of an alert": (
        CountCondition(1, MINUTE),
        [
            (0, alert("HighErrorRate", key="f1", started=0, id="a")),
            (1, alert("HighErrorRate", key="f1", started=0, id="b", labels={"deployment": "other"})),
            (2, alert("HighErrorRate", key="f1", started=0, id="c")),
        ],
        [],
    ),
}


@pytest.mark.parametrize(("condition", "timeline", "expected"), COUNTS.values(), ids=COUNTS)
def test_count(condition: CountCondition, timeline: list[tuple[float, Signal]], expected: list[tuple[float, str]]) -> None:
    assert play(evaluator(rule(condition=condition, seconds=0)), timeline) == expected


def test_a_count_says_what_it_counted() -> None:
    subject = evaluator(rule(condition=CountCondition(1, MINUTE, "pod"), seconds=0))
    send(subject, 0, began(0, 1)[1])
    [decision] = send(subject, 9, began(9, 2, labels={"pod": "p2"})[1])
    assert decision.reason == "2 different pod within 1m, more than 1 since 22:55:59 UTC"
    assert (decision.value, decision.began_at, decision.identity) == (2, at(9), f"errors|app|f2@{at(9).isoformat()}")
    send(subject, 10, began(10, 3, labels={"pod": "p3"})[1])
    [view] = subject.groups()
    assert (view.values, view.state) == ((3,), GroupState.FIRING)
    assert subject.is_active("errors", "app")


def test_what_was_counted_can_be_seen_before_it_is_enough() -> None:
    subject = evaluator(rule(condition=CountCondition(1, MINUTE), seconds=0))
    send(subject, 0, began(0, 1)[1])
    subject.restore(subject.snapshot())
    [view] = subject.counting()
    assert (view.state, view.values, view.members) == (GroupState.INACTIVE, (1,), ("f1",))
    assert view.reason == "1 time within 1m, not more than 1"
    send(subject, 1, began(1, 2)[1])
    assert list(subject.counting()) == []


def test_a_count_can_be_made_to_last() -> None:
    subject = evaluator(rule(condition=CountCondition(1, MINUTE), seconds=30))
    assert play(subject, [began(0, 1), began(40, 2), began(55, 3)]) == [(40, "wait"), (70, "respond"), (100, "clear")]


def test_counts_are_kept_apart_by_group() -> None:
    subject = evaluator(rule(condition=CountCondition(1, MINUTE), seconds=0, by=("pod",)))
    assert play(subject, [began(0, 1), began(1, 2, labels={"pod": "p2"})]) == []


def test_a_count_that_is_over_leaves_nothing_behind() -> None:
    subject = evaluator(rule(condition=CountCondition(5, MINUTE), seconds=0, by=("pod",)))
    empty = len(subject.snapshot())
    for number in range(50):
        send(subject, number, check(False, number, labels={"pod": f"p{number}"}))
    subject.tick(at(200_000))
    subject.observe([], at(200_000))
    assert len(subject.snapshot()) < empty + 40
    assert subject.next_due() is None


# --- consecutive, ratio ------------------------------------------------------------------------------------------------


def checks(text: str, every: float = 10) -> list[tuple[float, Signal]]:
    """`f` failed, `p` passed, `.` nothing."""
    return [(n * every, check(letter == "p", n * every)) for n, letter in enumerate(text) if letter != "."]


STREAKS = {
    "three in a row": ("fff", [(20, "respond"), (620, "clear")]),
    "two are too few": ("ff", []),
    "one that passed begins anew": ("ffpff", []),
    "it goes on until one passes": ("ffffp", [(20, "respond"), (40, "clear")]),
    "a second row is a second incident": ("fffpfff", [(20, "respond"), (30, "clear"), (60, "respond"), (660, "clear")]),
}


@pytest.mark.parametrize(("text", "expected"), STREAKS.values(), ids=STREAKS)
def test_consecutive(text: str, expected: list[tuple[float, str]]) -> None:
    assert play(evaluator(rule(condition=ConsecutiveCondition(3), seconds=0)), checks(text)) == expected


def test_checks_of_a_row_may_be_hours_apart_but_not_a_day() -> None:
    hours = checks("fff", every=6 * 3600)
    assert [kind for _, kind in play(evaluator(rule(condition=ConsecutiveCondition(3), seconds=0)), hours)] == [
        "respond",
        "clear",
    ]
    assert play(evaluator(rule(condition=ConsecutiveCondition(3), seconds=0)), checks("fff", every=25 * 3600)) == []


def test_a_check_told_late_takes_its_place_in_the_row() -> None:
    subject = evaluator(rule(condition=ConsecutiveCondition(3), seconds=0))
    assert play(subject, [(20, check(True, 15)), (21, check(False, 10)), (22, check(False, 20)), (23, check(False, 21))]) == []
    assert kinds(send(subject, 100_001, check(False, 100_001))) == [IGNORE], "the row of yesterday is forgotten"


@pytest.mark.parametrize("condition", [ConsecutiveCondition(2), RatioCondition(0.5, MINUTE, 2)], ids=["a row", "a ratio"])
def test_checks_of_one_second_are_told_apart_by_their_ids(condition: Condition) -> None:
    subject = evaluator(rule(condition=condition, seconds=0))
    assert kinds(send(subject, 1, check(False, 0, id="a"), check(False, 0, id="a"))) == [IGNORE, IGNORE]
    subject.restore(subject.snapshot())
    [decision] = send(subject, 2, check(False, 0, id="b"))
    assert (decision.kind, decision.identity) == (RESPOND, f"errors|app|f1@{at(0).isoformat()}")


def test_of_two_results_of_one_second_the_one_told_last_counts() -> None:
    subject = evaluator(rule(seconds=0))
    send(subject, 1, check(True, 0, id="a"))
    assert kinds(send(subject, 2, check(False, 0, id="b"))) == [RESPOND]
    assert kinds(send(subject, 3, check(True, 0, id="c"))) == [CLEAR]
    assert kinds(send(subject, 4, check(False, 0, id="b"))) == [IGNORE], "seen before"


def test_alerts_and_events_without_a_verdict_are_no_checks() -> None:
    subject = evaluator(rule(condition=ConsecutiveCondition(1), seconds=0))
    assert play(subject, [began(0, 1), (1, signal("occurred", key="e", started=1))]) == []


RATIOS = {
    "more than half failed": (RatioCondition(0.5, MINUTE), "ff", [(0, "respond"), (70, "clear")]),
    "half is not more than half": (RatioCondition(0.5, MINUTE), "pf", [(60, "respond"), (70, "clear")]),
    "too few for a ratio": (RatioCondition(0.5, MINUTE, 3), "ff", []),
    "enough for a ratio": (RatioCondition(0.5, MINUTE, 3), "ffp", [(20, "respond"), (60, "clear")]),
    "more that passed": (RatioCondition(0.5, MINUTE, 3), "ffpp", [(20, "respond"), (30, "clear")]),
}


@pytest.mark.parametrize(("condition", "text", "expected"), RATIOS.values(), ids=RATIOS)
def test_ratio(condition: RatioCondition, text: str, expected: list[tuple[float, str]]) -> None:
    """In the second one the ratio rises because the check that passed leaves the window."""
    assert play(evaluator(rule(condition=condition, seconds=0)), checks(text)) == expected


def test_a_ratio_says_what_it_saw() -> None:
    subject = evaluator(rule(condition=RatioCondition(0.5, 10 * MINUTE, 3), seconds=0))
    *_, decision = [send(subject, now, one)[-1] for now, one in checks("fpf")]
    assert decision.reason.startswith("2 of 3 failed within 10m: 0.666667 is above 0.5")
    assert decision.value == pytest.approx(2 / 3)


# --- absent ------------------------------------------------------------------------------------------------------------


def heartbeat(now: float, **fields: Any) -> tuple[float, Signal]:
    return now, alert("HighErrorRate", key="watchdog", started=0, **fields)


ABSENCES = {
    "nothing for a minute": ([heartbeat(0)], [(60, "respond")]),
    "repeats are signs of life": ([heartbeat(0), heartbeat(50), heartbeat(100)], [(160, "respond")]),
    "exactly a minute is too long": ([heartbeat(0), heartbeat(60)], [(60, "respond"), (60, "clear"), (120, "respond")]),
    "a check that passed is a sign of life": ([(0, check(True, 0)), (50, check(True, 50))], [(110, "respond")]),
    "a resolved is none": ([heartbeat(0), heartbeat(50, status="resolved")], [(60, "respond")]),
    "never heard of": ([], []),
}


@pytest.mark.parametrize(("timeline", "expected"), ABSENCES.values(), ids=ABSENCES)
def test_absent(timeline: list[tuple[float, Signal]], expected: list[tuple[float, str]]) -> None:
    subject = evaluator(rule(condition=AbsentCondition(MINUTE), seconds=0))
    assert play(subject, timeline) == expected


def test_an_absence_is_its_own_episode_with_the_words_of_what_was_last_heard() -> None:
    subject = evaluator(rule(condition=AbsentCondition(MINUTE), seconds=0))
    send(subject, 0, heartbeat(0)[1])
    [decision] = subject.tick(at(60))
    assert decision.identity == f"errors|app|absent@{at(60).isoformat()}"
    assert decision.reason.startswith("nothing was heard since 22:55:50 UTC, 1m are over")
    assert dict(decision.trigger_labels)["alertname"] == "HighErrorRate"


def test_time_in_which_nobody_listened_is_no_silence() -> None:
    subject = evaluator(rule(condition=AbsentCondition(MINUTE), seconds=0))
    send(subject, 0, heartbeat(0)[1])
    subject.tick(at(10))
    for _ in range(2):
        subject.restore(subject.snapshot())
    assert subject.fold(Entry(1, at(500), EntryKind.STARTED)) == []
    subject.restore(subject.snapshot())
    assert subject.tick(at(549)) == []
    [decision] = subject.tick(at(550))
    assert decision.kind is RESPOND
    assert "1m are over (without 8m10s in which Responder may not have run)" in decision.reason
    assert kinds(send(subject, 560, heartbeat(560)[1])) == [CLEAR]
    assert kinds(subject.tick(at(620))) == [RESPOND], "afterwards silence is silence"


def test_a_silence_that_was_noticed_is_none_the_less_after_a_start() -> None:
    subject = evaluator(rule(condition=AbsentCondition(MINUTE), seconds=0))
    send(subject, 0, heartbeat(0)[1])
    subject.tick(at(60))
    subject.fold(Entry(1, at(500), EntryKind.STARTED))
    assert subject.is_active("errors", "app")


def test_a_replay_makes_nothing_of_time_in_which_nobody_listened() -> None:
    heard = Entry(1, at(0), EntryKind.SIGNALS, (heartbeat(0)[1],))
    entries = [heard, Entry(2, at(30), EntryKind.TICK), Entry(3, at(90), EntryKind.STARTED), Entry(4, at(160), EntryKind.TICK)]
    found = Replay(rulebook(rule(condition=AbsentCondition(MINUTE), seconds=0))).run(entries)
    assert [(one.kind, one.at) for one in found.decisions] == [(RESPOND, at(120))], "it was not heard for 30 s, and for 30 s more"


def test_absence_from_the_start_counts_from_the_first_entry() -> None:
    condition = AbsentCondition(MINUTE, from_start=True)
    subject = evaluator(rule(condition=condition, seconds=0, response=Response.NOTIFY), rule("other", 'a="b"'))
    assert subject.tick(at(5)) == []
    subject.restore(subject.snapshot())
    [decision] = subject.tick(at(65))
    assert (decision.kind, decision.target) == (RESPOND, "")
    assert "nothing was ever heard" in decision.reason
    assert kinds(send(subject, 70, heartbeat(70)[1])) == [CLEAR]


# --- several conditions ------------------------------------------------------------------------------------------------


def part(name: str, condition: Condition = Firing()) -> Part:  # noqa: B008 (a value)
    assert not isinstance(condition, AllOf | AnyOf)
    return Part(condition, (parse_matcher(f'alertname="{name}"'),))


def both(seconds: float = 60, **fields: Any) -> Evaluator:
    parts = (part("Slow"), part("Failing", ValueCondition(above=0.05)))
    return evaluator(rule("both", 'deployment="app"', condition=AllOf(parts), seconds=seconds, **fields))


ALL = {
    "one of them is not enough": ([(0, alert("Slow", started=0))], []),
    "both, from when the second began": (
        [(0, alert("Slow", started=0)), (20, alert("Failing", started=15))],
        [(20, "wait"), (75, "respond")],
    ),
    "until one is over": (
        [(0, alert("Slow", started=0)), (0, alert("Failing", started=0)), (90, alert("Slow", started=0, status="resolved"))],
        [(0, "wait"), (60, "respond"), (90, "clear")],
    ),
    "not when one is over in time": (
        [(0, alert("Slow", started=0)), (0, alert("Failing", started=0)), (30, alert("Failing", started=0, status="resolved"))],
        [(0, "wait"), (30, "clear")],
    ),
    "a number that is missing asks": (
        [(0, alert("Slow", started=0)), (0, alert("Failing", started=0, text=None))],
        [(0, "wait"), (60, "respond")],
    ),
    "a number that is calm does not": ([(0, alert("Slow", started=0)), (0, alert("Failing", started=0, text="1%"))], []),
    "others do not matter": ([(0, alert("Slow", started=0)), (0, alert("Other", started=0))], []),
    "not of another target": (
        [(0, alert("Slow", started=0)), (0, alert("Failing", started=0, labels={"deployment": "web"}))],
        [],
    ),
}


@pytest.mark.parametrize(("timeline", "expected"), ALL.values(), ids=ALL)
def test_all(timeline: list[tuple[float, Signal]], expected: list[tuple[float, str]]) -> None:
    assert play(both(), timeline) == expected


@pytest.mark.parametrize(("one", "other", "asks"), [("9%", None, True), (None, "9%", True), ("9%", "9%", False)])
def test_all_never_acts_while_one_of_its_numbers_is_missing(one: str | None, other: str | None, asks: bool) -> None:
    parts = (part("Slow", ValueCondition(above=0.05)), part("Failing", ValueCondition(above=0.05)))
    subject = evaluator(rule("both", 'deployment="app"', condition=AllOf(parts), seconds=0))
    send(subject, 0, alert("Slow", started=0, text=one))
    [decision] = send(subject, 0, alert("Failing", started=0, text=other))
    assert (decision.kind, decision.inconclusive) == (RESPOND, asks)
    assert decision.response is (Response.NOTIFY if asks else Response.ROLLBACK)
    assert subject.is_active("both", "app") is not asks


def test_what_all_waits_for_is_said() -> None:
    subject = both(seconds=0)
    [first] = send(subject, 0, alert("Slow", started=0))
    assert first.reason == "Slow fires; nothing changes"
    [decision] = send(subject, 9, alert("Failing", started=9))
    assert decision.reason == "Slow fires and Failing: value 0.0731 is above 0.05 since 22:55:59 UTC"
    assert (decision.identity, decision.value) == (f"both|app|Failing@{at(9).isoformat()}", 0.0731)
    assert not decision.inconclusive


def test_all_joins_by_the_labels_of_the_group() -> None:
    subject = both(seconds=0, by=("pod",))
    timeline = [(0, alert("Slow", started=0)), (1, alert("Failing", started=1, labels={"pod": "p2"}))]
    assert play(subject, timeline) == []


def test_all_can_hold_conditions_with_a_memory() -> None:
    parts = (part("Slow"), Part(ConsecutiveCondition(2), (parse_matcher('alertname="Smoke"'),)))
    subject = evaluator(rule("r", 'deployment="app"', condition=AllOf(parts), seconds=0))
    smoke = [(now, check(False, now, key="smoke", labels={"alertname": "Smoke"})) for now in (0, 10)]
    assert play(subject, [*smoke, (20, alert("Slow", started=20))]) == [(20, "respond"), (610, "clear")]


ANY = {
    "one is enough": ([(0, alert("Slow", started=0))], [(0, "wait"), (60, "respond")]),
    "from when the first began": (
        [(0, alert("Slow", started=0)), (30, alert("Failing", started=30))],
        [(0, "wait"), (60, "respond")],
    ),
    "while one is left": (
        [
            (0, alert("Slow", started=0)),
            (30, alert("Failing", started=30)),
            (70, alert("Slow", started=0, status="resolved")),
            (99, alert("Failing", started=30, status="resolved")),
        ],
        [(0, "wait"), (60, "respond"), (99, "clear")],
    ),
    "a number that is missing asks": ([(0, alert("Failing", started=0, text=None))], [(0, "wait"), (60, "respond")]),
}


@pytest.mark.parametrize(("timeline", "expected"), ANY.values(), ids=ANY)
def test_any(timeline: list[tuple[float, Signal]], expected: list[tuple[float, str]]) -> None:
    parts = (part("Slow"), part("Failing", ValueCondition(above=0.05)))
    assert play(evaluator(rule("r", 'deployment="app"', condition=AnyOf(parts), seconds=60)), timeline) == expected


def test_results_that_came_in_one_list_are_told_apart_in_their_order() -> None:
    """Without a time of their own."""
    subject = evaluator(rule(condition=ConsecutiveCondition(3), seconds=0))

    def post(now: float, *statuses: str) -> bool:
        body = json.dumps([{"key": "smoke", "status": one, "labels": LABELS} for one in statuses])
        return RESPOND in kinds(subject.observe(parse_events(body.encode(), at(now)).signals, at(now)))

    assert not post(0, "failed", "failed", "passed", "failed", "failed")
    assert post(1, "failed")


# --- baselines ---------------------------------------------------------------------------------------------------------

BASELINES = {
    "three times the baseline": ({"value": "300ms", "baseline": "100ms"}, WAIT, False),
    "exactly twice": ({"value": "200ms", "baseline": "0.1"}, IGNORE, False),
    "no baseline": ({"value": "300ms"}, WAIT, True),
    "a baseline of zero": ({"value": "300ms", "baseline": "0"}, WAIT, True),
    "a baseline that is no number": ({"value": "300ms", "baseline": "NaN"}, WAIT, True),
    "no number": ({"baseline": "100ms"}, WAIT, True),
}


@pytest.mark.parametrize(("annotations", "kind", "asks"), BASELINES.values(), ids=BASELINES)
def test_baseline_of_the_alert(annotations: dict[str, str], kind: Any, asks: bool) -> None:
    condition = ValueCondition(above=2, baseline=Baseline(annotation="baseline"))
    [decision] = send(evaluator(rule(condition=condition)), 0, signal(annotations=annotations))
    assert (decision.kind, decision.inconclusive) == (kind, asks)


def test_a_baseline_is_named_in_the_reason() -> None:
    condition = ValueCondition(above=2, baseline=Baseline(annotation="base"))
    annotations = {"value": "300ms", "base": "100ms"}
    [decision] = send(evaluator(rule(condition=condition, seconds=0)), 0, signal(annotations=annotations))
    assert decision.reason.startswith("HighErrorRate: value / baseline 3 is above 2")
    assert decision.value == pytest.approx(3)


def measured(value: float, now: float, key: str = "latency") -> Signal:
    return signal("occurred", key=key, started=now, value=value, text=None)


def test_the_baseline_is_the_median_of_the_signals_own_calm_past() -> None:
    condition = ValueCondition(above=2, source="value", baseline=Baseline(history=timedelta(hours=1)))
    subject = evaluator(rule(condition=condition, seconds=0, severity=Severity.P2))
    found = []
    for minute, value in enumerate([100, 110, 90, 100, 105, 190, 250, 400, 100, 210]):
        [decision] = send(subject, 60 * minute, measured(value, 60 * minute))
        subject.restore(subject.snapshot())
        found.append((decision.kind.value, decision.inconclusive))
    assert found == [
        ("respond", True),  # too little is known to compare with: it asks, once
        *[("ignore", True)] * 4,
        ("clear", True),
        ("respond", False),  # 250 is more than twice 102.5
        ("ignore", False),  # 400 joins it
        ("clear", False),
        ("respond", False),  # 250 and 400 were not calm: 210 is more than twice 100
    ]


def test_numbers_close_together_count_once_for_the_baseline() -> None:
    condition = ValueCondition(above=2, source="value", baseline=Baseline(history=timedelta(hours=1)))
    subject = evaluator(rule(condition=condition, seconds=0))
    for second in range(50):
        send(subject, second, measured(100, second))
    [decision] = send(subject, 59, measured(900, 59))
    assert decision.kind is IGNORE, "one number is no past"
