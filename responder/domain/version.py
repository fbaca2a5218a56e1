"""Versions of a target, facts about it read freshly, pins and the ledger."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from responder.domain.surroundings import Surroundings


@dataclass(frozen=True, slots=True)
class Version:
    """One version a target has run or runs.

    version: image tag, else digest, else the label `app.kubernetes.io/version`; for people.
    revision: the target's own numbering ("5" for a Deployment).
    fingerprint: SHA-256 (hex) over what is material: images, command, env, resources, config references; no restart stamps.
    digest: SHA-256 (hex) over the whole pod template without `pod-template-hash`: equal means nothing to do.
    created_at: when it was first rolled out as far as the target's own history tells; None when unknown.
    current: True for what the target is asked to run now.
    """

    version: str
    revision: str
    fingerprint: str
    digest: str
    images: tuple[str, ...] = ()
    created_at: datetime | None = None
    change_cause: str = ""
    current: bool = False


class RolloutPhase(StrEnum):
    PROGRESSING = "progressing"
    COMPLETE = "complete"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class RolloutStatus:
    """Where a rollout is. reason: plain words, for example `2 of 3 new pods available`."""

    phase: RolloutPhase
    reason: str
    updated: int = 0
    available: int = 0
    desired: int = 0


@dataclass(frozen=True, slots=True)
class Owner:
    """Somebody who would revert our change. kind: `ArgoCD`, `Flux`, `Helm`, or the kind of a controller ownerReference."""

    kind: str
    name: str


@dataclass(frozen=True, slots=True)
class WorkloadState:
    """Facts about a target, read at `read_at`.

    history: every version the target can go back to and the current one, newest revision first.
    generation, uid: preconditions for a write.
    owner_unknown: why the owners could not be determined; "" when they could.
    surroundings: None when nobody asked for them, or nobody knows any.
    """

    uid: str
    generation: int
    current: Version
    history: tuple[Version, ...]
    rollout: RolloutStatus
    read_at: datetime
    replicas: int = 0
    paused: bool = False
    annotations: Mapping[str, str] = field(default_factory=dict)
    owners: tuple[Owner, ...] = ()
    owner_unknown: str = ""
    surroundings: Surroundings | None = None


@dataclass(frozen=True, slots=True)
class Pin:
    """What a rollback replaces and by what; written down before the first byte goes out, never chosen again.

    uid: of the object; another uid means another object: abort. incident: for the trace on the object, "" for none.
    """

    target: str
    uid: str
    from_version: Version
    to_version: Version
    incident: str = ""


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """One stretch of time during which a target was asked to run a version.

    target: `Target.key`, the place in words. rolled_out_at: when it was asked to; None when unknown (older than the ledger).
    available_from, available_to: a stretch of time in which it was fully available without a break; None if never.
    available_open: that stretch was still going on when last looked at.
    longest: the longest such stretch that has ended.
    replaced_at: when another version took over; None while current.
    observed: False for entries filled from the cluster's own history.
    failed_at: when an incident first blamed this version; None if never.
    """

    target: str
    fingerprint: str
    version: str
    revision: str
    rolled_out_at: datetime | None
    available_from: datetime | None = None
    available_to: datetime | None = None
    available_open: bool = False
    longest: timedelta = timedelta(0)
    replaced_at: datetime | None = None
    observed: bool = True
    failed_at: datetime | None = None
