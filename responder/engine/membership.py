"""Gives alerts and point events their places: in the group of a rule, in one part of its condition, or at its gate."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from datetime import datetime, timedelta

from responder.domain.condition import AllOf, AnyOf
from responder.domain.decision import Decision, DecisionKind
from responder.domain.reading import Reading, Verdict
from responder.domain.signal import Signal, SignalStatus
from responder.engine import reasons
from responder.engine.alerts import Alert, EventMember, Member
from responder.engine.brakes import Brakes
from responder.engine.conditions.ensembles import Ensembles
from responder.engine.conditions.histories import Histories
from responder.engine.conditions.sighting import Sighting
from responder.engine.conditions.tallies import Tallies
from responder.engine.groups import Groups
from responder.engine.measurements import Measurements, awaits
from responder.engine.outbreak import Outbreak
from responder.engine.rule_table import Match, RuleTable
from responder.engine.timers import Timers
from responder.engine.watches import Role, Watch

_HOLDS, _CALM, _INCONCLUSIVE = Verdict.HOLDS, Verdict.CALM, Verdict.INCONCLUSIVE
_IGNORE, _OCCURRED = DecisionKind.IGNORE, SignalStatus.OCCURRED
_RULE, _PART = Role.RULE, Role.PART


OLDEST = timedelta(days=3650)
"""A beginning that lies further back is none: an empty time, or a clock that was never set."""


def began(signal: Signal, now: datetime) -> datetime:
    """When it began, as far as that is plausible: never later than we heard of it, and when that is no time at all, then."""
    heard = min(signal.received_at, now)
    start = signal.started_at
    if start is None or start > heard or heard - start > OLDEST:
        return heard
    return start


class Membership:
    """Everything the evaluator knows of groups. further: decisions that followed from others, to be taken by the evaluator."""

    def __init__(self, table: RuleTable) -> None:
        self._table = table
        self.further: list[Decision] = []
        self.timers = Timers()
        self.brakes = Brakes()
        self.outbreak = Outbreak(table.hold, table.target_count)
        self.groups = Groups(self.timers, self.brakes, self.outbreak, self.further)
        self.ensembles = Ensembles(self.groups)
        self.histories = Histories()
        self.measurements = Measurements(self.timers, self._judge_measured)
        self.tallies = Tallies(self.timers, self.place, table.read({}, {}, None, ""))

    def place(self, member: Member, verdict: Verdict, since: datetime, now: datetime, why: str) -> Decision:
        """Give a member a verdict, valid since then."""
        role = member.watch.role
        if role is _RULE:
            return self.groups.place(member, verdict, since, now, why)
        if role is _PART:
            return self.ensembles.place(member, verdict, since, now, why)
        decision, freed = self.brakes.place(member, verdict, since, now, why)
        self.further += self.groups.free(freed, now)
        return decision

    def judge(self, member: Member, reading: Reading, since: datetime, now: datetime) -> Decision:
        """Give the member the verdict of this reading; `since` is when it began to count."""
        verdict, value = self.verdict_of(member, reading, now)
        member.value = value
        why = reasons.verdict_of(member, verdict, value)
        if verdict is _CALM and member.verdict is _CALM:
            return ignore(member, now, why)
        return self.place(member, verdict, since, now, why)

    def verdict_of(self, member: Member, reading: Reading, now: datetime) -> tuple[Verdict, float | None]:
        """The verdict and the number it rests on."""
        watch = member.watch
        if watch.is_plain or watch.is_undecided(reading):
            return watch.judge(reading)
        if watch.queries:
            self.measurements.want(member, reading.labels, now)
            return self._measured(member, reading, now)
        if watch.history is None:
            raise AssertionError("a number that rests on neither a past nor a query is plain")
        number = watch.number(reading)
        key = (watch.index, *member.alert.id)
        verdict, multiple = watch.judge_against(number, self.histories.baseline(key, watch.history, now))
        if number is not None and verdict is not _HOLDS:
            self.histories.add(key, watch.history, now, number)
        return verdict, multiple

    def _measured(self, member: Member, reading: Reading, now: datetime) -> tuple[Verdict, float | None]:
        """CALM while an answer is awaited: then nothing is known yet, not even whether to ask."""
        if awaits(member):
            return _CALM, None
        watch = member.watch
        if watch.is_undecided(reading):
            return _INCONCLUSIVE, None
        past = None
        key = (watch.index, *member.alert.id)
        if watch.history is not None:
            past = self.histories.baseline(key, watch.history, now)
        measured = [one.number for one in member.wants]
        verdict, number = watch.judge_measured(reading, measured, past)
        if watch.history is not None and measured[0] is not None and verdict is not _HOLDS:
            self.histories.add(key, watch.history, now, measured[0])
        return verdict, number

    def _judge_measured(self, member: Member, since: datetime, now: datetime) -> Decision | None:
        verdict, member.value = self._measured(member, member.alert.reading, now)
        if verdict is member.verdict:
            return None
        return self.place(member, verdict, since, now, reasons.verdict_of(member, verdict, member.value))

    def count(self, match: Match, signal: Signal, reading: Reading, now: datetime, *, counts: bool = True) -> Decision:
        """Feed a condition that has a memory. counts: False for what is only a sign of life."""
        watch = match.watch
        if watch.is_undecided(reading) and not watch.hears_repeats:
            reason = reasons.UNDECIDED
            return Decision(_IGNORE, now, reason, watch.rule.name, match.group, match.target, severity=watch.rule.severity)
        start = signal.started_at or signal.received_at
        alert_id = (signal.source, signal.key)
        identity = (*alert_id, start)
        if signal.id and signal.status is _OCCURRED:  # of one second there may be several
            identity = (signal.source, f"{signal.key}\0{signal.id}", start)
        at = began(signal, now)
        return self.tallies.feed(match, Sighting(at, now, counts, signal.passed, alert_id, identity, signal.labels), reading, now)

    def rematch(
        self, alert: Alert, matches: Sequence[Match], now: datetime, seen: datetime, kind: type[Member] = Member
    ) -> tuple[list[Decision], list[Match]]:
        """Leave the groups that are not among the matches; the new ones are joined by the caller's judging.

        Returns the decisions, and those matches that were not there before and have a memory to be fed.
        """
        staying = {(member.watch.index, member.group): member for member in alert.members}
        members, fresh = [], []
        for match in matches:
            member = staying.pop((match.watch.index, match.group), None)
            if member is None and match.watch.is_windowed:
                fresh.append(match)
            members.append(member or kind(alert, match.watch, match.target, match.group, seen))
        decisions = self._part(staying.values(), seen, now, f"{alert.name}: {reasons.UNMATCHED}") if staying else []
        alert.join(members)
        return decisions, fresh

    def leave(self, alert: Alert, now: datetime, why: str) -> list[Decision]:
        """The alert is over."""
        decisions = self._part(alert.members, now, now, f"{alert.name}: {why}")
        alert.join(())  # they know each other, and would wait for the garbage collector
        return decisions

    def _part(self, members: Collection[Member], since: datetime, now: datetime, why: str) -> list[Decision]:
        """These leave their groups for good."""
        decisions = []
        for member in members:
            if member.verdict is not _CALM:
                decisions.append(self.place(member, _CALM, since, now, why))
            if member.wants:
                self.measurements.release(member)
            if isinstance(member, EventMember):
                member.wake = None
        return decisions

    def members(self, root: Watch, group: str) -> Iterator[tuple[int, Member]]:
        """Those of a rule's group that are not calm, each with the number of its part of the condition."""
        if isinstance(root.rule.condition, AllOf | AnyOf):
            yield from self.ensembles.members(root, group)
        else:
            for member in self.groups.members(root, group):
                yield 0, member


def ignore(member: Member, now: datetime, why: str) -> Decision:
    rule = member.watch.rule
    return Decision(_IGNORE, now, why, rule.name, member.group, member.target, severity=rule.severity)
