"""What an answer or an output must be like: text it holds, and values of its JSON by path."""

from __future__ import annotations

import json
from collections.abc import Mapping

NOTHING = object()


def text_problem(text: str, contains: str | None, values: Mapping[str, object]) -> str:
    """What is missing, to follow what was seen: `without the expected text`; "" when nothing is."""
    if contains is not None and contains not in text:
        return "without the expected text"
    if not values:
        return ""
    try:
        body = json.loads(text)
    except (ValueError, RecursionError):
        return "with a body that is not JSON"
    for path, expected in values.items():
        actual = value_at(body, path)
        if actual is NOTHING:
            return f"without {path}"
        if not _same(actual, expected):
            return f"with {path} = {_short(actual)}, not {_short(expected)}"
    return ""


def value_at(body: object, path: str) -> object:
    """The value at `a.0.b`, NOTHING when there is none."""
    for step in path.split("."):
        if isinstance(body, dict) and step in body:
            body = body[step]
        elif isinstance(body, list) and step.isascii() and step.isdigit() and int(step) < len(body):
            body = body[int(step)]
        else:
            return NOTHING
    return body


def _same(actual: object, expected: object) -> bool:
    return actual == expected and isinstance(actual, bool) is isinstance(expected, bool)


def _short(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 80 else text[:79] + "…"
