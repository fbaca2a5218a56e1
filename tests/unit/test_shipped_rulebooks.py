"""The rulebooks under rules/ as reading matter: nothing in them is dead, and what an adopter has to allow is said at the top."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from tests.harness.shipped import RULES, programs_of

BOOKS = sorted(RULES.glob("*.yaml"))
pytestmark = pytest.mark.parametrize("path", BOOKS, ids=lambda path: path.stem)


def test_every_variable_is_used_and_every_plan_is_run_included_or_told_how_to_order(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    book = yaml.safe_load(text)
    assert [name for name in book["vars"] if not re.search(rf"vars\.{name}\b", text)] == []
    run = {rule.get("plan") for rule in book["rules"]} | set(re.findall(r"with: {plan: ([\w-]+)", text))
    ordered = set(re.findall(r"responder (?:rollback \S+ --plan|plan) ([\w-]+)", text))
    assert [name for name in book["plans"] if name not in run | ordered] == []


def test_the_commands_in_the_comments_name_plans_targets_and_inputs_that_there_are(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    book = yaml.safe_load(text)
    orders = re.findall(r"responder rollback (\S+) --plan ([\w-]+)((?:[^\n']*--input \w+=\S+)*)", text)
    assert orders
    for target, plan, rest in orders:
        assert target in book["targets"] or target == "{{", target
        assert plan in book["plans"]
        for name in re.findall(r"--input (\w+)=", rest):
            assert name in book["plans"][plan].get("inputs", {}), f"{plan} has no input {name}"


def test_programs_and_secrets_that_have_to_be_given_stand_at_the_top(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    top = re.sub(r"\n# ?", " ", text[: text.index("\nversion: 1")])
    needed = {Path(program).name for program in programs_of(yaml.safe_load(text))}
    scripts = {name for name in needed if name.endswith(".sh")}
    assert [name for name in needed - scripts if not re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", top)] == []
    assert not scripts or "_scripts`" in top or all(name in top for name in scripts)
    for secret in set(re.findall(r"from_secret: (\w+)", text)):
        assert re.search(rf"(RESPONDER_SECRET|…)_{secret}\b", top), secret
