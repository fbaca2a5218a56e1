"""Reading the fields of a JSON body. Every error names the field it is about."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import orjson

from responder.errors import InvalidInputError

_RFC3339 = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?([Zz]|[+-][0-9]{2}:[0-9]{2})")
_TEXT = frozenset({str})
_KINDS = {dict: "an object", list: "a list", str: "a string", bool: "a boolean", int: "a number", float: "a number"}


def read_json(body: bytes) -> object:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InvalidInputError(f"the body is not valid JSON: {error}") from error


def kind_of(value: object) -> str:
    """What it is, for messages: `an object`, `null`."""
    return _KINDS.get(type(value), "null")


def read_texts(value: object, field: str) -> dict[str, str]:
    """An object of strings; {} for null, which is how Go writes an empty map."""
    if type(value) is dict:
        if not _TEXT.issuperset(map(type, value.values())):
            name, text = next((name, text) for name, text in value.items() if type(text) is not str)
            raise InvalidInputError(f"must be a string, not {kind_of(text)}", field=f"{field}.{name:.100}")
        return value
    if value is None:
        return {}
    raise InvalidInputError(f"must be an object, not {kind_of(value)}", field=field)


def read_time(value: object, field: str) -> datetime:
    """RFC 3339 with any number of fractional digits (kept to the microsecond) and any offset, as UTC."""
    if type(value) is not str:
        raise InvalidInputError(f"must be a time such as 2026-01-31T10:00:00Z, not {kind_of(value)}", field=field)
    try:
        if value[-1:] == "Z" and value[4:19:3] == "--T::":  # what Go writes, without the price of the pattern
            return datetime.fromisoformat(value)
        if _RFC3339.fullmatch(value):
            found = datetime.fromisoformat(value.upper())
            return found if found.tzinfo is UTC else found.astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise InvalidInputError(f"must be a time such as 2026-01-31T10:00:00Z, not {value[:40]!r}", field=field)


def web_link(*candidates: object) -> str:
    """The first that is a web address, else ""."""
    return next((link for link in candidates if type(link) is str and link.startswith(("https://", "http://"))), "")


def placed(error: InvalidInputError, place: str) -> InvalidInputError:
    """The error with its field seen from further out: `labels.a` at `alerts[0]` is `alerts[0].labels.a`."""
    return InvalidInputError(str(error), field=f"{place}.{error.field}" if error.field else place)
