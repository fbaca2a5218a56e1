"""Pydantic's complaints in the words of a rulebook."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Annotated, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from responder.domain.wording import did_you_mean, listed
from responder.rulebook.condition_form import PLACE_TAG, QUERY_TAG
from responder.rulebook.problem import Problem, Step
from responder.rulebook.source import Source

_TYPE_MESSAGES = {
    "string_type": "must be text",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "dict_type": "must be a mapping (`key: value`)",
    "mapping_type": "must be a mapping (`key: value`)",
    "model_type": "must be a mapping (`key: value`)",
    "model_attributes_type": "must be a mapping (`key: value`)",
    "list_type": "must be a list (`- item`)",
    "tuple_type": "must be a list (`- item`)",
    "set_type": "must be a list (`- item`)",
    "frozen_set_type": "must be a list (`- item`)",
}


def explain(error: ValidationError, model: type[BaseModel], source: Source, path: Sequence[Step]) -> Iterator[Problem]:
    """The problems of one value of a file, found at `path`, that should have been a `model`."""
    for detail in error.errors(include_url=False):
        yield _explain_one(detail, model, source, tuple(path))


def _explain_one(detail: ErrorDetails, model: type[BaseModel], source: Source, path: tuple[Step, ...]) -> Problem:
    location = tuple(step for step in detail["loc"] if step not in ("[key]", PLACE_TAG, QUERY_TAG))
    kind = detail["type"]
    full = path + location
    if kind == "extra_forbidden":
        key = str(location[-1])
        place = where(source, source.existing(full[:-1]))
        hint = did_you_mean(key, _keys_at(model, location[:-1]))
        return source.problem(full, place, f"unknown key `{key}`", hint, at_key=True)
    if kind == "missing":
        there = source.existing(full[:-1])
        hint = "begin the file with `version: 1`" if full == ("version",) else ""
        return source.problem(there, where(source, there), f"`{_dotted(full[len(there) :])}` is missing", hint)
    what, hint = _message(detail)
    return source.problem(full, where(source, source.existing(full)), what, hint, at_key="[key]" in detail["loc"])


_BOUNDS = {
    "greater_than": ("gt", "more than"),
    "greater_than_equal": ("ge", "at least"),
    "less_than": ("lt", "less than"),
    "less_than_equal": ("le", "at most"),
}


def _message(detail: ErrorDetails) -> tuple[str, str]:
    """What is wrong, and a hint."""
    kind, context, given = detail["type"], detail.get("ctx", {}), detail["input"]
    if kind in ("enum", "literal_error"):
        return _choice_message(given, re.findall(r"'([^']*)'", str(context.get("expected", ""))))
    if kind in _TYPE_MESSAGES:
        if given is None:
            return f"has no value; it {_TYPE_MESSAGES[kind]}", ""
        return _TYPE_MESSAGES[kind], "put it in quotes" if kind == "string_type" and not isinstance(given, dict | list) else ""
    if kind == "value_error":
        what = str(context.get("error", ""))
    elif kind == "too_short":
        what = f"must have at least {context['min_length']} {'entry' if context['min_length'] == 1 else 'entries'}"
    elif kind in _BOUNDS:
        key, words = _BOUNDS[kind]
        what = f"must be {words} {context[key]}"
    else:
        what = detail["msg"][:1].lower() + detail["msg"][1:]
    return what, ""


def _choice_message(given: object, words: Sequence[str]) -> tuple[str, str]:
    if given is None:
        return f"has no value; it must be one of {listed(words)}", ""
    if not isinstance(given, str) or len(given) > 60:
        return f"must be one of {listed(words)}", ""
    return f"must be one of {listed(words)}, not `{given}`", _close_only(given, words)


def _close_only(given: str, words: Sequence[str]) -> str:
    hint = did_you_mean(given, words)
    return hint if hint.startswith("did you mean") else ""


def _keys_at(model: type[BaseModel], location: Sequence[Step]) -> list[str]:
    """The keys a mapping may have that stands at `location` inside a `model`."""
    here: type[BaseModel] | None = model
    for step in location:
        if here is None:
            return []
        field = next((field for name, field in here.model_fields.items() if step in (field.alias, name)), None)
        if field is not None:
            here = _model_in(field.annotation)
    return [] if here is None else [field.alias or name for name, field in here.model_fields.items()]


def _model_in(annotation: object) -> type[BaseModel] | None:
    if isinstance(annotation, type) and get_origin(annotation) is None and issubclass(annotation, BaseModel):
        return annotation
    arguments = get_args(annotation)
    if get_origin(annotation) is Annotated:
        arguments = arguments[:1]
    return next((found for found in map(_model_in, arguments) if found is not None), None)


_SINGULAR = {"vars": "variable", "targets": "target", "rules": "rule", "plans": "plan", "notify": "notify", "tests": "test"}
_LISTS_OF_STEPS = {
    "steps": "step",
    "verify": "verify step",
    "checks": "monitor check",
    "on_failure": "on_failure step",
    "checkpoints": "checkpoint",
}


def where(source: Source, path: Sequence[Step]) -> str:
    """A place in the words of its reader: `plan roll-back-app, step 2 (http.check): with.url`."""
    if not path:
        return ""
    section, *rest = path
    if section not in _SINGULAR or not rest:
        return _dotted(path)
    place = f"{_SINGULAR[str(section)]} {_label(rest[0], source.value(path[:2]))}"
    fields: list[Step] = []
    for length, step in enumerate(rest[1:], start=3):
        above = fields[-1] if fields else None
        if section == "plans" and isinstance(step, int) and above in _LISTS_OF_STEPS:
            noun = "check" if above == "checks" and ", checkpoint " in place else _LISTS_OF_STEPS[str(above)]
            place += f", {noun} {step + 1}{_step_label(source.value(path[:length]))}"
            fields = []
        else:
            fields.append(step)
    return f"{place}: {_dotted(fields)}" if fields else place


def _label(step: Step, value: object) -> str:
    if not isinstance(step, int):
        return step
    if isinstance(value, dict):
        for key in ("name", "to"):
            if isinstance(value.get(key), str):
                return str(value[key])
    return str(step + 1)


def _step_label(value: object) -> str:
    if isinstance(value, str):
        return f" ({value})"
    if isinstance(value, dict):
        word = value.get("name") or value.get("uses")
        return f" ({word})" if isinstance(word, str) else ""
    return ""


def _dotted(steps: Sequence[Step]) -> str:
    text = ""
    for step in steps:
        text += f" entry {step + 1}" if isinstance(step, int) else f".{step}"
    return text.lstrip(". ")
