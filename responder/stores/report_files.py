"""Reports as files in a folder, for whoever keeps them elsewhere: one for each closed incident that changed something.

Level-triggered: what has no file yet gets one, whatever happened to the process when the incident closed. A file is never written
again, so what people add to it stays.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Sequence
from datetime import UTC
from pathlib import Path

import structlog

from responder.domain.incident import Incident, IncidentEvent
from responder.ports import Incidents

_LATEST = 200  # incidents looked at after a start; later only as many as can have closed meanwhile
_AT_A_TIME = 20

_log = structlog.get_logger(__name__)


class ReportFiles:
    """render: the report in Markdown."""

    def __init__(self, folder: Path, incidents: Incidents, render: Callable[[Incident, Sequence[IncidentEvent]], str]) -> None:
        self._folder = folder
        self._incidents = incidents
        self._render = render
        self._looked = False

    async def write_reports(self) -> None:
        """Write those that are missing."""
        found = await self._incidents.list(limit=_AT_A_TIME if self._looked else _LATEST)
        for incident in found:
            path = self._folder / name_of(incident)
            if incident.is_open or incident.acted_at is None or await asyncio.to_thread(path.exists):
                continue
            text = self._render(incident, await self._incidents.events(incident.id))
            await asyncio.to_thread(_write, path, text)
            _log.info("report_written", incident=incident.id, file=str(path))
        self._looked = True


def name_of(incident: Incident) -> str:
    """`incident-production-20260301-120000-inc_01….md`: the alert's environment, else the target; in UTC."""
    environment = incident.trigger_labels.get("environment") or incident.target
    safe = re.sub(r"[^A-Za-z0-9_-]+", "-", environment)[:60].strip("-") or "unknown"
    return f"incident-{safe}-{incident.opened_at.astimezone(UTC):%Y%m%d-%H%M%S}-{incident.id}.md"


def _write(path: Path, text: str) -> None:
    """Whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    half = path.with_name(f".{path.name}.half")
    half.write_text(text, encoding="utf-8")
    half.replace(path)
