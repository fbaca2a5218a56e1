"""The ledger as pure functions: what a target has run, and for how long it was fully available."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from responder.domain.version import LedgerEntry, RolloutPhase, Version, WorkloadState


def best_stretch(entries: Iterable[LedgerEntry]) -> timedelta | None:
    """The longest time one of these entries counts as fully available; None when nothing is known.

    Entries from before the ledger count as available for as long as they were current: nobody saw them fail.
    """
    lengths = [length for entry in entries for length in _stretches(entry)]
    return max(lengths, default=None)


def _stretches(entry: LedgerEntry) -> Iterable[timedelta]:
    if entry.longest:
        yield entry.longest
    if entry.available_from is not None and entry.available_to is not None:
        yield entry.available_to - entry.available_from
    if not entry.observed and entry.rolled_out_at is not None and entry.replaced_at is not None:
        yield entry.replaced_at - entry.rolled_out_at


def changed_at(state: WorkloadState, ledger: Iterable[LedgerEntry]) -> datetime | None:
    """When what runs now was rolled out. Revisions that differ only by a restart stamp are one version."""
    for entry in ledger:
        if entry.replaced_at is None and entry.fingerprint == state.current.fingerprint:
            return entry.rolled_out_at
    return _first_of_run(state.history, state.current)


def last_ran(ledger: Iterable[LedgerEntry], fingerprint: str) -> datetime | None:
    """When a version was last replaced; None when it is not known."""
    return max((one.replaced_at for one in ledger if one.fingerprint == fingerprint and one.replaced_at), default=None)


def _first_of_run(history: Sequence[Version], current: Version) -> datetime | None:
    first = current.created_at
    for version in history:  # newest first
        if version.fingerprint != current.fingerprint:
            break
        first = version.created_at
    return first


def blame(entries: Iterable[LedgerEntry], troubles: Iterable[datetime], within: timedelta) -> list[LedgerEntry]:
    """The entries, with `failed_at` for versions that were the suspect of an alert and were replaced soon after it.

    troubles: when earlier alerts that ask for a rollback began, whatever came of them. A version that ran on for longer than
    `within` has outlived the suspicion.
    """
    began = sorted(troubles)
    return [replace(entry, failed_at=entry.failed_at or _suspected_at(entry, began, within)) for entry in entries]


def _suspected_at(entry: LedgerEntry, troubles: Iterable[datetime], within: timedelta) -> datetime | None:
    start, end = entry.rolled_out_at, entry.replaced_at
    if start is None or end is None:
        return None
    return next((at for at in troubles if start <= at <= min(end, start + within) and end - at <= within), None)


def fill(target: str, state: WorkloadState) -> list[LedgerEntry]:
    """Entries from the target's own history, for a ledger that starts now. Oldest first, one per run of equal fingerprints."""
    runs: list[list[Version]] = []
    for version in reversed(state.history):
        if runs and runs[-1][0].fingerprint == version.fingerprint:
            runs[-1].append(version)
        else:
            runs.append([version])
    entries = []
    for run, following in zip(runs, [*runs[1:], None], strict=True):
        began, ended = run[0].created_at, following[0].created_at if following else None
        # A reused ReplicaSet keeps its first creation time: times that run backwards say nothing about how long it was current.
        known = following is None or (began is not None and ended is not None and ended >= began)
        entries.append(
            LedgerEntry(
                target=target,
                fingerprint=run[0].fingerprint,
                version=run[-1].version,
                revision=run[-1].revision,
                rolled_out_at=began if known else None,
                replaced_at=(ended or state.read_at) if following else None,
                observed=False,
            )
        )
    return entries


def advance(
    entries: Sequence[LedgerEntry], target: str, state: WorkloadState, now: datetime, *, watching: bool
) -> list[LedgerEntry]:
    """The entries to write after seeing this state; [] when nothing changed.

    watching: False for the first state after a start, when a change may have happened unseen.
    """
    if not entries:
        filled = fill(target, state)
        return [*filled[:-1], _with_availability(filled[-1], state, now)] if filled else []
    open_entry = next((entry for entry in reversed(entries) if entry.replaced_at is None), None)
    if open_entry is not None and open_entry.fingerprint == state.current.fingerprint:
        seen = open_entry if watching else _end_stretch(open_entry)
        updated = _with_availability(replace(seen, revision=state.current.revision), state, now)
        return [updated] if updated != open_entry else []
    rolled_out_at = _rollout_time(state.current, open_entry, now, watching=watching)
    new = LedgerEntry(target, state.current.fingerprint, state.current.version, state.current.revision, rolled_out_at)
    changed = [_with_availability(new, state, now)]
    if open_entry is not None:
        changed.insert(0, _close(open_entry, rolled_out_at or now, watching=watching))
    return changed


def up_to_date(entries: Sequence[LedgerEntry], target: str, state: WorkloadState, now: datetime) -> list[LedgerEntry]:
    """The entries with this state seen, for whoever judges before the ledger's own watch has looked. Not for writing.

    A version that was replaced meanwhile counts as available up to the last look that saw it so, and no longer.
    """
    seen = advance(entries, target, state, now, watching=False)
    last_open = next((entry for entry in reversed(entries) if entry.replaced_at is None), None)
    return [*(entry for entry in entries if not seen or entry is not last_open), *seen]


def _close(entry: LedgerEntry, at: datetime, *, watching: bool) -> LedgerEntry:
    """End an entry; a version that was available until the change was available up to then, if we were watching."""
    if watching and entry.available_open and entry.available_to is not None:
        entry = replace(entry, available_to=max(at, entry.available_to))
    return replace(_end_stretch(entry), replaced_at=at)


def _end_stretch(entry: LedgerEntry) -> LedgerEntry:
    if not entry.available_open or entry.available_from is None or entry.available_to is None:
        return entry
    length = entry.available_to - entry.available_from
    return replace(entry, available_open=False, longest=max(entry.longest, length))


def _rollout_time(current: Version, previous: LedgerEntry | None, now: datetime, *, watching: bool) -> datetime | None:
    """The cluster's own time when it is later than the previous version's, else now if we saw the change happen."""
    created = current.created_at
    after = previous.rolled_out_at if previous else None
    if created is not None and (after is None or created > after):
        return created
    return now if watching else None


def _with_availability(entry: LedgerEntry, state: WorkloadState, now: datetime) -> LedgerEntry:
    if state.rollout.phase is not RolloutPhase.COMPLETE or state.rollout.desired == 0:
        return _end_stretch(entry)
    if entry.available_open:
        return replace(entry, available_to=max(now, entry.available_to or now))
    return replace(entry, available_from=now, available_to=now, available_open=True)
