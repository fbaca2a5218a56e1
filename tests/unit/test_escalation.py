"""When somebody else is called: a pure decision over the incident and the levels."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from responder.domain.escalation import counted_from, describe_call, due_levels, levels_for, next_level_at
from responder.domain.incident import Approval, Incident, IncidentStatus, Order, Word
from responder.domain.rulebook import EscalationLevel, Severity

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
LEVELS = tuple(EscalationLevel(number * MINUTE, ("slack",)) for number in (0, 15, 30, 60))
ANN = Word("ann", NOON)
NOBODY = Word("", NOON, "nobody answered within 30m")


def incident(**changes: Any) -> Incident:
    known = Incident("inc_1", "errors|app|1", "app", "errors", "", Severity.P1, IncidentStatus.RUNNING, "5 % errors", NOON)
    return replace(known, **changes)


def asked(**changes: Any) -> Approval:
    return replace(Approval("", NOON, NOON + 30 * MINUTE), **changes)


CLOSED = {"closed_at": NOON + 7 * MINUTE}


@pytest.mark.parametrize(
    ("changes", "minute"),
    [
        pytest.param({}, 0, id="a run counts from when the incident opened"),
        pytest.param({"status": IncidentStatus.COUNTDOWN}, 0, id="so does a countdown"),
        pytest.param({"status": IncidentStatus.WAITING_APPROVAL, "approvals": (asked(),)}, 0, id="and an unanswered request"),
        pytest.param({"acknowledged": ANN}, None, id="somebody has it in hand"),
        pytest.param({"approvals": (asked(denied=ANN),), "status": IncidentStatus.REFUSED}, None, id="somebody said no"),
        pytest.param({"approvals": (asked(denied=NOBODY),), "status": IncidentStatus.REFUSED}, 0, id="nobody answered"),
        pytest.param({"approvals": (asked(given=ANN),), "status": IncidentStatus.FAILED, **CLOSED}, 0, id="a yes that failed"),
        pytest.param({"status": IncidentStatus.MONITORING}, None, id="it worked, and is being watched"),
        pytest.param({"status": IncidentStatus.RESOLVED, **CLOSED}, None, id="resolved"),
        pytest.param({"status": IncidentStatus.CANCELLED, **CLOSED}, None, id="cancelled"),
        pytest.param({"status": IncidentStatus.OBSERVED, **CLOSED}, None, id="observe mode calls nobody"),
        pytest.param({"status": IncidentStatus.SUPPRESSED, **CLOSED}, None, id="suppressed"),
        pytest.param({"status": IncidentStatus.FAILED, **CLOSED}, 0, id="failed goes on calling"),
        pytest.param({"status": IncidentStatus.REFUSED, **CLOSED}, 0, id="refused goes on calling"),
        pytest.param({"status": IncidentStatus.REFUSED, "calm_at": NOON, **CLOSED}, None, id="refused, and the alert is over"),
        pytest.param({"status": IncidentStatus.NOTIFIED, "calm_at": NOON, **CLOSED}, None, id="told, and the alert is over"),
        pytest.param({"status": IncidentStatus.FAILED, "calm_at": NOON, **CLOSED}, 0, id="failed leaves a doubt, alert or not"),
        pytest.param({"order": Order("ann", "broken")}, None, id="an order: whoever gave it is there"),
        pytest.param({"order": Order("ann", "broken"), "status": IncidentStatus.FAILED, **CLOSED}, 7, id="an order that failed"),
    ],
)
def test_from_when_people_are_needed(changes: dict[str, Any], minute: int | None) -> None:
    assert counted_from(incident(**changes)) == (None if minute is None else NOON + minute * MINUTE)


@pytest.mark.parametrize(
    ("minute", "told", "due", "following"),
    [
        pytest.param(0, (), [0], 0, id="at once"),
        pytest.param(1, (0,), [], 15, id="told once"),
        pytest.param(15, (0,), [15], 15, id="to the minute"),
        pytest.param(31, (0,), [15, 30], 15, id="what was missed is told together"),
        pytest.param(90, (0, 15, 30, 60), [], None, id="all told"),
    ],
)
def test_which_levels_are_due(minute: int, told: tuple[int, ...], due: list[int], following: int | None) -> None:
    known = incident(escalated=tuple(one * MINUTE for one in told))
    assert [level.after // MINUTE for level in due_levels(known, LEVELS, NOON + minute * MINUTE)] == due
    assert next_level_at(known, LEVELS) == (None if following is None else NOON + following * MINUTE)


def test_only_levels_of_its_severity_concern_an_incident_in_the_order_of_time() -> None:
    loud = EscalationLevel(5 * MINUTE, ("pagerduty",), frozenset({Severity.P0}))
    later, sooner = EscalationLevel(9 * MINUTE, ("slack",)), EscalationLevel(MINUTE, ("slack",))
    assert levels_for(incident(), (loud, later, sooner)) == [sooner, later]
    assert levels_for(incident(severity=Severity.P0), (loud, later, sooner)) == [sooner, loud, later]


def test_who_is_called_reads_how_long_it_waits_for_whom_and_how_to_take_it() -> None:
    waiting = incident(status=IncidentStatus.WAITING_APPROVAL, approvals=(asked(),))
    text = describe_call(waiting, LEVELS[1], 2, 4, NOON + 15 * MINUTE)
    assert "Nobody has acknowledged this for 15m" in text
    assert "waits for approval until 12:30:00 UTC" in text
    assert "level 2 of 4" in text
    assert "responder acknowledge inc_1" in text
    failed = describe_call(incident(status=IncidentStatus.FAILED), LEVELS[0], 1, 4, NOON)
    assert failed.startswith("This needs somebody; it ended failed: 5 % errors.")


def test_a_target_with_levels_of_its_own_goes_by_these_where_they_are_for_its_severity() -> None:
    common, own = EscalationLevel(9 * MINUTE, ("slack",)), EscalationLevel(5 * MINUTE, ("pagerduty",), targets=("app", "jobs"))
    others = EscalationLevel(MINUTE, ("email",), targets=("shop",))
    levels = (common, own, others)
    assert levels_for(incident(), levels) == [own]
    assert levels_for(incident(target="jobs"), levels) == [own]
    assert levels_for(incident(target="elsewhere"), levels) == [common]
    assert levels_for(incident(target=""), levels) == [common]
    loud = replace(own, severities=frozenset({Severity.P0}))
    assert levels_for(incident(), (common, loud)) == [common], "the incident is P1, and nobody is to be left without a call"
