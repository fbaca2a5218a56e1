"""Numbers and durations as people and Prometheus templates write them.

Durations are Prometheus's: `500ms`, `2m`, `1h30m`, `1d`, `1w`, `1y` (365 days). Numbers are read in base units: `5%` is 0.05,
`200ms` is 0.2 (seconds), `1.5GiB` is 1610612736 (bytes), `10k` is 10000; so is what `humanizePercentage`, `humanizeDuration`,
`humanize1024` and most of `humanize` print. The exception is a lone `123m`: milli for `humanize`, minutes for everybody else.
It is refused as a number, because reading it wrongly would be reading it 60 000 times too large.
"""

from __future__ import annotations

import re
from datetime import timedelta

_MILLISECONDS = {
    "y": 365 * 86_400_000,
    "w": 7 * 86_400_000,
    "d": 86_400_000,
    "h": 3_600_000,
    "m": 60_000,
    "s": 1_000,
    "ms": 1,
}
_AMOUNT = r"\d+(?:\.\d+)?"
# Largest unit first and each unit once, as in Prometheus; blanks between parts, as humanizeDuration writes them.
_DURATION = re.compile(r"\s*".join(rf"(?:(?P<{unit}>{_AMOUNT}) ?{unit}(?![a-z]))?" for unit in _MILLISECONDS), re.ASCII)
_LONGEST_MILLISECONDS = 100 * _MILLISECONDS["y"]

_PLAIN = r"[-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?"
_WITH_UNIT = re.compile(rf"(?P<amount>{_PLAIN})\s*(?P<unit>%|[A-Za-zµμ]+)", re.ASCII)
_UNITS = {
    "%": 0.01,
    "B": 1.0,
    "us": 1e-6,
    "µs": 1e-6,
    "μs": 1e-6,
    "ns": 1e-9,
    **{prefix: 1000.0**power for power, prefix in enumerate(("k", "M", "G", "T", "P"), 1)},
    **{f"{prefix}B": 1000.0**power for power, prefix in enumerate(("k", "M", "G", "T", "P"), 1)},
    **{f"{prefix}i": 1024.0**power for power, prefix in enumerate(("K", "M", "G", "T", "P"), 1)},
    **{f"{prefix}iB": 1024.0**power for power, prefix in enumerate(("K", "M", "G", "T", "P"), 1)},
    "K": 1e3,
    "KB": 1e3,
    "ki": 1024.0,
    "kiB": 1024.0,
}


def parse_duration(text: str) -> timedelta:
    """Read a duration; `0` needs no unit. Raises ValueError with what is wrong and an example."""
    stripped = text.strip()
    if stripped == "0":
        return timedelta(0)
    if stripped.startswith("-"):
        raise ValueError(f"{stripped!r} is negative; a duration can't be")
    milliseconds = _milliseconds(stripped)
    if milliseconds is None:
        if re.fullmatch(_AMOUNT, stripped, re.ASCII):
            raise ValueError(f"{stripped!r} has no unit; write for example {stripped}s")
        raise ValueError(f"{text!r} is not a duration; write for example 30s, 2m or 1h30m")
    if milliseconds > _LONGEST_MILLISECONDS:
        raise ValueError(f"{stripped!r} is longer than 100 years")
    return timedelta(milliseconds=milliseconds)


def format_duration(duration: timedelta) -> str:
    """Write a duration so that `parse_duration` reads it back, to the millisecond: `1h30m`, `500ms`, `0s`."""
    left = round(duration / timedelta(milliseconds=1))
    if left < 0:
        return "-" + format_duration(-duration)
    parts = []
    for unit in ("d", "h", "m", "s", "ms"):
        amount, left = divmod(left, _MILLISECONDS[unit])
        if amount:
            parts.append(f"{amount}{unit}")
    return "".join(parts) or "0s"


def parse_number(value: str | float) -> float:
    """Read a number in base units; `NaN`, `+Inf` and `-Inf` are numbers too.

    Raises ValueError with what is wrong and an example.
    """
    if isinstance(value, bool):
        raise ValueError(f"{str(value).lower()} is not a number; write for example 5%, 0.05, 200ms or 1.5GiB")  # noqa: TRY004
    try:
        number = float(value)
    except ValueError:
        number = _parse_with_unit(str(value).strip())
    if isinstance(value, str) and "_" in value:  # Python's own spelling, nobody else's
        raise ValueError(f"{value!r} is not a number; leave out the underscores")
    return number


def _parse_with_unit(text: str) -> float:
    found = _WITH_UNIT.fullmatch(text)
    if found is not None:
        if found["unit"] == "m":
            raise ValueError(
                f"{text!r} is ambiguous (minutes, or a thousandth?); write it in seconds, such as 120s, or as a plain number"
            )
        factor = _UNITS.get(found["unit"])
        if factor is not None:
            amount = float(found["amount"])
            return amount / 100 if found["unit"] == "%" else amount * factor  # 5 / 100 is 0.05, 5 * 0.01 need not be
    milliseconds = _milliseconds(text[1:] if text.startswith(("-", "+")) else text)
    if milliseconds is None:
        raise ValueError(f"{text!r} is not a number; write for example 5%, 0.05, 200ms or 1.5GiB") from None
    return (-milliseconds if text.startswith("-") else milliseconds) / 1000


def _milliseconds(text: str) -> float | None:
    found = _DURATION.fullmatch(text)
    if not text or found is None:
        return None
    return sum(float(amount) * _MILLISECONDS[unit] for unit, amount in found.groupdict().items() if amount is not None)
