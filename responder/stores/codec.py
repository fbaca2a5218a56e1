"""How values are written: moments as integers, signals as compact arrays, documents as JSON with tags for what JSON lacks."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any, TypeVar

import orjson

from responder.domain.signal import Signal, SignalStatus
from responder.errors import InvalidInputError

if TYPE_CHECKING:
    from pydantic import TypeAdapter

T = TypeVar("T")

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_STATUSES = {status.value: status for status in SignalStatus}


def to_micros(moment: datetime) -> int:
    """Microseconds since 1970, exact. Raises TypeError for a naive datetime."""
    gone = moment - _EPOCH
    return (gone.days * 86_400 + gone.seconds) * 1_000_000 + gone.microseconds


@lru_cache(maxsize=4096)  # an alert's start comes back with every delivery: a look-up costs a quarter
def from_micros(micros: int) -> datetime:
    return _EPOCH + timedelta(microseconds=micros)


# --- signals ---------------------------------------------------------------------------------------------------------


def encode_signals(signals: Sequence[Signal]) -> bytes:
    """Positional arrays, in the order of the fields; the last one, `id`, is left out when it is empty.

    Raises InvalidInputError for text that is not Unicode (lone surrogates).
    """
    if not signals:
        return b""
    try:
        return orjson.dumps([_signal_row(signal) for signal in signals], default=dict)
    except orjson.JSONEncodeError as error:
        raise InvalidInputError(f"a signal can't be written to the journal: {error}") from error


def _signal_row(signal: Signal) -> tuple[object, ...]:
    started, ended, value = signal.started_at, signal.ended_at, signal.value
    row = (
        signal.source,
        signal.key,
        signal.status.value,
        signal.labels,
        signal.annotations,
        None if started is None else to_micros(started),
        None if ended is None else to_micros(ended),
        to_micros(signal.received_at),
        value if value is None or math.isfinite(value) else str(value),  # JSON knows no NaN and no infinity
        signal.passed,
        signal.link,
    )
    return (*row, signal.id) if signal.id else row


def decode_signals(body: bytes) -> tuple[Signal, ...]:
    if not body:
        return ()
    return tuple([_signal_of(row) for row in orjson.loads(body)])


def _signal_of(row: Sequence[Any]) -> Signal:
    source, key, status, labels, annotations, started, ended, received, value, passed, link, *rest = row
    return Signal(
        source,
        key,
        _STATUSES[status],
        labels,
        annotations,
        None if started is None else from_micros(started),
        None if ended is None else from_micros(ended),
        from_micros(received),
        float(value) if isinstance(value, str) else value,
        passed,
        link,
        rest[0] if rest else "",
    )


# --- documents -------------------------------------------------------------------------------------------------------


def to_document(value: object) -> str:
    """A dataclass, mapping or plain value as JSON.

    What JSON lacks becomes an object with one key: `$time`, `$date`, `$duration` (microseconds), `$tuple`, `$number`, `$pairs`.
    Enums become their value, lone surrogates U+FFFD. Raises TypeError for other types.
    """
    return orjson.dumps(_tagged(value)).decode()


def from_document(kind: type[T], document: str) -> T:
    """Read back what to_document wrote, as `kind`. Unknown keys are left out, missing ones get their default."""
    found: T = _adapter(kind).validate_python(_untagged(orjson.loads(document)))  # type: ignore[arg-type]  # a class is hashable
    return found


def mapping_from_document(document: str) -> dict[str, Any]:
    found = _untagged(orjson.loads(document))
    if not isinstance(found, dict):
        raise TypeError(f"a mapping was expected, not {type(found).__name__}")
    return found


def clean_text(text: str) -> str:
    """The text with lone surrogates (from undecodable output) replaced: no database takes them."""
    if text.isascii():
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


@cache
def _adapter(kind: type[Any]) -> TypeAdapter[Any]:
    from pydantic import TypeAdapter

    return TypeAdapter(kind)


def _tagged(value: object) -> object:  # noqa: PLR0911  a table of types
    match value:
        case None | bool():
            return value
        case str():
            return clean_text(str(value))
        case int():
            return int(value) if -(2**63) <= value < 2**63 else {"$number": str(int(value))}
        case float():
            return value if math.isfinite(value) else {"$number": str(value)}
        case datetime():
            return {"$time": value.isoformat()}
        case date():
            return {"$date": value.isoformat()}
        case timedelta():
            return {"$duration": _tagged(value // _MICROSECOND)}
        case Mapping():
            return _tagged_mapping(value)
        case tuple():
            return {"$tuple": [_tagged(item) for item in value]}
        case list():
            return [_tagged(item) for item in value]
    if is_dataclass(value):
        return {each.name: _tagged(getattr(value, each.name)) for each in fields(value) if each.init}
    raise TypeError(f"{type(value).__name__} can't be kept in a document")


def _tagged_mapping(value: Mapping[Any, object]) -> object:
    if all(isinstance(key, str) and not key.startswith("$") for key in value):
        return {clean_text(str(key)): _tagged(item) for key, item in value.items()}
    return {"$pairs": [[_tagged(key), _tagged(item)] for key, item in value.items()]}


def _untagged(value: Any) -> Any:
    if isinstance(value, list):
        return [_untagged(item) for item in value]
    if not isinstance(value, dict):
        return value
    if len(value) == 1:
        ((tag, inner),) = value.items()
        if tag in _READ_TAG:
            return _READ_TAG[tag](inner)
    return {key: _untagged(item) for key, item in value.items()}


def _number(text: str) -> int | float:
    return int(text) if text.lstrip("-").isdigit() else float(text)


_READ_TAG: dict[str, Callable[[Any], Any]] = {
    "$time": datetime.fromisoformat,
    "$date": date.fromisoformat,
    "$duration": lambda micros: timedelta(microseconds=_untagged(micros)),
    "$tuple": lambda items: tuple([_untagged(item) for item in items]),
    "$number": _number,
    "$pairs": lambda pairs: {_untagged(key): _untagged(item) for key, item in pairs},
}
