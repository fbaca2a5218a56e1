"""Versions, states and ledger entries to build test facts from. Times are minutes after NOW."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from responder.domain.target import GuardSettings, Target, WorkloadRef
from responder.domain.version import LedgerEntry, RolloutPhase, RolloutStatus, Version, WorkloadState

NOW = datetime(2026, 11, 22, 3, 0, tzinfo=UTC)


def at(minutes: float) -> datetime:
    return NOW + timedelta(minutes=minutes)


def version(name: str, revision: int, created: float | None, *, digest: str = "", current: bool = False) -> Version:
    return Version(
        version=name,
        revision=str(revision),
        fingerprint=f"fingerprint-of-{name}",
        digest=digest or f"digest-of-{name}-{revision}",
        images=(f"shop:{name}",),
        created_at=None if created is None else at(created),
        current=current,
    )


COMPLETE = RolloutStatus(RolloutPhase.COMPLETE, "3 of 3 pods available", 3, 3, 3)
PROGRESSING = RolloutStatus(RolloutPhase.PROGRESSING, "1 of 3 pods available", 1, 1, 3)
SCALED_TO_ZERO = RolloutStatus(RolloutPhase.COMPLETE, "nothing desired", 0, 0, 0)


def state(*history: Version, rollout: RolloutStatus = COMPLETE, read: float = 0, **changes: object) -> WorkloadState:
    """history: newest first; the first is the current version."""
    return WorkloadState(
        uid="uid-1",
        generation=7,
        current=history[0],
        history=history,
        rollout=rollout,
        read_at=at(read),
        **changes,  # type: ignore[arg-type]
    )


def entry(of: Version, rolled_out: float | None, replaced: float | None = None, **changes: object) -> LedgerEntry:
    return LedgerEntry(
        target="app",
        fingerprint=of.fingerprint,
        version=of.version,
        revision=of.revision,
        rolled_out_at=None if rolled_out is None else at(rolled_out),
        replaced_at=None if replaced is None else at(replaced),
        **changes,  # type: ignore[arg-type]
    )


def target(**guards: object) -> Target:
    return Target("app", WorkloadRef("shop", "app"), (), guards=GuardSettings(**guards))  # type: ignore[arg-type]
