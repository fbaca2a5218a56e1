"""Domain values as the JSON documents of the API. Field names are part of the stable surface."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from datetime import datetime

from responder.domain.incident import Incident, IncidentEvent, StepRecord
from responder.domain.target import ArgoCdRef, CheckoutRef, ComposeRef, HelmRef, Place, Target, WorkloadRef
from responder.domain.version import Version, WorkloadState

Document = dict[str, object]


def incident_document(incident: Incident, events: Sequence[IncidentEvent] | None = None) -> Document:
    """events: None leaves them out, as lists do."""
    pin = incident.pins.get(incident.target)
    document: Document = {
        "id": incident.id,
        "target": incident.target,
        "rule": incident.rule,
        "group": incident.group,
        "severity": incident.severity,
        "status": incident.status,
        "reason": incident.reason,
        "opened_at": time_text(incident.opened_at),
        "closed_at": time_text(incident.closed_at),
        "pinned": {"from": _pinned(pin.from_version), "to": _pinned(pin.to_version)} if pin else None,
        "plan": incident.plan.name if incident.plan else None,
        "trigger": {
            "labels": dict(incident.trigger_labels),
            "annotations": dict(incident.trigger_annotations),
            "value": incident.value,
            "link": incident.trigger_link,
        },
        "groups": [{"rule": rule, "group": group} for rule, group in incident.groups],
        "began_at": time_text(incident.began_at),
        "acted_at": time_text(incident.acted_at),
        "recovered_at": time_text(incident.recovered_at),
        "monitor_until": time_text(incident.monitor_until),
        "steps": [_step(step) for step in incident.steps],
    }
    if events is not None:
        document["events"] = [_event(event) for event in events]
    return document


def target_document(target: Target) -> Document:
    return {
        "name": target.name,
        **_place(target.workload),
        "mode": target.mode,
        "match": [str(matcher) for matcher in target.matchers],
    }


def _place(place: Place) -> Document:
    """Under the word that the rulebook has for this kind of place."""
    words = {WorkloadRef: "kubernetes", HelmRef: "helm", ArgoCdRef: "argocd", ComposeRef: "compose", CheckoutRef: "checkout"}
    return {words[type(place)]: dataclasses.asdict(place)}


def versions_document(target: str, state: WorkloadState) -> Document:
    """Newest revision first."""
    return {
        "target": target,
        "read_at": time_text(state.read_at),
        "paused": state.paused,
        "rollout": {
            "phase": state.rollout.phase,
            "reason": state.rollout.reason,
            "updated": state.rollout.updated,
            "available": state.rollout.available,
            "desired": state.rollout.desired,
        },
        "versions": [_version(version) for version in state.history],
    }


def _pinned(version: Version) -> Document:
    return {"version": version.version, "revision": version.revision, "fingerprint": version.fingerprint}


def _version(version: Version) -> Document:
    return {
        **_pinned(version),
        "images": list(version.images),
        "created_at": time_text(version.created_at),
        "change_cause": version.change_cause,
        "current": version.current,
    }


def _step(step: StepRecord) -> Document:
    return {
        "name": step.name,
        "uses": step.uses,
        "phase": step.phase,
        "status": step.status,
        "attempts": step.attempts,
        "started_at": time_text(step.started_at),
        "ended_at": time_text(step.ended_at),
        "output": step.output,
    }


def _event(event: IncidentEvent) -> Document:
    data: Mapping[str, object] = event.data
    return {"at": time_text(event.at), "kind": event.kind, "text": event.text, "data": dict(data)}


def time_text(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat().replace("+00:00", "Z")
