"""Responder's own format, for whatever can POST JSON: smoke tests, integrity checks, deploy hooks.

One object or a list. An event that can't be read is counted and noted while the others of its list are taken: who only passes
events on throws a refused list away, and an alert with it. Unknown keys are refused: who writes these bodies reads the answer.
The events of a list happened one after the other, the last of them when it arrived.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from responder.domain.signal import Signal, SignalStatus, claim
from responder.errors import InvalidInputError
from responder.intakes.delivery import NO_HEADERS, ParsedDelivery, notes_of
from responder.intakes.fields import kind_of, placed, read_json, read_texts, read_time
from responder.intakes.numbers import annotate, as_number

SOURCE = "events"
KEY_LIMIT = 500
"""Longest `key` and `id`, in characters."""

_FIELDS = ("key", "status", "labels", "annotations", "value", "started_at", "id")
_STATUSES: dict[str, tuple[SignalStatus, bool | None]] = {
    "firing": (SignalStatus.FIRING, None),
    "resolved": (SignalStatus.RESOLVED, None),
    "passed": (SignalStatus.OCCURRED, True),
    "failed": (SignalStatus.OCCURRED, False),
    "occurred": (SignalStatus.OCCURRED, None),
}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_APART = timedelta(microseconds=1)  # so that three results without a time of their own are three, and in their order


def parse(body: bytes, received_at: datetime, _headers: Mapping[bytes, bytes] = NO_HEADERS, /) -> ParsedDelivery:
    """Read one body. Raises InvalidInputError, with the field, when nothing can be made of it."""
    document = read_json(body)
    if type(document) is not list:
        return ParsedDelivery((_signal(document, received_at),))
    signals: list[Signal] = []
    problems: list[InvalidInputError] = []
    for index, event in enumerate(document):
        try:
            signals.append(_signal(event, received_at - _APART * (len(document) - 1 - index)))
        except InvalidInputError as error:
            problems.append(placed(error, f"[{index}]"))
    if problems and not signals:
        raise problems[0]
    notes = notes_of(problems, "events")
    return ParsedDelivery(tuple(signals), len(problems), notes, unreadable=notes[0] if notes else "")


def _signal(event: object, received_at: datetime) -> Signal:
    """Fields in errors are relative to the event."""
    if type(event) is not dict:
        raise InvalidInputError(f"must be an object, not {kind_of(event)}")
    for name in event:
        if name not in _FIELDS:
            raise InvalidInputError(f"unknown key; known are {', '.join(_FIELDS)}", field=_shown(name))
    key = _name(event, "key")
    if key is None:
        raise InvalidInputError("missing: it says which check or alert this is", field="key")
    status, passed = _status(event)
    if "labels" not in event:
        raise InvalidInputError("missing: an object of strings, by which rules and targets are found", field="labels")
    labels, annotations = _texts(event, "labels"), _texts(event, "annotations")
    labels.setdefault("alertname", key)
    claim(labels, SOURCE)
    value = _value(event.get("value"))
    annotate(annotations, value)
    started_at = None if event.get("started_at") is None else read_time(event["started_at"], "started_at")
    if started_at is not None and started_at <= _EPOCH:
        raise InvalidInputError("must be a real time, not a zero time", field="started_at")
    return Signal(
        source=SOURCE,
        key=key,
        status=status,
        labels=labels,
        annotations=annotations,
        started_at=started_at,
        ended_at=None,
        received_at=received_at,
        value=value,
        passed=passed,
        id=_name(event, "id") or "",
    )


def _status(event: Mapping[str, object]) -> tuple[SignalStatus, bool | None]:
    status = event.get("status")
    known = _STATUSES.get(status) if type(status) is str else None
    if known is None:
        shown = repr(status[:40]) if type(status) is str else kind_of(status)
        raise InvalidInputError(f"must be one of {', '.join(_STATUSES)}, not {shown}", field="status")
    return known


def _name(event: Mapping[str, object], field: str) -> str | None:
    """A short text that is not empty; None when it is missing or null."""
    text = event.get(field)
    if text is None:
        return None
    if type(text) is not str:
        raise InvalidInputError(f"must be a string, not {kind_of(text)}", field=field)
    if not text or len(text) > KEY_LIMIT or "\0" in text:
        raise InvalidInputError(f"must be 1 to {KEY_LIMIT} characters without NUL", field=field)
    return text


def _texts(event: Mapping[str, object], field: str) -> dict[str, str]:
    texts = read_texts(event.get(field), field)
    for name, text in texts.items():
        if "\0" in name or "\0" in text:
            raise InvalidInputError("must not contain NUL (\\u0000)", field=f"{field}.{_shown(name)}")
    return texts


def _value(value: object) -> float | None:
    if value is None:
        return None
    number = as_number(value)
    if number is None:
        raise InvalidInputError(f"must be a number such as 0.05, not {kind_of(value)}", field="value")
    return number


def _shown(name: str) -> str:
    return f"{name:.100}".replace("\0", "\\u0000")
