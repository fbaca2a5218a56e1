"""How rollbacks went: counted from incidents alone."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from responder.domain.incident import Incident, IncidentStatus
from responder.domain.statistics import summarise
from tests.harness.databases import NOW, at, incident


def ended(number: int, status: IncidentStatus, *, acted: float | None, took: float | None = None, **changes: Any) -> Incident:
    """acted: minutes after NOW. took: minutes until it was verified."""
    moments = {
        "acted_at": None if acted is None else at(acted),
        "recovered_at": None if acted is None or took is None else at(acted + took),
        "opened_at": at(acted or 0),
    }
    return incident(number, status=status, **{**moments, **changes})


def test_what_changed_something_is_a_rollback_and_what_is_older_does_not_count() -> None:
    found = summarise(
        [
            ended(1, IncidentStatus.RESOLVED, acted=10, took=4),
            ended(2, IncidentStatus.RESOLVED, acted=20, took=8),
            ended(3, IncidentStatus.FAILED, acted=30, target="workers"),
            ended(4, IncidentStatus.FAILED, acted=40, took=6),  # verified, but the alert went on
            ended(5, IncidentStatus.MONITORING, acted=50, took=2),
            ended(6, IncidentStatus.REFUSED, acted=None),
            ended(7, IncidentStatus.RESOLVED, acted=-10, took=500),
        ],
        NOW,
    )
    assert (found.incidents, found.rollbacks, found.resolved, found.failed, found.others) == (6, 5, 2, 2, 1)
    assert (found.success_rate, found.mean_duration) == (0.5, timedelta(minutes=5))
    assert list(found.by_target.items()) == [("app", 4), ("workers", 1)]


def test_without_any_there_is_no_rate_and_no_mean() -> None:
    found = summarise([], NOW)
    assert (found.rollbacks, found.success_rate, found.mean_duration, found.by_target) == (0, None, None, {})
