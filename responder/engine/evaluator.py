"""The evaluator: a fold over the journal. No I/O, no clock, no randomness.

`serve`, recovery, `test` and `replay` drive this one class. What has come due is decided before a signal is looked at, so the
decisions do not depend on how often `tick` was called in between.

- An alert is (source, key), its episode (key, startsAt). `resolved` ends the episode; nothing else does, absence least of all.
- `since` is the start of the earliest alert that is in the group now, never in the future; `for` counts from there. Once a
  group fires, it stays fixed. A number first seen calm and then over its bound counts from when it was seen crossing.
- The episode of a group is that of the alert that opened it, fixed until the group is calm: replays and the second half of a
  highly available pair find the same identity.
- An inconclusive number never counts towards acting. A group of nothing else asks when `for` runs out; a group that fires
  stays firing, because a missing number is no all-clear.
- A point event responds at once if the rule has no `for`, and leaves nothing behind; otherwise it is ignored.
- A signal with an id counts once (see `seen_ids`); a point event with an id that is older than ids are remembered is ignored.
- Ended episodes are remembered for `alerts.ENDED_FOR` and at most `alerts.ENDED_LIMIT` of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

from responder.domain.condition import Verdict
from responder.domain.decision import Decision, DecisionKind
from responder.domain.rule_state import GroupView
from responder.domain.rulebook import Rulebook
from responder.domain.signal import Signal, SignalStatus
from responder.engine import reasons
from responder.engine.alerts import Alert, EndedEpisodes, Member
from responder.engine.evaluator_snapshot import decode, encode
from responder.engine.groups import Groups
from responder.engine.rule_table import Match, Reading, RuleTable, Watch
from responder.engine.seen_ids import SEEN_FOR, SeenIds


class Evaluator:
    """State of every rule of one rulebook. `now` must be the time of the journal entry, and entries come in their order."""

    def __init__(self, rulebook: Rulebook) -> None:
        self._table = RuleTable(rulebook)
        self._kept = self._table.kept
        self._alerts: dict[tuple[str, str], Alert] = {}
        self._ended = EndedEpisodes()
        self._seen = SeenIds()
        self._groups = Groups(self._kept)

    def observe(self, signals: Sequence[Signal], now: datetime) -> list[Decision]:
        """What was due before, then at least one decision per signal. Deliveries that change nothing may share one decision."""
        decisions = self._groups.tick(now)
        self._ended.forget(now)
        plain: dict[str, Decision] = {}
        for signal in signals:
            alert_id = (signal.source, signal.key)
            alert = self._alerts.get(alert_id)
            if signal.id and not self._seen.is_new(signal.source, signal.id, now):
                found: str | list[Decision] = reasons.SEEN
            elif signal.status is SignalStatus.FIRING:
                found = self._open(signal, now) if alert is None else self._go_on(alert, signal, now)
            elif signal.status is SignalStatus.RESOLVED:
                found = self._resolve(alert, signal, now)
            else:
                found = self._occur(alert, signal, now)
            if isinstance(found, str):
                decision = plain.get(found)
                if decision is None:
                    decision = plain[found] = Decision(DecisionKind.IGNORE, now, found)
                decisions.append(decision)
            else:
                decisions += found
        return decisions

    def tick(self, now: datetime) -> list[Decision]:
        """Every group whose `for` has run out responds, once."""
        return self._groups.tick(now)

    def next_due(self) -> datetime | None:
        """When to tick next; None when nothing waits. May be too early, never too late."""
        return self._groups.next_due()

    def firing(self) -> list[Decision]:
        """The decisions to respond of every group that fires now, with the identity they had when they were made."""
        return self._groups.firing()

    def is_active(self, rule: str, group: str) -> bool:
        """Whether an alert in this group satisfies the rule's condition now. Inconclusive ones do not count."""
        watch = self._table.by_name.get(rule)
        return watch is not None and self._groups.holds(watch, group)

    def is_calm(self, rule: str, group: str) -> bool:
        """Whether nothing is left of this group: no alert satisfies the condition, and none is inconclusive."""
        watch = self._table.by_name.get(rule)
        return watch is None or self._groups.is_calm(watch, group)

    def last_cleared(self, rule: str, group: str) -> datetime | None:
        """When the group was last calm again; None when unknown or long forgotten."""
        watch = self._table.by_name.get(rule)
        return None if watch is None else self._groups.last_cleared(watch, group)

    def groups(self) -> Iterator[GroupView]:
        """Every group that has members, oldest group first."""
        return self._groups.views()

    def snapshot(self) -> bytes:
        """The state, to be restored with the same rulebook."""
        return encode(self._table, self._alerts, self._ended, self._groups, self._seen)

    def restore(self, body: bytes) -> None:
        """Take a snapshot's state instead of the present one.

        Raises ValueError when it was made by another version or another rulebook; the state is then unchanged: fold the journal.
        """
        self._alerts, self._ended, self._groups, self._seen = decode(self._table, body)

    # --- one signal: a reason to ignore it, or decisions ------------------------------------------------------------------

    def _open(self, signal: Signal, now: datetime) -> str | list[Decision]:
        alert_id = (signal.source, signal.key)
        start = signal.started_at
        ended = self._ended.start_of(alert_id)
        if ended is not None and start is not None and start <= ended:
            return reasons.LATE
        matches, lost = self._table.matching(signal.labels)
        decisions = [_no_target(watch, now) for watch in lost]
        if not matches:
            return decisions or reasons.NO_RULE
        reading = self._read(signal)
        alert = Alert(alert_id, start or signal.received_at, dated=start is not None, reading=reading)
        self._alerts[alert_id] = alert
        since = min(alert.start, signal.received_at, now)
        alert.members = tuple([Member(alert, match.watch, match.target, match.group, since) for match in matches])
        for member in alert.members:
            decisions.append(self._judge(member, reading, since, now))
        return decisions

    def _go_on(self, alert: Alert, signal: Signal, now: datetime) -> str | list[Decision]:
        start = signal.started_at
        if start is not None and start != alert.start:
            if start > alert.start:
                decisions = self._leave(alert, now, reasons.REPLACED)
                found = self._open(signal, now)
                return [*decisions, Decision(DecisionKind.IGNORE, now, found)] if isinstance(found, str) else decisions + found
            if alert.dated:
                return reasons.OLDER
        texts = tuple(map(signal.annotations.get, self._kept))
        if texts == alert.texts and signal.value == alert.value and signal.link == alert.link and alert.has_labels(signal.labels):
            return reasons.REPEAT
        return self._update(alert, signal, now)

    def _update(self, alert: Alert, signal: Signal, now: datetime) -> str | list[Decision]:
        """Take the latest words. What they change counts from the moment it is seen."""
        reading = self._read(signal)
        relabelled = not alert.has_labels(signal.labels)
        alert.take(reading)
        seen = min(signal.received_at, now)
        decisions = self._rematch(alert, reading, now, seen) if relabelled else []
        for member in alert.members:
            verdict, value = member.watch.judge(reading)
            if verdict is not member.verdict:
                decisions.append(self._judge(member, reading, seen, now))
            member.value = value
        return decisions or reasons.UPDATED

    def _rematch(self, alert: Alert, reading: Reading, now: datetime, seen: datetime) -> list[Decision]:
        """Leave the groups that the new labels no longer match; the new ones are joined by the caller's judging."""
        matches, lost = self._table.matching(reading.labels)
        decisions = [_no_target(watch, now) for watch in lost]
        staying = {(member.watch.index, member.group): member for member in alert.members}
        members = []
        for match in matches:
            member = staying.pop((match.watch.index, match.group), None)
            members.append(member or Member(alert, match.watch, match.target, match.group, seen))
        for member in staying.values():
            if member.verdict is not Verdict.CALM:
                decisions.append(self._groups.place(member, Verdict.CALM, seen, now, f"{alert.name}: {reasons.UNMATCHED}"))
        alert.members = tuple(members)
        if not members:
            del self._alerts[alert.id]
        return decisions

    def _resolve(self, alert: Alert | None, signal: Signal, now: datetime) -> str | list[Decision]:
        start = signal.started_at
        if alert is not None:
            if start is not None and start < alert.start and alert.dated:
                return reasons.OLDER_ENDED
            self._ended.remember(alert.id, max(start or alert.start, alert.start), now)
            return self._leave(alert, now, reasons.RESOLVED) or reasons.NO_MEMBER
        alert_id = (signal.source, signal.key)
        if self._ended.start_of(alert_id) is not None:
            self._ended.remember(alert_id, start or signal.received_at, now)
            return reasons.ENDED_BEFORE
        matches, lost = self._table.matching(signal.labels)
        if not matches:
            return [_no_target(watch, now) for watch in lost] or reasons.NO_RULE
        self._ended.remember(alert_id, start or signal.received_at, now)
        return reasons.ENDED_UNSEEN

    def _leave(self, alert: Alert, now: datetime, why: str) -> list[Decision]:
        del self._alerts[alert.id]
        why = f"{alert.name}: {why}"
        return [
            self._groups.place(member, Verdict.CALM, now, now, why)
            for member in alert.members
            if member.verdict is not Verdict.CALM
        ]

    def _occur(self, alert: Alert | None, signal: Signal, now: datetime) -> str | list[Decision]:
        if signal.id and signal.started_at is not None and now - signal.started_at > SEEN_FOR:
            return reasons.EVENT_TOO_OLD
        if signal.passed:
            return reasons.PASSED
        if alert is not None:
            return reasons.EVENT_JOINS
        alert_id = (signal.source, signal.key)
        ended = self._ended.start_of(alert_id)
        if ended is not None and signal.started_at is not None and signal.started_at <= ended:
            return reasons.EVENT_REPEAT
        matches, lost = self._table.matching(signal.labels)
        decisions = [_no_target(watch, now) for watch in lost]
        if not matches:
            return decisions or reasons.NO_RULE
        start = signal.started_at or signal.received_at
        self._ended.remember(alert_id, start, now)
        reading = self._read(signal)
        event = Alert(alert_id, start, dated=True, reading=reading)
        since = min(start, signal.received_at, now)
        return decisions + [self._answer(event, match, reading, since, now) for match in matches]

    def _answer(self, event: Alert, match: Match, reading: Reading, since: datetime, now: datetime) -> Decision:
        """The decision about a point event for one rule."""
        rule = match.watch.rule
        member = Member(event, match.watch, match.target, match.group, since)
        verdict, member.value = match.watch.judge(reading)
        if match.watch.hold:
            reason = reasons.EVENT_NEEDS_NO_FOR
        elif verdict is Verdict.CALM:
            reason = reasons.verdict_of(member, verdict, member.value)
        elif self._groups.holds(match.watch, match.group):
            reason = reasons.EVENT_JOINS
        else:
            return self._groups.respond_once(member, verdict, now)
        return Decision(DecisionKind.IGNORE, now, reason, rule.name, match.group, match.target, severity=rule.severity)

    # --- shared ---------------------------------------------------------------------------------------------------------

    def _read(self, signal: Signal) -> Reading:
        return self._table.read(signal.labels, tuple(map(signal.annotations.get, self._kept)), signal.value, signal.link)

    def _judge(self, member: Member, reading: Reading, since: datetime, now: datetime) -> Decision:
        """Give the member the verdict of this reading; `since` is when it began to count."""
        verdict, value = member.watch.judge(reading)
        member.value = value
        why = reasons.verdict_of(member, verdict, value)
        if verdict is Verdict.CALM and member.verdict is Verdict.CALM:
            rule = member.watch.rule
            return Decision(DecisionKind.IGNORE, now, why, rule.name, member.group, member.target, severity=rule.severity)
        return self._groups.place(member, verdict, since, now, why)


def _no_target(watch: Watch, now: datetime) -> Decision:
    return Decision(DecisionKind.IGNORE, now, reasons.no_target(watch.rule.name), watch.rule.name, severity=watch.rule.severity)
