"""What delays a response besides the rule's `for`: `unless`, `cooldown` and `settle`."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from datetime import datetime

from responder.domain.decision import Decision, DecisionKind
from responder.domain.reading import Verdict
from responder.domain.rule_state import HeldBack, episode_text
from responder.engine import reasons
from responder.engine.alerts import Member
from responder.engine.group import Group
from responder.engine.watches import Watch, later

RESPONSES_LIMIT = 10_000
"""How many groups' last responses are remembered for their cool-down."""

GroupKey = tuple[int, str]
"""(index of the rule's watch, text of the group)"""


class Gate:
    """The `unless` of one rule. members: alerts that fire now. opened_at: when the last of them was over; None if never shut.

    held: groups that are due but for this.
    """

    __slots__ = ("held", "members", "opened_at")

    def __init__(self) -> None:
        self.members: dict[Member, None] = {}
        self.opened_at: datetime | None = None
        self.held: dict[Group, None] = {}


class Brakes:
    """Knows when a group may respond at the earliest."""

    def __init__(self) -> None:
        self._gates: dict[int, Gate] = {}
        self._responded: OrderedDict[GroupKey, datetime] = OrderedDict()
        self._acted: dict[str, datetime] = {}

    # --- when ------------------------------------------------------------------------------------------------------------

    def due(self, watch: Watch, target: str, text: str, since: datetime) -> datetime | None:
        """None while the rule holds back. `for` counts anew from when the last alert that made it hold back was over."""
        gate = self._gates.get(watch.index)
        if gate is not None:
            if gate.members:
                return None
            if gate.opened_at is not None and gate.opened_at > since:
                since = gate.opened_at
        due = watch.due(since)
        responded = self._responded.get((watch.index, text)) if watch.rule.cooldown else None
        if responded is not None:
            due = max(due, later(responded, watch.rule.cooldown))
        acted = self._acted.get(target) if watch.rule.settle else None
        if acted is not None:
            due = max(due, later(acted, watch.rule.settle))
        return due

    def why(self, watch: Watch, target: str, text: str, now: datetime) -> str:
        """What holds a group back beyond its `for`; "" when nothing does."""
        gate = self._gates.get(watch.index)
        if gate is not None and gate.members:
            return reasons.held_back(min(gate.members, key=lambda member: member.alert.id).alert.name)
        acted = self._acted.get(target) if watch.rule.settle else None
        if acted is not None and later(acted, watch.rule.settle) > now:
            return reasons.settling(acted, now)
        responded = self._responded.get((watch.index, text)) if watch.rule.cooldown else None
        if responded is not None and later(responded, watch.rule.cooldown) > now:
            return reasons.cooling_down(responded, now)
        return ""

    def held_back(self) -> Iterator[HeldBack]:
        """Every rule that holds groups back, with the moment at which the first of them would have responded."""
        for index, gate in self._gates.items():
            if not gate.members or not gate.held:
                continue
            groups = sorted(gate.held, key=lambda group: group.order)
            first = min(gate.members, key=lambda member: member.age)
            dues = (self._due_but_for(index, gate, group) for group in groups)
            alert = first.alert
            yield HeldBack(
                rule=groups[0].watch.rule.name,
                alert=alert.name,
                source=alert.id[0],
                key=alert.id[1],
                episode=episode_text(alert.id[1], alert.start),
                since=first.since,
                due_at=max(min(dues), first.since),
                targets=tuple(dict.fromkeys(group.target for group in groups)),
            )

    def _due_but_for(self, index: int, gate: Gate, group: Group) -> datetime:
        since = group.since if gate.opened_at is None else max(group.since, gate.opened_at)
        due = group.watch.due(since)
        responded = self._responded.get((index, group.text)) if group.watch.rule.cooldown else None
        return due if responded is None else max(due, later(responded, group.watch.rule.cooldown))

    # --- what happens ----------------------------------------------------------------------------------------------------

    def responded(self, group: Group, now: datetime) -> None:
        if not group.watch.rule.cooldown:
            return
        key = (group.watch.index, group.text)
        self._responded.pop(key, None)
        self._responded[key] = now
        if len(self._responded) > RESPONSES_LIMIT:
            self._responded.popitem(last=False)

    def acted(self, target: str, at: datetime) -> None:
        """The target was rolled back."""
        known = self._acted.get(target)
        self._acted[target] = at if known is None else max(at, known)

    def has_acted(self, target: str, since: datetime | None) -> bool:
        """Whether the target was rolled back after that; not without a moment."""
        acted = self._acted.get(target)
        return acted is not None and since is not None and acted >= since

    def hold(self, group: Group) -> None:
        self._gates.setdefault(group.watch.index, Gate()).held[group] = None

    def release(self, group: Group) -> None:
        gate = self._gates.get(group.watch.index)
        if gate is not None:
            gate.held.pop(group, None)

    def place(self, member: Member, verdict: Verdict, at: datetime, now: datetime, why: str) -> tuple[Decision, list[Group]]:
        """An alert named by `unless` begins or ends. The groups were held back, and are no more."""
        watch = member.watch
        gate = self._gates.setdefault(watch.root.index, Gate())
        member.verdict = verdict
        member.since = at
        freed: list[Group] = []
        if verdict is Verdict.HOLDS:
            gate.members[member] = None
        else:
            gate.members.pop(member, None)
            if not gate.members:
                gate.opened_at = at
                freed = sorted(gate.held, key=lambda group: group.order)
                gate.held.clear()
        rule = watch.rule
        text = reasons.gate(why, is_open=not gate.members)
        return Decision(DecisionKind.IGNORE, now, text, rule.name, severity=rule.severity), freed

    # --- for snapshots ---------------------------------------------------------------------------------------------------

    def put(self, member: Member) -> None:
        self._gates.setdefault(member.watch.root.index, Gate()).members[member] = None

    def opened(self) -> Iterator[tuple[int, datetime]]:
        """Index of the rule's watch, and when its gate last opened."""
        return ((index, gate.opened_at) for index, gate in self._gates.items() if gate.opened_at is not None)

    def put_opened(self, index: int, at: datetime) -> None:
        self._gates.setdefault(index, Gate()).opened_at = at

    def responses(self) -> Iterator[tuple[GroupKey, datetime]]:
        return iter(self._responded.items())

    def put_response(self, key: GroupKey, at: datetime) -> None:
        self._responded[key] = at

    def actions(self) -> Iterator[tuple[str, datetime]]:
        return iter(self._acted.items())
