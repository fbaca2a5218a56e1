"""How times, durations, numbers and foreign text read in reasons and reports."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable
from datetime import UTC, datetime, timedelta
from functools import lru_cache

from responder.domain.quantity import format_duration

# Control characters, line separators, and what reverses the direction of text.
_CONTROL = dict.fromkeys((*range(32), *range(127, 160), 0x2028, 0x2029, *range(0x202A, 0x202F), *range(0x2066, 0x206A)), " ")


def one_line(text: str, limit: int = 120) -> str:
    """Text from outside, without line breaks and control characters, cut to `limit` characters."""
    if len(text) <= limit and text.isprintable():
        return text
    line = " ".join(text[: limit * 4].translate(_CONTROL).split())
    if len(line) > limit or len(text) > limit * 4:
        return line[: limit - 1] + "…"
    return line


def spell_number(number: float) -> str:
    """At most six significant digits."""
    return f"{number:.6g}"


@lru_cache(256)
def spell_duration(duration: timedelta) -> str:
    """`2m`, `1h30m`, `45s`; parts of seconds only below one second."""
    whole = timedelta(days=duration.days, seconds=duration.seconds)
    return format_duration(whole if whole > timedelta(0) else duration)


@lru_cache(256)
def spell_time(at: datetime, seen_from: datetime) -> str:
    """Time of day, saying UTC; with the date when it is not the day of `seen_from`."""
    at = _utc(at)
    clock = str(at.time())[:8]
    return f"{clock} UTC" if at.date() == _utc(seen_from).date() else f"{at.date()} {clock} UTC"


def _utc(at: datetime) -> datetime:
    return at if at.tzinfo is UTC else at.astimezone(UTC)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A hint that names the closest known word, else all of them when they are few; "" when nothing helps."""
    words = {name.lower(): name for name in known}
    close = difflib.get_close_matches(word.lower(), words, n=1, cutoff=0.6)
    if close:
        return f"did you mean `{words[close[0]]}`?"
    return f"known: {listed(words.values())}" if 0 < len(words) <= 12 else ""


def listed(words: Collection[str]) -> str:
    """Words of a rulebook, each in backticks."""
    return ", ".join(f"`{word}`" for word in words)


def undeclared(kind: str, name: str, known: Iterable[str]) -> str:
    """There is no such target or plan; which it may be instead."""
    hint = did_you_mean(name, known)
    return f"no {kind} `{name}` is declared" + (f" ({hint})" if hint else "")
