"""Groups of alerts and their `for`: inactive → pending → firing, and the decisions on the way."""

from __future__ import annotations

import heapq
from collections import OrderedDict
from collections.abc import Iterator
from datetime import datetime

from responder.domain.condition import Verdict
from responder.domain.decision import Decision, DecisionKind
from responder.domain.rule_state import GroupState, GroupView, episode_text
from responder.domain.rulebook import Response
from responder.engine import reasons
from responder.engine.alerts import Member
from responder.engine.rule_table import Watch

CLEARED_LIMIT = 10_000
"""How many groups' last clearing is remembered."""


class Group:
    """One group of one rule that has members.

    since: exact when set, afterwards never later than the earliest member's (see `Groups._come_due`); fixed once firing.
    asking: no member's number is readable, so it may only ask. asked_at: when it did, None before.
    opener: key and start of the alert that opened it, fixed for the group's life.
    holding: members whose condition holds; the other members are inconclusive. order: of opening, settles ties between timers.
    """

    __slots__ = (
        "asked_at",
        "asking",
        "due",
        "fired_at",
        "holding",
        "members",
        "opener",
        "order",
        "since",
        "state",
        "target",
        "text",
        "watch",
    )

    def __init__(self, watch: Watch, target: str, text: str, opener: tuple[str, datetime], since: datetime) -> None:
        self.watch = watch
        self.target = target
        self.text = text
        self.opener = opener
        self.order = 0
        self.state = GroupState.INACTIVE
        self.since = since
        self.due = since
        self.fired_at: datetime | None = None
        self.asked_at: datetime | None = None
        self.asking = False
        self.holding = 0
        self.members: dict[Member, None] = {}

    @property
    def episode(self) -> str:
        return episode_text(*self.opener)

    def counting(self) -> list[Member]:
        """The members that count for `since`, earliest first: those that hold, else the inconclusive ones."""
        kind = Verdict.HOLDS if self.holding else Verdict.INCONCLUSIVE
        return sorted((m for m in self.members if m.verdict is kind), key=lambda m: (m.since, m.alert.id))

    def earliest(self) -> Member:
        kind = Verdict.HOLDS if self.holding else Verdict.INCONCLUSIVE
        return min((m for m in self.members if m.verdict is kind), key=lambda m: (m.since, m.alert.id))


class Groups:
    """Every group that has members, their timers, and when others were last cleared."""

    def __init__(self, kept: tuple[str, ...]) -> None:
        self._kept = kept
        self._groups: dict[tuple[int, str], Group] = {}
        self._timers: list[tuple[datetime, int, Group]] = []  # due, order of the group
        self._timer_limit = 1024
        self._numbers = 0
        self._cleared: OrderedDict[tuple[int, str], datetime] = OrderedDict()

    # --- members come, change and go ---------------------------------------------------------------------------------

    def place(self, member: Member, verdict: Verdict, since: datetime, now: datetime, why: str) -> Decision:
        """Give a member a new verdict, valid since then, and decide what follows. CALM takes it out of its group."""
        key = (member.watch.index, member.group)
        group = self._groups.get(key)
        if group is None:
            group = self._groups[key] = _opened_by(member, since)
            group.order = self._next()
        group.holding += (verdict is Verdict.HOLDS) - (member.verdict is Verdict.HOLDS)
        member.verdict = verdict
        member.since = since
        if verdict is Verdict.CALM:
            del group.members[member]
        else:
            group.members[member] = None
        return self._review(group, member, now, why)

    def _review(self, group: Group, member: Member, now: datetime, why: str) -> Decision:
        if not group.members:
            return self._clear(group, member, now, why)
        asking = not group.holding
        if group.state is GroupState.FIRING and (asking or not group.asking):
            return self._decide(DecisionKind.IGNORE, group, now, f"{why}; {reasons.goes_on(group.state, len(group.members))}")
        if asking and group.asked_at is not None:
            group.state, group.asking, group.since, group.fired_at = (
                GroupState.FIRING,
                True,
                group.earliest().since,
                group.asked_at,
            )
            return self._decide(DecisionKind.IGNORE, group, now, f"{why}; asked before")
        if group.state is not GroupState.PENDING or asking is not group.asking:
            group.state, group.asking = GroupState.PENDING, asking
            since = group.earliest().since
        elif (
            member.verdict is not Verdict.CALM and asking is not (member.verdict is Verdict.HOLDS) and member.since < group.since
        ):
            since = member.since
        else:
            return self._decide(DecisionKind.IGNORE, group, now, f"{why}; {reasons.goes_on(group.state, len(group.members))}")
        group.since = since
        group.due = group.watch.due(since)
        if group.due <= now:
            return self._come_due(group, now)
        return self._wait(group, now, why)

    def _clear(self, group: Group, member: Member, now: datetime, why: str) -> Decision:
        key = (group.watch.index, group.text)
        del self._groups[key]
        self._cleared.pop(key, None)
        self._cleared[key] = now
        if len(self._cleared) > CLEARED_LIMIT:
            self._cleared.popitem(last=False)
        was, group.state = group.state, GroupState.INACTIVE
        reason = reasons.calm_again(why, was)
        return self._decide(DecisionKind.CLEAR, group, now, reason, member)

    # --- time passes ---------------------------------------------------------------------------------------------------

    def tick(self, now: datetime) -> list[Decision]:
        """Every group whose `for` has run out, earliest first."""
        timers = self._timers
        if not timers or timers[0][0] > now:
            return []
        decisions = []
        while timers and timers[0][0] <= now:
            due, _, group = heapq.heappop(timers)
            if group.state is GroupState.PENDING and group.due == due:
                decisions.append(self._come_due(group, now))
        return decisions

    def next_due(self) -> datetime | None:
        """Never later than the next group to come due; earlier when its earliest alert has left meanwhile."""
        timers = self._timers
        while timers and not (timers[0][2].state is GroupState.PENDING and timers[0][2].due == timers[0][0]):
            heapq.heappop(timers)
        return timers[0][0] if timers else None

    def _come_due(self, group: Group, now: datetime) -> Decision:
        """The timer ran out. Only now is the earliest member looked for, so that leaving a big group stays cheap."""
        first = group.earliest()
        group.since = first.since
        group.due = group.watch.due(first.since)
        if group.due > now:
            return self._wait(group, now, "the alert that fired longest is over")
        group.state = GroupState.FIRING
        group.fired_at = now
        if group.asking:
            group.asked_at = now
        return self._respond(group, first, now)

    def _wait(self, group: Group, now: datetime, why: str) -> Decision:
        self._set_timer(group)
        return self._decide(DecisionKind.WAIT, group, now, reasons.waits(why, group.since, group.due, now))

    def _set_timer(self, group: Group) -> None:
        heapq.heappush(self._timers, (group.due, group.order, group))
        if len(self._timers) > self._timer_limit:
            self._timers = [timer for timer in self._timers if timer[2].state is GroupState.PENDING and timer[2].due == timer[0]]
            heapq.heapify(self._timers)
            self._timer_limit = max(1024, 2 * len(self._timers))

    # --- decisions -----------------------------------------------------------------------------------------------------

    def respond_once(self, member: Member, verdict: Verdict, now: datetime) -> Decision:
        """The decision for a point event: it holds for an instant and leaves no group behind."""
        group = _opened_by(member, member.since)
        member.verdict = verdict
        group.holding = int(verdict is Verdict.HOLDS)
        group.asking = not group.holding
        group.members[member] = None
        return self._respond(group, member, now)

    def _respond(self, group: Group, first: Member, now: datetime) -> Decision:
        reason = reasons.responds(first, group.since, now, len(group.members), asking=group.asking)
        return self._decide(DecisionKind.RESPOND, group, now, reason, first)

    def _decide(self, kind: DecisionKind, group: Group, now: datetime, reason: str, shown: Member | None = None) -> Decision:
        rule = group.watch.rule
        if shown is None:
            return Decision(
                kind,
                now,
                reason,
                rule.name,
                group.text,
                group.target,
                "" if kind is DecisionKind.IGNORE else group.episode,
                None if kind is DecisionKind.IGNORE else group.since,
                group.due if kind is DecisionKind.WAIT else None,
                rule.severity,
                rule.response,
                group.asking,
            )
        alert = shown.alert
        return Decision(
            kind=kind,
            at=now,
            reason=reason,
            rule=rule.name,
            group=group.text,
            target=group.target,
            episode=group.episode,
            began_at=group.since,
            severity=rule.severity,
            response=Response.NOTIFY if group.asking else rule.response,
            inconclusive=group.asking,
            trigger_labels=tuple(sorted(alert.labels.items())),
            trigger_annotations=tuple(
                (name, text) for name, text in zip(self._kept, alert.texts, strict=True) if text is not None
            ),
            trigger_link=alert.link,
            value=shown.value,
        )

    # --- what is going on ----------------------------------------------------------------------------------------------

    def firing(self) -> list[Decision]:
        """The decisions to respond of every group that is firing now, oldest group first."""
        return [
            self._respond(group, group.earliest(), group.fired_at)
            for group in self._groups.values()
            if group.state is GroupState.FIRING and group.fired_at is not None
        ]

    def holds(self, watch: Watch, text: str) -> bool:
        group = self._groups.get((watch.index, text))
        return group is not None and group.holding > 0

    def is_calm(self, watch: Watch, text: str) -> bool:
        """No alert at all, not even one whose number is missing."""
        return (watch.index, text) not in self._groups

    def last_cleared(self, watch: Watch, text: str) -> datetime | None:
        return self._cleared.get((watch.index, text))

    def views(self) -> Iterator[GroupView]:
        for group in self._groups.values():
            counting = group.counting()
            pending = group.state is GroupState.PENDING
            since = counting[0].since if pending else group.since
            due = group.watch.due(since) if pending else None
            yield GroupView(
                rule=group.watch.rule.name,
                group=group.text,
                target=group.target,
                state=group.state,
                since=since,
                due_at=due,
                members=tuple(member.alert.id[1] for member in counting),
                values=tuple(member.value for member in counting),
                reason=reasons.stands(counting[0], since, due, group.fired_at, asking=group.asking),
                episode=group.episode,
                inconclusive=group.asking,
            )

    # --- for snapshots -------------------------------------------------------------------------------------------------

    def __iter__(self) -> Iterator[Group]:
        """Oldest first."""
        return iter(self._groups.values())

    def put(self, group: Group) -> None:
        group.order = self._next()
        self._groups[group.watch.index, group.text] = group
        if group.state is GroupState.PENDING:
            self._set_timer(group)

    def cleared(self) -> Iterator[tuple[tuple[int, str], datetime]]:
        return iter(self._cleared.items())

    def put_cleared(self, key: tuple[int, str], at: datetime) -> None:
        self._cleared[key] = at

    def _next(self) -> int:
        self._numbers += 1
        return self._numbers


def _opened_by(member: Member, since: datetime) -> Group:
    return Group(member.watch, member.target, member.group, (member.alert.id[1], member.alert.start), since)
