"""The same observation counts once: by its id, for a day, also across a restart."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from responder.domain.decision import DecisionKind
from responder.domain.matcher import parse_matcher
from responder.domain.rulebook import Rule, Rulebook
from responder.domain.signal import Signal, SignalStatus
from responder.engine import reasons
from responder.engine.evaluator import Evaluator
from responder.engine.seen_ids import SEEN_FOR, SeenIds

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
SECOND = timedelta(seconds=1)


def test_an_id_is_new_once() -> None:
    seen = SeenIds()
    assert [seen.is_new("sentry", "a", NOW), seen.is_new("sentry", "a", NOW + SECOND)] == [True, False]


def test_two_senders_may_use_the_same_id() -> None:
    seen = SeenIds()
    assert [seen.is_new("sentry", "a", NOW), seen.is_new("events", "a", NOW)] == [True, True]


@pytest.mark.parametrize(
    ("later", "is_new"),
    [
        pytest.param(SEEN_FOR, False, id="known until the very end of the window"),
        pytest.param(SEEN_FOR + SECOND, True, id="forgotten after it"),
    ],
)
def test_an_id_is_remembered_from_when_it_was_first_seen(later: timedelta, is_new: bool) -> None:
    seen = SeenIds()
    seen.is_new("sentry", "a", NOW)
    seen.is_new("sentry", "a", NOW + SEEN_FOR / 2)  # a repeat does not prolong it
    assert seen.is_new("sentry", "a", NOW + later) is is_new


def test_a_flood_of_ids_pushes_out_the_oldest_and_does_not_grow() -> None:
    seen = SeenIds(limit=3)
    for name in "abcd":
        seen.is_new("events", name, NOW)
    assert len(seen) == 3
    assert [seen.is_new("events", name, NOW) for name in "da"] == [False, True]


# --- as the evaluator uses it -------------------------------------------------------------------------------------------


def evaluator() -> Evaluator:
    return Evaluator(Rulebook(rules=(Rule("smoke", (parse_matcher('alertname="smoke"'),)),), digest="d"))


def signal(status: SignalStatus = SignalStatus.OCCURRED, signal_id: str = "run-1", **changes: object) -> Signal:
    bare = Signal("events", "smoke", status, {"alertname": "smoke"}, {}, None, None, NOW, passed=None, id=signal_id)
    return replace(bare, **changes)  # type: ignore[arg-type]


def test_a_point_event_delivered_twice_is_responded_to_once() -> None:
    subject = evaluator()
    assert [decision.kind for decision in subject.observe([signal()], NOW)] == [DecisionKind.RESPOND]
    [again] = subject.observe([signal(received_at=NOW + SECOND)], NOW + SECOND)
    assert (again.kind, again.reason) == (DecisionKind.IGNORE, reasons.SEEN)


def test_other_ids_count_for_themselves() -> None:
    subject = evaluator()
    subject.observe([signal()], NOW)
    [other] = subject.observe([signal(signal_id="run-2", received_at=NOW + SECOND)], NOW + SECOND)
    assert "already" in other.reason, "it joins the first, which goes on"


def test_a_firing_delivered_again_after_its_end_does_not_open_the_alert_again() -> None:
    subject = evaluator()
    subject.observe([signal(SignalStatus.FIRING, "1"), signal(SignalStatus.RESOLVED, "2")], NOW)
    [again] = subject.observe([signal(SignalStatus.FIRING, "1", received_at=NOW + SECOND)], NOW + SECOND)
    assert again.reason == reasons.SEEN
    assert list(subject.groups()) == []


def test_ids_are_still_known_after_a_restart() -> None:
    before, after = evaluator(), evaluator()
    before.observe([signal()], NOW)
    after.restore(before.snapshot())
    [again] = after.observe([signal(received_at=NOW + SECOND)], NOW + SECOND)
    assert again.reason == reasons.SEEN


def test_a_point_event_older_than_ids_are_remembered_is_not_acted_on() -> None:
    subject = evaluator()
    [decision] = subject.observe([signal(started_at=NOW - SEEN_FOR - SECOND)], NOW)
    assert (decision.kind, decision.reason) == (DecisionKind.IGNORE, reasons.EVENT_TOO_OLD)
    [decision] = subject.observe([signal(signal_id="", started_at=NOW - SEEN_FOR - SECOND)], NOW)
    assert decision.kind is DecisionKind.RESPOND, "without an id nobody promised that it counts once"
