"""The evaluator: a fold over the journal. No I/O, no clock, no randomness.

`serve`, recovery, `test` and `replay` drive this one class. What has come due is decided before a signal is looked at, in the
order of time, so the decisions do not depend on how often `tick` was called in between.

- An alert is (source, key), its episode (key, startsAt). `resolved` ends the episode; nothing else does, absence least of all.
- `since` is the start of the earliest alert that is in the group now, never in the future; `for` counts from there. Once a
  group fires, it stays fixed. A number first seen calm and then over its bound counts from when it was seen crossing.
- The episode of a group is that of the alert that opened it, fixed until the group is calm: replays and the second half of a
  highly available pair find the same identity.
- An inconclusive number never counts towards acting. A group of nothing else asks when `for` runs out; a group that fires
  stays firing, because a missing number is no all-clear.
- Numbers from queries come in through the journal, see `measurements`; what is wanted is a function of the state.
- A point event goes on for a while, see `happenings`; conditions that count, see `conditions`, remember it for themselves.
- A signal with an id counts once (see `seen_ids`); a point event with an id that is older than ids are remembered is ignored.
- Ended episodes are remembered for `alerts.ENDED_FOR` and at most `alerts.ENDED_LIMIT` of them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from datetime import datetime

from responder.domain.condition import AbsentCondition
from responder.domain.decision import Decision, DecisionKind
from responder.domain.measurement import Measurement
from responder.domain.reading import Reading, Verdict
from responder.domain.rule_state import GroupView, HeldBack
from responder.domain.rulebook import Rulebook
from responder.domain.signal import Signal, SignalStatus
from responder.engine import groups, happenings, measurements, reasons
from responder.engine.alerts import Alert, Member
from responder.engine.appraisal import Appraisal, appraise
from responder.engine.evaluator_snapshot import decode, encode
from responder.engine.membership import began
from responder.engine.rule_table import Match, RuleTable
from responder.engine.seen_ids import SEEN_FOR
from responder.engine.state import State
from responder.engine.watches import Watch
from responder.ports import Entry, EntryKind

# Looking a member up in an Enum takes ten times as long as a name of the module: on the path of every signal these are names.
_FIRING, _RESOLVED = SignalStatus.FIRING, SignalStatus.RESOLVED
_IGNORE = DecisionKind.IGNORE


class Evaluator:
    """State of every rule of one rulebook. `now` must be the time of the journal entry, and entries come in their order."""

    def __init__(self, rulebook: Rulebook) -> None:
        self._table = RuleTable(rulebook)
        self._kept = self._table.kept
        self._take(State(self._table))

    def _take(self, state: State) -> None:
        self._state = state
        self._alerts = state.alerts
        self._ended = state.ended
        self._seen = state.seen
        self._membership = state.membership
        self._happenings = state.happenings
        self._groups = state.membership.groups
        self._timers = state.membership.timers
        self._further = state.membership.further

    def observe(self, signals: Sequence[Signal], now: datetime) -> list[Decision]:
        """What was due before, then at least one decision per signal. Deliveries that change nothing may share one decision."""
        decisions = self.tick(now)
        self._ended.forget(now)
        plain: dict[str, Decision] = {}
        for signal in self._table.gates_first(signals):
            alert_id = (signal.source, signal.key)
            alert = self._alerts.get(alert_id)
            if signal.id and not self._seen.is_new(signal.source, signal.id, now):
                found: str | list[Decision] = reasons.SEEN
            elif signal.status is _FIRING:
                found = self._open(signal, now) if alert is None else self._go_on(alert, signal, now)
            elif signal.status is _RESOLVED:
                found = self._resolve(alert, signal, now)
            else:
                found = self._occur(alert, signal, now)
            if isinstance(found, str):
                decision = plain.get(found)
                if decision is None:
                    decision = plain[found] = Decision(_IGNORE, now, found)
                decisions.append(decision)
            else:
                decisions += found
            if self._further:
                decisions += self._further
                self._further.clear()
        return decisions

    def tick(self, now: datetime) -> list[Decision]:
        """What time alone changes, in its order: windows end, events are over, `for` runs out and groups respond, once."""
        if self._state.began is None:
            self._begin(now)
        decisions: list[Decision] = []
        while (due := self._timers.pop(now)) is not None:
            at, rank, owner = due
            self._groups.moment = at
            if rank == groups.RANK:
                decisions.append(self._membership.groups.wake(owner, now))
            elif rank == measurements.RANK:
                decisions += self._membership.measurements.wake(owner, at, now)
            elif rank == happenings.RANK:
                decisions.append(self._happenings.wake(owner, at, now))
            elif (decision := self._membership.tallies.wake(owner, at, now)) is not None:
                decisions.append(decision)
            if self._further:
                decisions += self._further
                self._further.clear()
        self._groups.moment = now
        return decisions

    def fold(self, entry: Entry) -> list[Decision]:
        """Take the next entry of the journal."""
        if entry.kind is EntryKind.SIGNALS:
            return self.observe(entry.signals, entry.at)
        if entry.kind is EntryKind.STARTED:
            return self.listen_again(self._groups.moment, entry.at)
        decisions = self.tick(entry.at)
        if entry.kind is EntryKind.ACTED:
            for signal in entry.signals:
                self.acted(signal.key, entry.at)
        elif entry.kind is EntryKind.READING:
            for signal in entry.signals:
                decisions += self._take_reading(signal, entry.at)
        return decisions

    def _take_reading(self, signal: Signal, now: datetime) -> list[Decision]:
        told = Measurement(signal.value, signal.annotations.get("why", ""), is_silence=measurements.SILENCE in signal.annotations)
        decisions = self._membership.measurements.take(signal.key, signal.received_at, told, now)
        decisions += self._further
        self._further.clear()
        return decisions

    def listen_again(self, since: datetime, now: datetime) -> list[Decision]:
        """Nobody listened in between: that time is no silence."""
        if not groups.LONG_AGO < since < now:
            return self.tick(now)
        decisions = self.tick(since)
        self._membership.tallies.miss(now - since)
        return decisions + self.tick(now)

    def acted(self, target: str, at: datetime) -> None:
        """The target was rolled back then: rules that want it to settle wait."""
        self._membership.brakes.acted(target, at)

    def _begin(self, now: datetime) -> None:
        self._state.began = now
        for watch in self._table.watches:
            if isinstance(watch.condition, AbsentCondition) and watch.condition.from_start:
                self._membership.tallies.begin(watch, now)

    def next_due(self) -> datetime | None:
        """When to tick next; None when nothing waits. May be too early, never too late."""
        return self._timers.next()

    def firing(self) -> list[Decision]:
        """The decisions to respond of every group that fires now, with the identity they had when they were made."""
        return self._groups.firing()

    def is_active(self, rule: str, group: str) -> bool:
        """Whether an alert in this group satisfies the rule's condition now. Inconclusive ones do not count."""
        watch = self._table.by_name.get(rule)
        return watch is not None and self._groups.holds(watch, group)

    def knows(self, rule: str) -> bool:
        return rule in self._table.by_name

    def is_calm(self, rule: str, group: str) -> bool:
        """Whether nothing is left of this group: no alert satisfies the condition, and none is inconclusive."""
        watch = self._table.by_name.get(rule)
        return watch is None or self._groups.is_calm(watch, group)

    def appraise(
        self, rule: str, group: str, listed: Sequence[Signal], now: datetime, *, source: str, alone: bool = False
    ) -> Appraisal:
        """What the group comes to when `listed` is all that this source knows of now; see `appraisal`."""
        watch = self._table.by_name.get(rule)
        if watch is None:
            return Appraisal(Verdict.CALM, 0)
        return appraise(self._table, self._membership, watch, group, listed=listed, now=now, source=source, alone=alone)

    def last_cleared(self, rule: str, group: str) -> datetime | None:
        """When the group was last calm again; None when unknown or long forgotten."""
        watch = self._table.by_name.get(rule)
        return None if watch is None else self._groups.last_cleared(watch, group)

    def groups(self) -> Iterator[GroupView]:
        """Every group that has members, oldest group first."""
        return self._groups.views()

    def counting(self) -> Iterator[GroupView]:
        """What conditions with a memory or a query have seen of groups in which they do not hold; the state is INACTIVE."""
        yield from self._membership.tallies.views()
        yield from self._membership.measurements.views()

    def held_back(self) -> Iterator[HeldBack]:
        """Rules with groups that wait for nothing but the end of an alert that `unless` names."""
        return self._membership.brakes.held_back()

    @property
    def wanted(self) -> Collection[str]:
        """The queries whose answers are wanted now; the one that is wanted for longest first. Fold them as a READING."""
        return self._membership.measurements.wanted.keys()

    def snapshot(self) -> bytes:
        """The state, to be restored with the same rulebook."""
        return encode(self._table, self._state)

    def restore(self, body: bytes) -> None:
        """Take a snapshot's state instead of the present one.

        Raises ValueError when it was made by another version or another rulebook; the state is then unchanged: fold the journal.
        """
        self._take(decode(self._table, body))

    # --- one signal: a reason to ignore it, or decisions ------------------------------------------------------------------

    def _open(self, signal: Signal, now: datetime) -> str | list[Decision]:
        alert_id = (signal.source, signal.key)
        start = signal.started_at
        if start is not None and self._ended.is_over(alert_id, start):
            return reasons.LATE
        matches, lost = self._table.matching(signal.labels)
        decisions = [_no_target(watch, now) for watch in lost] if lost else []
        if not matches:
            return decisions or reasons.NO_RULE
        reading = self._read(signal)
        alert = Alert(alert_id, start or signal.received_at, dated=start is not None, reading=reading)
        self._alerts[alert_id] = alert
        since = began(signal, now)
        alert.join([Member(alert, match.watch, match.target, match.group, since) for match in matches])
        for member, match in zip(alert.members, matches, strict=True):
            if match.watch.is_windowed:
                decisions.append(self._membership.count(match, signal, reading, now))
            else:
                decisions.append(self._membership.judge(member, reading, since, now))
        return decisions

    def _go_on(self, alert: Alert, signal: Signal, now: datetime) -> str | list[Decision]:
        start = signal.started_at
        if start is not None and start != alert.start:
            if start > alert.start:
                decisions = self._leave(alert, now, reasons.REPLACED)
                found = self._open(signal, now)
                return [*decisions, Decision(_IGNORE, now, found)] if isinstance(found, str) else decisions + found
            if alert.dated:
                return reasons.OLDER
        if alert.hears_repeats:
            return self._update(alert, signal, now)
        known = alert.reading
        texts = tuple(map(signal.annotations.get, self._kept))
        if texts == known.texts and signal.value == known.value and signal.link == known.link and known.has_labels(signal.labels):
            return reasons.REPEAT
        return self._update(alert, signal, now)

    def _update(self, alert: Alert, signal: Signal, now: datetime) -> str | list[Decision]:
        """Take the latest words. What they change counts from the moment it is seen."""
        seen = min(signal.received_at, now)
        decisions: list[Decision] = []
        if alert.reading.has_labels(signal.labels):
            reading = alert.reading = self._table.read_again(alert.reading, signal.annotations, signal.value, signal.link)
        else:
            reading = alert.reading = self._read(signal)
            matches, lost = self._table.matching(signal.labels)
            decisions = [_no_target(watch, now) for watch in lost]
            left, fresh = self._membership.rematch(alert, matches, now, seen)
            decisions += left
            decisions += [self._membership.count(match, signal, reading, now) for match in fresh]
            if not matches:
                del self._alerts[alert.id]
        for member in alert.members:
            watch = member.watch
            if watch.is_windowed:
                if watch.hears_repeats:
                    match = Match(watch, member.target, member.group)
                    decisions.append(self._membership.count(match, signal, reading, now, counts=False))
                continue
            verdict, member.value = self._membership.verdict_of(member, reading, now)
            if verdict is not member.verdict:
                why = reasons.verdict_of(member, verdict, member.value)
                decisions.append(self._membership.place(member, verdict, seen, now, why))
        return decisions or reasons.UPDATED

    def _resolve(self, alert: Alert | None, signal: Signal, now: datetime) -> str | list[Decision]:
        start = signal.started_at
        alert_id = (signal.source, signal.key)
        if alert is not None:
            if start is not None and start < alert.start and alert.dated:
                return reasons.OLDER_ENDED
            self._ended.remember(alert.id, max(start or alert.start, alert.start), now)
            decisions = self._leave(alert, now, reasons.RESOLVED)
            return decisions + self._happenings.end(alert_id, now, reasons.RESOLVED) or reasons.NO_MEMBER
        decisions = self._happenings.end(alert_id, now, reasons.RESOLVED)
        if self._ended.start_of(alert_id) is not None:
            self._ended.remember(alert_id, start or signal.received_at, now)
            return decisions or reasons.ENDED_BEFORE
        matches, lost = self._table.matching(signal.labels)
        if not matches:
            return [_no_target(watch, now) for watch in lost] or reasons.NO_RULE
        self._ended.remember(alert_id, start or signal.received_at, now)
        return reasons.ENDED_UNSEEN

    def _leave(self, alert: Alert, now: datetime, why: str) -> list[Decision]:
        del self._alerts[alert.id]
        return self._membership.leave(alert, now, why)

    def _occur(self, alert: Alert | None, signal: Signal, now: datetime) -> str | list[Decision]:
        if signal.id and signal.started_at is not None and now - signal.started_at > SEEN_FOR:
            return reasons.EVENT_TOO_OLD
        matches, lost = self._table.matching(signal.labels)
        decisions = [_no_target(watch, now) for watch in lost] if lost else []
        if not matches:
            return decisions or reasons.NO_RULE
        reading = self._read(signal)
        judging = []
        for match in matches:
            if match.watch.is_windowed:
                decisions.append(self._membership.count(match, signal, reading, now))
            else:
                judging.append(match)
        if judging:
            found = self._happen(alert, signal, judging, reading, now)
            decisions += [Decision(_IGNORE, now, found)] if isinstance(found, str) else found
        return decisions

    def _happen(
        self, alert: Alert | None, signal: Signal, matches: Sequence[Match], reading: Reading, now: datetime
    ) -> str | list[Decision]:
        """A point event, for the conditions that judge one at a time."""
        alert_id = (signal.source, signal.key)
        if alert is not None:
            return reasons.PASSED if signal.passed else reasons.EVENT_JOINS
        ended = self._ended.start_of(alert_id)
        if ended is not None and signal.started_at is not None:
            is_other = signal.id != "" and signal.started_at == ended  # of the same second, but not seen before
            if self._ended.is_over(alert_id, signal.started_at) and not is_other:
                return reasons.EVENT_REPEAT
        self._ended.remember(alert_id, signal.started_at or signal.received_at, now)
        if signal.passed:
            return self._happenings.end(alert_id, now, reasons.PASSED) or reasons.PASSED
        return self._happenings.happen(signal, matches, reading, now)

    # --- shared ---------------------------------------------------------------------------------------------------------

    def _read(self, signal: Signal) -> Reading:
        return self._table.read(signal.labels, signal.annotations, signal.value, signal.link)


def _no_target(watch: Watch, now: datetime) -> Decision:
    return Decision(_IGNORE, now, reasons.no_target(watch.rule.name), watch.rule.name, severity=watch.rule.severity)
