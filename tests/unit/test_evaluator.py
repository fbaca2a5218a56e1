"""The evaluator's rules as short timelines: what is sent when, and what is decided."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta, timezone
from typing import Any

import pytest

from responder.domain.decision import DecisionKind
from responder.domain.rule_state import GroupState, group_text
from responder.domain.rulebook import Response, Severity
from responder.domain.signal import Signal
from responder.engine import alerts
from responder.engine.evaluator import Evaluator
from tests.unit.timelines import (
    CLEAR,
    IGNORE,
    LABELS,
    RESPOND,
    START,
    WAIT,
    above,
    at,
    evaluator,
    fire,
    kinds,
    resolve,
    rule,
    rulebook,
    send,
    signal,
    target,
)

# --- episodes ----------------------------------------------------------------------------------------------------------

EPISODES = {
    "a firing alert waits and then responds": ([(0, fire())], [WAIT], 120),
    "a resolved before the deadline clears the group": ([(0, fire()), (60, resolve())], [WAIT, CLEAR], None),
    "a repeat changes nothing": ([(0, fire()), (30, fire()), (90, fire())], [WAIT, IGNORE, IGNORE], 120),
    "a late firing of the ended episode is the slower half of a pair": (
        [(0, fire()), (28, resolve()), (43, fire())],
        [WAIT, CLEAR, IGNORE],
        None,
    ),
    "a late firing with an earlier start is ignored too": (
        [(0, fire(0)), (28, resolve(0)), (43, fire(-10))],
        [WAIT, CLEAR, IGNORE],
        None,
    ),
    "after a sender's clock was ahead, its next episode is a new one": (
        [(0, fire(7200)), (28, resolve(7200)), (60, fire(50))],
        [WAIT, CLEAR, WAIT],
        170,
    ),
    "the late half of what a fast clock sent is late all the same": (
        [(0, fire(7200)), (28, resolve(7200)), (43, fire(7200)), (50, fire(20))],
        [WAIT, CLEAR, IGNORE, IGNORE],
        None,
    ),
    "a firing with a newer start is a new episode and counts anew": (
        [(0, fire(0)), (28, resolve(0)), (60, fire(50))],
        [WAIT, CLEAR, WAIT],
        170,
    ),
    "a newer start without a resolved in between replaces the episode": (
        [(0, fire(0)), (60, fire(50))],
        [WAIT, CLEAR, WAIT],
        170,
    ),
    "an older start than the one that fires is ignored": ([(60, fire(50)), (70, fire(0))], [WAIT, IGNORE], 170),
    "a resolved of an older episode is ignored": ([(60, fire(50)), (70, resolve(0))], [WAIT, IGNORE], 170),
    "a resolved of a newer episode ends this one as well": (
        [(0, fire(0)), (60, resolve(50)), (70, fire(50))],
        [WAIT, CLEAR, IGNORE],
        None,
    ),
    "a resolved that was never seen firing is remembered": ([(28, resolve()), (43, fire())], [IGNORE, IGNORE], None),
    "a resolved that comes twice is ignored": ([(0, fire()), (5, resolve()), (6, resolve())], [WAIT, CLEAR, IGNORE], None),
    "absence is no resolution": ([(0, fire()), (30, fire(key="f2"))], [WAIT, IGNORE], 120),
    "an alert without a start counts from when it was first received": (
        [(10, fire(None)), (50, fire(None))],
        [WAIT, IGNORE],
        130,
    ),
    "an alert without a start that fires again is a new episode": (
        [(10, fire(None)), (20, resolve(None)), (40, fire(None))],
        [WAIT, CLEAR, WAIT],
        160,
    ),
    "an alert first seen without a start is ended by any resolved": ([(10, fire(None)), (20, resolve(0))], [WAIT, CLEAR], None),
    "a start in the future counts from when it was received": ([(0, fire(600))], [WAIT], 120),
    "an alert already older than its hold is due at once": ([(500, fire(0))], [RESPOND], None),
}


@pytest.mark.parametrize(("timeline", "expected", "due"), EPISODES.values(), ids=EPISODES)
def test_episode(timeline: list[tuple[float, Signal]], expected: list[DecisionKind], due: float | None) -> None:
    subject = evaluator()
    decisions = [decision for now, one in timeline for decision in send(subject, now, one)]
    assert kinds(decisions) == expected
    assert all(decision.reason for decision in decisions)
    assert subject.next_due() == (None if due is None else at(due))
    if due is not None:
        assert subject.tick(at(due) - timedelta(microseconds=1)) == []
        assert kinds(subject.tick(at(due))) == [RESPOND]
        assert subject.tick(at(due)) == []


YEAR = 365 * 86_400.0
BEGINNINGS = {
    "when it says": (-100, 0, -100),
    "when it was received, if it says later: its clock is fast": (600, 0, 0),
    "when it was received, if it says nothing": (None, 0, 0),
    "before anything was ever recorded": (-9 * YEAR, 0, -9 * YEAR),
    "when it was received, if its clock was never set": (-56 * YEAR, 0, 0),
    "when it was received, if its time is the empty one of year 1": (-2025.8 * YEAR, 0, 0),
    "not later than it was received by a clock that was set back since": (50, 20, 20),
}


@pytest.mark.parametrize(("started", "received", "began"), BEGINNINGS.values(), ids=BEGINNINGS)
@pytest.mark.parametrize("status", ["firing", "occurred"])
def test_trouble_began(status: str, started: float | None, received: float, began: float) -> None:
    subject = evaluator(rule(seconds=0))
    one = signal(status, started=started, now=received)
    [decision] = subject.observe([one], at(received + 5))
    assert (decision.kind, decision.began_at) == (RESPOND, at(began))
    key, _, start = decision.episode.partition("@")
    assert (key, start) == ("f1", (at(received) if started is None else at(started)).isoformat()), "the identity is the sender's"


def test_an_ended_episode_is_forgotten_after_a_day() -> None:
    subject = evaluator()
    send(subject, 0, fire(), resolve())
    day = alerts.ENDED_FOR.total_seconds()
    assert kinds(send(subject, day, fire())) == [IGNORE]
    assert kinds(send(subject, day + 1, fire())) == [RESPOND]


def test_ended_episodes_are_limited_in_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alerts, "ENDED_LIMIT", 2)
    subject = evaluator()
    send(subject, 0, *[resolve(key=f"f{n}") for n in range(3)])
    assert kinds(send(subject, 1, fire(key="f0"), fire(key="f1"), fire(key="f2"))) == [WAIT, IGNORE, IGNORE]


def test_the_late_half_of_a_captured_pair_changes_nothing() -> None:
    """Two Alertmanagers of one cluster, captured: after one sent `resolved`, the other still sends `firing`, then `resolved`."""
    subject = evaluator(rule(seconds=20, condition=above()))
    sent = [fire(0), fire(0), fire(0), resolve(0), fire(0), resolve(0)]
    decisions = [decision for number, one in enumerate(sent) for decision in send(subject, 10 + 6 * number, one)]
    assert kinds(decisions) == [WAIT, IGNORE, RESPOND, IGNORE, CLEAR, IGNORE, IGNORE]
    assert len({decision.identity for decision in decisions if decision.kind in (RESPOND, CLEAR)}) == 1


def test_a_truncated_group_is_no_all_clear() -> None:
    """max_alerts cut the alert that fires; the body lists only the other one, resolved."""
    subject = evaluator(rule(seconds=60))
    send(subject, 0, fire(key="cut"), fire(key="listed"))
    assert kinds(send(subject, 30, resolve(key="listed"))) == [IGNORE]
    assert kinds(subject.tick(at(60))) == [RESPOND]


# --- which rules and targets -------------------------------------------------------------------------------------------

ROUTES = {
    "equality": (('alertname="HighErrorRate"',), {}, ["app"]),
    "another value": (('alertname="Other"',), {}, []),
    "every matcher must match": (('alertname="HighErrorRate"', 'pod="p2"'), {}, []),
    "a missing label counts as empty": (('zone=""',), {}, ["app"]),
    "a negative matcher alone": (('pod!="p2"',), {}, ["app"]),
    "plain alternatives": (('alertname=~"Other|HighErrorRate"',), {}, ["app"]),
    "plain alternatives are anchored": (('alertname=~"High|Error"',), {}, []),
    "a regular expression": (('alertname=~"High.+"',), {}, ["app"]),
    "a negative regular expression": (('alertname!~"High.+"',), {}, []),
    "the label source": (('source="alertmanager"',), {}, ["app"]),
    "a named target whatever the labels say": (('alertname="HighErrorRate"',), {"target": "web"}, ["web"]),
}


@pytest.mark.parametrize(("matchers", "fields", "expected"), ROUTES.values(), ids=ROUTES)
def test_rule_matches(matchers: tuple[str, ...], fields: dict[str, Any], expected: list[str]) -> None:
    targets = (target("app", 'deployment="app"'), target("web", 'deployment="web"'), target("silent"))
    subject = evaluator(rule("r", *matchers, **fields), rule("bystander", 'alertname="Bystander"'), targets=targets)
    decisions = send(subject, 0, fire())
    assert [decision.target for decision in decisions if decision.kind is WAIT] == expected
    if not expected:
        assert (decisions[0].kind, decisions[0].reason, decisions[0].rule) == (IGNORE, "no rule matches", "")


def test_an_alert_that_speaks_of_two_targets_opens_a_group_for_each() -> None:
    subject = evaluator(rule(), targets=(target("a", 'deployment="app"'), target("b", 'pod=~"p.*"')))
    assert [decision.group for decision in send(subject, 0, fire())] == ["a", "b"]


def test_rules_decide_in_the_order_of_the_rulebook() -> None:
    names = ["z", "a", "m"]
    subject = evaluator(rule("z"), rule("a", 'pod="p1"'), rule("m", 'pod!=""'))
    assert [decision.rule for decision in send(subject, 0, fire())] == names


def test_a_rollback_without_a_target_is_ignored_and_says_so() -> None:
    [decision] = send(evaluator(), 0, fire(labels={"deployment": "unknown"}))
    assert (decision.kind, decision.rule) == (IGNORE, "errors")
    assert "no declared target" in decision.reason


def test_a_notification_works_without_a_target() -> None:
    subject = evaluator(rule(response=Response.NOTIFY, seconds=0))
    [decision] = send(subject, 0, fire(labels={"deployment": "unknown"}))
    assert (decision.kind, decision.target, decision.group) == (RESPOND, "", "")


GROUPS = {
    "without labels it is the target": ("app", [], "app"),
    "one label": ("app", [("pod", "x")], 'app{pod="x"}'),
    "labels are sorted": ("app", [("zone", "b"), ("pod", "x")], 'app{pod="x",zone="b"}'),
    "without a target": ("", [("pod", "x")], '{pod="x"}'),
    "quotes, backslashes and line breaks are escaped": ("app", [("pod", 'a"b\\c\nd')], 'app{pod="a\\"b\\\\c\\nd"}'),
}


@pytest.mark.parametrize(("name", "labels", "expected"), GROUPS.values(), ids=GROUPS)
def test_group_text(name: str, labels: list[tuple[str, str]], expected: str) -> None:
    assert group_text(name, labels) == expected


def test_a_huge_label_makes_a_short_group_that_is_still_its_own() -> None:
    one, other = group_text("app", [("pod", "x" * 10**6)]), group_text("app", [("pod", "x" * 10**6 + "y")])
    assert len(one) < 250
    assert one != other


def test_by_makes_one_group_per_value_each_with_its_own_deadline() -> None:
    subject = evaluator(rule(by=("pod",)))
    send(subject, 0, fire(key="f1"))
    send(subject, 30, fire(30, key="f2", labels={"pod": "p2"}))
    assert [decision.group for decision in subject.tick(at(120))] == ['app{pod="p1"}']
    assert [decision.group for decision in subject.tick(at(150))] == ['app{pod="p2"}']


# --- groups ------------------------------------------------------------------------------------------------------------


def test_the_group_waits_for_the_alert_that_fires_longest() -> None:
    subject = evaluator()
    send(subject, 50, fire(50, key="f1"))
    assert kinds(send(subject, 60, fire(10, key="f2"))) == [WAIT]
    assert subject.next_due() == at(130)
    [decision] = subject.tick(at(130))
    assert decision.began_at == at(10)


def test_when_the_alert_that_fired_longest_ends_the_others_are_counted() -> None:
    subject = evaluator()
    send(subject, 50, fire(0, key="f1"), fire(40, key="f2"))
    assert kinds(send(subject, 60, resolve(0, key="f1"))) == [IGNORE]
    assert [view.due_at for view in subject.groups()] == [at(160)]
    [moved] = subject.tick(at(120))
    assert (moved.kind, moved.due_at) == (WAIT, at(160))
    assert subject.next_due() == at(160)
    assert kinds(subject.tick(at(160))) == [RESPOND]


def test_the_identity_is_that_of_the_opener_for_as_long_as_the_group_lives() -> None:
    subject = evaluator()
    send(subject, 0, fire(0, key="f1"))
    send(subject, 10, fire(-20, key="f2"))
    send(subject, 20, resolve(0, key="f1"))
    [decision] = subject.tick(at(100))
    assert decision.identity == "errors|app|f1@2026-11-21T22:55:50.632000+00:00"
    assert subject.firing() == [decision]
    [gone] = send(subject, 200, resolve(-20, key="f2"))
    assert (gone.kind, gone.identity) == (CLEAR, decision.identity)
    assert subject.firing() == []
    assert subject.last_cleared("errors", "app") == at(200)
    [again] = send(subject, 500, fire(300, key="f2"))
    assert again.identity == "errors|app|f2@2026-11-21T23:00:50.632000+00:00"


def test_the_identity_does_not_depend_on_the_offset_the_sender_writes() -> None:
    elsewhere = replace(fire(), started_at=START.astimezone(timezone(timedelta(hours=9))))
    assert send(evaluator(), 0, elsewhere)[0].identity == send(evaluator(), 0, fire())[0].identity


def test_an_alert_that_joins_a_firing_group_responds_no_second_time() -> None:
    subject = evaluator(rule(seconds=0))
    assert kinds(send(subject, 0, fire(key="f1"), fire(key="f2"))) == [RESPOND, IGNORE]
    assert kinds(send(subject, 9, resolve(key="f1"))) == [IGNORE]
    assert subject.is_active("errors", "app")
    assert kinds(send(subject, 10, resolve(key="f2"))) == [CLEAR]
    assert not subject.is_active("errors", "app")


def test_what_came_due_is_decided_before_the_signal_that_comes_later() -> None:
    subject = evaluator()
    send(subject, 0, fire())
    assert kinds(send(subject, 300, resolve())) == [RESPOND, CLEAR]


def test_new_labels_of_the_same_alert_move_it_to_its_new_group() -> None:
    subject = evaluator(rule(by=("pod",)))
    send(subject, 0, fire())
    decisions = send(subject, 60, fire(labels={"pod": "p2"}))
    assert [(d.kind, d.group) for d in decisions] == [(CLEAR, 'app{pod="p1"}'), (WAIT, 'app{pod="p2"}')]
    assert decisions[1].due_at == at(180)
    assert kinds(send(subject, 70, fire(labels={"deployment": "unknown", "pod": "p2"}))) == [IGNORE, CLEAR]


def test_the_latest_words_of_an_alert_are_shown() -> None:
    subject = evaluator(rule(condition=above()))
    send(subject, 0, fire(annotations={"value": "6%", "summary": "first", "noise": "x"}))
    send(subject, 5, fire(annotations={"value": "9%", "summary": "second", "noise": "y"}, link="http://p/graph"))
    [decision] = subject.tick(at(120))
    assert decision.value == 0.09
    assert dict(decision.trigger_annotations) == {"summary": "second", "value": "9%"}
    assert dict(decision.trigger_labels) == LABELS
    assert (decision.trigger_link, decision.severity, decision.response) == ("http://p/graph", Severity.P1, Response.ROLLBACK)


def test_the_reason_of_a_response_has_the_numbers() -> None:
    subject = evaluator(rule(condition=above()))
    send(subject, 0, fire())
    [decision] = subject.tick(at(120))
    assert decision.reason == "HighErrorRate: value 0.0731 is above 0.05 since 22:55:50 UTC for 2m"


# --- views, snapshots, scale -------------------------------------------------------------------------------------------


def test_the_view_tells_what_each_group_waits_for() -> None:
    subject = evaluator(rule(condition=above()))
    send(subject, 30, fire(0, key="f1"), fire(10, key="f2", text="6%"))
    [view] = subject.groups()
    assert (view.rule, view.group, view.target, view.state) == ("errors", "app", "app", GroupState.PENDING)
    assert (view.since, view.due_at, view.members, view.values) == (at(0), at(120), ("f1", "f2"), (0.0731, 0.06))
    assert view.reason == "HighErrorRate: value 0.0731 is above 0.05 since 22:55:50 UTC, due at 22:57:50 UTC"
    subject.tick(at(120))
    [view] = subject.groups()
    assert (view.state, view.due_at) == (GroupState.FIRING, None)
    assert view.reason.startswith("fired at 22:57:50 UTC: HighErrorRate: value 0.0731 is above 0.05")


def test_a_hold_half_over_goes_on_after_a_restart() -> None:
    subject, restarted = evaluator(), evaluator()
    send(subject, 0, fire())
    restarted.restore(subject.snapshot())
    assert restarted.next_due() == at(120)
    assert restarted.tick(at(120)) == subject.tick(at(120))


SNAPSHOTS = {
    "of another format": (b'{"format":1}', "another format"),
    "that is no object": (b"[]", "another format"),
    "that is cut": (b'{"format":4', "unexpected end"),
    "with parts missing": (b'{"format":5,"rulebook":["",1,["summary","description","runbook_url","value"]]}', "damaged"),
}


@pytest.mark.parametrize(("body", "message"), SNAPSHOTS.values(), ids=SNAPSHOTS)
def test_a_snapshot_is_refused(body: bytes, message: str) -> None:
    subject = evaluator()
    send(subject, 0, fire())
    with pytest.raises(ValueError, match=message):
        subject.restore(body)
    assert subject.next_due() == at(120), "the state is what it was"


def test_a_snapshot_of_another_rulebook_is_refused() -> None:
    with pytest.raises(ValueError, match="another rulebook"):
        Evaluator(replace(rulebook(rule()), digest="a")).restore(Evaluator(replace(rulebook(rule()), digest="b")).snapshot())


def test_timers_of_groups_that_come_and_go_do_not_pile_up() -> None:
    subject = evaluator(rule(seconds=10**6))
    for number in range(5000):
        send(subject, number, fire(number), resolve(number))
    assert len(subject._timers) <= 2048
    assert subject.next_due() is None


def test_hostile_text_is_cut_in_reasons_and_kept_texts() -> None:
    subject = evaluator(rule(seconds=0))
    [decision] = send(subject, 0, fire(labels={"alertname": "HighErrorRate"}, annotations={"summary": "x\n" * 10**6}))
    assert len(dict(decision.trigger_annotations)["summary"]) == 1000
    other = evaluator(rule("r", 'deployment="app"', seconds=0))
    [decision] = send(other, 0, fire(labels={"alertname": "a\nb\u2028" * 10**6}))
    assert "\n" not in decision.reason
    assert "\u2028" not in decision.reason
    assert len(decision.reason) < 250
