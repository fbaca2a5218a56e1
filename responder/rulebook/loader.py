"""Reads a rulebook: a file, or a directory whose *.yaml and *.yml are one set."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel

from responder.domain.rulebook import Rulebook
from responder.errors import RulebookError
from responder.rulebook import convert
from responder.rulebook.crosscheck import CrossCheck
from responder.rulebook.declarations import Declarations, declare
from responder.rulebook.problem import Problem
from responder.rulebook.source import Source, read_source

NOTIFIERS = ("slack", "statuspage", "pagerduty", "email")


@dataclass(frozen=True, slots=True)
class FileSummary:
    """How much one file declares."""

    file: str
    targets: int
    rules: int
    plans: int


@dataclass(frozen=True, slots=True)
class LoadedRulebook:
    """A rulebook and the files it was made of."""

    rulebook: Rulebook
    files: tuple[FileSummary, ...]


def load_rulebook(path: Path, actions: Mapping[str, type[BaseModel]], notifiers: Collection[str] = NOTIFIERS) -> Rulebook:
    """actions: parameter models by the word in `uses`. Raises RulebookError with every problem of every file."""
    return read_rulebook(path, actions, notifiers).rulebook


def read_rulebook(path: Path, actions: Mapping[str, type[BaseModel]], notifiers: Collection[str] = NOTIFIERS) -> LoadedRulebook:
    """Like load_rulebook; also tells what came from which file."""
    sources: list[Source] = []
    problems: list[Problem] = []
    for file in _files(path):
        source, found = read_source(file)
        sources.append(source)
        problems += found
    declarations = declare(sources, actions)
    readable = all(isinstance(source.data, dict) for source in sources)
    # Where the YAML itself is wrong, what follows from it is no news.
    known = {(each.file, each.line, each.column) for each in problems}
    further = [*declarations.problems, *CrossCheck(declarations, notifiers, names_known=readable).problems()]
    problems += [each for each in further if (each.file, each.line, each.column) not in known]
    if problems:
        raise RulebookError([str(problem) for problem in sorted(set(problems))])
    rulebook = Rulebook(
        targets=convert.targets(declarations),
        rules=convert.rules(declarations),
        plans=convert.plans(declarations),
        routes=convert.routes(declarations),
        digest=_digest(sources),
        hold=convert.hold(declarations),
        limits=convert.limits(declarations),
        freezes=convert.freezes(declarations),
        escalation=convert.escalation(declarations),
    )
    return LoadedRulebook(rulebook, tuple(_summary(source, declarations) for source in sources))


_WHERE = " (RESPONDER_RULES says where the rulebook is)"


def _files(path: Path) -> list[Path]:
    try:
        if not path.is_dir():
            path.stat()
            return [path]
        # Hidden names are editors' lock files and the `..data` links of a mounted ConfigMap.
        found = [each for each in path.iterdir() if each.suffix in (".yaml", ".yml") and not each.name.startswith(".")]
    except FileNotFoundError as error:
        raise RulebookError([f"{path}: there is no such file or directory{_WHERE}"]) from error
    except OSError as error:
        raise RulebookError([f"{path}: can't be read: {error.strerror or error}"]) from error
    if not found:
        raise RulebookError([f"{path}: no *.yaml or *.yml file in this directory{_WHERE}"])
    return sorted(found)


def _digest(sources: Sequence[Source]) -> str:
    """Over names and contents; each with its length, so that no two sets share one text."""
    digest = hashlib.sha256()
    for source in sources:
        for part in (Path(source.file).name.encode(), source.content):
            digest.update(len(part).to_bytes(8, "big") + part)
    return digest.hexdigest()


def _summary(source: Source, declarations: Declarations) -> FileSummary:
    return FileSummary(
        source.file,
        sum(each.source is source for each in declarations.targets.values()),
        sum(each.source is source for each in declarations.rules),
        sum(each.source is source for each in declarations.plans.values()),
    )
