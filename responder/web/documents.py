"""Domain values as the JSON documents of the API. Field names are part of the stable surface."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from datetime import datetime

from responder.domain.guard import Verdict
from responder.domain.incident import Approval, Incident, IncidentEvent, Order, StepRecord, Word
from responder.domain.people import AuditEntry, Hold, Suppression
from responder.domain.selection import Proof
from responder.domain.target import ArgoCdRef, CheckoutRef, ComposeRef, HelmRef, Place, Target, WorkloadRef
from responder.domain.version import Pin, Version, WorkloadState
from responder.engine.orders import Preview

Document = dict[str, object]


def incident_document(incident: Incident, events: Sequence[IncidentEvent] | None = None) -> Document:
    """events: None leaves them out, as lists do."""
    pin = incident.pins.get(incident.target)
    document: Document = {
        "id": incident.id,
        "target": incident.target,
        "workload": incident.workload,
        "rule": incident.rule,
        "group": incident.group,
        "severity": incident.severity,
        "status": incident.status,
        "reason": incident.reason,
        "opened_at": time_text(incident.opened_at),
        "closed_at": time_text(incident.closed_at),
        "pinned": _pinned_pair(pin) if pin else None,
        "pins": {name: _pinned_pair(one) for name, one in incident.pins.items()},
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
        "countdown_until": time_text(incident.countdown_until),
        "approvals": [_approval(approval) for approval in incident.approvals],
        "order": _order(incident.order) if incident.order else None,
        "inputs": dict(incident.inputs),
        "cancel": _word(incident.cancel),
        "acknowledged": _word(incident.acknowledged),
        "steps": [_step(step) for step in incident.steps],
    }
    if events is not None:
        document["events"] = [_event(event) for event in events]
    return document


def suppression_document(suppression: Suppression) -> Document:
    return {
        "id": suppression.id,
        "matchers": [str(matcher) for matcher in suppression.matchers],
        "until": time_text(suppression.until),
        "reason": suppression.reason,
        "by": suppression.by,
        "created_at": time_text(suppression.created_at),
        "ended": _word(suppression.ended),
    }


def hold_document(hold: Hold) -> Document:
    return {"held": hold.held, "reason": hold.reason, "by": hold.by, "at": time_text(hold.at)}


def audit_document(number: int, entry: AuditEntry) -> Document:
    return {
        "number": number,
        "at": time_text(entry.at),
        "by": entry.by,
        "action": entry.action,
        "subject": entry.subject,
        "outcome": entry.outcome,
        "text": entry.text,
    }


def preview_document(preview: Preview) -> Document:
    """What a dry run answers."""
    pin = preview.pins.get(preview.request.target)
    return {
        "dry_run": True,
        "would": "refuse" if preview.refusals else "observe" if preview.observed else "roll back",
        "target": preview.request.target,
        "reason": "; ".join(preview.refusals),
        "refusals": list(preview.refusals),
        "may_override": list(preview.may_override),
        "pinned": _pinned_pair(pin) if pin else None,
        "pins": {name: _pinned_pair(one) for name, one in preview.pins.items()},
        "guards": guards_document(preview.verdicts),
        "plan": preview.plan.name,
        "steps": [{"name": step.name, "uses": step.uses} for step in preview.plan.walk()],
        "verify": [{"name": step.name, "uses": step.uses} for step in preview.verified()],
    }


def guards_document(verdicts: Mapping[str, Sequence[Verdict]]) -> Document:
    """By target."""
    return {
        target: [{"guard": one.guard, "outcome": one.outcome, "reason": one.reason} for one in found]
        for target, found in verdicts.items()
    }


def target_document(target: Target, *, watched: bool) -> Document:
    """watched: whether it was seen since the service started."""
    return {
        "name": target.name,
        "place": str(target.workload),
        **_place(target.workload),
        "mode": target.mode,
        "watched": watched,
        "match": [str(matcher) for matcher in target.matchers],
    }


def _place(place: Place) -> Document:
    """Under the word that the rulebook has for this kind of place."""
    words = {WorkloadRef: "kubernetes", HelmRef: "helm", ArgoCdRef: "argocd", ComposeRef: "compose", CheckoutRef: "checkout"}
    return {words[type(place)]: dataclasses.asdict(place)}


def versions_document(target: str, state: WorkloadState, proofs: Mapping[str, Proof], now: datetime) -> Document:
    """Newest revision first. proofs: by fingerprint."""
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
        "versions": [_version(version, proofs.get(version.fingerprint), now) for version in state.history],
    }


def _pinned_pair(pin: Pin) -> Document:
    return {"from": pinned_version(pin.from_version), "to": pinned_version(pin.to_version)}


def _approval(approval: Approval) -> Document:
    return {
        "step": approval.step,
        "by": list(approval.by),
        "asked_at": time_text(approval.asked_at),
        "expires_at": time_text(approval.expires_at),
        "given": _word(approval.given),
        "denied": _word(approval.denied),
    }


def _order(order: Order) -> Document:
    return {
        "by": order.by,
        "reason": order.reason,
        "version": order.version,
        "revision": order.revision,
        "immediate": order.immediate,
        "skip_validation": order.skip_validation,
        "create_backup": order.create_backup,
        "override": list(order.override),
    }


def _word(word: Word | None) -> Document | None:
    return None if word is None else {"by": word.by, "at": time_text(word.at), "reason": word.reason}


def pinned_version(version: Version) -> Document:
    return {"version": version.version, "revision": version.revision, "fingerprint": version.fingerprint}


def _version(version: Version, proof: Proof | None, now: datetime) -> Document:
    age = None if version.created_at is None else max(0, int((now - version.created_at).total_seconds()))
    return {
        **pinned_version(version),
        "age_seconds": age,
        "proven": proof is not None and proof.holds,
        "proof": proof.reason if proof else "",
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
