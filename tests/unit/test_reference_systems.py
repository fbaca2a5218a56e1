"""docs/reference-systems.md says what is so: every row is shown by a test or has its reason, and the page is up to date."""

from __future__ import annotations

import ast
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("reference_systems", ROOT / "scripts" / "reference_systems.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look themselves up there
    spec.loader.exec_module(module)
    return module


def test_every_row_is_shown_or_has_its_reason_and_every_mark_is_a_row(script: ModuleType) -> None:
    assert script.problems() == []


def test_the_page_is_up_to_date(script: ModuleType) -> None:
    assert script.PAGE.read_text(encoding="utf-8") == script.page(), "run `python scripts/reference_systems.py`"


def test_rows_say_nothing_that_is_not_known(script: ModuleType) -> None:
    """A comma in a text without quotes would cut it."""
    rows = {row: set(one) for system in script.systems().values() for row, one in system["rows"].items()}
    known = {"text", "where", "without", "not_shown"}
    assert {row: keys - known for row, keys in rows.items() if keys - known or "text" not in keys} == {}


def test_marks_are_found_wherever_a_decorator_has_them(script: ModuleType) -> None:
    text = """
@pytest.mark.row("PM-A1", "PM-A2")
async def test_one() -> None: ...

@pytest.mark.parametrize("how", [pytest.param(1, marks=pytest.mark.row("PM-A3"))])
def test_two() -> None: ...

@pytest.mark.row("PM-A4")
def helper() -> None: ...
"""
    found = sorted(script._marked(ast.parse(text)))
    assert found == [("PM-A1", "test_one"), ("PM-A2", "test_one"), ("PM-A3", "test_two")]


def test_lines_are_those_of_the_rulebook(script: ModuleType, tmp_path: Path) -> None:
    rulebook = tmp_path / "r.yaml"
    rulebook.write_text("version: 1\nrules:\n  # why\n  - name: back\nplans:\n  back: # by hand\n  back-2: {}\n")
    places = ("rules.back", "plans.back", "plans.back-2", "rules", "plans.none")
    assert [script.line_of(rulebook, where) for where in places] == [4, 6, 7, 2, None]
