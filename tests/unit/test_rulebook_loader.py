"""From YAML to domain values."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict

from responder.actions.registry import PARAMETERS
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
from responder.domain.plan import BARE_ROLLBACK, Monitor, OnStepFailure, Plan, Retry, Step
from responder.domain.rulebook import (
    DEFAULT_ROUTES,
    ApprovalTerms,
    MassHold,
    Response,
    Route,
    Rule,
    Rulebook,
    Severity,
    Unanswered,
)
from responder.domain.target import (
    ArgoCdRef,
    CheckoutRef,
    ComposeRef,
    GuardSettings,
    HelmRef,
    Mode,
    OnOwner,
    Place,
    RollbackLimit,
    Target,
    WorkloadRef,
)
from responder.errors import RulebookError
from responder.rulebook.crosscheck import CrossCheck
from responder.rulebook.declarations import declare
from responder.rulebook.loader import NOTIFIERS, load_rulebook, read_rulebook
from responder.rulebook.source import parse_source

ROOT = Path(__file__).parents[2]

COMPLETE = """\
version: 1
targets:
  app:
    kubernetes: {namespace: shop, deployment: shop-app}
    match: ['namespace="shop"', 'deployment=~"shop-.+"']
    mode: armed
    guards: {deployed_within: 2h, proven_for: 5m, max_rollbacks: 3 per 12h}
notify:
  - slack
  - {to: statuspage, severity: [P0, P1], components: {app: 8kbf7d35c070}}
rules:
  - name: error_rate
    match: ['alertname="HighErrorRate"']
    when: {value: {above: 5%, from: annotations.ratio}}
    for: 2m
    by: [pod]
    severity: P1
    respond: rollback
    plan: roll-back
    target: app
plans:
  roll-back:
    deadline: 5m
    steps:
      - uses: rollback
        with: {target: app}
        timeout: 3m
        retry: {attempts: 4, backoff: 2s..20s}
      - uses: http.check
        with: {url: https://shop.example/ready, successes: 2, every: 1s}
        on_failure: continue
    verify:
      - name: http.check-2
        uses: http.check
        with: {url: https://shop.example/live}
      - uses: http.check
        with: {url: https://shop.example/db}
    monitor:
      for: 15m
      every: 20s
      settle: 1m
      failure_limit: 1
      checks:
        - uses: http.check
          with: {url: https://shop.example/ready}
    on_failure:
      - uses: notify
        with: {text: It failed}
"""


def load(folder: Path, text: str) -> Rulebook:
    path = folder / "rulebook.yaml"
    path.write_text(text, encoding="utf-8")
    return load_rulebook(path, PARAMETERS)


def problems(path: Path) -> list[str]:
    with pytest.raises(RulebookError) as refused:
        load_rulebook(path, PARAMETERS)
    return list(refused.value.problems)


@pytest.mark.parametrize(
    ("written", "place"),
    [
        pytest.param("kubernetes: {namespace: shop, deployment: app}", WorkloadRef("shop", "app"), id="a Deployment"),
        pytest.param(
            "kubernetes: {namespace: shop, statefulset: db}", WorkloadRef("shop", "db", "StatefulSet"), id="a StatefulSet"
        ),
        pytest.param("kubernetes: {namespace: shop, daemonset: log}", WorkloadRef("shop", "log", "DaemonSet"), id="a DaemonSet"),
        pytest.param("kubernetes: {namespace: shop, rollout: app}", WorkloadRef("shop", "app", "Rollout"), id="a Rollout"),
        pytest.param("helm: {namespace: shop, release: app}", HelmRef("shop", "app"), id="a Helm release"),
        pytest.param("argocd: shop", ArgoCdRef("shop"), id="an application, in short"),
        pytest.param("argocd: {application: app, namespace: team}", ArgoCdRef("app", "team"), id="an application elsewhere"),
        pytest.param("compose: {project: shop, folder: /opt/shop/}", ComposeRef("shop", "/opt/shop"), id="a project here"),
        pytest.param(
            "compose: {project: shop, folder: /opt/shop, host: me@far, files: [a.yml], services: web, rollback_tag: old}",
            ComposeRef("shop", "/opt/shop", "me@far", ("a.yml",), ("web",), "old"),
            id="a Compose project over SSH",
        ),
        pytest.param(
            "checkout: {folder: /srv/app, install: [npm, ci], build: [make], manager: systemd, processes: [api@1.service]}",
            CheckoutRef("/srv/app", "", ("npm", "ci"), ("make",), "systemd", ("api@1.service",)),
            id="a checkout",
        ),
    ],
)
def test_places(written: str, place: Place, tmp_path: Path) -> None:
    rulebook = load(tmp_path, f"version: 1\ntargets:\n  app:\n    {written}\n    match: 'app=\"shop\"'\n")
    assert rulebook.targets["app"].workload == place


def test_what_may_be_done_about_owners_and_broken_pods(tmp_path: Path) -> None:
    options = "owner: suspend\n    evict_unready: true"
    place = "kubernetes: {namespace: shop, statefulset: db}"
    target = load(tmp_path, f"version: 1\ntargets:\n  db:\n    {place}\n    match: 'a=\"b\"'\n    {options}\n").targets["db"]
    assert (target.on_owner, target.evict_unready) == (OnOwner.SUSPEND, True)


def test_everything_that_can_be_written_arrives(tmp_path: Path) -> None:
    rulebook = load(tmp_path, COMPLETE)
    assert rulebook.targets == {
        "app": Target(
            "app",
            WorkloadRef("shop", "shop-app"),
            (parse_matcher('namespace="shop"'), parse_matcher('deployment=~"shop-.+"')),
            Mode.ARMED,
            GuardSettings(timedelta(hours=2), timedelta(minutes=5), RollbackLimit(3, timedelta(hours=12))),
        )
    }
    assert rulebook.routes == (
        Route("slack"),
        Route("statuspage", frozenset({Severity.P0, Severity.P1}), {"app": "8kbf7d35c070"}),
    )
    assert rulebook.rules == (
        Rule(
            "error_rate",
            (parse_matcher('alertname="HighErrorRate"'),),
            ValueCondition(above=0.05, source="annotations.ratio"),
            timedelta(minutes=2),
            ("pod",),
            Severity.P1,
            Response.ROLLBACK,
            "roll-back",
            "app",
            f"{tmp_path}/rulebook.yaml:12",
        ),
    )
    plan = rulebook.plans["roll-back"]
    assert rulebook.plan_of(rulebook.rules[0]) is plan
    assert plan.deadline == timedelta(minutes=5)
    assert plan.steps[0] == Step(
        "rollback",
        "rollback",
        {"target": "app"},
        timedelta(minutes=3),
        Retry(4, timedelta(seconds=2), timedelta(seconds=20)),
    )
    assert plan.steps[1].on_failure is OnStepFailure.CONTINUE
    assert plan.steps[1].parameters["every"] == timedelta(seconds=1)
    assert (plan.monitor.window, plan.monitor.every, plan.monitor.settle, plan.monitor.failure_limit) == (
        timedelta(minutes=15),
        timedelta(seconds=20),
        timedelta(minutes=1),
        1,
    )


def test_steps_without_a_name_get_one_that_is_unique_in_the_plan(tmp_path: Path) -> None:
    plan = load(tmp_path, COMPLETE).plans["roll-back"]
    steps = (*plan.steps, *plan.verify, *plan.monitor.checks, *plan.on_failure)
    assert [step.name for step in steps] == ["rollback", "http.check", "http.check-2", "http.check-3", "http.check-4", "notify"]


def test_what_is_left_out_has_the_defaults_of_the_domain(tmp_path: Path) -> None:
    rulebook = load(
        tmp_path,
        """\
version: 1
targets:
  app: {kubernetes: {namespace: shop, deployment: app}, match: 'deployment="app"'}
rules:
  - {name: bare, match: 'alertname="Down"', respond: rollback}
plans:
  short: {steps: [{uses: rollback}]}
""",
    )
    matchers = (parse_matcher('deployment="app"'),)
    assert rulebook.targets["app"] == Target("app", WorkloadRef("shop", "app"), matchers)
    assert rulebook.rules[0] == Rule(
        "bare", (parse_matcher('alertname="Down"'),), response=Response.ROLLBACK, location=f"{tmp_path}/rulebook.yaml:5"
    )
    assert rulebook.plan_of(rulebook.rules[0]) is BARE_ROLLBACK
    assert rulebook.plans["short"] == Plan("short", (Step("rollback", "rollback", {"target": None}),))
    assert rulebook.routes == DEFAULT_ROUTES


def test_short_forms_mean_their_long_forms(tmp_path: Path) -> None:
    short = load(
        tmp_path,
        """\
version: 1
notify: [slack]
rules:
  - {name: one, match: 'alertname="One"', when: firing, by: pod, for: 0}
plans:
  p: {steps: [rollback, {uses: rollback, retry: 3}], monitor: 15m}
""",
    )
    assert short.routes == (Route("slack"),)
    assert short.rules[0].condition == Firing()
    assert short.rules[0].by == ("pod",)
    assert [step.name for step in short.plans["p"].steps] == ["rollback", "rollback-2"]
    assert short.plans["p"].steps[1].retry == Retry(attempts=3)
    assert short.plans["p"].monitor == Monitor(window=timedelta(minutes=15))


@pytest.mark.parametrize(
    ("written", "condition"),
    [
        ("{above: 5%}", ValueCondition(above=0.05)),
        ("{above: 0.05}", ValueCondition(above=0.05)),
        ("{above: 200%}", ValueCondition(above=2.0)),
        ("{above: 0}", ValueCondition(above=0.0)),
        ("{below: 200ms}", ValueCondition(below=0.2)),
        ("{above: 1.5GiB}", ValueCondition(above=1.5 * 2**30)),
        ("{between: [5%, 10%]}", ValueCondition(between=(0.05, 0.1))),
        ("{between: 5%..10%}", ValueCondition(between=(0.05, 0.1))),
        ("{below: 3, from: value}", ValueCondition(below=3.0, source="value")),
        ("{below: 3, from: labels.ratio}", ValueCondition(below=3.0, source="labels.ratio")),
    ],
)
def test_conditions_on_a_number(written: str, condition: ValueCondition, tmp_path: Path) -> None:
    text = f"version: 1\nrules: [{{name: r, match: 'a=\"b\"', when: {{value: {written}}}}}]\n"
    assert load(tmp_path, text).rules[0].condition == condition


MINUTES_5 = timedelta(minutes=5)
SLOW = (parse_matcher('alertname="Slow"'),)


@pytest.mark.parametrize(
    ("written", "condition"),
    [
        ("{value: {above: 2, baseline: {annotation: base}}}", ValueCondition(above=2.0, baseline=Baseline(annotation="base"))),
        ("{value: {above: 200%, baseline: {history: 5m}}}", ValueCondition(above=2.0, baseline=Baseline(history=MINUTES_5))),
        ("{count: {above: 3, within: 5m}}", CountCondition(3, MINUTES_5)),
        ("{count: {above: 0, within: 5m, distinct: pod}}", CountCondition(0, MINUTES_5, "pod")),
        ("{consecutive: 3}", ConsecutiveCondition(3)),
        ("{ratio: {above: 50%, within: 5m}}", RatioCondition(0.5, MINUTES_5)),
        ("{ratio: {above: 0.5, within: 5m, min: 4}}", RatioCondition(0.5, MINUTES_5, 4)),
        ("{absent: 5m}", AbsentCondition(MINUTES_5)),
        ("{absent: {for: 5m, from_start: true}}", AbsentCondition(MINUTES_5, from_start=True)),
        (
            "{all: [{match: 'alertname=\"Slow\"'}, {consecutive: 3}]}",
            AllOf((Part(Firing(), SLOW), Part(ConsecutiveCondition(3)))),
        ),
        (
            "{any: [{match: 'alertname=\"Slow\"', value: {above: 5}}, {absent: 5m}]}",
            AnyOf((Part(ValueCondition(above=5.0), SLOW), Part(AbsentCondition(MINUTES_5)))),
        ),
    ],
)
def test_conditions(written: str, condition: Condition, tmp_path: Path) -> None:
    assert (
        load(tmp_path, f"version: 1\nrules: [{{name: r, match: 'a=\"b\"', when: {written}}}]\n").rules[0].condition == condition
    )


@pytest.mark.parametrize("written", ["unless: 'alertname=\"Slow\"'", "when: {unless: ['alertname=\"Slow\"']}"])
def test_unless_may_stand_in_the_rule_or_in_its_condition(written: str, tmp_path: Path) -> None:
    rule = load(tmp_path, f"version: 1\nrules:\n  - name: r\n    match: 'a=\"b\"'\n    {written}\n").rules[0]
    assert (rule.unless, rule.condition) == (SLOW, Firing())


def test_the_times_of_a_rule_arrive(tmp_path: Path) -> None:
    text = "version: 1\nrules:\n  - {name: r, match: 'a=\"b\"', keep_firing_for: 1m, cooldown: 2m, settle: 3m, active_for: 4m}\n"
    rule = load(tmp_path, text).rules[0]
    assert [each / timedelta(minutes=1) for each in (rule.keep_firing_for, rule.cooldown, rule.settle, rule.active_for)] == [
        1,
        2,
        3,
        4,
    ]


@pytest.mark.parametrize(
    ("written", "hold"),
    [
        ("{targets: 3, within: 5m}", MassHold(MINUTES_5, count=3)),
        ("{targets: 50%, within: 5m}", MassHold(MINUTES_5, share=0.5)),
    ],
)
def test_hold(written: str, hold: MassHold, tmp_path: Path) -> None:
    assert load(tmp_path, f"version: 1\nhold: {written}\n").hold == hold


def test_hold_is_declared_once_in_all_files(tmp_path: Path) -> None:
    for name in ("a.yaml", "b.yaml"):
        (tmp_path / name).write_text("version: 1\nhold: {targets: 3, within: 5m}\n")
    assert problems(tmp_path) == [f"{tmp_path}/b.yaml:2:1: hold: declared twice (first at {tmp_path}/a.yaml:2)"]


def test_a_directory_is_one_rulebook(tmp_path: Path) -> None:
    (tmp_path / "20-rules.yml").write_text(
        "version: 1\nrules:\n  - {name: r, match: 'a=\"b\"', respond: rollback, plan: p, target: app}\n"
    )
    (tmp_path / "10-targets.yaml").write_text(
        "version: 1\ntargets:\n  app: {kubernetes: {namespace: n, deployment: d}, match: 'a=\"b\"'}\n"
    )
    (tmp_path / "30-plans.yaml").write_text("version: 1\nplans: {p: {steps: [rollback]}}\n")
    (tmp_path / ".#30-plans.yaml").write_text("an editor's lock\n")
    (tmp_path / "notes.txt").write_text("not a rulebook\n")
    (tmp_path / "..data").mkdir()
    loaded = read_rulebook(tmp_path, PARAMETERS)
    assert loaded.rulebook.rules[0].target == "app"
    assert [(Path(each.file).name, each.targets, each.rules, each.plans) for each in loaded.files] == [
        ("10-targets.yaml", 1, 0, 0),
        ("20-rules.yml", 0, 1, 0),
        ("30-plans.yaml", 0, 0, 1),
    ]


def test_names_are_unique_across_files_and_all_files_are_looked_at(tmp_path: Path) -> None:
    first, second = tmp_path / "a.yaml", tmp_path / "b.yaml"
    text = (
        "version: 1\n"
        "targets:\n  app: {kubernetes: {namespace: n, deployment: %s}, match: 'a=\"b\"'}\n"
        "rules:\n  - {name: r, match: 'a=\"b\"'}\n"
        "plans:\n  p: {steps: [rollback]}\n"
    )
    first.write_text(text % "one")
    second.write_text(text % "two" + "oops: 1\n")
    assert problems(tmp_path) == [
        f"{second}:3:3: target app: declared twice (first at {first}:3)",
        f"{second}:5:12: rule r: name: declared twice (first at {first}:5)",
        f"{second}:7:3: plan p: declared twice (first at {first}:7)",
        f"{second}:8:1: unknown key `oops` "
        "(known: `version`, `targets`, `notify`, `escalation`, `rules`, `plans`, `vars`, `hold`, `limits`, `freeze`, `defaults`)",
    ]


def test_a_file_that_cannot_be_read_raises_no_false_alarm_about_its_names(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("version: 1\ntargets: [\n")
    (tmp_path / "b.yaml").write_text(
        "version: 1\nrules: [{name: r, match: 'a=\"b\"', respond: rollback, target: app, plan: p}]\n"
    )
    found = problems(tmp_path)
    assert len(found) == 1
    assert found[0].startswith(f"{tmp_path}/a.yaml:3:1: not YAML")


def test_one_wrong_step_hides_no_other(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text("version: 1\nplans:\n  p:\n    steps:\n      - {uses: rollback, timeout: x}\n      - {uses: rolback}\n")
    assert [problem.split(": ", 1)[0] for problem in problems(path)] == [f"{path}:5:35", f"{path}:6:16"]


def test_no_rulebook_at_all(tmp_path: Path) -> None:
    where = "(RESPONDER_RULES says where the rulebook is)"
    assert problems(tmp_path / "missing") == [f"{tmp_path}/missing: there is no such file or directory {where}"]
    assert problems(tmp_path) == [f"{tmp_path}: no *.yaml or *.yml file in this directory {where}"]


def test_a_file_that_may_not_be_opened(tmp_path: Path) -> None:
    path = tmp_path / "loop.yaml"
    path.symlink_to(path)
    (tmp_path / "good.yaml").write_text("version: 1\n")
    assert problems(tmp_path) == [f"{path}:1:1: can't be read: {os.strerror(40)}"]


def test_a_huge_file_is_refused_before_it_is_parsed(tmp_path: Path) -> None:
    path = tmp_path / "huge.yaml"
    path.write_bytes(b"version: 1\n" + b"#" * (4 * 1024 * 1024))
    assert problems(path) == [f"{path}:1:1: larger than 4 MiB (split the rulebook into several files)"]


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbfversion: 1\nrules: [{name: r, match: 'a=\"b\"', for: 2m}]\n",
        b"version: 1\r\nrules: [{name: r, match: 'a=\"b\"', for: 2m}]\r\n",
        b"%YAML 1.2\n---\nversion: 1\nrules: [{name: r, match: 'a=\"b\"', for: 2m}]\n...\n",
        b"version: 1\nrules:\n- &r\n  name: r\n  match: &m 'a=\"b\"'\n  for: 2m\n",
    ],
    ids=["with a byte order mark", "with Windows line ends", "with a YAML directive", "with anchors"],
)
def test_files_as_editors_leave_them(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_bytes(content)
    assert load_rulebook(path, PARAMETERS).rules[0].hold == timedelta(minutes=2)


def test_words_of_yaml_1_1_are_just_words(tmp_path: Path) -> None:
    rulebook = load(
        tmp_path,
        "version: 1\ntargets: {yes: {kubernetes: {namespace: on, deployment: off}, match: 'a=\"b\"'}}\nnotify: "
        "[{to: statuspage, components: {yes: 2024-01-01}}]\n",
    )
    assert rulebook.targets["yes"].workload == WorkloadRef("on", "off")
    assert rulebook.routes[0].components == {"yes": "2024-01-01"}


def test_an_alias_repeats_its_value(tmp_path: Path) -> None:
    rulebook = load(
        tmp_path,
        "version: 1\nrules:\n  - {name: one, match: &same ['a=\"b\"'], for: 2m}\n  - {name: two, match: *same}\n",
    )
    assert rulebook.rules[0].matchers == rulebook.rules[1].matchers


def test_environment_variables_are_not_filled_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "s3cret")
    rulebook = load(tmp_path, "version: 1\nplans: {p: {steps: [{uses: notify, with: {text: '${SECRET} $SECRET'}}]}}\n")
    assert rulebook.plans["p"].steps[0].parameters["text"] == "${SECRET} $SECRET"


def test_nobody_is_told_when_notify_is_empty(tmp_path: Path) -> None:
    assert load(tmp_path, "version: 1\nnotify: []\n").routes == ()


def test_the_digest_follows_names_and_contents(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("version: 1\n")
    one = load_rulebook(tmp_path, PARAMETERS).digest
    (tmp_path / "a.yaml").write_text("version: 1 # changed\n")
    changed = load_rulebook(tmp_path, PARAMETERS).digest
    (tmp_path / "a.yaml").rename(tmp_path / "b.yaml")
    renamed = load_rulebook(tmp_path, PARAMETERS).digest
    assert len({one, changed, renamed}) == 3
    assert load_rulebook(tmp_path, PARAMETERS).digest == renamed


def test_notifiers_and_actions_are_those_given(tmp_path: Path) -> None:
    class Nudge(BaseModel):
        model_config = ConfigDict(extra="forbid")
        hard: bool = False

    path = tmp_path / "r.yaml"
    path.write_text("version: 1\nnotify: [pigeon]\nplans: {p: {steps: [{uses: nudge, with: {hard: true}}]}}\n")
    rulebook = load_rulebook(path, {"nudge": Nudge}, notifiers=["pigeon"])
    assert rulebook.plans["p"].steps[0].parameters == {"hard": True}
    assert rulebook.routes == (Route("pigeon"),)


def test_a_template_may_choose_among_targets_only_when_it_runs(tmp_path: Path) -> None:
    text = "version: 1\nplans: {p: {steps: [{uses: rollback, with: {target: '{{ labels.target }}'}}]}}\n"
    assert load(tmp_path, text).plans["p"].steps[0].parameters["target"] == "{{ labels.target }}"


def test_the_shipped_rulebooks_are_one_set_and_only_observe() -> None:
    rulebook = load_rulebook(ROOT / "rules", PARAMETERS)
    assert {target.mode for target in rulebook.targets.values()} == {Mode.OBSERVE}
    assert {"app", "workers", "catalytic-api", "jarvis-api", "kompass-production", "kompass-staging", "platform"} <= set(
        rulebook.targets
    )


def test_paperless_maverick_has_its_four_triggers_by_itself_and_two_that_ask() -> None:
    rulebook = load_rulebook(ROOT / "rules" / "paperless-maverick.yaml", PARAMETERS)
    assert {name: str(target.workload) for name, target in rulebook.targets.items()} == {
        "app": "deployment/paperless-maverick in namespace paperless-maverick",
        "workers": "deployment/embedding-queue-workers in namespace paperless-maverick",
    }
    assert [(rule.name, rule.condition, rule.hold, rule.response) for rule in rulebook.rules] == [
        ("health_check_failure", Firing(), timedelta(minutes=5), Response.ROLLBACK),
        ("error_rate_spike", ValueCondition(above=0.05), timedelta(minutes=2), Response.ROLLBACK),
        ("response_time_degradation", ValueCondition(above=2.0), timedelta(minutes=3), Response.ROLLBACK),
        ("memory_leak", ValueCondition(above=0.9), timedelta(minutes=5), Response.ROLLBACK),
        ("security_finding", Firing(), timedelta(0), Response.APPROVE),
        ("data_integrity_failure", ConsecutiveCondition(1), timedelta(0), Response.APPROVE),
    ]


_FRAGMENTS = st.sampled_from(
    ["[", "{", "- ", ": ", "&a ", "*a", "!x ", "'", '"', "|\n", "null", "1e999", "{{ x }}", "\t", "\n", "<<: ", "\x00", "é", "? "]
)


@settings(max_examples=150, deadline=None)
@given(st.integers(0, len(COMPLETE)), st.integers(0, 60), st.lists(_FRAGMENTS, max_size=3).map("".join))
def test_a_mangled_rulebook_loads_or_is_refused_with_positions(start: int, cut: int, inserted: str) -> None:
    source, found = parse_source("r.yaml", (COMPLETE[:start] + inserted + COMPLETE[start + cut :]).encode())
    declarations = declare([source], PARAMETERS)
    everything = [*found, *declarations.problems, *CrossCheck(declarations, NOTIFIERS).problems()]
    assert all(each.line >= 1 and each.column >= 1 and each.what for each in everything)
    assert all("\n" not in str(each) for each in everything)


def test_people_and_what_rules_of_a_severity_share(tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text(
        """\
version: 1
targets:
  app: {kubernetes: {namespace: shop, deployment: app}, match: 'deployment="app"'}
defaults:
  P0: {respond: rollback, grace: 1m, plan: back}
  P2: {respond: approve, approve: {by: [lead, ann@example.com], within: 15m, unanswered: proceed}, plan: back}
rules:
  - {name: taken, match: 'a="1"', severity: P0}
  - {name: own, match: 'a="2"', severity: P0, grace: 5m, plan: other}
  - {name: only_told, match: 'a="3"', severity: P0, respond: notify}
  - {name: asked, match: 'a="4"', grace: 10m}
  - {name: asked_otherwise, match: 'a="5"', respond: approve, approve: lead}
  - {name: other_severity, match: 'a="6"', severity: P3}
plans:
  back: {steps: [rollback]}
  other: {steps: [rollback]}
"""
    )
    rules = {rule.name: rule for rule in load_rulebook(tmp_path, PARAMETERS).rules}
    seen = {name: (rule.response.value, rule.grace, rule.plan) for name, rule in rules.items()}
    assert seen == {
        "taken": ("rollback", timedelta(minutes=1), "back"),
        "own": ("rollback", timedelta(minutes=5), "other"),
        "only_told": ("notify", timedelta(0), None),
        "asked": ("approve", timedelta(minutes=10), "back"),
        "asked_otherwise": ("approve", timedelta(0), "back"),
        "other_severity": ("notify", timedelta(0), None),
    }
    assert rules["asked"].approval == ApprovalTerms(timedelta(minutes=15), ("lead", "ann@example.com"), Unanswered.PROCEED)
    assert rules["asked_otherwise"].approval == ApprovalTerms(by=("lead",))
