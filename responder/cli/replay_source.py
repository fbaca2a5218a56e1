"""A file of webhooks as journal entries."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from responder.errors import InvalidInputError
from responder.intakes import INTAKES
from responder.ports import Entry, EntryKind

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(slots=True)
class WebhookFile:
    """One JSON document a line: `{"received_at": …, "source": …, "body": …}`, or a bare body of Alertmanager's.

    A bare body is taken to have arrived when the latest of its alerts changed, and never before the line above it.
    complain: told of every line that can't be used, with its place.
    """

    path: Path
    complain: Callable[[str], None]
    _last: datetime = _EPOCH

    def entries(self) -> Iterator[Entry]:
        with self.path.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                if not line.strip():
                    continue
                try:
                    yield self._entry(number, line)
                except (InvalidInputError, ValueError) as error:
                    field = f"{error.field}: " if isinstance(error, InvalidInputError) and error.field else ""
                    self.complain(f"{self.path}:{number}: {field}{error}")

    def _entry(self, number: int, line: bytes) -> Entry:
        document = orjson.loads(line)
        if not isinstance(document, dict):
            raise InvalidInputError("must be a JSON object")
        wrapped = "body" in document
        source = str(document.get("source") or "alertmanager") if wrapped else "alertmanager"
        if source not in INTAKES:
            raise InvalidInputError(f"must be one of {', '.join(INTAKES)}, not {source[:40]!r}", field="source")
        at = _moment(document.get("received_at"), "received_at") if wrapped else None
        content = document["body"] if wrapped else document
        body = content.encode() if isinstance(content, str) else orjson.dumps(content)
        headers = (
            {str(name).lower().encode(): str(value).encode() for name, value in (document.get("headers") or {}).items()}
            if wrapped
            else {}
        )
        if at is None:
            at = max(self._last, _latest_change(content))
        self._last = max(self._last, at)
        return Entry(number, at, EntryKind.SIGNALS, INTAKES[source](body, at, headers).signals)


def _moment(value: object, field: str) -> datetime | None:
    if value is None:
        return None
    try:
        found = datetime.fromisoformat(str(value))
    except ValueError:
        raise InvalidInputError(f"must be a time such as 2026-01-31T10:00:00Z, not {str(value)[:40]!r}", field=field) from None
    return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)


def _latest_change(content: Any) -> datetime:
    """The latest startsAt, or endsAt of what has resolved; 1970 when there is none."""
    alerts = content.get("alerts") if isinstance(content, dict) else None
    moments = [_EPOCH]
    for alert in alerts if isinstance(alerts, list) else ():
        if isinstance(alert, dict):
            name = "endsAt" if alert.get("status") == "resolved" else "startsAt"
            try:
                moments.append(_moment(alert.get(name), name) or _EPOCH)
            except InvalidInputError:
                continue
    return max(moments)
