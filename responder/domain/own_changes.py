"""What a run's own steps made of its targets: a feature flag that they switched off is nobody else's deployment.

Steps that change a pod template note what it was afterwards (`MADE` in their intent). A rollback later in the same run starts
from there, and the guards judge what was there before.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from responder.domain.incident import Incident
from responder.domain.version import Pin, Version, WorkloadState

MADE = "made"


def note_of(target: str, version: Version) -> Mapping[str, object]:
    """For the intent, under `MADE`."""
    return {"target": target, "digest": version.digest, "fingerprint": version.fingerprint}


def made_by(incident: Incident, target: str) -> Mapping[str, str]:
    """Fingerprints by digest of what this run has made of the target."""
    notes = [(record.intent or {}).get(MADE) for record in incident.steps]
    return {
        str(note["digest"]): str(note["fingerprint"]) for note in notes if isinstance(note, Mapping) and note["target"] == target
    }


def as_found(state: WorkloadState, pin: Pin | None, made: Mapping[str, str]) -> WorkloadState:
    """The state as it would be without the run's own changes; unchanged where what runs now is somebody else's."""
    if pin is None or state.current.digest not in made or state.current.digest == pin.from_version.digest:
        return state
    found = replace(pin.from_version, current=True)
    earlier = [one for one in state.history if one.digest not in made and one.digest != found.digest]
    return replace(state, current=found, history=(found, *earlier))


def starting_from(pin: Pin, state: WorkloadState, made: Mapping[str, str]) -> Pin:
    """The pin for a rollback from what runs now, where the run's own steps made it."""
    return replace(pin, from_version=state.current) if state.current.digest in made else pin
