"""Warnings about what a rulebook may say, but its author may not have meant; and the command that prints them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from responder.actions.registry import PARAMETERS
from responder.cli.check import check
from responder.rulebook.loader import load_rulebook
from responder.rulebook.review import review

TARGET = (
    "targets:\n  app: {mode: armed, kubernetes: {namespace: shop, deployment: app},"
    " match: ['namespace=\"shop\"', 'deployment=~\"app.*\"']}\n"
)
PLAN = (
    "plans:\n  roll-back:\n    steps: [{uses: rollback}]\n"
    "    verify: [{uses: http.check, with: {url: https://shop.example/ready}}]\n"
)
RULE = "rules:\n  - {name: down, match: 'alertname=\"Down\"', respond: rollback, plan: roll-back}\n"


def warnings(folder: Path, text: str) -> list[str]:
    path = folder / "r.yaml"
    path.write_text(text)
    return [each.replace(str(path), "r.yaml") for each in review(load_rulebook(path, PARAMETERS))]


def rule(words: str) -> str:
    return f"rules:\n  - {{name: down, {words}}}\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(TARGET + PLAN + RULE, [], id="a rulebook that means what it says has none"),
        pytest.param(
            TARGET.replace("armed", "observe") + PLAN + RULE,
            ["target app: will not act: mode is observe (write `mode: armed` when you trust it)"],
            id="a target that only observes",
        ),
        pytest.param(
            TARGET + PLAN + rule("match: 'namespace=\"other\"', respond: rollback, plan: roll-back"),
            ["r.yaml:9: rule down: no target can match the same alert as this rule (targets: `app`)"],
            id="a rule whose alerts can be no target's",
        ),
        pytest.param(
            TARGET + PLAN + rule("match: 'deployment=\"cart\"', respond: rollback, plan: roll-back"),
            ["r.yaml:9: rule down: no target can match the same alert as this rule (targets: `app`)"],
            id="a rule whose label no target's pattern matches",
        ),
        pytest.param(
            TARGET + PLAN + rule("match: 'namespace=\"other\"', target: app, respond: rollback, plan: roll-back"),
            [],
            id="a rule that names its target needs no matching one",
        ),
        pytest.param(
            TARGET + rule("match: 'alertname=\"Down\"', respond: rollback"),
            ["r.yaml:5: rule down: nothing is verified but the rollout itself: it has no plan"],
            id="a bare rollback",
        ),
        pytest.param(
            TARGET + "plans: {roll-back: {steps: [rollback]}}\n" + RULE,
            ["plan roll-back: nothing is verified but the rollout itself (add `verify`)"],
            id="a plan that verifies nothing",
        ),
        pytest.param(
            TARGET + "plans: {roll-back: {steps: [{uses: sleep, with: {for: 1s}}]}}\n" + RULE,
            ["r.yaml:6: rule down: respond is rollback, but plan roll-back has no rollback step"],
            id="a plan that rolls nothing back",
        ),
        pytest.param(
            TARGET + PLAN + rule("match: 'alertname=\"Down\"', respond: notify, plan: roll-back"),
            ["r.yaml:9: rule down: plan roll-back will never run: respond is notify"],
            id="a plan whose rule only notifies",
        ),
        pytest.param(
            TARGET + PLAN.replace("uses: rollback", "uses: rollback, timeout: 1h") + RULE,
            ["plan roll-back: step rollback may take longer than the plan's deadline"],
            id="a step that the deadline will cut",
        ),
        pytest.param(
            TARGET + PLAN.replace("https://shop.example/ready", "'https://shop.example/${PROBE}'") + RULE,
            ["plan roll-back: step http.check: with.url: `${…}` is taken as it stands; the environment is not filled in"],
            id="a variable of the environment",
        ),
        pytest.param(
            TARGET + "notify: []\n",
            ["no rules: nothing will ever be done by itself", "notify is empty: nobody will be told"],
            id="nothing to do and nobody to tell",
        ),
    ],
)
def test_warnings(text: str, expected: list[str], tmp_path: Path) -> None:
    assert warnings(tmp_path, "version: 1\n" + text) == expected


def test_check_prints_what_the_files_hold_and_warnings(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text("version: 1\n" + TARGET + PLAN + RULE + "notify: []\n")
    done = CliRunner().invoke(check, [str(path)])
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout == f"{path}: 1 target, 1 rule, 1 plan\nwarning: notify is empty: nobody will be told\n"


def test_check_prints_every_problem_to_stderr_and_fails(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text("version: 1\noops: 1\nrules: {}\n")
    done = CliRunner().invoke(check, [str(path)])
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr.splitlines() == [
        f"{path}:2:1: unknown key `oops` "
        "(known: `version`, `targets`, `notify`, `escalation`, `rules`, `plans`, `vars`, `hold`, `limits`, `freeze`, `defaults`)",
        f"{path}:3:8: rules: must be a list (`- item`)",
        "2 problems",
    ]


def test_check_answers_in_json(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text("version: 1\n" + TARGET + PLAN + RULE)
    assert json.loads(CliRunner().invoke(check, [str(path), "--json"]).stdout) == {
        "ok": True,
        "files": [{"file": str(path), "targets": 1, "rules": 1, "plans": 1}],
        "warnings": [],
        "problems": [],
    }
    path.write_text("version: 2\n")
    done = CliRunner().invoke(check, [str(path), "--json"])
    assert done.exit_code == 1
    assert json.loads(done.stdout)["problems"] == [f"{path}:1:10: version: this Responder reads version 1; write `version: 1`"]


def test_check_without_a_path_looks_where_serve_would(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text("version: 1\n" + TARGET + PLAN + RULE)
    done = CliRunner(env={"RESPONDER_RULES": str(tmp_path)}).invoke(check, [])
    assert (done.exit_code, done.stdout) == (0, f"{tmp_path}/r.yaml: 1 target, 1 rule, 1 plan\n")


def test_a_path_that_is_not_there_is_wrong_usage(tmp_path: Path) -> None:
    assert CliRunner().invoke(check, [str(tmp_path / "missing")]).exit_code == 2


def test_check_says_who_needs_prometheus_when_none_is_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "rules.yaml").write_text(
        "version: 1\nrules:\n  - {name: r, match: 'a=\"b\"', when: {value: {above: 1, from: {query: up}}}}\n"
        "plans:\n  p:\n    steps: [{uses: prometheus.check, with: {query: up, equals: 1}}]\n"
    )
    monkeypatch.delenv("RESPONDER_PROMETHEUS_URL", raising=False)
    said = "rule r, plan p, step prometheus.check: needs Prometheus, and RESPONDER_PROMETHEUS_URL is not set here"
    assert said in CliRunner().invoke(check, [str(tmp_path)]).output
    monkeypatch.setenv("RESPONDER_PROMETHEUS_URL", "http://prometheus:9090")
    assert "Prometheus" not in CliRunner().invoke(check, [str(tmp_path)]).output


@pytest.mark.parametrize(
    ("routes", "told"),
    [
        pytest.param("[{to: slack, targets: app}]", ["jobs"], id="a target that no route is for"),
        pytest.param("[{to: slack, targets: app}, {to: pagerduty, targets: [jobs]}]", [], id="each has one"),
        pytest.param("[{to: slack, targets: app}, {to: pagerduty, severity: P0}]", [], id="one is for all"),
    ],
)
def test_a_target_of_which_nobody_is_told(routes: str, told: list[str], tmp_path: Path) -> None:
    jobs = "  jobs: {mode: armed, kubernetes: {namespace: shop, deployment: jobs}, match: ['deployment=\"jobs\"']}\n"
    text = f"version: 1\nnotify: {routes}\n{TARGET}{jobs}{PLAN}{RULE}"
    expected = [f"target {name}: nobody will be told: no route of `notify` is for it" for name in told]
    assert [one for one in warnings(tmp_path, text) if "told" in one] == expected
