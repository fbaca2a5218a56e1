"""Alertmanager's webhook, version 4, and what its imitators and predecessors send.

Each alert is judged by its own `status`: the group's `status` is computed after `max_alerts` has cut the list, and absence
of an alert proves nothing. An alert that can't be read is counted and noted while the others are taken; only a body of
which nothing can be used is refused, because Alertmanager would not send it again.

orjson and hand-written checks: as fast as pydantic-core here (about 5 µs for one alert, pydantic-core 3 µs before its result
is turned into signals), and one bad alert does not cost the good ones.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from hashlib import blake2b

import orjson

from responder.domain.signal import Signal, SignalStatus
from responder.errors import InvalidInputError
from responder.intakes.delivery import ParsedDelivery

SOURCE = "alertmanager"
MAX_NOTES = 20

_RFC3339 = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?([Zz]|[+-][0-9]{2}:[0-9]{2})")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_STATUSES = {"firing": SignalStatus.FIRING, "resolved": SignalStatus.RESOLVED}
_TEXT = frozenset({str})
_QUOTED = re.compile(r"\\(.)", re.DOTALL)


def parse(body: bytes, received_at: datetime) -> ParsedDelivery:
    """Read one webhook body. Raises InvalidInputError, with the field, when nothing can be made of it."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InvalidInputError(f"the body is not valid JSON: {error}") from error
    if type(document) is not dict:
        raise InvalidInputError(f"the body must be a JSON object, not {_kind(document)}")
    if "alerts" not in document:
        raise InvalidInputError("the list of alerts is missing", field="alerts")
    alerts = document["alerts"]
    if alerts is None:  # Go writes an empty list as null
        alerts = []
    if type(alerts) is not list:
        raise InvalidInputError(f"must be a list, not {_kind(alerts)}", field="alerts")

    may_hold_nul = b"\\u0000" in body
    signals: list[Signal] = []
    problems: list[InvalidInputError] = []
    for index, alert in enumerate(alerts):
        try:
            if may_hold_nul:
                _refuse_nul(alert)
            signals.append(_signal(alert, received_at))
        except InvalidInputError as error:
            problems.append(_placed(error, index))
    if problems and not signals:
        raise problems[0]
    notes = [f"{problem.field}: {problem}" for problem in problems[:MAX_NOTES]]
    if len(problems) > MAX_NOTES:
        notes.append(f"{len(problems) - MAX_NOTES} more alerts could not be read")
    truncated = document.get("truncatedAlerts")
    if truncated:
        notes.append(f"truncatedAlerts: {truncated!s:.20} alerts were left out by the sender; this body is no all-clear")
    return ParsedDelivery(tuple(signals), len(problems), tuple(notes), _receiver(document.get("receiver")))


def _signal(alert: object, received_at: datetime) -> Signal:
    """Fields in errors are relative to the alert."""
    if type(alert) is not dict:
        raise InvalidInputError(f"must be an object, not {_kind(alert)}", field="")
    status = alert.get("status")
    known = _STATUSES.get(status) if type(status) is str else None
    if known is None:
        shown = repr(status[:40]) if type(status) is str else _kind(status)
        raise InvalidInputError(f"must be 'firing' or 'resolved', not {shown}", field="status")
    labels = _texts(alert.get("labels"), "labels")
    key = alert.get("fingerprint") or _fingerprint(labels)
    if type(key) is not str:
        raise InvalidInputError(f"must be a string, not {_kind(key)}", field="fingerprint")
    started_at = _time(alert.get("startsAt"), "startsAt")
    if started_at <= _EPOCH:
        raise InvalidInputError("must be a real time, not a zero time", field="startsAt")
    link = alert.get("generatorURL")
    if "source" in labels:  # the sender's own label is kept the way Prometheus does it
        labels["exported_source"] = labels["source"]
    labels["source"] = SOURCE
    return Signal(  # positional: half the price of names
        SOURCE,
        key,
        known,
        labels,
        _texts(alert.get("annotations"), "annotations"),
        started_at,
        _end(alert.get("endsAt"), started_at, received_at) if known is SignalStatus.RESOLVED else None,
        received_at,
        None,
        None,
        link if type(link) is str and link.startswith(("https://", "http://")) else "",
    )


def _texts(value: object, field: str) -> dict[str, str]:
    if type(value) is dict:
        if not _TEXT.issuperset(map(type, value.values())):
            name, text = next((name, text) for name, text in value.items() if type(text) is not str)
            raise InvalidInputError(f"must be a string, not {_kind(text)}", field=f"{field}.{name:.100}")
        return value
    if value is None:  # Go writes an empty map as null
        return {}
    raise InvalidInputError(f"must be an object, not {_kind(value)}", field=field)


def _time(value: object, field: str) -> datetime:
    """RFC 3339 with any number of fractional digits (kept to the microsecond) and any offset, as UTC."""
    if type(value) is not str:
        raise InvalidInputError(f"must be a time such as 2026-01-31T10:00:00Z, not {_kind(value)}", field=field)
    try:
        if value[-1:] == "Z" and value[4:19:3] == "--T::":  # what Go writes, without the price of the pattern
            return datetime.fromisoformat(value)
        if _RFC3339.fullmatch(value):
            found = datetime.fromisoformat(value.upper())
            return found if found.tzinfo is UTC else found.astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise InvalidInputError(f"must be a time such as 2026-01-31T10:00:00Z, not {value[:40]!r}", field=field)


def _end(value: object, started_at: datetime, received_at: datetime) -> datetime | None:
    """The end of a resolved alert when it is believable. Senders write zero times and guesses into it."""
    try:
        ended_at = _time(value, "endsAt")
    except InvalidInputError:
        return None
    return ended_at if started_at <= ended_at <= received_at else None


def _fingerprint(labels: dict[str, str]) -> str:
    """Stand-in for the fingerprint that senders before 0.17 don't give: as stable, but not the same value."""
    digest = blake2b(digest_size=8)
    for name, text in sorted(labels.items()):
        digest.update(f"{len(name)}:{name}{len(text)}:{text}".encode())
    return digest.hexdigest()


def _receiver(value: object) -> str:
    """Alertmanager sends the name as a quoted regular expression: `pay\\.team` is `pay.team`."""
    if type(value) is not str:
        return ""
    return _QUOTED.sub(r"\1", value) if "\\" in value else value


def _refuse_nul(alert: object) -> None:
    """NUL is legal in JSON but can't be stored as text everywhere. Nested values are refused by the type checks anyway."""
    if type(alert) is not dict:
        return
    for field in ("labels", "annotations"):
        texts = alert.get(field)
        for name, text in texts.items() if type(texts) is dict else ():
            if "\0" in name or (type(text) is str and "\0" in text):
                raise InvalidInputError("must not contain NUL (\\u0000)", field=f"{field}.{name:.100}".replace("\0", "\\u0000"))
    for field in ("fingerprint", "generatorURL"):
        text = alert.get(field)
        if type(text) is str and "\0" in text:
            raise InvalidInputError("must not contain NUL (\\u0000)", field=field)


def _placed(error: InvalidInputError, index: int) -> InvalidInputError:
    field = f"alerts[{index}].{error.field}" if error.field else f"alerts[{index}]"
    return InvalidInputError(str(error), field=field)


_KINDS = {dict: "an object", list: "a list", str: "a string", bool: "a boolean", int: "a number", float: "a number"}


def _kind(value: object) -> str:
    return _KINDS.get(type(value), "null")
