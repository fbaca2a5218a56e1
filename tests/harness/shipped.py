"""The rulebooks under `rules/`, as shipped but for what no test can have: their addresses, folders and patience.

What may be put in the place of something else is listed here, so that what is shown is what is shipped: variables, where a target
is, `mode: armed`, `proven_for`, and durations (those of queries, too). Rules, conditions, steps, their order and their other
parameters stay as they are.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from tests.harness.service import Json

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
    namespaces: Mapping[str, str] | None = None,
    places: Mapping[str, Mapping[str, Any]] | None = None,
    durations: Mapping[str, str] | None = None,
    proven_for: str = "1s",
    notify: list[Any] | None = None,
) -> Json:
    """`rules/<name>.yaml` as the rulebook of a test, its targets armed.

    variables: values of declared variables. namespaces: others in the place of these. places: by target, keys of its place.
    durations: by path, the steps of a plan by name or number, `*` for any part: `plans.*.monitor.for`. notify: routes; without it
    the rulebook's own.
    Raises AssertionError when something of this is not in the rulebook: then the test is about a rulebook of the past.
    """
    text = (RULES / f"{name}.yaml").read_text(encoding="utf-8")
    for old, new in (namespaces or {}).items():
        text = re.sub(rf'(namespace: |namespace=")({re.escape(old)})(?![\w-])', rf"\g<1>{new}", text)
    book: Json = yaml.safe_load(text)
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
    return book


def hastened(book: Json) -> Json:
    """Everything that waits is shortened, and what ran before a rollout is proven at once."""
    for target in book["targets"].values():
        target["guards"]["proven_for"] = "0s"
    for rule in book["rules"]:
        rule.update({key: "500ms" for key in ("for", "grace") if key in rule})
    for plan in book["plans"].values():
        plan.setdefault("monitor", {}).update({"for": "500ms", "every": "100ms"})  # without it, plans watch for five minutes
        for checkpoint in plan.get("checkpoints", ()):
            checkpoint["after"] = "1s"
    for step in _steps(book["plans"]):
        parameters = step.get("with", {})
        if step["uses"] in ("http.check", "prometheus.check"):
            parameters["every"] = "100ms" if step["uses"] == "http.check" else "500ms"
        if "query" in parameters:
            parameters["query"] = re.sub(r"\[\d+m\]", "[3s]", parameters["query"])
        if step["uses"] == "sleep":
            parameters["for"] = "200ms"
        if "backoff" in (step.get("retry") if isinstance(step.get("retry"), dict) else {}):
            step["retry"]["backoff"] = "100ms..1s"
    return book


def programs_of(book: Json) -> list[str]:
    """The programs that its plans name: what whoever runs Responder has to allow."""
    named = set()
    for step in _steps(book["plans"]):
        for key in ("run", "check", "undo"):
            value = step.get("with", {}).get(key)
            if isinstance(value, list):
                named.add(re.sub(r"{{ vars\.(\w+) }}", lambda found: str(book["vars"][found[1]]), value[0]))
    return sorted(named)


def _steps(node: object) -> Iterator[Json]:
    if isinstance(node, dict):
        if "uses" in node:
            yield node
        node = list(node.values())
    for inner in node if isinstance(node, list) else ():
        yield from _steps(inner)


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
