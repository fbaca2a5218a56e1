"""One group of one rule: its members, and how its decisions read."""

from __future__ import annotations

from datetime import datetime
from operator import attrgetter

from responder.domain.decision import Decision, DecisionKind
from responder.domain.reading import Verdict
from responder.domain.rule_state import GroupState, GroupView, episode_text
from responder.domain.rulebook import Response
from responder.engine import reasons
from responder.engine.alerts import Member, StandIn
from responder.engine.watches import Watch

_age = attrgetter("age")
_IGNORE, _WAIT, _RESPOND = DecisionKind.IGNORE, DecisionKind.WAIT, DecisionKind.RESPOND
_HOLDS, _INCONCLUSIVE = Verdict.HOLDS, Verdict.INCONCLUSIVE
_INACTIVE = GroupState.INACTIVE
_NOTIFY = Response.NOTIFY


class Group:
    """One group of one rule that has members.

    since: exact when set, afterwards never later than the earliest member's (see `Groups.come_due`); fixed once firing.
    due: when it responds; None while another alert makes the rule hold back. wake: when time has something to do with it.
    asking: no member's number is readable, so it may only ask. asked_at: when it did, None before.
    key, start: of the alert that opened it, fixed for the group's life; episode: its identity in text.
    holding: members whose condition holds; the other members are inconclusive. order: of opening, settles ties between timers.
    ghost: stands for the last member while the group is kept firing. overruled: why it only told people, though its rule acts.
    """

    __slots__ = (
        "asked_at",
        "asking",
        "due",
        "episode",
        "fired_at",
        "ghost",
        "holding",
        "key",
        "members",
        "order",
        "overruled",
        "since",
        "start",
        "state",
        "target",
        "text",
        "wake",
        "watch",
    )

    def __init__(self, watch: Watch, target: str, text: str, opener: tuple[str, datetime], since: datetime) -> None:
        self.watch = watch
        self.target = target
        self.text = text
        self.key, self.start = opener
        self.episode = episode_text(*opener)
        self.order = 0
        self.state = _INACTIVE
        self.since = since
        self.due: datetime | None = since
        self.wake: datetime | None = None
        self.fired_at: datetime | None = None
        self.asked_at: datetime | None = None
        self.asking = False
        self.holding = 0
        self.members: dict[Member, None] = {}
        self.ghost: StandIn | None = None
        self.overruled = ""

    def counting(self) -> list[Member]:
        """The members that count for `since`, earliest first: those that hold, else the inconclusive ones."""
        kind = _HOLDS if self.holding else _INCONCLUSIVE
        return sorted((m for m in self.members if m.verdict is kind), key=_age)

    def earliest(self) -> Member:
        if len(self.members) == 1:
            return next(iter(self.members))
        kind = _HOLDS if self.holding else _INCONCLUSIVE
        return min((m for m in self.members if m.verdict is kind), key=_age)

    # --- decisions -----------------------------------------------------------------------------------------------------

    def ignore(self, now: datetime, reason: str) -> Decision:
        rule = self.watch.rule
        return Decision(
            _IGNORE,
            now,
            reason,
            rule.name,
            self.text,
            self.target,
            severity=rule.severity,
            response=rule.response,
            inconclusive=self.asking,
        )

    def wait(self, now: datetime, reason: str) -> Decision:
        rule = self.watch.rule
        return Decision(
            _WAIT,
            now,
            reason,
            rule.name,
            self.text,
            self.target,
            self.episode,
            self.since,
            self.due,
            rule.severity,
            rule.response,
            self.asking,
        )

    def respond(self, first: Member, now: datetime) -> Decision:
        reason = reasons.responds(first, self.since, now, len(self.members), asking=self.asking)
        if self.overruled:
            reason = f"{reason}; {self.overruled}"
        return self.full(_RESPOND, now, reason, first)

    def full(self, kind: DecisionKind, now: datetime, reason: str, shown: Member) -> Decision:
        """With all that is known of the alert that is shown."""
        rule = self.watch.rule
        return Decision(
            kind,
            now,
            reason,
            rule.name,
            self.text,
            self.target,
            self.episode,
            self.since,
            None,
            rule.severity,
            _NOTIFY if self.asking or self.overruled else rule.response,
            self.asking,
            shown.alert.reading,
            shown.value,
        )

    def view(self, due: datetime | None, why: str, *, settles: bool) -> GroupView:
        """due: when it responds, reckoned anew; None when it does not wait for that. why: it is held back, "" when it is not.

        settles: its target was rolled back since it responded.
        """
        counting = self.counting()
        since = counting[0].since if self.state is GroupState.PENDING else self.since
        return GroupView(
            rule=self.watch.rule.name,
            group=self.text,
            target=self.target,
            state=GroupState.SETTLING if settles else self.state,
            since=since,
            due_at=due,
            members=tuple(member.alert.id[1] for member in counting),
            values=tuple(member.value for member in counting),
            reason=reasons.stands(counting[0], since, due, self.fired_at, asking=self.asking) + why,
            episode=self.episode,
            inconclusive=self.asking,
        )


def opened_by(member: Member, since: datetime) -> Group:
    return Group(member.watch.root, member.target, member.group, (member.alert.id[1], member.alert.start), since)
