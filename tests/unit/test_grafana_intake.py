"""Grafana's bodies: numbers by refID, alerts that know no number, tests that must not act, and what is not Grafana Alerting."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from responder.domain.condition import ValueCondition
from responder.domain.reading import Verdict, judge, read_number
from responder.domain.signal import Signal, SignalStatus
from responder.errors import InvalidInputError
from responder.intakes.delivery import ParsedDelivery
from responder.intakes.grafana import MAX_VALUES, parse

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def alert(**changes: object) -> dict[str, object]:
    """One firing alert; `None` as a change takes the field away."""
    whole: dict[str, object] = {
        "status": "firing",
        "labels": {"alertname": "High error rate", "grafana_folder": "shop"},
        "annotations": {"summary": "many 500s"},
        "startsAt": "2026-03-01T12:58:00.5+01:00",
        "endsAt": "0001-01-01T00:00:00Z",
        "generatorURL": "https://grafana.example/alerting/grafana/ab12/view?orgId=1",
        "fingerprint": "00c0ffee00c0ffee",
        "silenceURL": "https://grafana.example/alerting/silence/new",
        "dashboardURL": "",
        "panelURL": "",
        "values": {"B": 7.25, "C": 1},
        "valueString": "[ var='B' labels={} value=7.25 ]",
        "orgId": 1,
        "ruleUID": "ab12",
        "enrichments": [],
    }
    return {name: value for name, value in (whole | changes).items() if value is not None}


def read(*alerts: object, **changes: object) -> ParsedDelivery:
    whole = {
        "receiver": "responder",
        "status": "firing",
        "orgId": 1,
        "alerts": list(alerts),
        "version": "1",
        "groupKey": '{}/{team="shop"}:{alertname="High error rate"}',
        "truncatedAlerts": 0,
        "title": "[FIRING:1]",
        "state": "alerting",
        "message": "**Firing**",
        "appVersion": "12.1.0",
    }
    return parse(json.dumps(whole | changes).encode(), NOW)


def one(**changes: object) -> Signal:
    (signal,) = read(alert(**changes)).signals
    return signal


def test_a_firing_alert_becomes_a_signal_with_everything_it_said() -> None:
    signal = one()
    assert (signal.source, signal.key, signal.status) == ("grafana", "00c0ffee00c0ffee", SignalStatus.FIRING)
    assert signal.labels == {"alertname": "High error rate", "grafana_folder": "shop", "source": "grafana"}
    assert signal.annotations == {"summary": "many 500s", "values.B": "7.25", "values.C": "1"}
    assert signal.started_at == datetime(2026, 3, 1, 11, 58, 0, 500000, tzinfo=UTC)
    assert signal.value is None
    assert signal.link == "https://grafana.example/alerting/grafana/ab12/view?orgId=1"


VALUES = [
    pytest.param({"B": 7.25}, 7.25, {"values.B": "7.25", "value": "7.25"}, id="one number is the value"),
    pytest.param({"A": None, "B": 0}, 0.0, {"values.B": "0", "value": "0"}, id="one number beside a null"),
    pytest.param({"A": 1, "B": 2}, None, {"values.A": "1", "values.B": "2"}, id="two numbers: nobody can say which"),
    pytest.param({"error rate %": 2}, 2.0, {"values.error_rate__": "2", "value": "2"}, id="a refID that is a phrase"),
    pytest.param({"A": 1e-9}, 1e-9, {"values.A": "1e-09", "value": "1e-09"}, id="a tiny number"),
    pytest.param(None, None, {}, id="missing"),
    pytest.param({}, None, {}, id="empty"),
    pytest.param([1], None, {}, id="a list"),
    pytest.param({"A": "7"}, None, {}, id="a text"),
    pytest.param({"A": True}, None, {}, id="a boolean"),
    pytest.param({"A": {"B": 1}}, None, {}, id="an object"),
]


@pytest.mark.parametrize(("values", "value", "annotations"), VALUES)
def test_the_numbers_of_an_alert(values: object, value: float | None, annotations: dict[str, str]) -> None:
    signal = one(values=values, annotations={})
    assert (signal.value, signal.annotations) == (value, annotations)


def test_the_alert_rules_own_annotation_value_wins() -> None:
    signal = one(values={"A": 7}, annotations={"value": "5%"})
    assert signal.annotations == {"value": "5%", "values.A": "7"}


def test_a_flood_of_values_is_cut() -> None:
    assert len(one(values={f"A{number}": number for number in range(1000)}, annotations={}).annotations) == MAX_VALUES


NO_NUMBER = [
    pytest.param({"labels": {"alertname": "DatasourceNoData", "rulename": "High error rate"}}, "nodata", id="no data"),
    pytest.param({"labels": {"alertname": "DatasourceError", "rulename": "High error rate"}}, "error", id="a failed query"),
    pytest.param({"annotations": {"grafana_state_reason": "NoData"}}, "nodata", id="a rule that fires without data"),
    pytest.param({"annotations": {"grafana_state_reason": "Error, KeepLast"}}, "error", id="a rule that keeps its last state"),
]


@pytest.mark.parametrize(("changes", "state"), NO_NUMBER)
def test_an_alert_without_data_is_marked_and_has_no_number_anywhere(changes: dict[str, object], state: str) -> None:
    annotations = {"value": "99", "limit": "5%", "values.B": "7", "summary": "[no value]"}
    given = changes.get("annotations", {})
    assert isinstance(given, dict)
    signal = one(**{**changes, "annotations": annotations | given}, values={"B": 99})
    assert signal.status is SignalStatus.FIRING
    assert signal.labels["grafana_state"] == state
    assert signal.value is None
    numbers = [read_number(text) for text in signal.annotations.values()]
    assert set(numbers) == {None}
    assert judge(ValueCondition(above=0), read_number(signal.annotations.get("value"))) is Verdict.INCONCLUSIVE
    assert signal.annotations["summary"] == "[no value]"


@pytest.mark.parametrize("reason", ["Paused", "Updated", "MissingSeries", "", "NoDataAtAll"])
def test_another_reason_does_not_cost_the_number(reason: str) -> None:
    signal = one(annotations={"grafana_state_reason": reason}, values={"B": 7})
    assert (signal.value, "grafana_state" in signal.labels) == (7.0, False)


@pytest.mark.parametrize("reason", ["MissingSeries", "NoData", "Updated"])
def test_a_resolved_alert_is_resolved_whatever_its_reason(reason: str) -> None:
    signal = one(status="resolved", endsAt="2026-03-01T11:59:00Z", annotations={"grafana_state_reason": reason}, values=None)
    assert (signal.status, signal.ended_at) == (SignalStatus.RESOLVED, datetime(2026, 3, 1, 11, 59, tzinfo=UTC))
    assert "grafana_state" not in signal.labels


def test_the_test_alert_is_ignored_and_the_others_are_taken() -> None:
    delivery = read(alert(labels={"alertname": "TestAlert", "instance": "Grafana"}), alert())
    assert (len(delivery.signals), delivery.ignored) == (1, 1)
    assert delivery.signals[0].labels["alertname"] == "High error rate"
    assert any("never act" in note for note in delivery.notes)


def test_a_group_that_the_test_button_made_is_ignored_whatever_its_labels() -> None:
    delivery = read(alert(), groupKey="webhook-57c6d9296de2ad39-1755000000")
    assert (delivery.signals, delivery.ignored) == ((), 1)


BROKEN = [
    pytest.param(
        {"evalMatches": [{"metric": "a", "value": 1}], "ruleName": "x", "state": "alerting"}, "evalMatches", id="legacy"
    ),
    pytest.param({"ruleName": "x", "state": "ok"}, "ruleName", id="legacy without matches"),
    pytest.param({"text": "my own"}, "alerts", id="a custom payload"),
    pytest.param({"alerts": 7}, "alerts", id="a number as alerts"),
    pytest.param({"alerts": [7]}, "alerts[0]", id="an alert that is a number"),
    pytest.param({"alerts": [alert(status="alerting")]}, "alerts[0].status", id="an unknown status"),
    pytest.param({"alerts": [alert(labels={"a": 1})]}, "alerts[0].labels.a", id="a number as label"),
    pytest.param({"alerts": [alert(labels=[1])]}, "alerts[0].labels", id="a list as labels"),
    pytest.param({"alerts": [alert(annotations={"a": "\0"})]}, "alerts[0].annotations.a", id="NUL in an annotation"),
    pytest.param({"alerts": [alert(startsAt="today")]}, "alerts[0].startsAt", id="a start that is no time"),
    pytest.param([], None, id="a list"),
    pytest.param("x", None, id="a string"),
]


@pytest.mark.parametrize(("document", "field"), BROKEN)
def test_what_is_no_grafana_alerting_body_is_refused_with_the_field(document: object, field: str | None) -> None:
    with pytest.raises(InvalidInputError) as refused:
        parse(json.dumps(document).encode(), NOW)
    assert refused.value.field == field


def test_the_refusal_of_legacy_alerting_says_what_to_do() -> None:
    with pytest.raises(InvalidInputError, match="move the rule to Grafana Alerting"):
        parse(b'{"evalMatches": []}', NOW)


@pytest.mark.parametrize("alerts", [[], None])
def test_a_body_without_alerts_is_accepted_and_says_nothing(alerts: object) -> None:
    assert read(alerts=alerts).signals == ()


def test_nul_in_a_ref_id_or_in_a_text_that_is_not_kept_does_no_harm() -> None:
    signal = one(values={"A\0": 1}, valueString="\0", annotations={})
    assert signal.annotations == {"values.A_": "1", "value": "1"}


def test_a_body_of_several_megabytes_is_read_whole() -> None:
    many = [alert(fingerprint=f"{number:016x}", annotations={"text": "x" * 300}) for number in range(5000)]
    assert len(read(*many).signals) == 5000
