"""`vars`: names and addresses declared once; where a step says `{{ vars.name }}` they are filled in when a rulebook is loaded."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Annotated

from pydantic import BeforeValidator, WithJsonSchema

from responder.rulebook.problem import Step

Scalar = str | int | float | bool
Path = tuple[Step, ...]

_REFERENCE = re.compile(r"\{\{\s*vars\.([A-Za-z_][A-Za-z0-9_]*)\s*\}\}")


def _read_variable(value: object) -> object:
    if not isinstance(value, Scalar):
        raise ValueError("must be text, a number, true or false")  # noqa: TRY004 - pydantic reads ValueError
    if isinstance(value, str) and ("{{" in value or "{%" in value):
        raise ValueError("must be plain text: a template here would be filled in elsewhere")
    return value


Variable = Annotated[
    Scalar, BeforeValidator(_read_variable), WithJsonSchema({"type": ["string", "number", "integer", "boolean"]})
]


def fill_in(value: object, known: Mapping[str, Scalar]) -> object:
    """The value with every reference to a known variable replaced. Text that is only a reference becomes the variable's value."""
    if isinstance(value, dict):
        return {key: fill_in(inner, known) for key, inner in value.items()}
    if isinstance(value, list):
        return [fill_in(inner, known) for inner in value]
    if not isinstance(value, str):
        return value
    whole = _REFERENCE.fullmatch(value.strip())
    if whole is not None and whole[1] in known:
        return known[whole[1]]
    return _REFERENCE.sub(lambda found: _spelled(known[found[1]]) if found[1] in known else found[0], value)


def unknown_in(value: object, known: Mapping[str, Scalar], path: Path = ()) -> Iterator[tuple[Path, str]]:
    """Each reference to a variable that is not declared, and where below the value it stands."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from unknown_in(inner, known, (*path, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from unknown_in(inner, known, (*path, index))
    elif isinstance(value, str):
        yield from ((path, name) for name in _REFERENCE.findall(value) if name not in known)


def _spelled(value: Scalar) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
