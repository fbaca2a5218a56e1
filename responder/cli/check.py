"""`responder check`: is this rulebook right, and will it do what its author means?"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import click

from responder.actions.registry import PARAMETERS
from responder.domain.prometheus_users import prometheus_users
from responder.domain.rulebook import Rulebook
from responder.errors import RulebookError, SettingsError
from responder.rulebook.loader import FileSummary, read_rulebook
from responder.rulebook.review import review
from responder.settings.environment import prometheus_is_set, settings_from_environment

_SHOWN = 4  # of those that need Prometheus


@click.command()
@click.argument("path", required=False, type=click.Path(exists=True, path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def check(path: Path | None, as_json: bool) -> None:
    """Check the rulebook at PATH, a file or a directory (RESPONDER_RULES, else ./rules).

    Prints what it holds and warnings, or every problem. Exit codes: 0 right, 1 wrong, 2 wrong usage.
    """
    try:
        loaded = read_rulebook(path or settings_from_environment().rules, PARAMETERS)
    except (RulebookError, SettingsError) as error:
        problems = list(error.problems) if isinstance(error, RulebookError) else str(error).splitlines()
        if as_json:
            click.echo(json.dumps({"ok": False, "files": [], "warnings": [], "problems": problems}, indent=2))
        for line in () if as_json else (*problems, _counted(len(problems), "problem")):
            click.echo(line, err=True)
        raise SystemExit(1) from error
    warnings = (*review(loaded.rulebook), *_about_prometheus(loaded.rulebook))
    if as_json:
        files = [{"file": each.file, "targets": each.targets, "rules": each.rules, "plans": each.plans} for each in loaded.files]
        click.echo(json.dumps({"ok": True, "files": files, "warnings": warnings, "problems": []}, indent=2))
        return
    for each in loaded.files:
        click.echo(_summary(each))
    for warning in warnings:
        click.echo(f"warning: {warning}")


def _about_prometheus(rulebook: Rulebook) -> Iterator[str]:
    users = prometheus_users(rulebook)
    if users and not prometheus_is_set():
        shown = ", ".join(users[:_SHOWN]) + (f" and {len(users) - _SHOWN} more" if len(users) > _SHOWN else "")
        yield (
            f"{shown}: needs Prometheus, and RESPONDER_PROMETHEUS_URL is not set here; without it, numbers are "
            "missing: rules ask and never act, checks never pass"
        )


def _summary(file: FileSummary) -> str:
    counts = (_counted(file.targets, "target"), _counted(file.rules, "rule"), _counted(file.plans, "plan"))
    return f"{file.file}: {', '.join(counts)}"


def _counted(count: int, word: str) -> str:
    return f"{count} {word}{'' if count == 1 else 's'}"
