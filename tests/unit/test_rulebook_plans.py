"""Plans as the loader hands them on: nested steps, includes, inputs, variables over several files, checkpoints."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import BaseModel

from responder.actions.parameters import Parameters
from responder.actions.registry import PARAMETERS
from responder.domain.plan import Checkpoint, Input, OnStepFailure, Plan, Retry, Step
from responder.errors import RulebookError
from responder.rulebook.loader import load_rulebook
from responder.rulebook.review import review


class DropParameters(Parameters):
    """Destroys what is not kept."""

    keep: bool = False

    def destroys(self) -> bool:
        return not self.keep


ACTIONS: Mapping[str, type[BaseModel]] = {**PARAMETERS, "drop": DropParameters}


def plans(folder: Path, *files: str) -> Mapping[str, Plan]:
    for number, text in enumerate(files):
        (folder / f"{number}.yaml").write_text("version: 1\n" + text, encoding="utf-8")
    return load_rulebook(folder, ACTIONS).plans


def problems(folder: Path, *files: str) -> list[str]:
    with pytest.raises(RulebookError) as refused:
        plans(folder, *files)
    return [problem.replace(f"{folder}/", "") for problem in refused.value.problems]


NESTED = """
plans:
  one:
    deadline: 20m
    updates: 15m
    inputs:
      backup: {pattern: '[0-9]+', description: which}
      count: {default: 3}
    steps:
      - uses: parallel
        if: inputs.backup != '0'
        steps:
          - rollback
          - {uses: include, with: {plan: two}, on_failure: continue}
      - name: check
        uses: sleep
        with: {for: 1s}
        on_failure:
          - {uses: sleep, with: {for: 2s}, retry: 2}
      - {uses: drop, needs: check}
    monitor:
      checks:
        - {uses: include, if: value > 1, with: {plan: three}}
    checkpoints:
      - {name: later, after: 30m, checks: [{uses: include, with: {plan: three}}]}
"""
OTHERS = """
plans:
  two:
    inputs: {region: {default: true}}
    steps: [{uses: sleep, with: {for: 3s}}, rollback]
  three:
    steps: [{uses: sleep, if: value > 2, with: {for: 4s}}]
"""


def test_nested_steps_and_includes_arrive(tmp_path: Path) -> None:
    plan = plans(tmp_path, NESTED, OTHERS)["one"]
    wait = {"for": timedelta(seconds=1)}
    deadline = timedelta(minutes=20)
    assert plan.steps == (
        Step(
            "parallel", "parallel", timeout=deadline, condition="inputs.backup != '0'",
            steps=(
                Step("rollback", "rollback", {"target": None}),
                Step(
                    "two", "block", timeout=deadline, on_failure=OnStepFailure.CONTINUE,
                    steps=(
                        Step("sleep", "sleep", {"for": timedelta(seconds=3)}),
                        Step("rollback-2", "rollback", {"target": None}),
                    ),
                ),
            ),
        ),
        Step("check", "sleep", wait, rescue=(Step("sleep-2", "sleep", {"for": timedelta(seconds=2)}, retry=Retry(2)),)),
        Step("drop", "drop", {"keep": False}, needs=("check",), destroys=True),
    )  # fmt: skip
    assert plan.updates == timedelta(minutes=15)
    assert plan.inputs == {"backup": Input("[0-9]+", None, "which"), "count": Input(default="3"), "region": Input(default="true")}
    [check] = plan.monitor.checks
    assert (check.uses, check.condition) == ("sleep", "(value > 1) and (value > 2)")
    [later] = plan.checkpoints
    assert isinstance(later, Checkpoint)
    assert (later.name, later.after, later.checks[0].uses) == ("later", timedelta(minutes=30), "sleep")


def test_variables_of_all_files_are_filled_in_and_checked_like_anything_written(tmp_path: Path) -> None:
    uses = """
plans:
  one:
    steps:
      - uses: http.check
        with:
          url: '{{ vars.api }}/health'
          successes: '{{ vars.times }}'
          headers: {X-Team: '{{vars.team}}'}
          json: {ok: '{{ vars.yes }}', text: 'is {{ vars.yes }}'}
      - {uses: notify, with: {text: '{{ vars.team }}: {{ labels.pod }}'}}
"""
    steps = plans(tmp_path, uses, "vars: {api: 'https://shop.example', times: 5}", "vars: {team: '@shop', yes: true}")[
        "one"
    ].steps
    parameters = steps[0].parameters
    assert parameters["url"] == "https://shop.example/health"
    assert parameters["successes"] == 5
    assert parameters["headers"] == {"X-Team": "@shop"}
    assert parameters["json"] == {"ok": True, "text": "is true"}
    assert steps[1].parameters["text"] == "@shop: {{ labels.pod }}"


def test_a_variable_that_makes_no_address_is_refused_where_it_is_used(tmp_path: Path) -> None:
    uses = "vars: {api: shop.example}\nplans: {one: {steps: [{uses: http.check, with: {url: '{{ vars.api }}/x'}}]}}"
    [problem] = problems(tmp_path, uses)
    assert "must be an address" in problem


def test_a_variable_declared_in_two_files_is_told(tmp_path: Path) -> None:
    assert problems(tmp_path, "vars: {team: a}", "vars: {team: b}") == [
        f"1.yaml:2:8: variable team: declared twice (first at {tmp_path}/0.yaml:2)".replace(f"{tmp_path}/", "")
    ]


@pytest.mark.parametrize(
    ("step", "said"),
    [
        pytest.param("{uses: drop}", "destroys data, but needs no backup", id="without a word"),
        pytest.param(
            "{uses: drop, with: {keep: true}, destroys_without_backup: true}", "destroys nothing here", id="a word too many"
        ),
        pytest.param("{uses: drop, needs: later}", "has not ended", id="its backup comes later"),
    ],
)
def test_loss_of_data_is_spelled_out(step: str, said: str, tmp_path: Path) -> None:
    found = problems(tmp_path, f"plans: {{one: {{steps: [{step}, {{uses: sleep, name: later, with: {{for: 1s}}}}]}}}}")
    assert len(found) == 1
    assert said in found[0]


def test_nothing_is_destroyed_while_verifying(tmp_path: Path) -> None:
    found = problems(tmp_path, "plans: {one: {steps: [rollback], verify: [{uses: drop, destroys_without_backup: true}]}}")
    assert ["nothing that destroys data under `verify`" in problem for problem in found] == [True]


def test_what_rescues_a_group_may_need_what_the_group_did(tmp_path: Path) -> None:
    text = """
plans:
  one:
    steps:
      - uses: parallel
        steps: [{name: a, uses: sleep, with: {for: 1s}}, rollback]
        on_failure: [{uses: sleep, needs: a, with: {for: 1s}}]
    on_failure: [{uses: sleep, needs: [a], with: {for: 1s}}]
"""
    assert plans(tmp_path, text)["one"].steps[0].rescue[0].needs == ("a",)


def test_a_rule_whose_plan_needs_inputs_is_warned_about(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(
        """version: 1
targets: {app: {kubernetes: {namespace: shop, deployment: app}, match: 'a="b"', mode: armed}}
rules: [{name: down, match: 'a="b"', respond: rollback, plan: one}]
plans: {one: {inputs: {backup: {}}, steps: [{uses: parallel, steps: [rollback]}], verify: [{uses: sleep, with: {for: 1s}}]}}
""",
        encoding="utf-8",
    )
    [warning] = review(load_rulebook(path, ACTIONS))
    assert "plan one needs `backup`, which no alert gives: it will be refused" in warning
