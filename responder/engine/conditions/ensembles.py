"""`all` and `any`: several conditions of one rule, joined group by group."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from operator import attrgetter

from responder.domain.condition import AllOf, AnyOf
from responder.domain.decision import Decision, DecisionKind
from responder.domain.reading import Verdict
from responder.engine import reasons
from responder.engine.alerts import Member, StandIn
from responder.engine.groups import Groups
from responder.engine.watches import Watch

_HOLDS, _CALM, _INCONCLUSIVE = Verdict.HOLDS, Verdict.CALM, Verdict.INCONCLUSIVE
_IGNORE = DecisionKind.IGNORE
_age = attrgetter("age")


class Section:
    """The members of one part in one group that are not calm. first: of those that count, the one that began first."""

    __slots__ = ("first", "holding", "members")

    def __init__(self) -> None:
        self.members: dict[Member, None] = {}
        self.holding = 0
        self.first: Member | None = None

    def put(self, member: Member, verdict: Verdict, since: datetime) -> None:
        was = member.verdict
        self.holding += (verdict is _HOLDS) - (was is _HOLDS)
        member.verdict, member.since = verdict, since
        if verdict is _CALM:
            self.members.pop(member, None)
        else:
            self.members[member] = None
        first = self.first
        if first is not None and first is not member:
            if verdict is _CALM or (verdict is _HOLDS is first.verdict and first.age <= member.age):
                return
            if verdict is _INCONCLUSIVE and first.verdict is _HOLDS:
                return
        self.first = self._first()

    def _first(self) -> Member | None:
        kind = _HOLDS if self.holding else _INCONCLUSIVE
        return min((one for one in self.members if one.verdict is kind), key=_age, default=None)


class Ensemble:
    """One group of a rule with parts. member: stands for all of it in the group, None while calm."""

    __slots__ = ("group", "member", "sections", "target", "watch")

    def __init__(self, watch: Watch, target: str, group: str) -> None:
        self.watch = watch
        self.target = target
        self.group = group
        condition = watch.rule.condition
        self.sections = [Section() for _ in condition.parts] if isinstance(condition, AllOf | AnyOf) else []
        self.member: StandIn | None = None

    def standing(self) -> tuple[Verdict, Member | None]:
        """What the parts come to, and the member that rests on; None when calm.

        `all` rests on the part that was last to join, `any` on the first. What nobody knows of decides nothing.
        """
        firsts = self._firsts()
        holding = [first for first in firsts if first.verdict is _HOLDS]
        if isinstance(self.watch.rule.condition, AllOf):
            if len(firsts) < len(self.sections):
                return _CALM, None
            return _HOLDS if len(holding) == len(firsts) else _INCONCLUSIVE, max(firsts, key=_age)
        if not firsts:
            return _CALM, None
        return (_HOLDS, min(holding, key=_age)) if holding else (_INCONCLUSIVE, min(firsts, key=_age))

    def words(self) -> str:
        return " and ".join([reasons.verdict_of(first, first.verdict, first.value) for first in self._firsts()])

    def _firsts(self) -> list[Member]:
        return [section.first for section in self.sections if section.first is not None]


class Ensembles:
    """Every group of the rules with parts in which some part is not calm."""

    def __init__(self, groups: Groups) -> None:
        self._groups = groups
        self._ensembles: dict[tuple[int, str], Ensemble] = {}

    def place(self, member: Member, verdict: Verdict, since: datetime, now: datetime, why: str) -> Decision:
        """A member of one part has a new verdict, valid since then."""
        ensemble = self.of(member)
        ensemble.sections[member.watch.part].put(member, verdict, since)
        standing, lead = ensemble.standing()
        words = ensemble.words()
        stand_in = ensemble.member
        decision = None
        if lead is None:
            if stand_in is not None:
                ensemble.member = None
                decision = self._groups.place(stand_in, _CALM, since, now, why)
        else:
            if stand_in is None:
                opener = lead.alert.words_of(lead.alert.id, lead.alert.start)
                stand_in = ensemble.member = StandIn(opener, ensemble.watch, ensemble.target, ensemble.group, lead.since)
            elif stand_in.alert.reading is not lead.alert.reading:
                stand_in.alert = lead.alert.words_of(stand_in.alert.id, stand_in.alert.start)
            stand_in.tell(words, lead.value)
            if stand_in.verdict is not standing or stand_in.since != lead.since:
                decision = self._groups.place(stand_in, standing, lead.since, now, words)
        if not any(section.members for section in ensemble.sections):
            del self._ensembles[ensemble.watch.index, ensemble.group]
        if decision is not None:
            return decision
        rule = member.watch.rule
        reason = reasons.part_of(why, words, holds=standing is _HOLDS)
        return Decision(_IGNORE, now, reason, rule.name, member.group, member.target, severity=rule.severity)

    def of(self, member: Member) -> Ensemble:
        """The ensemble a member of a part belongs to."""
        root = member.watch.root
        key = (root.index, member.group)
        ensemble = self._ensembles.get(key)
        if ensemble is None:
            ensemble = self._ensembles[key] = Ensemble(root, member.target, member.group)
        return ensemble

    def members(self, watch: Watch, group: str) -> Iterator[tuple[int, Member]]:
        """Those of one group that are not calm, each with the number of its part."""
        ensemble = self._ensembles.get((watch.index, group))
        for number, section in enumerate(ensemble.sections if ensemble is not None else ()):
            for member in section.members:
                yield number, member

    def put(self, member: Member) -> None:
        """From a snapshot: a member that is not calm."""
        section = self.of(member).sections[member.watch.part]
        verdict, member.verdict = member.verdict, _CALM
        section.put(member, verdict, member.since)

    def stand_ins(self) -> Iterator[StandIn]:
        """In an order that does not depend on history."""
        for key in sorted(self._ensembles):
            member = self._ensembles[key].member
            if member is not None:
                yield member
