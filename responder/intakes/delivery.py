"""What an intake makes of one request."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from responder.domain.signal import Signal


@dataclass(frozen=True, slots=True)
class ParsedDelivery:
    """ignored: observations in the body that could not be used. notes: one plain sentence for each thing worth logging.

    receiver: name of the receiver as its owner wrote it, "" when the sender has none.
    """

    signals: tuple[Signal, ...]
    ignored: int = 0
    notes: tuple[str, ...] = ()
    receiver: str = ""


# Body and time of arrival to signals. Raises InvalidInputError, with the field, when nothing can be made of the body.
Parse = Callable[[bytes, datetime], ParsedDelivery]
