"""`responder test`: what passes, what fails and how it says so, what is wrong in a test file."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from responder.actions.registry import PARAMETERS
from responder.cli.main import cli
from responder.engine.timeline import run_test
from responder.errors import RulebookError
from responder.rulebook.rule_tests import read_rule_tests
from responder.rulebook.series import parse_series

RULES = """\
version: 1
targets:
  app: {kubernetes: {namespace: shop, deployment: app}, match: ['deployment="app"']}
rules:
  - {name: errors, match: ['alertname="Errors"'], when: {value: {above: 5%}}, for: 2m, respond: rollback, severity: P1}
  - {name: smoke, match: ['alertname="Smoke"'], respond: notify}
"""
ALERT = "{alert: Errors, labels: {deployment: app}, values: '0.07x10'}"


def run(folder: Path, tests: str, *options: str) -> Result:
    (folder / "rules.yaml").write_text(RULES)
    path = folder / "some.test.yaml"
    path.write_text(tests)
    return CliRunner().invoke(cli, ["test", str(path), *options])


def one(inputs: str, expect: str, more: str = "") -> str:
    return f"rules: rules.yaml\ninterval: 30s\ntests:\n  - name: it\n    inputs: [{inputs}]\n    expect: [{expect}]\n{more}"


RUNS = """\
version: 1
targets:
  app: {kubernetes: {namespace: shop, deployment: app}, match: ['deployment="app"']}
rules:
  - {name: fast, match: ['alertname="Errors"', 'kind="fast"'], respond: rollback, plan: back, grace: 5m}
  - {name: slow, match: ['alertname="Errors"', 'kind="slow"'], respond: approve, approve: {within: 1h}}
plans:
  back: {steps: [{uses: rollback}]}
  other: {steps: [{uses: rollback}]}
"""


@pytest.mark.parametrize(
    ("kind", "expect", "said"),
    [
        pytest.param("fast", "plan: back, grace: 5m", "", id="plan and countdown as they are"),
        pytest.param("fast", "plan: other, grace: 5m", "plan", id="another plan"),
        pytest.param("fast", "grace: 15m", "15m", id="another countdown"),
        pytest.param("fast", "within: 1h", "within", id="nobody is asked"),
        pytest.param("slow", "within: 1h, grace: 0s", "", id="how long people have"),
        pytest.param("slow", "within: 30m", "30m", id="another time to answer"),
        pytest.param("fast", "plan: backk", "there is no plan `backk` (did you mean `back`?)", id="a plan that is not there"),
    ],
)
def test_what_follows_a_response_can_be_expected(kind: str, expect: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "runs.yaml").write_text(RUNS)
    path = tmp_path / "runs.test.yaml"
    alert = f"{{alert: Errors, labels: {{deployment: app, kind: {kind}}}, values: firing}}"
    path.write_text(one(alert, f"{{at: 0s, decision: respond, {expect}}}").replace("rules.yaml", "runs.yaml"))
    result = CliRunner().invoke(cli, ["test", str(path)])
    assert (result.exit_code == 0, said in result.output) == (not said, True), result.output


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("0.07", "0.07"),
        ("0.01x2 0.07x3 resolved", "0.01 0.01 0.07 0.07 0.07 resolved"),
        ("passed x3 failed", "passed passed passed failed"),
        ("_x2 firing", "_ _ firing"),
        ("0.01+0.02x3", "0.01 0.03 0.05"),
        ("0.5-0.1x3", "0.5 0.4 0.3"),
        ("5% NaN 200ms -1 1e-3", "5% NaN 200ms -1 1e-3"),
        ("0.1+0.1x3", "0.1 0.2 0.3"),
    ],
)
def test_a_series_reads_as(text: str, read: str) -> None:
    assert " ".join(sample.number or sample.word.value for sample in parse_series(text)) == read


@pytest.mark.parametrize("text", ["", "_x3", "bogus", "0.1x0", "0.1x", "firing passed", "0.1x999999", "x3", "1m"])
def test_a_series_that_can_not_be_read_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        parse_series(text)


PASSING = {
    "a response at its time": (ALERT, "{at: 2m, decision: respond, rule: errors, target: app, response: rollback, value: 7%}"),
    "a part of the reason is enough": (ALERT, "{at: 2m, decision: respond, reason: is above 0.05}"),
    "waiting need not be expected": (ALERT, "{at: 2m, decision: respond}"),
    "but it can be": (ALERT, "{at: 0s, decision: wait, due: 2m}, {at: 2m, decision: respond}"),
    "a state between": (ALERT, "{at: 1m, state: pending, rule: errors, due: 2m, since: 0s}, {at: 2m, decision: respond}"),
    "no group is inactive": (ALERT, "{at: 0s, state: inactive, rule: smoke}, {at: 2m, decision: respond}"),
    "nothing at all": ("{alert: Errors, labels: {deployment: other}, values: '0.07x10'}", ""),
    "point events": (
        "{alert: Smoke, labels: {deployment: app}, values: 'passed failed'}",
        "{at: 30s, decision: respond, rule: smoke, response: notify}",
    ),
    "a repeated point event counts once": (
        "{alert: Smoke, labels: {deployment: app}, values: 'failed', again: [{of: 0s, at: 5s}]}",
        "{at: 0s, decision: respond, rule: smoke}",
    ),
    "a delivery under way for long is due when it arrives": (
        "{alert: Errors, labels: {deployment: app}, values: '0.07', delay: 3m}",
        "{at: 3m, decision: respond, since: 0s}",
    ),
    "one input per label value": (
        "{alert: Errors, labels: {deployment: app}, each: {pod: [a, b, c]}, values: '0.07'}",
        "{at: 2m, decision: respond, reason: 3 alerts}",
    ),
}


@pytest.mark.parametrize(("inputs", "expect"), PASSING.values(), ids=PASSING.keys())
def test_as_expected(inputs: str, expect: str, tmp_path: Path) -> None:
    result = run(tmp_path, one(inputs, expect))
    assert (result.exit_code, "1 test: 1 passed" in result.output) == (0, True), result.output


FAILING = {
    "nothing was expected": (ALERT, "", ["not expected at 2m: respond (rollback), rule errors, group app"]),
    "it comes at another time": (
        ALERT,
        "{at: 3m, decision: respond}",
        ["some.test.yaml:6: not as expected", "- at        3m", "+ at        2m"],
    ),
    "another response": (ALERT, "{at: 2m, decision: respond, response: notify}", ["- response  notify", "+ response  rollback"]),
    "it never happens": (
        ALERT,
        "{at: 2m, decision: respond}, {at: 4m, decision: respond, rule: smoke}",
        ["did not happen: at 4m: respond, rule smoke"],
    ),
    "it happens once only": (
        ALERT,
        "{at: 2m, decision: respond}, {at: 4m, decision: respond}",
        ["did not happen: at 4m: respond"],
    ),
    "one kind that is named is complete": (
        "{alert: Errors, labels: {deployment: app}, values: '0.07 resolved 0.07 resolved'}",
        "{at: 30s, decision: clear}",
        ["not expected at 1m30s: clear"],
    ),
    "another state": (
        ALERT,
        "{at: 1m, state: firing, rule: errors}, {at: 2m, decision: respond}",
        ["- state     firing", "+ state     pending"],
    ),
    "no group where one was expected": (
        ALERT,
        "{at: 1m, state: firing, rule: smoke}, {at: 2m, decision: respond}",
        ["- state     firing", "+ state     inactive"],
    ),
    "a group where none was expected": (
        ALERT,
        "{at: 1m, state: inactive, rule: errors}, {at: 2m, decision: respond}",
        ["+ state     pending, rule errors"],
    ),
}


@pytest.mark.parametrize(("inputs", "expect", "said"), FAILING.values(), ids=FAILING.keys())
def test_not_as_expected(inputs: str, expect: str, said: list[str], tmp_path: Path) -> None:
    result = run(tmp_path, one(inputs, expect))
    assert result.exit_code == 1
    for text in said:
        assert text in result.output
    assert "what happened:" in result.output


WRONG = {
    "no tests": ("rules: rules.yaml\ntests: []\n", "2:8: tests: must have at least one entry"),
    "no expectations": ("rules: rules.yaml\ntests:\n  - name: it\n", "3:5: test it: `expect` is missing"),
    "an unknown key": (
        one(ALERT, "{at: 2m, decison: respond}"),
        "6:23: test it: expect entry 1: unknown key `decison` (did you mean `decision`?)",
    ),
    "an unknown decision": (one(ALERT, "{at: 2m, decision: act}"), "6:33: test it: expect entry 1.decision: must be one of"),
    "neither decision nor state": (one(ALERT, "{at: 2m}"), "6:14: test it: expect entry 1: needs either `decision` or `state`"),
    "a state that needs a rollback": (
        one(ALERT, "{at: 2m, state: settling}"),
        "6:14: test it: expect entry 1: `state: settling` never comes in a test: nothing is rolled back there",
    ),
    "an unknown rule": (
        one(ALERT, "{at: 2m, decision: respond, rule: error}"),
        "6:48: test it: there is no rule `error` (did you mean `errors`?)",
    ),
    "an unknown target": (
        one(ALERT, "{at: 2m, decision: respond, target: ap}"),
        "6:50: test it: there is no target `ap` (did you mean `app`?)",
    ),
    "a series": (one("{alert: Errors, values: 7 percent}", ""), "5:38: test it: inputs entry 1.values: 'percent' is no sample"),
    "a delivery that never was": (
        one("{alert: Errors, values: '1', again: [{of: 10s, at: 20s}]}", ""),
        "5:56: test it: there is no delivery at 10s that could come again",
    ),
    "two tests of one name": (
        one(ALERT, "{at: 2m, decision: respond}", "  - {name: it, expect: []}\n"),
        "7:12: test it: another test",
    ),
    "no rulebook": ("rules: nowhere.yaml\ntests: [{name: it, expect: []}]\n", "nowhere.yaml"),
    "not YAML": ("rules: [", "1:9: not YAML"),
}


@pytest.mark.parametrize(("tests", "said"), WRONG.values(), ids=WRONG.keys())
def test_a_file_that_can_not_be_used_is_told_with_its_place(tests: str, said: str, tmp_path: Path) -> None:
    result = run(tmp_path, tests)
    assert result.exit_code == 2
    assert said in result.output
    assert "1 file can't be used" in result.output


def test_an_endless_wait_can_be_ended(tmp_path: Path) -> None:
    text = one("{alert: Errors, labels: {deployment: app}, values: '0.07'}", "", "    until: 1m\n")
    assert run(tmp_path, text).exit_code == 0
    assert run(tmp_path, text.replace("until: 1m", "until: 2m")).exit_code == 1


def test_json_says_what_differs(tmp_path: Path) -> None:
    result = run(tmp_path, one(ALERT, "{at: 3m, decision: respond}"), "--json")
    document = json.loads(result.output)
    assert (result.exit_code, document["ok"]) == (1, False)
    (test,) = document["files"][0]["tests"]
    assert test["differences"][0]["details"][0] == {"what": "at", "expected": "3m", "found": "2m"}
    assert document["files"][0]["untested"] == ["smoke"]


def test_junit_holds_what_failed(tmp_path: Path) -> None:
    report = tmp_path / "report.xml"
    more = "  - {name: nothing < & >, expect: []}\n"
    run(tmp_path, one(ALERT, "", more), "--junit", str(report))
    suite = ET.parse(report).getroot()[0]
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("2", "1", "0")
    assert [case.get("name") for case in suite] == ["it", "nothing < & >"]
    assert "not expected at 2m" in (suite[0][0].text or "")


def test_junit_holds_a_file_that_can_not_be_used(tmp_path: Path) -> None:
    report = tmp_path / "report.xml"
    assert run(tmp_path, "rules: [", "--junit", str(report)).exit_code == 2
    suite = ET.parse(report).getroot()[0]
    assert (suite.get("errors"), suite[0][0].tag) == ("1", "error")


def test_only_some_tests_can_be_run(tmp_path: Path) -> None:
    result = run(tmp_path, one(ALERT, "", "  - {name: other, expect: []}\n"), "--only", "other")
    assert (result.exit_code, "1 test: 1 passed" in result.output) == (0, True)


@pytest.mark.parametrize(
    "path", sorted((Path(__file__).parents[2] / "rules" / "tests").glob("*.test.yaml")), ids=lambda path: path.stem
)
def test_the_shipped_rules_pass_their_tests_and_every_rule_has_one(path: Path) -> None:
    result = CliRunner().invoke(cli, ["test", str(path)])
    assert result.exit_code == 0, result.output
    assert "no test sees a response" not in result.output


def test_every_trigger_and_decision_row_of_the_reference_systems_has_a_rule_test() -> None:
    rows = [f"{system}-T{number}" for system, last in _TRIGGERS.items() for number in range(1, last + 1)] + ["JV-D1", "KP-D1"]
    texts = [path.read_text() for path in (Path(__file__).parents[2] / "rules" / "tests").glob("*.test.yaml")]
    named = {
        row for text in texts for name in re.findall(r"- name: (.+)", text) for row in re.findall(r"[A-Z]{2}-[TD][0-9]+", name)
    }
    # PM-T6 is a person's decision from the start: a force, shown by the tests of commands.
    assert set(rows) - named == {"PM-T6"}


_TRIGGERS = {"PM": 6, "CS": 8, "JV": 5, "KP": 2, "NQ": 4}


def test_the_example_of_the_documentation_passes(tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    (snippet,) = re.findall(r"^```yaml\n(.*?)^```$", (root / "docs" / "rule-tests.md").read_text(), re.DOTALL | re.MULTILINE)
    path = tmp_path / "example.test.yaml"
    path.write_text(snippet.replace("../paperless-maverick.yaml", str(root / "rules" / "paperless-maverick.yaml")))
    result = CliRunner().invoke(cli, ["test", str(path)])
    assert result.exit_code == 0, result.output


_SHIPPED = (Path(__file__).parents[2] / "rules" / "tests" / "paperless-maverick.test.yaml").read_text()[:4000]
_FRAGMENTS = st.sampled_from(
    ["[", "{", "- ", ": ", "&a ", "*a", "'", '"', "|\n", "null", "1e999", "x99999", "-5m", "\t", "\n", "é", "_x"]
)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, len(_SHIPPED)), st.integers(0, 40), st.lists(_FRAGMENTS, max_size=3).map("".join))
def test_a_mangled_file_is_run_or_refused_with_positions(tmp_path: Path, start: int, cut: int, inserted: str) -> None:
    path = tmp_path / "mangled.test.yaml"
    text = _SHIPPED.replace("../paperless-maverick.yaml", str(Path(__file__).parents[2] / "rules" / "paperless-maverick.yaml"))
    path.write_text(text[:start] + inserted + text[start + cut :])
    try:
        loaded = read_rule_tests(path, PARAMETERS)
    except RulebookError as error:
        assert all(re.match(r"[^\n]+?(:[0-9]+:[0-9]+)?: [^\n]+\Z", line) for line in error.problems)
        return
    for test in loaded.tests:
        run_test(loaded.rulebook, test)
