"""Groups of alerts and their `for`: inactive → pending → firing, and the decisions on the way."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime

from responder.domain.decision import Decision, DecisionKind
from responder.domain.reading import Verdict
from responder.domain.rule_state import GroupState, GroupView
from responder.engine import reasons
from responder.engine.alerts import Member, StandIn
from responder.engine.brakes import Brakes, GroupKey
from responder.engine.group import Group, opened_by
from responder.engine.outbreak import Outbreak
from responder.engine.timers import Timers
from responder.engine.watches import Watch, later

CLEARED_LIMIT = 10_000
"""How many groups' last clearing is remembered."""
RANK = 2
"""Of groups among timers: at the same instant, what changes their members comes first."""

LONG_AGO = datetime.min.replace(tzinfo=UTC)

_INACTIVE, _PENDING, _FIRING = GroupState.INACTIVE, GroupState.PENDING, GroupState.FIRING
_CLEAR = DecisionKind.CLEAR
_HOLDS, _CALM = Verdict.HOLDS, Verdict.CALM


class Groups:
    """Every group that has members, and when others were last cleared.

    further: takes decisions that follow from another one.
    moment: up to when time has passed. While a late tick makes up for lost time it is earlier than the tick itself: what is due
    after it has to wait for its turn.
    """

    def __init__(self, timers: Timers, brakes: Brakes, outbreak: Outbreak, further: list[Decision]) -> None:
        self._timers = timers
        self._brakes = brakes
        self._outbreak = outbreak
        self._further = further
        self.moment = LONG_AGO
        self._groups: dict[GroupKey, Group] = {}
        self._numbers = 0
        self._cleared: OrderedDict[GroupKey, datetime] = OrderedDict()

    # --- members come, change and go ---------------------------------------------------------------------------------

    def place(self, member: Member, verdict: Verdict, since: datetime, now: datetime, why: str) -> Decision:
        """Give a member a new verdict, valid since then, and decide what follows. CALM takes it out of its group."""
        key = (member.watch.root.index, member.group)
        group = self._groups.get(key)
        if group is None:
            return self._open_group(member, verdict, since, now, why)
        held = group.holding
        group.holding += (verdict is _HOLDS) - (member.verdict is _HOLDS)
        member.verdict = verdict
        member.since = since
        if verdict is _CALM:
            del group.members[member]
        else:
            group.members[member] = None
        if group.ghost is not None:
            self._lay_to_rest(group)
        if not group.members and group.state is _FIRING and not group.asking and group.watch.rule.keep_firing_for:
            return self._keep_firing(group, member, since, now, why)
        if self._outbreak.is_watching and (held > 0) is not (group.holding > 0):
            if held:
                self._outbreak.ends(group)
            else:
                self._outbreak.begins(group, now)
        return self._review(group, member, now, why)

    def _open_group(self, member: Member, verdict: Verdict, since: datetime, now: datetime, why: str) -> Decision:
        """The first member, which is not calm."""
        group = opened_by(member, since)
        self._groups[group.watch.index, group.text] = group
        self._numbers += 1
        group.order = self._numbers
        group.state = _PENDING
        group.members[member] = None
        member.verdict = verdict
        member.since = since
        if verdict is _HOLDS:
            group.holding = 1
            if self._outbreak.is_watching:
                self._outbreak.begins(group, now)
        else:
            group.asking = True
        return self._reckon(group, since, now, why)

    def _review(self, group: Group, member: Member, now: datetime, why: str) -> Decision:
        if not group.members:
            return self._clear(group, member, now, why)
        asking = not group.holding
        if group.state is _FIRING and (asking or not group.asking):
            return group.ignore(now, f"{why}; {reasons.goes_on(group.state, len(group.members))}")
        if asking and group.asked_at is not None:
            group.state, group.asking, group.since, group.fired_at = _FIRING, True, group.earliest().since, group.asked_at
            group.wake = None
            return group.ignore(now, f"{why}; asked before")
        if group.state is not _PENDING or asking is not group.asking:
            group.state, group.asking = _PENDING, asking
            since = group.earliest().since
        elif member.verdict is not _CALM and asking is not (member.verdict is _HOLDS) and member.since < group.since:
            since = member.since
        else:
            return group.ignore(now, f"{why}; {reasons.goes_on(group.state, len(group.members))}")
        return self._reckon(group, since, now, why)

    def _reckon(self, group: Group, since: datetime, now: datetime, why: str) -> Decision:
        """When it is due, counted from `since`; at once, if that is now."""
        group.since = since
        watch = group.watch
        if watch.is_braked:
            self._brakes.release(group)
            group.due = self._brakes.due(watch, group.target, group.text, since)
        else:
            group.due = watch.due(since)
        if group.due is not None and group.due <= self.moment:
            return self._come_due(group, now)
        return self._wait(group, now, why)

    def _clear(self, group: Group, member: Member, now: datetime, why: str) -> Decision:
        key = (group.watch.index, group.text)
        del self._groups[key]
        if group.due is None:
            self._brakes.release(group)
        self._cleared.pop(key, None)
        self._cleared[key] = now
        if len(self._cleared) > CLEARED_LIMIT:
            self._cleared.popitem(last=False)
        was, group.state = group.state, _INACTIVE
        group.wake = None
        return group.full(_CLEAR, now, reasons.calm_again(why, was), member)

    # --- kept firing -----------------------------------------------------------------------------------------------------

    def _keep_firing(self, group: Group, member: Member, at: datetime, now: datetime, why: str) -> Decision:
        keep = group.watch.rule.keep_firing_for
        until = later(at, keep)
        words = member.alert.words_of(member.alert.id, member.alert.start)
        ghost = StandIn(words, group.watch, group.target, group.text, at)
        ghost.tell(reasons.kept_firing(member, keep), member.value)
        self.put_ghost(group, ghost, until)
        return group.ignore(now, f"{why}; {reasons.goes_on_firing(until, now)}")

    def put_ghost(self, group: Group, ghost: StandIn, until: datetime) -> None:
        ghost.verdict = _HOLDS
        group.ghost = ghost
        group.members[ghost] = None
        group.holding += 1
        self._timers.set(group, until, RANK, group.order)

    def _lay_to_rest(self, group: Group) -> None:
        if group.ghost is None:
            return
        del group.members[group.ghost]
        group.holding -= 1
        group.ghost = None
        group.wake = None

    # --- time passes ---------------------------------------------------------------------------------------------------

    def wake(self, group: Group, now: datetime) -> Decision:
        """The group's timer ran out: its `for`, or the time it is kept firing."""
        ghost = group.ghost
        if ghost is None:
            return self._come_due(group, now)
        self._lay_to_rest(group)
        if self._outbreak.is_watching:
            self._outbreak.ends(group)
        return self._clear(group, ghost, now, reasons.verdict_of(ghost, _HOLDS, ghost.value))

    def _come_due(self, group: Group, now: datetime) -> Decision:
        """Only now is the earliest member looked for, so that leaving a big group stays cheap."""
        first = group.earliest()
        watch = group.watch
        group.since = first.since
        group.due = self._brakes.due(watch, group.target, group.text, first.since) if watch.is_braked else watch.due(first.since)
        if group.due is None or group.due > self.moment:
            return self._wait(group, now, reasons.NOT_YET)
        group.state = _FIRING
        group.fired_at = now
        group.wake = None
        if group.asking:
            group.asked_at = now
        else:
            if watch.is_braked:
                self._brakes.responded(group, now)
            if self._outbreak.is_watching:
                group.overruled, loud = self._outbreak.judge(group, now)
                if loud is not None:
                    self._further.append(loud)
        return group.respond(first, now)

    def _wait(self, group: Group, now: datetime, why: str) -> Decision:
        held_back = ""
        watch = group.watch
        if watch.is_braked:
            held_back = self._brakes.why(watch, group.target, group.text, now)
        if group.due is None:
            group.wake = None
            self._brakes.hold(group)
            return group.wait(now, f"{why}; {held_back}")
        self._timers.set(group, group.due, RANK, group.order)
        text = reasons.waits(why, group.since, group.due, now)
        return group.wait(now, f"{text}; {held_back}" if held_back else text)

    def free(self, freed: list[Group], now: datetime) -> list[Decision]:
        """What held these back is over."""
        return [self._reckon(group, group.earliest().since, now, reasons.GATE_OPENED) for group in freed]

    # --- what is going on ----------------------------------------------------------------------------------------------

    def firing(self) -> list[Decision]:
        """The decisions to respond of every group that is firing now, oldest group first."""
        found = [
            group.respond(group.earliest(), group.fired_at)
            for group in self._groups.values()
            if group.state is _FIRING and group.fired_at is not None
        ]
        loud = self._outbreak.loud
        if loud is not None and any(group.overruled for group in self._groups.values()):
            found.append(loud)
        return found

    def holds(self, watch: Watch, text: str) -> bool:
        group = self._groups.get((watch.index, text))
        return group is not None and group.holding > 0

    def members(self, watch: Watch, text: str) -> Iterable[Member]:
        """Those that hold or are inconclusive."""
        group = self._groups.get((watch.index, text))
        return () if group is None else group.members

    def is_calm(self, watch: Watch, text: str) -> bool:
        """No alert at all, not even one whose number is missing."""
        return (watch.index, text) not in self._groups

    def last_cleared(self, watch: Watch, text: str) -> datetime | None:
        return self._cleared.get((watch.index, text))

    def views(self) -> Iterator[GroupView]:
        for group in self._groups.values():
            due, why = None, ""
            if group.state is _PENDING:
                since = group.earliest().since
                due = self._brakes.due(group.watch, group.target, group.text, since)
                if group.watch.is_braked:
                    held_back = self._brakes.why(group.watch, group.target, group.text, since)
                    why = f"; {held_back}" if held_back else ""
            yield group.view(due, why, settles=group.state is _FIRING and self._brakes.has_acted(group.target, group.fired_at))

    # --- for snapshots -------------------------------------------------------------------------------------------------

    def __iter__(self) -> Iterator[Group]:
        """Oldest first."""
        return iter(self._groups.values())

    def put(self, group: Group) -> None:
        self._numbers += 1
        group.order = self._numbers
        self._groups[group.watch.index, group.text] = group
        if group.state is _PENDING and group.wake is not None:
            self._timers.set(group, group.wake, RANK, group.order)
        elif group.state is _PENDING:
            self._brakes.hold(group)

    def cleared(self) -> Iterator[tuple[GroupKey, datetime]]:
        return iter(self._cleared.items())

    def put_cleared(self, key: GroupKey, at: datetime) -> None:
        self._cleared[key] = at
