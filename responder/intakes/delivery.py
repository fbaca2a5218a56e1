"""What an intake makes of one request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Protocol

from responder.domain.signal import Signal
from responder.errors import InvalidInputError

MAX_NOTES = 20
NO_HEADERS: Mapping[bytes, bytes] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class ParsedDelivery:
    """ignored: observations in the body that could not be used. notes: one plain sentence for each thing worth logging.

    receiver: name of the receiver as its owner wrote it, "" when the sender has none.
    unreadable: the first thing in it that a person must mend at the sender, with its field; "" for nothing.
    """

    signals: tuple[Signal, ...]
    ignored: int = 0
    notes: tuple[str, ...] = ()
    receiver: str = ""
    unreadable: str = ""


def notes_of(problems: Sequence[InvalidInputError], what: str) -> tuple[str, ...]:
    """A sentence for each thing that could not be read, up to a limit. what: they are, in the plural."""
    notes = [f"{problem.field}: {problem}" for problem in problems[:MAX_NOTES]]
    if len(problems) > MAX_NOTES:
        notes.append(f"{len(problems) - MAX_NOTES} more {what} could not be read")
    return tuple(notes)


class Parse(Protocol):
    """Body, time of arrival and headers (names in small letters) to signals.

    Raises InvalidInputError, with the field, when nothing can be made of the body.
    """

    def __call__(self, body: bytes, received_at: datetime, headers: Mapping[bytes, bytes] = ..., /) -> ParsedDelivery: ...
