"""Whom else the engine asks or tells: the clock, Prometheus, Alertmanager, notifiers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Protocol

from responder.domain.listing import Listing
from responder.domain.matcher import Matcher
from responder.domain.measurement import Measurement
from responder.domain.notification import Delivery

Clock = Callable[[], datetime]
"""The time now, aware, UTC."""


class Prometheus(Protocol):
    """Answers queries for one number."""

    async def measure(self, query: str) -> Measurement:
        """Ask once, now. Raises nothing of its own: what goes wrong is the reason why there is no number."""
        ...


class AlertLists(Protocol):
    """Who can say which alerts are active now, besides what was heard: a second look before acting."""

    async def alerts(self, matchers: Iterable[Matcher]) -> Listing:
        """What is listed now for these matchers; may be more. What went wrong is in the answer, nothing is raised."""
        ...


class Notifier(Protocol):
    """One service that people are told by."""

    async def send(self, delivery: Delivery) -> Mapping[str, str]:
        """Deliver once. Returns what to remember about this incident at the service.

        Raises TemporaryError (with retry_after when the service said so) or PermanentError when trying again is no use.
        """
        ...
