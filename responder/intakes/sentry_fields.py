"""Reading Sentry's fields: nearly all may be missing or null, ids are numbers or strings, texts come from crashed programs."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime

from responder.errors import InvalidInputError
from responder.intakes.fields import kind_of, read_json, read_time

SOURCE = "sentry"
NAME_LIMIT = 200
"""Longest label, in characters; Sentry itself allows tags and releases of this length."""
TEXT_LIMIT = 1000
"""Longest annotation, in characters."""

Object = Mapping[str, object]
_EMPTY: Object = {}
_SURROGATE = re.compile("[\ud800-\udfff]")


def read_body(body: bytes) -> Object:
    """The body's object. Sentry escapes what the program wrote, lone halves of surrogate pairs included."""
    try:
        document = read_json(body)
    except InvalidInputError:
        if b"\\ud" not in body.lower():
            raise
        try:
            document = json.loads(body)
        except (ValueError, RecursionError) as error:
            raise InvalidInputError("the body is not valid JSON") from error
    if type(document) is not dict:
        raise InvalidInputError(f"the body must be a JSON object, not {kind_of(document)}")
    return document


def required(parent: Object, name: str, place: str) -> Object:
    """An object that must be there. place: where the parent is, for the message."""
    value = parent.get(name)
    field = f"{place}.{name}" if place else name
    if type(value) is not dict:
        raise InvalidInputError("missing" if value is None else f"must be an object, not {kind_of(value)}", field=field)
    return value


def optional(parent: Object, name: str) -> Object:
    value = parent.get(name)
    return value if type(value) is dict else _EMPTY


def text_of(value: object, limit: int = NAME_LIMIT) -> str:
    """The text in one piece that every database takes, "" for anything else."""
    if type(value) is not str:
        return ""
    cut = value[:limit]
    return cut if cut.isascii() and "\0" not in cut else _SURROGATE.sub("\ufffd", cut).replace("\0", "\ufffd")


def id_of(value: object) -> str:
    """An id, which may be a number or a string; "" for anything else."""
    return str(value) if type(value) is int else text_of(value)


def time_of(value: object) -> datetime | None:
    """A time in ISO 8601 or in seconds since 1970; None for anything else."""
    try:
        if type(value) is str:
            return read_time(value, "")
        if type(value) is float or type(value) is int:
            return datetime.fromtimestamp(value, UTC)
    except (InvalidInputError, ValueError, OverflowError, OSError):
        pass
    return None


def filled(**texts: str) -> dict[str, str]:
    """Those that are known."""
    return {name: text for name, text in texts.items() if text}
