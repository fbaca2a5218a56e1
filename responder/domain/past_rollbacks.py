"""Rollbacks that were begun before, here and elsewhere: how many are enough, and when they fail too often.

Decisions say (outcome, reason). What they count is on record for ever, so no restart forgets it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from responder.domain.guard import Outcome
from responder.domain.target import Limits, RollbackLimit, namespace_of
from responder.domain.wording import spell_duration

Judged = tuple[Outcome, str]


@dataclass(frozen=True, slots=True)
class PastRollback:
    """One that was begun. target: `Target.key`. failed, succeeded: how its incident ended; both False while it goes on.

    ordered: by a person, not by an alert.
    """

    target: str
    incident: str
    at: datetime
    failed: bool = False
    succeeded: bool = False
    ordered: bool = False


def judge_own_limit(past: Iterable[PastRollback], key: str, limit: RollbackLimit, now: datetime) -> Judged:
    """key: the target's `Target.key`."""
    begun = [one for one in past if one.target == key and now - one.at < limit.within]
    return _against(limit, len(begun), "")


def judge_blast_radius(past: Iterable[PastRollback], key: str, limits: Limits, now: datetime) -> Judged:
    """Over all targets, and in the target's own namespace."""
    known = list(past)
    namespace = namespace_of(key)
    everywhere = [one for one in known if now - one.at < limits.rollbacks.within]
    outcome, reason = _against(limits.rollbacks, len(everywhere), " over all targets")
    if outcome is not Outcome.PASS or not namespace:
        return outcome, reason
    near = [one for one in known if namespace_of(one.target) == namespace and now - one.at < limits.per_namespace.within]
    outcome, there = _against(limits.per_namespace, len(near), f" in namespace {namespace}")
    return outcome, there if outcome is not Outcome.PASS else f"{reason}; {there}"


def judge_breaker(
    past: Sequence[PastRollback], key: str, own: RollbackLimit, limits: Limits, looked_at: datetime | None
) -> Judged:
    """looked_at: when a person last lifted a hold: what failed before that was seen to."""
    mine = _opened_by([one for one in past if one.target == key], own, looked_at)
    if mine:
        return Outcome.REFUSE, f"the breaker is open: {_told(mine, own)} failed on this target; a person must close it"
    everywhere = _opened_by(past, limits.failures, looked_at)
    if everywhere:
        return (
            Outcome.REFUSE,
            f"the breaker for all targets is open: {_told(everywhere, limits.failures)} failed; a person must close it",
        )
    return Outcome.PASS, "the breaker is closed"


def judge_settle(past: Iterable[PastRollback], key: str, settle_for: timedelta, now: datetime) -> Judged:
    """Whether the last rollback of this target has had its time. key: `Target.key`."""
    latest = max((one.at for one in past if one.target == key), default=None)
    if latest is not None and now - latest < settle_for:
        ago = spell_duration(now - latest)
        return (
            Outcome.REFUSE,
            f"the last rollback of this target began {ago} ago: it is given {spell_duration(settle_for)} to settle",
        )
    return Outcome.PASS, "no rollback of this target is still settling"


def _opened_by(past: Iterable[PastRollback], limit: RollbackLimit, looked_at: datetime | None) -> list[PastRollback]:
    """The failures that opened the breaker; [] while it is closed. It does not close by itself: a person's rollback that
    succeeds closes it, or a hold that a person lifts."""
    failures: list[PastRollback] = []
    opened: list[PastRollback] = []
    for one in sorted(past, key=lambda each: each.at):
        if looked_at is not None and one.at <= looked_at:
            continue
        if one.ordered and one.succeeded:
            failures, opened = [], []
        if one.failed:
            failures = [earlier for earlier in failures if one.at - earlier.at < limit.within] + [one]
            if len(failures) >= limit.count:
                opened = list(failures)
    return opened


def _against(limit: RollbackLimit, begun: int, where: str) -> Judged:
    rollbacks = "1 rollback" if begun == 1 else f"{begun} rollbacks"
    seen = f"{rollbacks}{where} in the last {spell_duration(limit.within)}, limit {limit.count}"
    return (Outcome.REFUSE if begun >= limit.count else Outcome.PASS), seen


def _told(failures: Sequence[PastRollback], limit: RollbackLimit) -> str:
    number = "1 rollback" if len(failures) == 1 else f"{len(failures)} rollbacks"
    return f"{number} within {spell_duration(limit.within)} ({', '.join(one.incident for one in failures[-3:])})"
