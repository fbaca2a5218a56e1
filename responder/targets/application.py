"""What an Application of Argo CD says: its versions, who owns it, and how far it is."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

import orjson

from responder.domain.ownership import ARGO_CD
from responder.domain.version import Owner, RolloutPhase, RolloutStatus, Version
from responder.targets.owners import owners_on

Object = Mapping[str, Any]

_SHA_LENGTH = 40
_INSTANCE_LABELS = ("argocd.argoproj.io/instance", "app.kubernetes.io/instance")


def is_automated(application: Object) -> bool:
    automated = ((application.get("spec") or {}).get("syncPolicy") or {}).get("automated")
    return automated is not None and automated.get("enabled") is not False


def owners(application: Object) -> tuple[Owner, ...]:
    """An ApplicationSet, another application (app of apps), Flux, Helm: each would undo a change of the sync policy."""
    meta = application["metadata"]
    whole = {"apiVersion": "argoproj.io/v1alpha1", "kind": "Application", **application}
    found = owners_on({**whole, "metadata": {"namespace": "", **meta}})
    labels = meta.get("labels") or {}
    parents = [str(labels[key]) for key in _INSTANCE_LABELS if labels.get(key) and labels[key] != meta["name"]]
    if parents and not found:
        return (Owner(ARGO_CD, parents[0]),)
    return found


def operation(application: Object) -> Object:
    """The latest sync, under way or over."""
    found: Object = (application.get("status") or {}).get("operationState") or {}
    return found


def is_operating(application: Object) -> bool:
    return bool(application.get("operation")) or operation(application).get("phase") in ("Running", "Terminating")


def wanted_revision(application: Object) -> str:
    """The Git revision of the operation that is asked for or under way; "" when it names none."""
    asked = application.get("operation") or operation(application).get("operation") or {}
    return str((asked.get("sync") or {}).get("revision", ""))


def history(application: Object) -> tuple[Version, ...]:
    """Newest first; () for an application that was never synced.

    A sync that failed may have changed half of it: it is the current version, then, although history does not list it.
    """
    status = application.get("status") or {}
    entries = sorted(status.get("history") or [], key=lambda one: int(one.get("id", 0)), reverse=True)
    images = tuple(str(one) for one in (status.get("summary") or {}).get("images") or [])
    failed = _failed_sync(application, entries[0]) if entries else None
    versions = [_version(one, current=number == 0 and failed is None) for number, one in enumerate(entries)]
    if failed is not None:
        versions.insert(0, failed)
    return tuple(_with_images(one, images) if one.current else one for one in versions)


def _failed_sync(application: Object, latest: Object) -> Version | None:
    state = operation(application)
    result = state.get("syncResult") or {}
    if state.get("phase") not in ("Failed", "Error") or result.get("revision") in (None, "", latest.get("revision")):
        return None
    entry = {**result, "id": int(latest.get("id", 0)) + 1, "deployedAt": state.get("startedAt")}
    return _version({"source": latest.get("source"), **entry}, current=True)


def _version(entry: Object, *, current: bool) -> Version:
    revisions = [str(one) for one in entry.get("revisions") or [entry.get("revision", "")]]
    sources = entry.get("sources") or [entry.get("source") or {}]
    mark = hashlib.sha256(orjson.dumps([revisions, sources], option=orjson.OPT_SORT_KEYS)).hexdigest()
    by = (entry.get("initiatedBy") or {}).get("username", "")
    return Version(
        version="+".join(one[:7] if len(one) == _SHA_LENGTH else one for one in revisions),
        revision=str(entry.get("id", 0)),
        fingerprint=mark,
        digest=mark,
        created_at=_time(entry.get("deployedAt")),
        change_cause="; ".join([*map(_place, sources), *([f"by {by}"] if by else [])]),
        current=current,
    )


def _place(source: Object) -> str:
    return " ".join(str(source[key]) for key in ("repoURL", "path", "chart", "targetRevision") if source.get(key))


def _with_images(version: Version, images: tuple[str, ...]) -> Version:
    return replace(version, images=images)


def status_of(application: Object) -> RolloutStatus:
    state, health = operation(application), (application.get("status") or {}).get("health") or {}
    healthy = health.get("status") == "Healthy"
    message = str(state.get("message", ""))[:300]
    if is_operating(application):
        return _status(RolloutPhase.PROGRESSING, f"sync under way{f': {message}' if message else ''}", healthy=healthy)
    if state.get("phase") in ("Failed", "Error"):
        return _status(RolloutPhase.FAILED, f"sync {str(state['phase']).lower()}: {message or 'no message'}", healthy=healthy)
    if not is_looked_at(application):
        return _status(RolloutPhase.PROGRESSING, "synced; its health has not been looked at since", healthy=False)
    if healthy:
        return _status(RolloutPhase.COMPLETE, "synced and healthy", healthy=True)
    why = f": {health['message']}" if health.get("message") else ""
    # Also `Degraded`: the pods of the bad version make it so until they are gone.
    return _status(RolloutPhase.PROGRESSING, f"health is {health.get('status', 'unknown')}{why}", healthy=False)


def is_looked_at(application: Object) -> bool:
    """Is the health newer than the latest sync?"""
    finished, seen = _time(operation(application).get("finishedAt")), _time((application.get("status") or {}).get("reconciledAt"))
    return finished is None or (seen is not None and seen >= finished)


def _status(phase: RolloutPhase, reason: str, *, healthy: bool) -> RolloutStatus:
    """An application is one: available or not."""
    return RolloutStatus(phase, reason, updated=int(healthy), available=int(healthy), desired=1)


def _time(text: Any) -> datetime | None:
    return datetime.fromisoformat(text) if isinstance(text, str) and text else None
