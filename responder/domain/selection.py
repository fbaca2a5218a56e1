"""Which version to go back to: the newest one that is proven and was never blamed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta

from responder.domain.ledger import best_stretch
from responder.domain.version import LedgerEntry, Version, WorkloadState
from responder.domain.wording import spell_duration


@dataclass(frozen=True, slots=True)
class Choice:
    """version: None when there is none to go back to. passed_over: newer versions not taken, each with why."""

    version: Version | None
    reason: str
    passed_over: tuple[tuple[Version, str], ...]


def choose_version(
    state: WorkloadState, ledger: Iterable[LedgerEntry], bad_fingerprints: Mapping[str, str], proven_for: timedelta
) -> Choice:
    """Walk the history from the newest revision down. Versions with the current fingerprint are the suspect itself."""
    entries = tuple(ledger)
    passed_over: list[tuple[Version, str]] = []
    seen = {state.current.fingerprint}
    for version in state.history:
        if version.fingerprint in seen:
            continue
        seen.add(version.fingerprint)
        refusal, proof = assess(version, entries, bad_fingerprints, proven_for)
        if not refusal:
            return Choice(version, f"{describe(version)} is proven: {proof}" + _skipped(passed_over), tuple(passed_over))
        passed_over.append((version, refusal))
    if not passed_over:
        return Choice(None, "there is no earlier version to go back to", ())
    return Choice(None, "no earlier version is proven" + _skipped(passed_over), tuple(passed_over))


def describe(version: Version) -> str:
    """A version in words, for example `v1.2.2 (revision 4)`."""
    return f"{version.version} (revision {version.revision})"


@dataclass(frozen=True, slots=True)
class Proof:
    """Whether a version is proven, and why or why not."""

    holds: bool
    reason: str


def prove(version: Version, ledger: tuple[LedgerEntry, ...], bad: Mapping[str, str], proven_for: timedelta) -> Proof:
    """Whether it ran well for long enough, and why. bad: fingerprint → incident that rolled it back."""
    against, speaks_for = assess(version, ledger, bad, proven_for)
    return Proof(not against, against or speaks_for)


def assess(version: Version, ledger: tuple[LedgerEntry, ...], bad: Mapping[str, str], proven_for: timedelta) -> tuple[str, str]:
    """What speaks against going back to this version, and what for it: exactly one of the two is empty."""
    if version.fingerprint in bad:
        return f"rolled back by incident {bad[version.fingerprint]}", ""
    entries = [entry for entry in ledger if entry.fingerprint == version.fingerprint]
    if any(entry.failed_at for entry in entries):
        return "an incident blamed it", ""
    stretch = best_stretch(entries)
    if stretch is None:
        return "not known to have been fully available", ""
    if stretch < proven_for:
        return f"fully available for {spell_duration(stretch)} only, {spell_duration(proven_for)} needed", ""
    return "", f"it ran for {spell_duration(stretch)}"


def _skipped(passed_over: list[tuple[Version, str]]) -> str:
    if not passed_over:
        return ""
    return "; passed over: " + "; ".join(f"{describe(version)}: {why}" for version, why in passed_over)
