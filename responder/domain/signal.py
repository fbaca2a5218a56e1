"""Signals: what a sender told us, in one shape for every sender."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

SOURCE_LABEL = "source"
EXPORTED_SOURCE = "exported_source"
"""A sender's own label `source`, the way Prometheus keeps such a one."""


class SignalStatus(StrEnum):
    """OCCURRED is a point event: it has no end."""

    FIRING = "firing"
    RESOLVED = "resolved"
    OCCURRED = "occurred"


@dataclass(frozen=True, slots=True)
class Signal:
    """One normalised observation.

    source: name of the intake ("alertmanager"); also present as the label `source`.
    key: stable identity of the alert at its source (Alertmanager's fingerprint).
    started_at: beginning of the episode; None for point events without a time of their own. (key, started_at) is the episode.
    ended_at: only for RESOLVED, and only when the sender gave a believable one.
    value: number sent as a number; None when the sender only gives text (see the rule's `value.from`).
    passed: for point events with a verdict (smoke tests); None otherwise.
    link: page for humans, "" when unknown.
    id: names this very observation at its source; the same id counts once. "" when the source gives none.
    """

    source: str
    key: str
    status: SignalStatus
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    started_at: datetime | None
    ended_at: datetime | None
    received_at: datetime
    value: float | None = None
    passed: bool | None = None
    link: str = ""
    id: str = ""


def claim(labels: dict[str, str], source: str) -> None:
    """Set the label `source`; a sender's own label of that name is kept under another."""
    if SOURCE_LABEL in labels:
        labels[EXPORTED_SOURCE] = labels[SOURCE_LABEL]
    labels[SOURCE_LABEL] = source
