"""Writes docs/reference-systems.md: what each reference system asks for, where its rulebook says so, which test shows it.

`python scripts/reference_systems.py` writes it, `--check` says whether it is up to date.
"""

from __future__ import annotations

import ast
import re
import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[1]
ROWS = ROOT / "docs" / "reference-systems.yaml"
PAGE = ROOT / "docs" / "reference-systems.md"
RULES = ROOT / "rules"
_ROW = re.compile(r"(?:PM|CS|JV|KP|NQ)-[A-Z]\d+")

_HEAD = """\
# The reference systems

Five teams wrote down how they roll back; each of the rulebooks under `rules/` automates one of these run books. This page is
made by `scripts/reference_systems.py`: what a run book asks for, where the rulebook says so, and which automated run shows it.
Runs under `tests/acceptance` are on the real parts (a genuine API server and controllers, Docker, PostgreSQL, SQLite, git,
pm2 …) with the shipped rulebook, in which only places, times and `mode: armed` are changed (`tests/harness/reference.py` and
`shipped.py`).
Rows that begin with T or D are decisions: `responder test rules/` shows them, with simulated time.

What is played in these runs, all rows alike:

- **Nodes.** API server and controllers are genuine, kubelets are not: pods have no processes. What is executed in a pod is run as
  a process beside it, through the real protocol; what a pod logs is made up by the test and read through the real client.
- **Slack, Statuspage, PagerDuty** are catchers of ours that refuse what these services' documentation refuses. Mail goes to a
  real SMTP server of the test's own.
- **Prometheus** is real, the numbers that it scrapes are not, but for the Node platform, which the test uses meanwhile. Alerts
  are posted as Alertmanager posts them; the tests of the intakes show what other senders send.
- **The teams' own programs** (smoke tests, backup and validation scripts, the applications themselves) are short ones that do
  what their names say.
- **Time.** Minutes and hours of waiting are seconds.
"""


@dataclass(frozen=True, slots=True)
class Shown:
    """name: of a test. path: from the root of the repository."""

    path: str
    name: str


def shown_rows() -> dict[str, list[Shown]]:
    """Tests by the row that they say they show."""
    found: dict[str, list[Shown]] = defaultdict(list)
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        text = path.read_text(encoding="utf-8")
        if "mark.row" in text:
            for row, name in _marked(ast.parse(text)):
                found[row].append(Shown(str(path.relative_to(ROOT)), name))
    for path in sorted((RULES / "tests").glob("*.test.yaml")):
        for row in sorted({match for line in _names(path) for match in _ROW.findall(line)}):
            found[row].append(Shown(str(path.relative_to(ROOT)), f"{path.name} {row}"))
    return found


def _marked(tree: ast.Module) -> Iterator[tuple[str, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
            calls = [inner for decorator in node.decorator_list for inner in ast.walk(decorator) if isinstance(inner, ast.Call)]
            for call in calls:
                if isinstance(call.func, ast.Attribute) and call.func.attr == "row":
                    yield from ((str(one.value), node.name) for one in call.args if isinstance(one, ast.Constant))


def _names(path: Path) -> Iterator[str]:
    tests = yaml.safe_load(path.read_text(encoding="utf-8"))["tests"]
    yield from (str(test["name"]) for test in tests)


def systems() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = yaml.safe_load(ROWS.read_text(encoding="utf-8"))["systems"]
    return found


def problems() -> list[str]:
    """What is wrong with rows and marks, one sentence each."""
    shown, known = shown_rows(), {row: one for system in systems().values() for row, one in system["rows"].items()}
    wrong = [f"{row} is marked by {tests[0].name}, but is no row" for row, tests in shown.items() if row not in known]
    wrong += [
        f"{row} is shown by no test, and no reason is given (`not_shown`)"
        for row, one in known.items()
        if row not in shown and not one.get("not_shown")
    ]
    for system in systems().values():
        for row, one in system["rows"].items():
            for where in _listed(one.get("where")):
                if line_of(RULES / system["rulebook"], where) is None:
                    wrong.append(f"{row}: rules/{system['rulebook']} has no {where}")
    return wrong


def line_of(rulebook: Path, where: str) -> int | None:
    """Line of `plans.<name>`, `rules.<name>`, or a section."""
    section, _, name = where.partition(".")
    lines = rulebook.read_text(encoding="utf-8").splitlines()
    inside = False
    for number, line in enumerate(lines, start=1):
        if re.match(r"\S", line) and not line.startswith("#"):
            inside = line.startswith(f"{section}:")
            if inside and not name:
                return number
        if inside and re.match(rf"  (- name: )?{re.escape(name)}(:|\s|$)", line):
            return number
    return None


def page() -> str:
    shown = shown_rows()
    parts = [_HEAD]
    left: list[str] = []
    for system in systems().values():
        rulebook = system["rulebook"]
        parts.append(f"\n## {system['name']}\n\n{system['about']}: [`rules/{rulebook}`](../rules/{rulebook})\n")
        parts.append("| row | asked for | rulebook | shown by |\n|---|---|---|---|")
        for row, one in system["rows"].items():
            places = [(where, line_of(RULES / rulebook, where)) for where in _listed(one.get("where"))]
            where = (
                "<br>".join(f"[{name.rpartition('.')[2]}](../rules/{rulebook}#L{line}) :{line}" for name, line in places) or "-"
            )
            tests = "<br>".join(f"[{test.name}](../{test.path})" for test in shown.get(row, ()))
            parts.append(f"| {row} | {one['text']} | {where} | {tests or 'not shown, see below'} |")
            if row not in shown:
                left.append(f"- **{row}**: {one.get('not_shown', '')}.")
            elif one.get("without"):
                left.append(f"- **{row}**, a part of it: {one['without']}.")
    parts.append("\n## What is not shown, or done in another way\n")
    parts += left or ["Nothing is left out."]
    return "\n".join(parts) + "\n"


def _listed(value: str | list[str] | None) -> list[str]:
    return [value] if isinstance(value, str) else list(value or ())


def main() -> int:
    wrong = problems()
    if "--check" in sys.argv[1:] and PAGE.read_text(encoding="utf-8") != page():
        wrong.append("docs/reference-systems.md is out of date: run scripts/reference_systems.py")
    for problem in wrong:
        print(problem, file=sys.stderr)
    if wrong:
        return 1
    PAGE.write_text(page(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
