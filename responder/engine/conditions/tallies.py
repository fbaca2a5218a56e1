"""The memories of all conditions that have one, group by group, and the members that stand for them while they hold."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta

from responder.domain.condition import (
    AbsentCondition,
    ConsecutiveCondition,
    CountCondition,
    RatioCondition,
)
from responder.domain.decision import Decision, DecisionKind
from responder.domain.reading import Reading, Verdict
from responder.domain.rule_state import GroupState, GroupView
from responder.engine import reasons
from responder.engine.alerts import Alert, StandIn
from responder.engine.conditions.absence import Absence
from responder.engine.conditions.count import Count
from responder.engine.conditions.ratio import Ratio
from responder.engine.conditions.sighting import Memory, Sighting
from responder.engine.conditions.streak import Streak
from responder.engine.rule_table import Match
from responder.engine.timers import Timers
from responder.engine.watches import Watch

LIMIT = 50_000
"""How many groups are counted at most. Beyond that new ones are not watched: forgetting old ones could hide what they hold."""
RANK = 0
"""Among timers: windows end before anything else happens at that instant."""
ABSENT = ("", "absent")
"""Stands for the alert that does not come."""
_HOLDS, _CALM = Verdict.HOLDS, Verdict.CALM
_IGNORE = DecisionKind.IGNORE

Place = Callable[[StandIn, Verdict, datetime, datetime, str], Decision]
"""member, verdict, since, now, why"""


def memory_of(watch: Watch) -> Memory:
    condition = watch.condition
    if isinstance(condition, CountCondition):
        return Count(condition)
    if isinstance(condition, ConsecutiveCondition):
        return Streak(condition, watch.life)
    if isinstance(condition, RatioCondition):
        return Ratio(condition)
    if isinstance(condition, AbsentCondition):
        return Absence(condition)
    raise TypeError(f"{condition} needs no memory")


class Tally:
    """The memory of one group. member: stands in the group while the condition holds. last: the latest that was taken.

    number, words: what was found when it was last looked at.
    """

    __slots__ = ("group", "last", "member", "memory", "number", "order", "target", "wake", "watch", "words")

    def __init__(self, watch: Watch, target: str, group: str) -> None:
        self.watch = watch
        self.target = target
        self.group = group
        self.memory = memory_of(watch)
        self.order = 0
        self.wake: datetime | None = None
        self.member: StandIn | None = None
        self.last: Alert | None = None
        self.number = 0.0
        self.words = ""


class Tallies:
    """place: gives a member its verdict. blank: a reading that says nothing."""

    def __init__(self, timers: Timers, place: Place, blank: Reading) -> None:
        self._blank = blank
        self._timers = timers
        self._place = place
        self._tallies: dict[tuple[int, str], Tally] = {}
        self._numbers = 0

    def feed(self, match: Match, sighting: Sighting, reading: Reading, now: datetime) -> Decision:
        """Something that matches was seen."""
        key = (match.watch.index, match.group)
        tally = self._tallies.get(key)
        is_new = tally is None
        if tally is None:
            if len(self._tallies) >= LIMIT:
                return _ignore(match.watch, match.target, match.group, now, reasons.TOO_MANY)
            tally = Tally(match.watch, match.target, match.group)
        if not tally.memory.take(sighting):
            return _ignore(match.watch, match.target, match.group, now, reasons.COUNTED_BEFORE)
        if is_new:
            self.put(tally)
        tally.last = Alert(sighting.alert_id, sighting.identity[2], dated=True, reading=reading)
        return self._review(tally, now, now)

    def begin(self, watch: Watch, now: datetime) -> None:
        """Wait for a first sign of life from now on."""
        tally = Tally(watch, watch.target or "", watch.target or "")
        if isinstance(tally.memory, Absence):
            tally.memory.begin(now)
            self.put(tally)
            self._review(tally, now, now)

    def miss(self, stretch: timedelta) -> None:
        """Nobody listened for so long. What would have come due meanwhile is looked at too early, which changes nothing."""
        for tally in self._tallies.values():
            if tally.member is None and isinstance(tally.memory, Absence):
                tally.memory.miss(stretch)

    def wake(self, tally: Tally, at: datetime, now: datetime) -> Decision | None:
        """What time alone changes; None when that is nothing."""
        before = tally.member
        decision = self._review(tally, at, now)
        return None if tally.member is before else decision

    def _review(self, tally: Tally, at: datetime, now: datetime) -> Decision:
        found = tally.memory.look(at)
        tally.number, tally.words = found.number, found.words
        member = tally.member
        decision = None
        if found.holds and member is None:
            opener = self._opener(tally, found.since)
            member = tally.member = StandIn(opener, tally.watch, tally.target, tally.group, found.since)
            member.tell(found.words, found.number)
            decision = self._place(member, _HOLDS, found.since, now, found.words)
        elif member is not None:
            member.tell(found.words, found.number)
            if not found.holds:
                tally.member = None
                decision = self._place(member, _CALM, at, now, found.words)
        if found.is_empty:
            del self._tallies[tally.watch.index, tally.group]
            tally.wake = None
        elif found.again is not None and (tally.wake is None or tally.wake > found.again):
            self._timers.set(tally, found.again, RANK, tally.order)
        return decision or _ignore(tally.watch, tally.target, tally.group, now, f"{reasons.COUNTED}: {found.words}")

    def _opener(self, tally: Tally, since: datetime) -> Alert:
        """What opens the group: the latest that was taken. Of an absence, that which did not happen, from then on."""
        if isinstance(tally.memory, Absence):
            if tally.last is not None:
                return tally.last.words_of(ABSENT, since)
            return Alert(ABSENT, since, dated=True, reading=self._blank)
        if tally.last is None:
            raise AssertionError("nothing holds before anything was counted")
        return tally.last

    def views(self) -> Iterator[GroupView]:
        """What is remembered of groups whose condition does not hold; oldest first."""
        for tally in self._tallies.values():
            if tally.member is not None or tally.last is None:
                continue
            yield GroupView(
                rule=tally.watch.rule.name,
                group=tally.group,
                target=tally.target,
                state=GroupState.INACTIVE,
                since=tally.last.start,
                due_at=None,
                members=(tally.last.id[1],),
                values=(tally.number,),
                reason=tally.words,
                episode="",
            )

    # --- for snapshots ---------------------------------------------------------------------------------------------------

    def __iter__(self) -> Iterator[Tally]:
        """Oldest first."""
        return iter(self._tallies.values())

    def put(self, tally: Tally) -> None:
        self._numbers += 1
        tally.order = self._numbers
        self._tallies[tally.watch.index, tally.group] = tally
        if tally.wake is not None:
            self._timers.set(tally, tally.wake, RANK, tally.order)


def _ignore(watch: Watch, target: str, group: str, now: datetime, reason: str) -> Decision:
    rule = watch.rule
    return Decision(_IGNORE, now, reason, rule.name, group, target, severity=rule.severity)
