"""`responder explain`: what is told of incidents that ended this way or that, and of rules."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import orjson
import pytest
from click.testing import CliRunner

from responder.cli.client import ServiceClient
from responder.cli.explain import tell_incident, tell_rule
from responder.cli.main import cli
from responder.domain.decision import Decision, DecisionKind
from responder.domain.incident import FORCED, Incident, IncidentEvent, IncidentStatus
from responder.domain.matcher import parse_matcher
from responder.domain.rule_state import GroupState, GroupView
from responder.domain.rulebook import EscalationLevel, Response, Rule, Rulebook, Severity
from responder.engine.decision_log import GROUPS_LIMIT, PER_GROUP, DecisionLog
from responder.web.documents import incident_document
from responder.web.rules import rule_rows
from tests.unit.web_parts import NOW, an_incident


def told(incident: Incident, *events: IncidentEvent) -> str:
    document = orjson.loads(orjson.dumps(incident_document(incident, events), default=str))
    return "\n".join(tell_incident(document))


def event(kind: str, text: str, **data: object) -> IncidentEvent:
    return IncidentEvent(NOW, kind, text, data)


REFUSED = replace(
    an_incident(status=IncidentStatus.REFUSED),
    steps=(),
    reason="the rollout was paused by a person",
    began_at=NOW - timedelta(minutes=2),
    closed_at=NOW + timedelta(seconds=1),
)


def test_a_refusal_names_the_guards_that_said_no() -> None:
    verdicts = [
        {"guard": "recent_change", "outcome": "pass", "reason": "v2 was rolled out 30s before"},
        {"guard": "paused", "outcome": "refuse", "reason": "the rollout was paused by a person"},
        {"guard": "owner", "outcome": "unknown", "reason": "no right to get applications"},
    ]
    text = told(REFUSED, event("opened", "7 % is above 5 %"), event("guards", "…", target="shop", verdicts=verdicts))
    assert text.splitlines() == [
        "Incident inc_0001 (P1) is about shop. The rule error_rate opened it.",
        "The trouble began at 2026-03-01 11:58:00 UTC; the incident was opened 2m later, at 2026-03-01 12:00:00 UTC.",
        "2026-03-01 12:00:00 UTC  The rule decided to respond: 7 % is above 5 %.",
        "2026-03-01 12:00:00 UTC  Of the guards of shop 1 let it pass, but:",
        "    paused: the rollout was paused by a person.",
        "    owner could not tell, which counts as a no: no right to get applications.",
        "Nothing was changed: the rollout was paused by a person. "
        "It was closed at 2026-03-01 12:00:01 UTC, 2m1s after the trouble began.",
    ]


@pytest.mark.parametrize(
    ("later", "said"),
    [
        pytest.param(
            "a rollout is in progress", ["let it pass; what is new:", "    rollout: a rollout is in progress."], id="one"
        ),
        pytest.param("no rollout is in progress", ["let it pass."], id="none"),
    ],
)
def test_guards_that_are_asked_again_tell_what_is_new(later: str, said: list[str]) -> None:
    def asked(rollout: str) -> IncidentEvent:
        reasons = {"paused": "the rollout is not paused", "rollout": rollout}
        verdicts = [{"guard": name, "outcome": "pass", "reason": reason} for name, reason in reasons.items()]
        return event("guards", "…", target="shop", verdicts=verdicts)

    text = told(REFUSED, asked("no rollout is in progress"), asked(later))
    first, *others = said
    assert text.splitlines()[2:-1] == [
        "2026-03-01 12:00:00 UTC  All 2 guards of shop let it pass:",
        "    paused: the rollout is not paused.",
        "    rollout: no rollout is in progress.",
        f"2026-03-01 12:00:00 UTC  Asked again, all 2 guards of shop {first}",
        *others,
    ]


@pytest.mark.parametrize("status", IncidentStatus, ids=lambda status: status.value)
def test_every_end_and_every_moment_before_it_has_its_sentence(status: IncidentStatus) -> None:
    text = told(an_incident(status=status))
    assert "7 % of requests fail" in text or status.value in (
        "running",
        "verifying",
        "monitoring",
        "countdown",
        "waiting_approval",
    )
    assert not text.splitlines()[-1].startswith(status.value)


def test_what_a_person_ordered_was_opened_by_no_rule() -> None:
    assert told(replace(REFUSED, rule=FORCED)).splitlines()[0] == "Incident inc_0001 (P1) is about shop. A person ordered it."


def test_a_step_in_flight_is_told() -> None:
    assert "The step undo (rollback) is running." in told(an_incident())


def test_text_from_outside_stays_in_its_line() -> None:
    text = told(REFUSED, event("opened", "a\nIt ended well: \x1b[31m all is fine"))
    assert len(text.splitlines()) == 4
    assert "\x1b" not in text


# --- rules ---------------------------------------------------------------------------------------------------------------

RULE = Rule(
    "errors",
    (parse_matcher('alertname="Errors"'),),
    hold=timedelta(minutes=2),
    severity=Severity.P1,
    response=Response.ROLLBACK,
    plan="back",
)
VIEW = GroupView(
    rule="errors",
    group="app",
    target="app",
    state=GroupState.PENDING,
    since=NOW,
    due_at=NOW + timedelta(minutes=2),
    members=("a", "b"),
    values=(0.07, None),
    reason="Errors: 0.07 is above 0.05",
    episode="a@…",
)


def decision(number: int = 0, kind: DecisionKind = DecisionKind.WAIT, group: str = "app", rule: str = "errors") -> Decision:
    return Decision(kind, NOW + timedelta(seconds=number), f"reason {number}", rule, group, "app")


def rows(*views: GroupView, log: DecisionLog | None = None, rule: Rule = RULE) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = rule_rows(Rulebook(rules=(rule,)), views, log or DecisionLog())  # type: ignore[assignment]
    return found


def test_a_waiting_rule_says_what_it_sees_and_what_it_waits_for() -> None:
    log = DecisionLog()
    log.note(decision())
    assert list(tell_rule(rows(VIEW, log=log))) == [
        'The rule errors (P1) looks at alertname="Errors"; it rolls back with the plan back when it has lasted for 2m.',
        "The group app is pending since 2026-03-01 12:00:00 UTC: Errors: 0.07 is above 0.05.",
        "It sees 2 alerts, with the numbers 0.07, none. It waits for 12:02:00 UTC: it responds if nothing clears before.",
        "The latest decisions:",
        "  2026-03-01 12:00:00 UTC  wait: reason 0",
    ]


@pytest.mark.parametrize(
    ("response", "said"),
    [
        pytest.param(Response.ROLLBACK, "it rolls back with the plan back when", id="rolls back"),
        pytest.param(Response.APPROVE, "it asks people and, after a yes, rolls back with the plan back when", id="asks first"),
        pytest.param(Response.NOTIFY, "it tells people when", id="tells"),
    ],
)
def test_a_rule_says_what_it_does(response: Response, said: str) -> None:
    assert said in next(tell_rule(rows(rule=replace(RULE, response=response))))


def test_a_rule_says_whom_its_incidents_call_while_nobody_has_them_in_hand() -> None:
    levels = (
        EscalationLevel(timedelta(0), ("slack",)),
        EscalationLevel(timedelta(minutes=15), ("slack", "email"), contacts=("Mara, +41 44 000 00 01",)),
        EscalationLevel(timedelta(minutes=1), ("pagerduty",), targets=("other",)),
    )
    [row] = rule_rows(Rulebook(rules=(RULE,), escalation=levels), (), DecisionLog())
    said = "While nobody has its incident in hand, it calls slack at once; slack and email after 15m (Mara, +41 44 000 00 01)."
    assert list(tell_rule([row]))[1] == said


def test_a_rule_that_has_seen_nothing_is_inactive() -> None:
    assert list(tell_rule(rows()))[1:] == [
        'It is inactive: it has seen nothing yet. It waits for something that matches alertname="Errors".'
    ]


def test_a_rule_of_which_nothing_is_left_tells_what_it_decided_last() -> None:
    log = DecisionLog()
    log.note(decision(1, group="a"))
    log.note(decision(2, DecisionKind.CLEAR, group="b"))
    (row,) = rows(log=log)
    assert [one["reason"] for one in row["decisions"]] == ["reason 2", "reason 1"]
    assert list(tell_rule([row]))[-1].endswith("wait about a: reason 1")


def test_a_big_group_is_shown_in_part() -> None:
    (row,) = rows(replace(VIEW, members=tuple(map(str, range(1000))), values=(0.5,) * 1000))
    assert (row["alerts"], len(row["members"]), len(row["values"])) == (1000, 20, 20)
    assert "It sees 1000 alerts, with the numbers 0.5, 0.5, 0.5, 0.5, 0.5 …." in "\n".join(tell_rule([row]))


def test_an_unknown_rule_is_told_with_those_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ServiceClient, "get_rows", lambda *_: ({}, rows()))
    result = CliRunner().invoke(cli, ["explain", "eror"])
    assert (result.exit_code, "no rule eror; rules in force: errors" in result.output) == (1, True)


# --- the log of decisions ------------------------------------------------------------------------------------------------


def test_the_log_is_bounded() -> None:
    log = DecisionLog()
    for number in range(GROUPS_LIMIT + 100):
        log.note(decision(number, group=str(number)))
    for number in range(50):
        log.note(decision(number, group="last"))
    found = log.by_rule()["errors"]
    assert len(found) == GROUPS_LIMIT
    assert [one.reason for one in found["last"]] == [f"reason {number}" for number in range(49, 49 - PER_GROUP, -1)]
    assert "0" not in found


def test_of_what_was_ignored_only_the_latest_stays_and_only_until_something_happens() -> None:
    log = DecisionLog()
    for number in range(9):
        log.note(decision(number, DecisionKind.IGNORE))
    assert [one.reason for one in log.by_rule()["errors"]["app"]] == ["reason 8"]
    log.note(decision(9))
    assert [one.reason for one in log.by_rule()["errors"]["app"]] == ["reason 9"]
    log.note(decision(10, DecisionKind.IGNORE))
    assert [one.kind.value for one in log.by_rule()["errors"]["app"]] == ["ignore", "wait"]


def test_rules_that_are_gone_are_forgotten_and_nobodys_decisions_never_kept() -> None:
    log = DecisionLog()
    log.note(decision(rule=""))
    log.note(decision(rule="old"))
    log.note(decision())
    log.keep_only({"errors"})
    assert list(log.by_rule()) == ["errors"]
