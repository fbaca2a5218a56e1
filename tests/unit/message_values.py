"""Messages and deliveries for tests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from responder.domain.notification import Delivery, Message, Moment
from responder.domain.rulebook import Severity

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def message(number: int = 1, incident: str = "inc_7", moment: Moment = Moment.OPENED, **changes: Any) -> Message:
    built = Message(
        id=f"{incident}-{number}",
        incident_id=incident,
        moment=moment,
        severity=Severity.P1,
        target="shop",
        title="HighErrorRate on shop",
        text="Error ratio 7.3% is above 5%.",
        at=NOON,
        facts=(("Rule", "error_rate_spike"), ("From", "1.5.0")),
        link="https://responder.example.com/incidents/inc_7",
    )
    return replace(built, **changes)


def delivery(
    told: Message | None = None,
    *,
    identity: int = 1,
    to: str = "slack",
    attempts: int = 0,
    remote: Mapping[str, str] | None = None,
) -> Delivery:
    return Delivery(identity, to, told or message(), attempts, remote or {})
