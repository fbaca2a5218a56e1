"""Numbers that senders give as numbers, as rules read them."""

from __future__ import annotations

from math import isfinite

VALUE = "value"


def as_number(value: object) -> float | None:
    """The number, None for anything else, for booleans and for what is not finite."""
    if type(value) is not int and type(value) is not float:
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if isfinite(number) else None


def annotate(annotations: dict[str, str], value: float | None) -> None:
    """Let rules find the number where they look by default, the annotation `value`; the sender's own text there wins."""
    if value is not None:
        annotations.setdefault(VALUE, spell(value))


def spell(number: float) -> str:
    """The number to its last digit: `0.05`, `7`."""
    return repr(number).removesuffix(".0")
