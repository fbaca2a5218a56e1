"""The clock, and ids that sort by it."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime

_ID_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's base 32: no letters that look like digits


def wall_clock() -> datetime:
    """The time now, aware, UTC."""
    return datetime.now(UTC)  # noqa: TID251 - the one clock


def new_incident_id(now: datetime) -> str:
    """`inc_` and 15 characters: milliseconds since 1970, then chance. Sorts by time."""
    number = int(now.timestamp() * 1000) << 25 | secrets.randbits(25)
    return "inc_" + "".join(_ID_ALPHABET[number >> shift & 31] for shift in range(70, -1, -5))
