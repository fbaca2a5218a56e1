"""Rules for all tests: in CI every real component is there, so a test that skips is a test that failed."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Generator
from pathlib import Path
from typing import TypeVar

import hypothesis
import pytest

# The same examples for the same code, so that CI refuses a change and not the luck of the day; at a desk each run tries others.
hypothesis.settings.register_profile("ci", derandomize=True)
if os.environ.get("CI"):
    hypothesis.settings.load_profile("ci")

Report = TypeVar("Report", pytest.TestReport, pytest.CollectReport)

IN_CI = os.environ.get("CI", "").lower() in ("1", "true")

# The files that keep a worker busy for longest; then comes folder after folder.
_LONGEST = (
    "test_reference_catalytic.py",
    "test_reference_jarvis.py",
    "test_reference_paperless.py",
    "test_reference_platform.py",
    "test_kill.py",
    "test_image.py",
    "test_reference_kompass.py",
    "test_hosts.py",
)
_FOLDERS = ("acceptance", "contract", "simulation", "unit")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Workers that share the run begin with what takes longest, so that at the end none is alone with a long file."""
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: _turn(item.path))


def _turn(path: Path) -> tuple[int, int]:
    folder = path.parent.name
    return (
        _LONGEST.index(path.name) if path.name in _LONGEST else len(_LONGEST),
        _FOLDERS.index(folder) if folder in _FOLDERS else len(_FOLDERS),
    )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    return _fail_if_skipped(report)


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    return _fail_if_skipped(report)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Name what could not be run, one line per reason rather than per test."""
    skipped = terminalreporter.getreports("skipped")
    reasons = Counter(report.longrepr[2] for report in skipped if isinstance(report.longrepr, tuple))
    for reason, count in reasons.most_common():
        terminalreporter.write_line(f"{count} not run: {reason.removeprefix('Skipped: ')}", yellow=True)


def _fail_if_skipped(report: Report) -> Report:
    if IN_CI and report.outcome == "skipped" and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped, which CI does not allow: {report.longrepr}"
    return report
