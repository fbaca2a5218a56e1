"""What one rule holds about one group: inactive → pending (since, due) → firing → settling."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from functools import lru_cache
from hashlib import sha256

GROUP_VALUE_LIMIT = 200
"""Longest label value in a group's text, in characters; a longer one is cut and told apart by a hash of the whole."""


class GroupState(StrEnum):
    """Of one rule and group; pending while its `for` runs, settling when its target was rolled back since it fired."""

    INACTIVE = "inactive"
    PENDING = "pending"
    FIRING = "firing"
    SETTLING = "settling"


@dataclass(frozen=True, slots=True)
class GroupView:
    """One group as people see it.

    since: when the trouble began. due_at: when `for` runs out; None once firing.
    inconclusive: its numbers are missing; when due it asks and never acts.
    members: keys of its alerts, earliest first; values: their numbers in the same order, None where there is none.
    """

    rule: str
    group: str
    target: str
    state: GroupState
    since: datetime
    due_at: datetime | None
    members: tuple[str, ...]
    values: tuple[float | None, ...]
    reason: str
    episode: str
    inconclusive: bool = False


@dataclass(frozen=True, slots=True)
class HeldBack:
    """A rule that does not respond because of an alert that its `unless` names.

    source, key, episode, since: of that alert, the oldest of several; alert: its name. due_at: when the first group would have
    responded without it. targets: of the groups, each once.
    """

    rule: str
    alert: str
    source: str
    key: str
    episode: str
    since: datetime
    due_at: datetime
    targets: tuple[str, ...]


def group_text(target: str, labels: Iterable[tuple[str, str]] = ()) -> str:
    """Canonical text of a group: `app`, or `app{pod="x"}` with labels sorted by name. `target` may be ""."""
    pairs = [label_text(name, value) for name, value in sorted(labels)]
    return f"{target}{{{','.join(pairs)}}}" if pairs else target


def label_text(name: str, value: str) -> str:
    """One label of a group's text."""
    return f'{name}="{_escape(value)}"'


def episode_text(key: str, started_at: datetime) -> str:
    """`<key>@<startsAt>` in UTC: the same for every copy of the alert, whatever offset its sender writes."""
    return f"{key}@{_utc_text(started_at)}"


@lru_cache(256)  # the alerts of one evaluation began at the same instant
def _utc_text(at: datetime) -> str:
    return at.astimezone(UTC).isoformat()


def _escape(value: str) -> str:
    if len(value) > GROUP_VALUE_LIMIT:
        mark = sha256(value.encode("utf-8", "surrogatepass")).hexdigest()[:12]
        value = f"{value[: GROUP_VALUE_LIMIT - 16]}…{mark}"
    if "\\" not in value and '"' not in value and "\n" not in value:
        return value
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
