"""The JSON Schema for editors: up to date, and of one mind with the loader."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from responder.actions.registry import PARAMETERS
from responder.rulebook.schema import rulebook_schema
from responder.rulebook.source import read_source
from tests.unit.test_rulebook_loader import COMPLETE
from tests.unit.test_rulebook_plans import NESTED

ROOT = Path(__file__).parents[2]
COMMITTED = ROOT / "docs" / "rulebook.schema.json"
# Defects that a schema of one file can see; editors underline them while people type.
VISIBLE = [
    "by-label-name", "condition-later", "condition-unknown", "duration-list", "duration-negative", "duration-without-unit",
    "duration-words", "guard-limit", "guard-unknown", "matcher-mapping", "matchers-empty", "no-version", "notify-severity",
    "notify-severity-empty", "notify-unknown", "other-version", "plan-steps-empty", "plan-unknown-key", "plan-without-steps",
    "approve-person", "approve-unanswered", "defaults-key", "defaults-severity", "freeze-rollbacks", "freeze-without-reason",
    "respond-unknown", "retry-attempts",
    "rule-name", "rule-unknown-key", "rule-when", "rule-when-empty", "severity", "step-on-failure", "step-unknown-action",
    "step-unknown-action-short", "step-unknown-key", "target-missing-keys", "target-mode", "target-name", "unknown-section",
    "value-from", "value-no-bound", "value-two-bounds", "with-missing-key", "with-unknown-key", "with-duration",
    "checkpoint-rollback", "include-without-plan", "parallel-empty", "parallel-step-wrong", "rescue-empty", "rescue-step-wrong",
    "vars-list", "vars-name", "input-name",
]  # fmt: skip


@pytest.fixture(scope="module")
def validator() -> jsonschema.Draft202012Validator:
    schema = rulebook_schema(PARAMETERS)
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def read(path: Path) -> Any:
    source, problems = read_source(path)
    assert not problems
    return source.data


def test_the_committed_schema_is_up_to_date() -> None:
    expected = json.dumps(rulebook_schema(PARAMETERS), indent=2, ensure_ascii=False) + "\n"
    assert COMMITTED.read_text(encoding="utf-8") == expected, "run `python -m tests.unit.test_rulebook_schema`"


def test_good_rulebooks_are_valid(validator: jsonschema.Draft202012Validator, tmp_path: Path) -> None:
    (tmp_path / "complete.yaml").write_text(COMPLETE)
    (tmp_path / "nested.yaml").write_text("version: 1\nvars: {a: 1, b: x}" + NESTED.replace("drop", "rollback"))
    for path in (tmp_path / "complete.yaml", tmp_path / "nested.yaml", *sorted((ROOT / "rules").glob("*.yaml"))):
        assert [error.message for error in validator.iter_errors(read(path))] == []


@pytest.mark.parametrize("name", VISIBLE)
def test_editors_see_the_defect(name: str, validator: jsonschema.Draft202012Validator) -> None:
    assert not validator.is_valid(read(ROOT / "tests" / "bad_rulebooks" / f"{name}.bad.yaml"))


def test_defaults_are_shown_as_a_rulebook_writes_them() -> None:
    definitions = rulebook_schema(PARAMETERS)["$defs"]
    assert definitions["GuardsForm"]["properties"]["max_rollbacks"]["default"] == "2 per 1d"
    assert definitions["RuleForm"]["properties"]["for"]["default"] == "0s"
    assert definitions["HttpCheckParameters"]["properties"]["every"]["default"] == "5s"


if __name__ == "__main__":
    COMMITTED.write_text(json.dumps(rulebook_schema(PARAMETERS), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
