"""The rulebooks under `rules/`, as shipped but for what no test can have: their addresses, folders and patience.

What may be put in the place of something else is listed here, so that what is shown is what is shipped: variables, where a target
is, `mode: armed`, `proven_for`, and durations. Rules, conditions, steps, their order and their parameters stay as they are.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

RULES = Path(__file__).parents[2] / "rules"
SCRIPTS = RULES / "scripts"

_PLACES = frozenset({"kubernetes", "helm", "argocd", "compose", "checkout"})
_DURATIONS = frozenset(
    {"for", "every", "after", "deadline", "timeout", "settle", "grace", "within", "backoff", "updates", "initial_delay"}
)


def shipped(
    name: str,
    *,
    variables: Mapping[str, str | int] | None = None,
    places: Mapping[str, Mapping[str, Any]] | None = None,
    durations: Mapping[str, str] | None = None,
    proven_for: str = "1s",
    notify: list[Any] | None = None,
) -> str:
    """`rules/<name>.yaml` as the text of a rulebook of a test, its targets armed.

    variables: values of declared variables. places: by target, keys of its place. durations: by path, the steps of a plan by name
    or number, `*` for any part: `plans.*.monitor.for`. notify: routes; without it the rulebook's own.
    Raises AssertionError when something of this is not in the rulebook: then the test is about a rulebook of the past.
    """
    text = (RULES / f"{name}.yaml").read_text(encoding="utf-8")
    book = yaml.safe_load(text)
    for variable, value in (variables or {}).items():
        assert variable in book["vars"], f"no variable {variable}"
        book["vars"][variable] = value
    for target, form in book["targets"].items():
        form["mode"] = "armed"
        form.setdefault("guards", {})["proven_for"] = proven_for
        [kind] = _PLACES & form.keys()
        if isinstance(form[kind], dict):
            form[kind].update((places or {}).get(target, {}))
    assert not (places or {}).keys() - book["targets"].keys(), "no such target"
    for pattern, value in (durations or {}).items():
        _shorten(book, tuple(pattern.split(".")), value)
    if notify is not None:
        book["notify"] = notify
    return json.dumps(book, indent=1)


def _shorten(book: Any, pattern: tuple[str, ...], value: str) -> None:
    assert pattern[-1] in _DURATIONS, f"{pattern[-1]} is no duration"
    found = [(owner, key) for owner, key in _matching(book, pattern) if isinstance(owner, dict)]
    assert found, f"nothing at {'.'.join(pattern)}"
    for owner, key in found:
        owner[key] = value


def _matching(node: Any, pattern: tuple[str, ...]) -> Iterator[tuple[Any, Any]]:
    """Every owner and key that a path leads to."""
    for key, inner in _members(node):
        if pattern[0] not in ("*", str(key), inner.get("name") if isinstance(inner, dict) else None):
            continue
        if len(pattern) == 1:
            yield node, key
        else:
            yield from _matching(inner, pattern[1:])


def _members(node: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(node, dict):
        yield from node.items()
    elif isinstance(node, list):
        yield from enumerate(node)
