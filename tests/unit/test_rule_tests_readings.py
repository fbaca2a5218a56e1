"""`responder test` for rules that ask Prometheus: readings in a test file."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from responder.cli.main import cli
from responder.rulebook.series import parse_readings

RULES = """\
version: 1
targets:
  app: {kubernetes: {namespace: shop, deployment: app}, match: ['deployment="app"']}
rules:
  - name: errors
    match: 'alertname="Errors"'
    by: pod
    when: {value: {above: 5%, from: {query: 'errors{app={{ target }}, pod={{ labels.pod }}}'}}}
    for: 2m
    respond: rollback
  - name: slow
    match: 'alertname="Slow"'
    when: {value: {above: 200%, baseline: {query: 'avg(latency offset 1d)'}}}
    respond: notify
"""
ERRORS = """errors{app="app", pod="a"}"""
ALERT = "{alert: Errors, labels: {deployment: app, pod: a}, values: 'firing x20 resolved'}"


def run(folder: Path, readings: str, expect: str, inputs: str = ALERT) -> Result:
    (folder / "rules.yaml").write_text(RULES)
    path = folder / "some.test.yaml"
    path.write_text(
        f"rules: rules.yaml\ninterval: 30s\ntests:\n  - name: it\n    readings: [{readings}]\n    inputs: [{inputs}]\n"
        f"    expect: [{expect}]\n"
    )
    return CliRunner().invoke(cli, ["test", str(path)])


def given(values: str, query: str = ERRORS, more: str = "") -> str:
    return f"{{query: '{query}', values: '{values}'{more}}}"


PASSING = {
    "a number that is there at once counts from the alert's beginning": (
        given("0.07"),
        "{at: 2m, decision: respond, rule: errors, response: rollback, value: 7%, since: 0s}",
        ALERT,
    ),
    "a number that crosses later counts from then": (
        given("0.01x3 0.07"),
        "{at: 1m, state: inactive, rule: errors}, {at: 3m30s, decision: respond, since: 1m30s}",
        ALERT,
    ),
    "rounds are counted from when the alert began": (
        given("0.01x10 0.07x10"),
        "{at: 7m10s, decision: respond, response: rollback, since: 5m10s}",
        "{alert: Errors, labels: {deployment: app, pod: a}, values: '_ firing', interval: 280s}",
    ),
    "a number that is calm again ends it": (
        given("0.07x3 0.01"),
        "{at: 1m, state: pending, rule: errors}, {at: 1m30s, state: inactive, rule: errors}",
        ALERT,
    ),
    "an empty result asks": (given("_"), "{at: 2m, decision: respond, inconclusive: true, reason: the result is empty}", ALERT),
    "no answer asks": (given("failed"), "{at: 2m, decision: respond, inconclusive: true, reason: did not answer}", ALERT),
    "what is not finite asks": (
        given("NaN"),
        "{at: 2m, decision: respond, inconclusive: true, reason: the result is NaN}",
        ALERT,
    ),
    "a test without readings asks": (
        "",
        "{at: 2m, decision: respond, inconclusive: true, reason: the test gives no reading}",
        ALERT,
    ),
    "a gap begins `for` anew": (given("0.07x2 _ 0.07"), "{at: 3m30s, decision: respond, value: 7%, since: 1m30s}", ALERT),
    "a baseline": (
        given("0.2", "avg(latency offset 1d)"),
        "{at: 2m, decision: respond, rule: slow, value: 4.5, reason: value / baseline 4.5 is above 2}",
        "{alert: Slow, labels: {deployment: app}, values: '0.3x4 0.9 resolved'}",
    ),
    "an interval of its own": (
        given("0.01 0.07", more=", interval: 5m"),
        "{at: 7m, decision: respond, since: 5m}",
        ALERT,
    ),
}


@pytest.mark.parametrize(("readings", "expect", "inputs"), PASSING.values(), ids=PASSING)
def test_as_expected(readings: str, expect: str, inputs: str, tmp_path: Path) -> None:
    result = run(tmp_path, readings, expect, inputs)
    assert result.exit_code == 0, result.output


WRONG = {
    "a query that no rule asks": (given("1", "errors"), "5:24: test it: no rule asks this"),
    "a query with its places": (given("1", "errors{app={{ target }}, pod={{ labels.pod }}}"), "5:24: test it: no rule asks this"),
    "a query given twice": (f"{given('1')}, {given('2')}", "test it: given twice in this test"),
    "a word of alerts": (given("firing"), "test it: readings entry 1.values: `firing` is no reading"),
    "no sample": (given(""), "readings entry 1.values: says nothing"),
    "no query": ("{values: '1'}", "readings entry 1: `query` is missing"),
}


@pytest.mark.parametrize(("readings", "said"), WRONG.values(), ids=WRONG)
def test_what_can_not_be_used_is_told_with_its_place(readings: str, said: str, tmp_path: Path) -> None:
    result = run(tmp_path, readings, "")
    assert result.exit_code == 2
    assert said in result.output, result.output


def test_a_series_of_readings() -> None:
    samples = parse_readings("0.01x2 _ failed 0.1+0.1x2 NaN")
    assert " ".join(sample.number or sample.word.value for sample in samples) == "0.01 0.01 _ failed 0.1 0.2 NaN"
