"""What a run changes, or would, for people."""

from __future__ import annotations

from collections.abc import Mapping

from responder.domain.incident import Incident
from responder.domain.selection import describe
from responder.domain.version import Pin
from responder.domain.wording import spell_duration


def spell_changes(pins: Mapping[str, Pin]) -> str:
    return ", ".join(f"{one.target} from {describe(one.from_version)} to {describe(one.to_version)}" for one in pins.values())


def spell_question(incident: Incident) -> str:
    """What people are asked about."""
    if incident.pins:
        return f"Change {spell_changes(incident.pins)}"
    return f"Run the plan {incident.plan.name if incident.plan else ''}"


def spell_waits(incident: Incident) -> str:
    """What would have come before acting, for observe mode; "" for nothing, else with a blank at its end."""
    asks = ""
    if incident.asks is not None:
        asks = f"asked {' or '.join(incident.asks.by) or 'for approval'}"
    waits = f"counted down {spell_duration(incident.grace)}" if incident.grace else ""
    said = " and ".join(text for text in (asks, waits) if text)
    return f"{said} and then " if said else ""
