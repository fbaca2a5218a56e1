"""Every kind of database that the stores' contract is checked on, and values to put into one. Times are minutes after NOW."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from responder.domain.incident import Incident, IncidentEvent, IncidentStatus
from responder.domain.notification import Message, Moment
from responder.domain.rulebook import Severity
from responder.domain.signal import Signal, SignalStatus
from responder.ports import OutboxEntry
from responder.stores.database import Database, open_database

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def at(minutes: float) -> datetime:
    return NOW + timedelta(minutes=minutes)


@asynccontextmanager
async def sqlite_database(folder: Path) -> AsyncIterator[Database]:
    """Opened again on the same folder, it is the same database."""
    database = await open_database(f"sqlite:///{folder}/responder.db")
    try:
        yield database
    finally:
        await database.close()


OpenDatabase = Callable[[Path], AbstractAsyncContextManager[Database]]
DATABASES: dict[str, OpenDatabase] = {"sqlite": sqlite_database}


def signal(key: str = "alert-1", **changes: Any) -> Signal:
    values: dict[str, Any] = {
        "source": "alertmanager",
        "key": key,
        "status": SignalStatus.FIRING,
        "labels": {"alertname": "HighErrorRate", "source": "alertmanager"},
        "annotations": {"value": "7.3"},
        "started_at": at(-2),
        "ended_at": None,
        "received_at": NOW,
        "link": "http://prometheus/graph",
    }
    return Signal(**{**values, **changes})


def incident(
    number: int = 1, *, target: str = "app", status: IncidentStatus = IncidentStatus.RUNNING, **changes: Any
) -> Incident:
    values: dict[str, Any] = {
        "id": f"inc_{number}",
        "identity": f"error_rate||alert-{number}@start",
        "target": target,
        "rule": "error_rate",
        "group": "",
        "severity": Severity.P1,
        "status": status,
        "reason": "error rate above 5 %",
        "opened_at": at(number),
    }
    return Incident(**{**values, **changes})


def happening(kind: str, minutes: float = 0) -> IncidentEvent:
    return IncidentEvent(at(minutes), kind, f"{kind} happened")


def post(to: str, number: int, *, of: str = "inc_1", minutes: float = 0) -> OutboxEntry:
    message = Message(f"{of}-{number}", of, Moment.OPENED, Severity.P1, "app", f"title {number}", "text", at(minutes))
    return OutboxEntry(to, message)
