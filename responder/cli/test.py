"""`responder test`: do the rules decide what their author means? In simulated time, with the service's own evaluator."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import click

from responder.actions.registry import PARAMETERS
from responder.cli.output import write
from responder.domain.rule_test import Course, Difference, RuleTest, describe_decision, differences, offset, unanswered
from responder.engine.timeline import run_test
from responder.errors import RulebookError
from responder.rulebook.rule_tests import RuleTestFile, read_rule_tests

_SUFFIX = ".test.yaml"
_COURSE_LIMIT = 40  # decisions shown of a test that failed
_FAILED = 1
_UNREADABLE = 2


@dataclass(frozen=True, slots=True)
class Result:
    """How one test went."""

    test: RuleTest
    course: Course
    differences: list[Difference]
    seconds: float


@dataclass(frozen=True, slots=True)
class FileResult:
    """problems: why the file could not be read; then there are no results. untested: rules that no test has seen respond."""

    file: str
    results: list[Result]
    problems: tuple[str, ...] = ()
    untested: tuple[str, ...] = ()

    @property
    def failed(self) -> int:
        return sum(bool(result.differences) for result in self.results)


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--only", metavar="TEXT", help="Only tests with this text in their name.")
@click.option("--junit", type=click.Path(dir_okay=False, writable=True, path_type=Path), help="Also write a JUnit report.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def test(files: tuple[Path, ...], only: str | None, junit: Path | None, as_json: bool) -> None:
    """Run rule tests: FILES, or every *.test.yaml below a directory.

    Exit codes: 0 all as expected, 1 something else happened, 2 a test file can't be used.
    """
    found = [_run_file(path, only or "") for path in _expand(files)]
    if only and not any(each.results or each.problems for each in found):
        raise click.UsageError(f"no test has {only!r} in its name")
    if junit is not None:
        write(junit, _junit(found))
    if as_json:
        click.echo(json.dumps({"ok": _exit_code(found) == 0, "files": [_document(each) for each in found]}, indent=2))
    else:
        _show(found, narrowed=bool(only))
    raise SystemExit(_exit_code(found))


def _expand(paths: Sequence[Path]) -> list[Path]:
    found: list[Path] = []
    for path in paths:
        inside = sorted(path.rglob(f"*{_SUFFIX}")) if path.is_dir() else [path]
        if not inside:
            raise click.UsageError(f"there is no *{_SUFFIX} file below {path}")
        found += inside
    return list(dict.fromkeys(found))


def _run_file(path: Path, only: str) -> FileResult:
    try:
        loaded = read_rule_tests(path, PARAMETERS)
    except RulebookError as error:
        return FileResult(str(path), [], error.problems)
    results = [_run(loaded, each) for each in loaded.tests if only in each.name]
    rules = [] if only else [rule.name for rule in loaded.rulebook.rules]
    return FileResult(loaded.file, results, (), tuple(unanswered(rules, [result.course for result in results])))


def _run(loaded: RuleTestFile, one: RuleTest) -> Result:
    began = perf_counter()
    course = run_test(loaded.rulebook, one)
    return Result(one, course, differences(one, course), perf_counter() - began)


def _exit_code(found: Sequence[FileResult]) -> int:
    if any(each.problems for each in found):
        return _UNREADABLE
    return _FAILED if any(each.failed for each in found) else 0


# --- for people ----------------------------------------------------------------------------------------------------------


def _show(found: Sequence[FileResult], *, narrowed: bool) -> None:
    for each in (one for one in found if one.results or one.problems or not narrowed):
        click.echo(each.file)
        for problem in each.problems:
            click.echo(f"  {problem}")
        for result in each.results:
            passed = not result.differences
            click.echo(f"  {click.style('ok  ', fg='green') if passed else click.style('FAIL', fg='red')}  {result.test.name}")
            for line in () if passed else _failure(result):
                click.echo(f"        {line}")
        if each.untested:
            click.echo(f"  note: no test sees a response of: {', '.join(each.untested)}")
    count, failed = sum(len(each.results) for each in found), sum(each.failed for each in found)
    unreadable = sum(bool(each.problems) for each in found)
    parts = [f"{count - failed} passed", *([f"{failed} failed"] if failed else [])]
    parts += [f"{unreadable} file{'s' if unreadable > 1 else ''} can't be used"] if unreadable else []
    click.echo(f"{count} test{'' if count == 1 else 's'}: {', '.join(parts)}")


def _failure(result: Result) -> Iterator[str]:
    for difference in result.differences:
        yield f"{difference.location}: {difference.text}"
        for name, wanted, got in difference.details:
            if wanted is not None:
                yield f"  - {name:<9} {wanted}"
            if got is not None:
                yield f"  {'+' if wanted is not None else ' '} {name:<9} {got}"
    told = [each for each in result.course.decisions if each.rule]
    yield "what happened:" if told else "no rule decided anything"
    for decision in told[:_COURSE_LIMIT]:
        yield f"  {offset(decision.at):>7}  {describe_decision(decision)}"
    if len(told) > _COURSE_LIMIT:
        yield f"  … and {len(told) - _COURSE_LIMIT} more decisions"


# --- for machines --------------------------------------------------------------------------------------------------------


def _document(each: FileResult) -> dict[str, Any]:
    return {
        "file": each.file,
        "problems": list(each.problems),
        "untested": list(each.untested),
        "tests": [
            {
                "name": result.test.name,
                "location": result.test.location,
                "ok": not result.differences,
                "seconds": round(result.seconds, 6),
                "differences": [
                    {
                        "location": one.location,
                        "text": one.text,
                        "details": [{"what": name, "expected": wanted, "found": got} for name, wanted, got in one.details],
                    }
                    for one in result.differences
                ],
            }
            for result in each.results
        ],
    }


def _junit(found: Sequence[FileResult]) -> bytes:
    from xml.etree import ElementTree

    root = ElementTree.Element("testsuites")
    for each in found:
        seconds = sum(result.seconds for result in each.results)
        numbers = {
            "tests": len(each.results) or len(each.problems[:1]),
            "failures": each.failed,
            "errors": len(each.problems[:1]),
        }
        suite = ElementTree.SubElement(
            root, "testsuite", {"name": each.file, "time": f"{seconds:.6f}", **{name: str(n) for name, n in numbers.items()}}
        )
        if each.problems:
            case = ElementTree.SubElement(suite, "testcase", {"classname": each.file, "name": "the file can be used"})
            ElementTree.SubElement(case, "error", {"message": _plain(each.problems[0])}).text = _plain("\n".join(each.problems))
        for result in each.results:
            name = {"classname": each.file, "name": _plain(result.test.name), "time": f"{result.seconds:.6f}"}
            case = ElementTree.SubElement(suite, "testcase", name)
            if result.differences:
                failure = ElementTree.SubElement(case, "failure", {"message": _plain(result.differences[0].text)})
                failure.text = _plain("\n".join(_failure(result)))
    ElementTree.indent(root)
    document: bytes = ElementTree.tostring(root, "utf-8", xml_declaration=True)
    return document + b"\n"


def _plain(text: str) -> str:
    """Without the characters that XML can't hold."""
    return "".join(
        character if character.isprintable() or character == "\n" else "\N{REPLACEMENT CHARACTER}" for character in text
    )
