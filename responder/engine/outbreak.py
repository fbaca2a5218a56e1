"""When many targets fall ill at once, it is the cluster or a dependency, and rolling back would only add to it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from responder.domain.decision import Decision, DecisionKind
from responder.domain.rulebook import MassHold, Response, Severity
from responder.engine import reasons
from responder.engine.group import Group

RULE = "many_targets_ill"
"""Name under which the one loud decision goes."""


class Outbreak:
    """Counts the targets that fell ill within the window: those with a group of a rollback rule that began to hold then and
    still does, and those for which one responded then. Groups that are pending count, so that the first of many is not
    rolled back before the others are due.

    loud: what was told everybody when it was last too many.
    """

    def __init__(self, hold: MassHold | None, declared: int) -> None:
        self.is_watching = hold is not None
        self._hold = hold
        self._declared = declared
        self._onsets: dict[str, dict[Group, datetime]] = {}  # of each target, latest last
        self._responded: dict[str, datetime] = {}
        self._last: datetime | None = None
        self.loud: Decision | None = None

    def begins(self, group: Group, at: datetime) -> None:
        if self._counts(group):
            self._onsets.setdefault(group.target, {})[group] = at

    def ends(self, group: Group) -> None:
        onsets = self._onsets.get(group.target)
        if onsets is not None and onsets.pop(group, None) is not None and not onsets:
            del self._onsets[group.target]

    def judge(self, group: Group, now: datetime) -> tuple[str, Decision | None]:
        """The group is about to respond. Why it must not act, "" when it may; and what everybody must be told now."""
        if self._hold is None or not self._counts(group):
            return "", None
        self._responded[group.target] = now
        ill = self._ill(now)
        if not self._hold.is_exceeded(len(ill), self._declared):
            return "", None
        why = reasons.many_ill(len(ill), self._declared, self._hold.within)
        is_news = self._last is None or now - self._last >= self._hold.within
        self._last = now
        if not is_news:
            return why, None
        self.loud = Decision(
            kind=DecisionKind.RESPOND,
            at=now,
            reason=f"{why}: {', '.join(sorted(ill))}",
            rule=RULE,
            episode=f"{RULE}@{now.isoformat()}",
            began_at=now,
            severity=Severity.P0,
            response=Response.NOTIFY,
        )
        return why, self.loud

    def _ill(self, now: datetime) -> set[str]:
        if self._hold is None:
            return set()
        after = now - self._hold.within
        for target in [target for target, at in self._responded.items() if at <= after]:
            del self._responded[target]
        ill = {target for target, onsets in self._onsets.items() if next(reversed(onsets.values())) > after}
        return ill | self._responded.keys()

    def _counts(self, group: Group) -> bool:
        return self.is_watching and group.target != "" and group.watch.rule.response is not Response.NOTIFY

    # --- for snapshots ---------------------------------------------------------------------------------------------------

    def onsets(self) -> Iterator[tuple[Group, datetime]]:
        for onsets in self._onsets.values():
            yield from onsets.items()

    def responses(self) -> tuple[dict[str, datetime], datetime | None]:
        return self._responded, self._last

    def put_responses(self, responded: dict[str, datetime], last: datetime | None, loud: Decision | None) -> None:
        self._responded, self._last, self.loud = responded, last, loud
