"""Alertmanager's webhook, version 4, and what its imitators and predecessors send.

Each alert is judged by its own `status`: the group's `status` is computed after `max_alerts` has cut the list, and absence
of an alert proves nothing. An alert that can't be read is counted and noted while the others are taken; only a body of
which nothing can be used is refused, because Alertmanager would not send it again.

orjson and hand-written checks: as fast as pydantic-core here (about 5 µs for one alert, pydantic-core 3 µs before its result
is turned into signals), and one bad alert does not cost the good ones.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from hashlib import blake2b

from responder.domain.signal import Signal, SignalStatus, claim
from responder.errors import InvalidInputError
from responder.intakes.delivery import NO_HEADERS, ParsedDelivery, notes_of
from responder.intakes.fields import kind_of, placed, read_json, read_texts, read_time

SOURCE = "alertmanager"

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_STATUSES = {"firing": SignalStatus.FIRING, "resolved": SignalStatus.RESOLVED}
_QUOTED = re.compile(r"\\(.)", re.DOTALL)
_CUSTOM = "a custom payload can't be read: leave out `payload` in the receiver's webhook_config"

# One element of `alerts` and the time of arrival to a signal. Fields in errors are relative to the alert.
ReadAlert = Callable[[object, datetime], Signal]


def parse(body: bytes, received_at: datetime, _headers: Mapping[bytes, bytes] = NO_HEADERS, /) -> ParsedDelivery:
    """Read one webhook body. Raises InvalidInputError, with the field, when nothing can be made of it."""
    document = read_json(body)
    if type(document) is not dict:
        raise InvalidInputError(f"the body must be a JSON object, not {kind_of(document)}; {_CUSTOM}")
    if "alerts" not in document:
        raise InvalidInputError(f"the list of alerts is missing; {_CUSTOM}", field="alerts")
    return parse_group(document, received_at, read_alert, may_hold_nul=b"\\u0000" in body)


def parse_group(document: dict[str, object], received_at: datetime, read: ReadAlert, *, may_hold_nul: bool) -> ParsedDelivery:
    """What Alertmanager and Grafana have in common. may_hold_nul: whether the body has an escaped NUL anywhere."""
    alerts = document.get("alerts")
    if alerts is None:  # Go writes an empty list as null
        alerts = []
    if type(alerts) is not list:
        raise InvalidInputError(f"must be a list, not {kind_of(alerts)}", field="alerts")
    signals: list[Signal] = []
    problems: list[InvalidInputError] = []
    for index, alert in enumerate(alerts):
        try:
            if may_hold_nul:
                _refuse_nul(alert)
            signals.append(read(alert, received_at))
        except InvalidInputError as error:
            problems.append(placed(error, f"alerts[{index}]"))
    if problems and not signals:
        raise problems[0] if "groupKey" in document else _custom(problems[0])
    notes = list(notes_of(problems, "alerts"))
    truncated = document.get("truncatedAlerts")
    if truncated:
        notes.append(f"truncatedAlerts: {truncated!s:.20} alerts were left out by the sender; this body is no all-clear")
    unreadable = notes[0] if problems else ""
    return ParsedDelivery(tuple(signals), len(problems), tuple(notes), _receiver(document.get("receiver")), unreadable)


def _custom(error: InvalidInputError) -> InvalidInputError:
    """Every sender's own body has a `groupKey`, whatever its version."""
    hint = "without a groupKey this is a custom payload, which can't be read: leave out `payload` in the sender's settings"
    return InvalidInputError(f"{error}; {hint}", field=error.field)


def read_alert(alert: object, received_at: datetime, source: str = SOURCE) -> Signal:
    """Fields in errors are relative to the alert."""
    if type(alert) is not dict:
        raise InvalidInputError(f"must be an object, not {kind_of(alert)}", field="")
    status = alert.get("status")
    known = _STATUSES.get(status) if type(status) is str else None
    if known is None:
        shown = repr(status[:40]) if type(status) is str else kind_of(status)
        raise InvalidInputError(f"must be 'firing' or 'resolved', not {shown}", field="status")
    labels = read_texts(alert.get("labels"), "labels")
    key = alert.get("fingerprint") or _fingerprint(labels)
    if type(key) is not str:
        raise InvalidInputError(f"must be a string, not {kind_of(key)}", field="fingerprint")
    start = read_time(alert.get("startsAt"), "startsAt")
    started_at = start if start > _EPOCH else None  # a zero time is Go's way to say nothing: it counts from its arrival
    link = alert.get("generatorURL")
    claim(labels, source)
    return Signal(  # positional: half the price of names
        source,
        key,
        known,
        labels,
        read_texts(alert.get("annotations"), "annotations"),
        started_at,
        _end(alert.get("endsAt"), started_at, received_at) if known is SignalStatus.RESOLVED else None,
        received_at,
        None,
        None,
        link if type(link) is str and link.startswith(("https://", "http://")) else "",
    )


def _end(value: object, started_at: datetime | None, received_at: datetime) -> datetime | None:
    """The end of a resolved alert when it is believable. Senders write zero times and guesses into it."""
    try:
        ended_at = read_time(value, "endsAt")
    except InvalidInputError:
        return None
    if ended_at <= _EPOCH or (started_at is not None and ended_at < started_at):
        return None
    return ended_at if ended_at <= received_at else None


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
