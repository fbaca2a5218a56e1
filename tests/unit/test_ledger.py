"""The ledger's arithmetic: what is written down as a target changes before our eyes, or while nobody looked."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta

import pytest

from responder.domain.ledger import advance, best_stretch, blame, changed_at, fill
from responder.domain.version import LedgerEntry, WorkloadState
from tests.unit.version_values import COMPLETE, PROGRESSING, SCALED_TO_ZERO, at, entry, state, version

V1, V2, V3 = version("v1", 1, -600), version("v2", 2, -300), version("v3", 3, -10, current=True)


def play(
    states: Iterable[tuple[float, WorkloadState]], entries: Iterable[LedgerEntry] = (), *, restarts: Iterable[float] = ()
) -> list[LedgerEntry]:
    """Feed states at minutes; at a restart the next state is the first one seen."""
    kept = {(one.fingerprint, one.rolled_out_at): one for one in entries}
    watching, pending = False, sorted(restarts)
    for minute, seen in states:
        if pending and minute >= pending[0]:
            pending.pop(0)
            watching = False
        ordered = sorted(kept.values(), key=lambda one: (one.replaced_at is None, one.rolled_out_at or at(-10_000)))
        for changed in advance(ordered, "app", seen, at(minute), watching=watching):
            kept[changed.fingerprint, changed.rolled_out_at] = changed
        watching = True
    return sorted(kept.values(), key=lambda one: (one.replaced_at is None, one.rolled_out_at or at(-10_000)))


def test_the_history_fills_an_empty_ledger() -> None:
    filled = fill("app", state(V3, V2, V1))
    assert [(one.version, one.rolled_out_at, one.replaced_at) for one in filled] == [
        ("v1", at(-600), at(-300)),
        ("v2", at(-300), at(-10)),
        ("v3", at(-10), None),
    ]
    assert best_stretch(filled[:1]) == timedelta(minutes=300)
    assert best_stretch(filled[2:]) is None, "the current version is not proven by having been rolled out"


def test_revisions_that_differ_by_a_restart_fill_one_entry() -> None:
    restarted = version("v2", 3, -100, current=True)
    filled = fill("app", state(restarted, V2, V1))
    assert [(one.version, one.rolled_out_at) for one in filled] == [("v1", at(-600)), ("v2", at(-300))]


def test_a_reused_replica_set_does_not_count_as_a_long_time() -> None:
    reused = replace(version("v1", 3, -600), current=True)  # rolled back to: its creation is older than v2's
    filled = fill("app", state(reused, V2))
    assert filled[0].version == "v2"
    assert best_stretch(filled[:1]) is None


def test_availability_is_one_stretch_without_a_break() -> None:
    entries = play(
        [(0, state(V1)), (5, state(V1)), (6, state(V1, rollout=PROGRESSING)), (7, state(V1)), (9, state(V1))],
    )
    assert [(one.available_from, one.available_to, one.longest) for one in entries] == [(at(7), at(9), timedelta(minutes=5))]
    assert best_stretch(entries) == timedelta(minutes=5)


def test_scaled_to_zero_is_not_available() -> None:
    entries = play([(0, state(V1, rollout=SCALED_TO_ZERO)), (60, state(V1, rollout=SCALED_TO_ZERO))])
    assert best_stretch(entries) is None


def test_a_new_version_ends_the_old_stretch_at_the_moment_of_change() -> None:
    v4 = version("v4", 4, 20)
    entries = play([(0, state(V3)), (21, state(v4, V3, rollout=PROGRESSING)), (22, state(v4, V3))], [entry(V3, -10)])
    assert [(one.version, one.rolled_out_at, one.replaced_at) for one in entries] == [
        ("v3", at(-10), at(20)),
        ("v4", at(20), None),
    ]
    assert entries[0].longest == timedelta(minutes=20)
    assert entries[1].available_from == at(22)


def test_what_happened_while_nobody_looked_is_not_invented() -> None:
    again = version("v2", 4, None, current=True)  # an undo to an old ReplicaSet: its creation time says nothing
    entries = play([(0, state(V3, V2)), (5, state(V3, V2)), (90, state(again, V3))], [entry(V3, -10)], restarts=[90])
    old, new = sorted(entries, key=lambda one: one.replaced_at is None)
    assert old.longest == timedelta(minutes=5), "v3 was last seen available at minute 5"
    assert new.rolled_out_at is None, "so the guard on recent changes says unknown"


def test_the_same_undo_seen_live_is_dated() -> None:
    again = version("v2", 4, None, current=True)
    entries = play([(0, state(V3, V2)), (5, state(again, V3))], [entry(V3, -10)])
    assert [one.rolled_out_at for one in entries if one.replaced_at is None] == [at(5)]


def test_a_restart_of_ours_does_not_join_two_stretches() -> None:
    entries = play([(0, state(V3)), (8, state(V3)), (60, state(V3)), (63, state(V3))], [entry(V3, -10)], restarts=[60])
    assert best_stretch(entries) == timedelta(minutes=8)


def test_nothing_is_written_when_nothing_changed() -> None:
    seen = state(V3, rollout=PROGRESSING)
    assert advance([entry(V3, -10)], "app", seen, at(1), watching=True) == []


def test_when_the_current_version_was_rolled_out() -> None:
    restarted = version("v3", 4, -1, current=True)
    assert changed_at(state(restarted, V3, V2), ()) == at(-10)
    assert changed_at(state(restarted, V3, V2), [entry(V3, -9)]) == at(-9), "the ledger saw it"
    assert changed_at(state(V3, V2), [entry(V2, -300)]) == at(-10), "the ledger lags behind: the history decides"
    assert COMPLETE.desired == 3


BLAME = {
    "an alert soon after it was rolled out, and it was replaced soon after that": (-290, True),
    "it was not rolled out yet": (-301, False),
    "it had run for long before the alert": (-239, False),
    "it ran on for long after the alert": (-70, False),
    "it was replaced before the alert": (-5, False),
}


@pytest.mark.parametrize(("trouble", "blamed"), BLAME.values(), ids=BLAME.keys())
def test_a_version_is_blamed_when(trouble: float, blamed: bool) -> None:
    replaced = -10 if trouble == -70 or trouble == -5 else -240
    run = entry(V2, -300, replaced, longest=timedelta(hours=1))
    [judged] = blame([run], [at(trouble)], timedelta(hours=1))
    assert (judged.failed_at is not None) is blamed
