"""Point events: what is known of those that still count as going on.

An event goes on until the next one of the same source and key (with its own verdict and number), one that passed, a `resolved`,
or until its time is over: the rule's `for` and `active_for` after it was heard. A failed check and a number can last as long as a
rule's `for` wants; an event that has neither can't, so only a rule without `for` responds to it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

from responder.domain.decision import Decision
from responder.domain.reading import Reading, Verdict
from responder.domain.signal import Signal
from responder.engine import reasons
from responder.engine.alerts import Alert, AlertId, EventMember
from responder.engine.membership import Membership, began, ignore
from responder.engine.rule_table import Match
from responder.engine.watches import Role, later

RANK = 1
"""Among timers: after windows, before groups come due."""
_CALM, _GATE = Verdict.CALM, Role.GATE


class Happenings:
    """Point events that go on, by source and key."""

    def __init__(self, membership: Membership) -> None:
        self._membership = membership
        self._events: dict[AlertId, Alert] = {}

    def happen(self, signal: Signal, matches: Sequence[Match], reading: Reading, now: datetime) -> list[Decision]:
        """A new event that did not pass. matches: of conditions that judge one event at a time."""
        alert_id = (signal.source, signal.key)
        start = signal.started_at or signal.received_at
        since = began(signal, now)
        event = self._events.get(alert_id)
        decisions: list[Decision] = []
        if event is None:
            event = self._events[alert_id] = Alert(alert_id, start, dated=True, reading=reading)
            event.join([EventMember(event, match.watch, match.target, match.group, since) for match in matches])
        else:
            event.reading = reading
            decisions, _ = self._membership.rematch(event, matches, now, since, EventMember)
        for member in event.members:
            if isinstance(member, EventMember):
                decisions.append(self._judge(member, reading, since, now, can_last=signal.passed is not None))
        self._forget_if_calm(event)
        return decisions

    def _judge(self, member: EventMember, reading: Reading, since: datetime, now: datetime, *, can_last: bool) -> Decision:
        watch = member.watch
        if watch.hold and not can_last and not watch.watches_number and watch.role is not _GATE:
            return ignore(member, now, reasons.EVENT_NEEDS_NO_FOR)
        verdict, value = self._membership.verdict_of(member, reading, now)
        was = member.verdict
        member.value = value
        why = reasons.verdict_of(member, verdict, value)
        if verdict is not _CALM or member.wants:  # a number from elsewhere may change while the event goes on
            self._membership.timers.set(member, later(now, watch.life), RANK, (watch.index, member.group, member.alert.id))
        else:
            member.wake = None
        if verdict is _CALM:
            if was is _CALM:
                return ignore(member, now, why)
            since = now
        return self._membership.place(member, verdict, member.since if verdict is was else since, now, why)

    def end(self, alert_id: AlertId, now: datetime, why: str) -> list[Decision]:
        """The event is over; [] when it was not going on."""
        event = self._events.pop(alert_id, None)
        return [] if event is None else self._membership.leave(event, now, why)

    def wake(self, member: EventMember, at: datetime, now: datetime) -> Decision:
        """Nothing newer was heard of it for too long."""
        why = f"{member.alert.name}: {reasons.EVENT_OVER}"
        if member.wants:
            self._membership.measurements.release(member)
        calm = member.verdict is _CALM
        decision = ignore(member, now, why) if calm else self._membership.place(member, _CALM, at, now, why)
        self._forget_if_calm(member.alert)
        return decision

    def _forget_if_calm(self, event: Alert) -> None:
        for member in event.members:
            if member.verdict is not _CALM or member.wants:
                return
        self._events.pop(event.id, None)

    # --- for snapshots ---------------------------------------------------------------------------------------------------

    def __iter__(self) -> Iterator[Alert]:
        """Oldest first."""
        return iter(self._events.values())

    def put(self, event: Alert) -> None:
        self._events[event.id] = event
