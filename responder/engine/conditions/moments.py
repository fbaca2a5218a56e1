"""Times in snapshots: microseconds since 1970, exact."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def pack(at: datetime) -> int:
    return (at - _EPOCH) // _MICROSECOND


def unpack(microseconds: Any) -> datetime:
    return _EPOCH + timedelta(microseconds=microseconds)
