"""Numbers from queries: which ones the evaluator wants, and what it was told last.

A query is wanted while some alert or event is there whose rule asks it; what was told is forgotten with the last of them. It is
known by its text, so rules and groups that ask the same share the number, and a recording serves rules that were renamed since.

Until the first answer, nobody knows and nobody is asked, for `PATIENCE` at most: asking takes a moment. Afterwards a number that
is missing, or older than `LASTS`, is inconclusive. Where nobody answers, the last number goes on counting until it is that old:
one request that fails among many is no news, and must neither ask people nor begin `for` anew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta
from operator import attrgetter, itemgetter

from responder.domain.decision import Decision
from responder.domain.measurement import Measurement
from responder.domain.reading import Verdict, finite
from responder.domain.rule_state import GroupState, GroupView
from responder.domain.wording import one_line
from responder.engine import reasons
from responder.engine.alerts import Member
from responder.engine.timers import Timers
from responder.engine.watches import Watch

RANK = -1
"""Among timers: before windows end. A number that is too old does not act."""
ROUND = timedelta(seconds=30)
"""How often everything wanted is asked for."""
LASTS = 2.5 * ROUND
"""How long a number counts. One round may fail, and one may be slow."""
PATIENCE = timedelta(seconds=15)
"""How long the first answer may take; longer than Prometheus is given for it."""
QUERY_LIMIT = 10_000
"""Longest query in characters. Only labels make one so long."""
WHY_LIMIT = 300
SILENCE = "silence"
"""Annotation of a reading that nobody answered."""

_age = attrgetter("age")
Judge = Callable[[Member, datetime, datetime], Decision | None]
"""member, since, now: hold its condition against the numbers as they are now; None when nothing changes."""


class Wanted:
    """One query. number: finite; None, and why, when there is none. at: when it was asked; None while it is awaited.

    why: with a number, why there is no newer one; "" when there is.
    wake: when the first answer is overdue, or the number is too old; None when there is none anyway.
    """

    __slots__ = ("at", "members", "number", "order", "query", "wake", "why")

    def __init__(self, query: str, order: int) -> None:
        self.query = query
        self.order = order
        self.members: dict[Member, None] = {}
        self.number: float | None = None
        self.why = reasons.AWAITED
        self.at: datetime | None = None
        self.wake: datetime | None = None

    def put(self, at: datetime, number: float | None, why: str) -> None:
        self.at, self.number, self.why = at, number, why


class Measurements:
    """judge: called for every member whose numbers have changed."""

    def __init__(self, timers: Timers, judge: Judge) -> None:
        self._timers = timers
        self._judge = judge
        self._wanted: dict[str, Wanted] = {}
        self._numbers = 0

    @property
    def wanted(self) -> Mapping[str, Wanted]:
        """By query; the one that is wanted for longest first."""
        return self._wanted

    def want(self, member: Member, labels: Mapping[str, str], now: datetime) -> None:
        """From now on, for as long as the member is there. Its labels choose the group, so they need be given only once."""
        if not member.wants:
            self.attach(member, labels)
            for one in member.wants:
                if one.at is None and one.wake is None:
                    self._timers.set(one, now + PATIENCE, RANK, one.order)

    def attach(self, member: Member, labels: Mapping[str, str]) -> None:
        """Without asking for it anew: for members from a snapshot."""
        texts = [query.render(member.target, labels) for query in member.watch.queries]
        member.wants = tuple([self._of(text) for text in texts])
        for one in member.wants:
            one.members[member] = None

    def look(self, watch: Watch, target: str, labels: Mapping[str, str]) -> list[float | None]:
        """The numbers that such an alert's verdict would rest on, as far as they are known. Nothing is wanted by it."""
        found = [self._wanted.get(query.render(target, labels)) for query in watch.queries]
        return [None if one is None else one.number for one in found]

    def _of(self, query: str) -> Wanted:
        found = self._wanted.get(query)
        if found is None:
            self._numbers += 1
            found = self._wanted[query] = Wanted(query, self._numbers)
        return found

    def release(self, member: Member) -> None:
        """It is there no more."""
        for one in member.wants:
            one.members.pop(member, None)
            if not one.members and self._wanted.get(one.query) is one:
                del self._wanted[one.query]
                one.wake = None
        member.wants = ()

    def take(self, query: str, at: datetime, told: Measurement, now: datetime) -> list[Decision]:
        """What Prometheus said, asked `at`. What nobody wants any more, or is too old already, changes nothing."""
        one = self._wanted.get(query)
        if one is None or at + LASTS <= now:
            return []
        number = finite(told.number)
        why = "" if number is not None else one_line(told.why, WHY_LIMIT) or reasons.NOT_FINITE
        if told.is_silence and one.number is not None:
            one.why = why
            return []
        return self._change(one, min(at, now), number, why, now)

    def wake(self, one: Wanted, at: datetime, now: datetime) -> list[Decision]:
        """The first answer is overdue, or the number is too old."""
        why = reasons.NO_ANSWER if one.at is None else reasons.too_old(one.at, now, one.why)
        return self._change(one, at, None, why, now)

    def _change(self, one: Wanted, at: datetime, number: float | None, why: str, now: datetime) -> list[Decision]:
        """A first number counts from when the alert began, a later one from when it was measured."""
        is_first = one.at is None
        one.put(at, number, why)
        if number is None:
            one.wake = None
        else:
            self._timers.set(one, at + LASTS, RANK, one.order)
        begins = [(member.since if is_first else at, member.alert.id, member.rank, member.watch.index) for member in one.members]
        decisions = []
        for (since, *_), member in sorted(zip(begins, one.members, strict=True), key=itemgetter(0)):
            decision = self._judge(member, since, now)
            if decision is not None:
                decisions.append(decision)
        return decisions

    def views(self) -> Iterator[GroupView]:
        """Alerts whose numbers are awaited or calm."""
        seen: set[tuple[str, str]] = set()
        for one in self._wanted.values():
            for member in sorted(one.members, key=_age):
                place = (member.watch.rule.name, member.group)
                if member.verdict is not Verdict.CALM or place in seen:
                    continue
                seen.add(place)
                yield GroupView(
                    rule=member.watch.rule.name,
                    group=member.group,
                    target=member.target,
                    state=GroupState.INACTIVE,
                    since=member.since,
                    due_at=None,
                    members=(member.alert.id[1],),
                    values=(member.value,),
                    reason=reasons.verdict_of(member, member.verdict, member.value),
                    episode="",
                )

    # --- for snapshots ---------------------------------------------------------------------------------------------------

    def put(self, query: str, at: datetime | None, wake: datetime | None, number: float | None, why: str) -> None:
        one = self._of(query)
        one.at, one.number, one.why = at, number, why
        if wake is not None:
            self._timers.set(one, wake, RANK, one.order)


def awaits(member: Member) -> bool:
    """Whether one of its numbers was never told, and may still come."""
    return any(one.at is None for one in member.wants)
