"""What a query came to when Prometheus was asked."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Measurement:
    """One number, or why there is none.

    number: finite; None when there is none. why: in a few words, "" with a number. is_refused: the query itself is wrong.
    is_silence: nobody answered, or only to say that it can't now: that says nothing about the number.
    """

    number: float | None
    why: str = ""
    is_refused: bool = False
    is_silence: bool = False
