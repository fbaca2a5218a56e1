"""What those who follow along are told: every change of an incident, numbered."""

from __future__ import annotations

from dataclasses import dataclass

from responder.domain.incident import Incident, IncidentEvent


@dataclass(frozen=True, slots=True)
class Change:
    """incident: as it was after the change. events: what was added to its story with it. id: `<life of the process>-<number>`."""

    id: str
    incident: Incident
    events: tuple[IncidentEvent, ...]
