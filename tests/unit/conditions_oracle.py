"""What conditions with a memory, joined ones, brakes and point events come to, worked out the slow and obvious way.

At every moment at which anything could change, everything is read again from the whole history. Alerts keep their labels and
have another key than point events; what else an alert can do is the business of `evaluator_oracle`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from responder.domain.condition import (
    AbsentCondition,
    AllOf,
    AnyOf,
    ConsecutiveCondition,
    CountCondition,
    Firing,
    RatioCondition,
    ValueCondition,
)
from responder.domain.decision import Decision, DecisionKind
from responder.domain.matcher import Matcher
from responder.domain.quantity import parse_number
from responder.domain.rulebook import Response, Rule, Rulebook
from responder.domain.signal import Signal, SignalStatus

Outcome = tuple[str, str, str, str, datetime | None]
"""kind, identity, target, response, began_at; the last two only of responses."""


def outcomes(decisions: Sequence[Decision]) -> list[Outcome]:
    """The decisions that somebody acts on, in an order of their own."""
    found: list[Outcome] = []
    for d in decisions:
        if d.kind is DecisionKind.RESPOND:
            found.append(("respond", d.identity, d.target, d.response.value, d.began_at))
        elif d.kind is DecisionKind.CLEAR:
            found.append(("clear", d.identity, d.target, "", None))
    return sorted(found, key=repr)


BEFORE = datetime.min.replace(tzinfo=UTC)


class Member(NamedTuple):
    """holds: None when nobody knows."""

    holds: bool | None
    since: datetime
    source: str
    key: str
    start: datetime

    @property
    def age(self) -> tuple[datetime, str, str]:
        return self.since, self.source, self.key


class Leaf(NamedTuple):
    rule: Rule
    number: int
    condition: Any
    matchers: tuple[Matcher, ...]


@dataclass
class Standing:
    """What is carried along of one group: only what the past decided for good."""

    opener: Member
    state: str = "pending"
    asking: bool = False
    asked: bool = False
    since: datetime | None = None
    ghost_until: datetime | None = None
    onset: datetime | None = None


@dataclass
class Answer:
    """What is known of one query for as long as somebody wants it. at: of the last news, None before the first."""

    since: datetime
    at: datetime | None = None
    number: float | None = None


PATIENCE, LASTS = timedelta(seconds=15), timedelta(seconds=75)
SILENCE = "silence"
"""Instead of a number: nobody answered."""


@dataclass
class Oracle:
    rulebook: Rulebook
    history: list[tuple[Signal, datetime]] = field(default_factory=list)
    standings: dict[tuple[str, str], Standing] = field(default_factory=dict)
    tallies: dict[tuple[str, int, str], Member] = field(default_factory=dict)
    joined: dict[tuple[str, str], Member] = field(default_factory=dict)
    opened: dict[str, datetime] = field(default_factory=dict)
    shut: dict[str, bool] = field(default_factory=dict)
    responded: dict[tuple[str, str], datetime] = field(default_factory=dict)
    ill: dict[str, datetime] = field(default_factory=dict)
    acted: dict[str, datetime] = field(default_factory=dict)
    last_outbreak: datetime | None = None
    answers: dict[str, Answer] = field(default_factory=dict)
    measured: dict[tuple[str, int, str, str, datetime], tuple[bool | None, datetime]] = field(default_factory=dict)
    bases: set[datetime] = field(default_factory=set)
    now: datetime = BEFORE
    changed: bool = False
    ids: set[str] = field(default_factory=set)

    # --- what happens ---------------------------------------------------------------------------------------------------

    def observe(self, signals: Sequence[Signal], now: datetime) -> list[Outcome]:
        found = self.pass_time(now)
        gates = [Leaf(rule, -1, Firing(), rule.unless) for rule in self.rulebook.rules if rule.unless]
        for signal in sorted(signals, key=lambda one: not any(_matches(gate, one) for gate in gates)):
            if signal.id in self.ids:
                continue
            self.ids |= {signal.id} - {""}
            before = len(self.history)
            self.history.append((signal, now))
            replaced = self._replaces(signal, before)
            if replaced is not None:  # a newer episode: the old one leaves first
                kept, self.history[before] = self.history[before], (replaced, now)
                found += self._look(now, arrived=True)
                self.history[before:] = [(replaced, now), kept]
            found += self._look(now, arrived=True)
            self.bases |= {now, min(signal.started_at or now, now)}
        return sorted(found, key=repr)

    def _replaces(self, signal: Signal, before: int) -> Signal | None:
        if signal.status is not SignalStatus.FIRING:
            return None
        current = [one for one in self._episodes(signal.key, self.history[:before]) if one[2] is None]
        if current and signal.started_at is not None and signal.started_at > current[0][0]:
            return Signal(
                **{name: getattr(signal, name) for name in Signal.__slots__}
                | {"status": SignalStatus.RESOLVED, "started_at": current[0][0]}
            )
        return None

    def read(self, query: str, number: float | str | None, now: datetime) -> list[Outcome]:
        """Prometheus answered. Only queries of alerts are known here, not those of point events."""
        found = self.pass_time(now)
        if isinstance(number, str):  # the number before, if there is one, goes on counting
            known = self.answers.get(query)
            if known is None or known.number is not None:
                return found
            number = None
        if query in self.answers:
            self.answers[query].at, self.answers[query].number = now, number
            self.bases.add(now)
            found += self._look(now, arrived=True)
        return sorted(found, key=repr)

    def act(self, target: str, at: datetime) -> None:
        self.acted[target] = at
        self.bases.add(at)

    def pass_time(self, until: datetime) -> list[Outcome]:
        """Everything up to and including that moment, each at its own."""
        found = []
        while True:
            steps = {base + duration for base in self.bases for duration in self._durations()}
            coming = min((step for step in steps if self.now < step <= until), default=None)
            if coming is None:
                self.now = until
                return found
            self.now = coming
            changes = self._look(coming, arrived=False)
            if changes or self.changed:
                self.bases.add(coming)
            found += changes

    def _durations(self) -> set[timedelta]:
        found = set()
        for rule in self.rulebook.rules:
            found |= {rule.hold, rule.hold + rule.active_for, rule.keep_firing_for, rule.cooldown, rule.settle}
            for leaf in self._leaves(rule):
                found |= {getattr(leaf.condition, name) for name in ("within", "after") if hasattr(leaf.condition, name)}
                found |= {PATIENCE, LASTS} if _queries(leaf) else set()
        return found - {timedelta(0)}

    # --- groups ---------------------------------------------------------------------------------------------------------

    def _look(self, now: datetime, *, arrived: bool) -> list[Outcome]:
        """Read everything again: first who belongs where, then who responds."""
        found: list[Outcome] = []
        self.changed = False
        self._measure(now)
        for rule in self.rulebook.rules:
            self._look_at_gate(rule, now)
        places = {
            (rule.name, group): (rule, target, members)
            for rule in self.rulebook.rules
            for (target, group), members in self._members(rule, now, arrived).items()
        }
        for key, standing in list(self.standings.items()):
            if key not in places:
                found += self._empty(key, standing, now)
        for key, (_, _, members) in places.items():
            standing = self.standings.get(key)
            if standing is None:
                self.changed = True
                standing = self.standings[key] = Standing(min(members, key=lambda member: member.age))
                standing.asking = not any(member.holds for member in members)
            standing.ghost_until = None
            holds = any(member.holds for member in members)
            standing.onset = (standing.onset or now) if holds else None
        # What comes due at the same instant does so in the order in which the groups opened.
        for key in places if arrived else [key for key in self.standings if key in places]:
            rule, target, members = places[key]
            found += self._settle(rule, key, target, members, now)
        return found

    def _empty(self, key: tuple[str, str], standing: Standing, now: datetime) -> list[Outcome]:
        rule = next(rule for rule in self.rulebook.rules if rule.name == key[0])
        if standing.state == "firing" and not standing.asking and rule.keep_firing_for and standing.ghost_until is None:
            standing.ghost_until = now + rule.keep_firing_for
            self.changed = True
            return []
        if standing.ghost_until is not None and standing.ghost_until > now:
            return []
        del self.standings[key]
        target = key[1].split("{")[0]
        return [("clear", self._identity(key, standing), target, "", None)]

    def _settle(self, rule: Rule, key: tuple[str, str], target: str, members: list[Member], now: datetime) -> list[Outcome]:
        standing = self.standings[key]
        asking = not any(member.holds for member in members)
        if standing.state == "firing" and (asking or not standing.asking):
            return []
        if asking and standing.asked:
            standing.state, standing.asking = "firing", True
            return []
        standing.state, standing.asking = "pending", asking
        since = min(member.since for member in members if asking or member.holds)
        due = self._due(rule, key, target, since)
        if due is None or due > now:
            return []
        standing.state, standing.since = "firing", since
        response = rule.response
        extra: list[Outcome] = []
        if asking:
            standing.asked = True
            response = Response.NOTIFY
        else:
            self.responded[key] = now
            if response is Response.ROLLBACK and target and self.rulebook.hold is not None:
                self.ill[target] = now
                response, extra = self._hold(now)
        self.changed = True
        return [("respond", self._identity(key, standing), target, response.value, since), *extra]

    def _due(self, rule: Rule, key: tuple[str, str], target: str, since: datetime) -> datetime | None:
        if self.shut.get(rule.name):
            return None
        due = max(since, self.opened.get(rule.name, since)) + rule.hold
        if rule.cooldown and key in self.responded:
            due = max(due, self.responded[key] + rule.cooldown)
        if rule.settle and target in self.acted:
            due = max(due, self.acted[target] + rule.settle)
        return due

    def _hold(self, now: datetime) -> tuple[Response, list[Outcome]]:
        hold = self.rulebook.hold
        assert hold is not None
        recent = now - hold.within
        ill = {target for target, at in self.ill.items() if at > recent}
        for (name, group), standing in self.standings.items():
            rule = next(rule for rule in self.rulebook.rules if rule.name == name)
            target = group.split("{")[0]
            if rule.response is Response.ROLLBACK and target and standing.onset is not None and standing.onset > recent:
                ill.add(target)
        too_many = len(ill) > (hold.count if hold.count is not None else (hold.share or 0) * len(self.rulebook.targets))
        if not too_many:
            return Response.ROLLBACK, []
        is_news = self.last_outbreak is None or now - self.last_outbreak >= hold.within
        self.last_outbreak = now
        told = ("respond", f"many_targets_ill||many_targets_ill@{now.isoformat()}", "", "notify", now)
        return Response.NOTIFY, [told] if is_news else []

    def _look_at_gate(self, rule: Rule, now: datetime) -> None:
        if not rule.unless:
            return
        leaf = Leaf(rule, -1, Firing(), rule.unless)
        fires = any(member.holds for member in self._lasting(leaf, now, lambda _: True))
        if self.shut.get(rule.name) and not fires:
            self.opened[rule.name] = now
            self.changed = True
        self.shut[rule.name] = fires

    @staticmethod
    def _identity(key: tuple[str, str], standing: Standing) -> str:
        opener = standing.opener
        return f"{key[0]}|{key[1]}|{opener.key}@{opener.start.isoformat()}{'|ask' if standing.asking else ''}"

    # --- numbers from queries -------------------------------------------------------------------------------------------

    def _measure(self, now: datetime) -> None:
        """What is wanted, what has become too old, and what that makes of every alert."""
        present = {
            (leaf.rule.name, leaf.number, group, key, start): (leaf, target, deliveries)
            for rule in self.rulebook.rules
            for leaf in self._leaves(rule)
            if _queries(leaf)
            for target, group in self._groups(rule, [leaf])
            for key in sorted({s.key for s, _ in self.history})
            for start, _, ended, deliveries in self._episodes(key, self.history)
            if ended is None and _matches(leaf, deliveries[-1][0]) and (target, group) in self._group_of(rule, deliveries[-1][0])
        }
        asked = {place: _asked(leaf, target, deliveries[-1][0]) for place, (leaf, target, deliveries) in present.items()}
        wanted = {query for queries in asked.values() for query in queries}
        self.answers = {query: one for query, one in self.answers.items() if query in wanted}
        for query in wanted:
            if query not in self.answers:
                self.answers[query] = Answer(now)
                self.bases.add(now)
            one = self.answers[query]
            if (one.at is None and one.since + PATIENCE <= now) or (one.at is not None and one.at + LASTS <= now):
                one.at, one.number = one.at or now, None
        self.measured = {place: was for place, was in self.measured.items() if place in present}
        for place, (leaf, _, deliveries) in present.items():
            answers = [self.answers[query] for query in asked[place]]
            if any(one.at is None for one in answers):
                continue
            holds = _judge_numbers(leaf, deliveries[-1][0], [one.number for one in answers])
            first = min(place[-1], deliveries[0][1])
            was = self.measured.get(place)
            if was is None:
                self.measured[place] = (holds, first)
            elif was[0] is not holds:
                self.measured[place] = (holds, now)

    def _measured_members(self, leaf: Leaf, group: str) -> list[Member]:
        return [
            Member(holds, since, "s", key, start)
            for (name, number, where, key, start), (holds, since) in self.measured.items()
            if (name, number, where) == (leaf.rule.name, leaf.number, group) and holds is not False
        ]

    # --- members --------------------------------------------------------------------------------------------------------

    @staticmethod
    def _leaves(rule: Rule) -> list[Leaf]:
        condition = rule.condition
        if isinstance(condition, AllOf | AnyOf):
            return [Leaf(rule, n, p.condition, (*rule.matchers, *p.matchers)) for n, p in enumerate(condition.parts)]
        return [Leaf(rule, 0, condition, rule.matchers)]

    def _members(self, rule: Rule, now: datetime, arrived: bool) -> dict[tuple[str, str], list[Member]]:
        found: dict[tuple[str, str], list[Member]] = {}
        leaves = self._leaves(rule)
        for target, group in self._groups(rule, leaves):
            parts = [self._part(leaf, group, now, arrived) for leaf in leaves]
            if isinstance(rule.condition, AllOf | AnyOf):
                members = self._join(rule, group, [_first(part) for part in parts])
            else:
                members = parts[0]
            if members:
                found[target, group] = members
        return found

    def _join(self, rule: Rule, group: str, firsts: list[Member | None]) -> list[Member]:
        there = [first for first in firsts if first is not None]
        key = (rule.name, group)
        if isinstance(rule.condition, AllOf):
            lead = max(there, key=lambda member: member.age) if len(there) == len(firsts) else None
            holds = True if all(member.holds for member in there) else None
        else:
            holds = True if any(member.holds for member in there) else None
            lead = min((m for m in there if m.holds is holds), key=lambda member: member.age, default=None)
        if lead is None:
            self.joined.pop(key, None)
            return []
        opener = self.joined.setdefault(key, lead)
        return [opener._replace(holds=holds, since=lead.since)]

    def _groups(self, rule: Rule, leaves: list[Leaf]) -> Iterator[tuple[str, str]]:
        found = {}
        for signal, _ in self.history:
            if any(_matches(leaf, signal) for leaf in leaves):
                for target, group in self._group_of(rule, signal):
                    found[target, group] = None
        yield from found

    def _group_of(self, rule: Rule, signal: Signal) -> Iterator[tuple[str, str]]:
        if rule.target is not None:
            targets = [rule.target]
        else:
            declared = self.rulebook.targets.values()
            targets = [t.name for t in declared if all(m.matches(signal.labels) for m in t.matchers)]
        inner = ",".join(f'{name}="{signal.labels.get(name, "")}"' for name in sorted(rule.by))
        for target in targets or ([""] if rule.response is Response.NOTIFY else []):
            yield target, target + (f"{{{inner}}}" if inner else "")

    def _part(self, leaf: Leaf, group: str, now: datetime, arrived: bool) -> list[Member]:
        def belongs(signal: Signal) -> bool:
            return any(name == group for _, name in self._group_of(leaf.rule, signal))

        if _queries(leaf):
            return self._measured_members(leaf, group)
        if isinstance(leaf.condition, Firing | ValueCondition):
            return [member for member in self._lasting(leaf, now, belongs) if member.holds is not False]
        key = (leaf.rule.name, leaf.number, group)
        since = self._tally(leaf, now, belongs, arrived)
        if since is None:
            if self.tallies.pop(key, None) is not None:
                self.changed = True
            return []
        if key not in self.tallies:
            self.changed = True
            self.tallies[key] = self._stand_in(leaf, since, belongs)
        return [self.tallies[key]]

    # --- conditions that judge what is ----------------------------------------------------------------------------------

    def _lasting(self, leaf: Leaf, now: datetime, belongs: Any) -> list[Member]:
        found = []
        for source, key in sorted({(s.source, s.key) for s, _ in self.history}):
            mine = [(s, seen) for s, seen in self.history if s.key == key and _matches(leaf, s) and belongs(s)]
            if not mine:
                continue
            for start, _, ended, deliveries in self._episodes(key, self.history):
                if ended is None:
                    found.append(self._of_alert(leaf, source, key, start, deliveries))
            event = self._of_event(leaf, source, key, now)
            if event is not None:
                found.append(event)
        return found

    def _of_alert(self, leaf: Leaf, source: str, key: str, start: datetime, deliveries: list[tuple[Signal, datetime]]) -> Member:
        verdict: object = "none"
        since = start
        for number, (signal, seen) in enumerate(deliveries):
            holds = _judge(leaf, signal)
            if holds is not verdict:
                since = min(start, seen) if number == 0 else seen
            verdict = holds
        return Member(_judge(leaf, deliveries[-1][0]), since, source, key, start)

    def _of_event(self, leaf: Leaf, source: str, key: str, now: datetime) -> Member | None:
        """The state of the events of one key, by going through them."""
        going: Member | None = None
        event_start: datetime | None = None  # of the first of those that go on for any rule
        until = now
        newest: datetime | None = None
        life = leaf.rule.hold + leaf.rule.active_for
        for signal, seen in self.history:
            if signal.key != key:
                continue
            if going is not None and until <= seen:
                going = None
            start = signal.started_at
            assert start is not None
            if signal.status is SignalStatus.RESOLVED:
                going = None
                newest = start if newest is None else max(newest, start)
            if signal.status is not SignalStatus.OCCURRED or _is_late(signal, newest):
                continue
            newest = start
            if signal.passed:
                going = None
                continue
            event_start = self._opening(source, key, signal, seen)
            if isinstance(leaf.condition, Firing) and leaf.number >= 0 and leaf.rule.hold and signal.passed is None:
                continue
            holds = _judge(leaf, signal)
            if holds is False:
                going = None
            elif going is not None and going.holds is holds:
                until = seen + life
            else:
                going, until = Member(holds, min(start, seen), source, key, event_start), seen + life
        return going if going is not None and until > now else None

    def _opening(self, source: str, key: str, signal: Signal, seen: datetime) -> datetime:
        """Start of the event that this one prolongs: of the first of those that have gone on, for any rule, since."""
        opening: datetime | None = None
        newest: datetime | None = None
        untils: dict[tuple[str, int, str], datetime] = {}
        for other, when in self.history:
            if other.key != key:
                continue
            untils = {slot: until for slot, until in untils.items() if until > when}
            if not untils:
                opening = None
            start = other.started_at
            assert start is not None
            if other.status is SignalStatus.RESOLVED:
                untils, opening = {}, None
                newest = start if newest is None else max(newest, start)
            if other.status is not SignalStatus.OCCURRED or _is_late(other, newest):
                continue
            newest = start
            if other.passed:
                untils, opening = {}, None
                continue
            opening = opening or start
            for leaf in self._judging():
                if not _matches(leaf, other):
                    continue
                mere = isinstance(leaf.condition, Firing) and leaf.number >= 0
                if mere and leaf.rule.hold and other.passed is None:
                    continue
                holds = _judge(leaf, other)
                for _, group in [("", "")] if leaf.number < 0 else self._group_of(leaf.rule, other):
                    slot = (leaf.rule.name, leaf.number, group)
                    if holds is False:
                        untils.pop(slot, None)
                    else:
                        untils[slot] = when + leaf.rule.hold + leaf.rule.active_for
            if (other, when) == (signal, seen):
                break
            if not untils:
                opening = None
        assert opening is not None
        return opening

    def _judging(self) -> Iterator[Leaf]:
        for rule in self.rulebook.rules:
            yield from (leaf for leaf in self._leaves(rule) if isinstance(leaf.condition, Firing | ValueCondition))
            if rule.unless:
                yield Leaf(rule, -1, Firing(), rule.unless)

    def _episodes(
        self, key: str, history: Sequence[tuple[Signal, datetime]]
    ) -> list[tuple[datetime, datetime, datetime | None, list[tuple[Signal, datetime]]]]:
        """Every episode of an alert: start, when it opened, when it ended, deliveries."""
        found: list[Any] = []
        newest: datetime | None = None
        current: list[Any] | None = None
        for signal, seen in history:
            if signal.key != key or signal.status is SignalStatus.OCCURRED:
                continue
            start = signal.started_at
            assert start is not None
            if signal.status is SignalStatus.FIRING:
                if current is not None:
                    if start == current[0]:
                        current[3].append((signal, seen))
                elif newest is None or start > newest:
                    current = [start, seen, None, [(signal, seen)]]
                    found.append(current)
            elif current is None:
                newest = start if newest is None else max(newest, start)
            elif start >= current[0]:
                current[2] = seen
                newest = max(start, newest or start)
                current = None
        return [tuple(one) for one in found]

    # --- conditions that remember what was ------------------------------------------------------------------------------

    def _taken(self, leaf: Leaf, belongs: Any) -> list[tuple[datetime, Signal, datetime]]:
        """Episodes that began and point events that this condition looks at: at their own time, and when they were told."""
        found: dict[Any, tuple[datetime, Signal, datetime]] = {}
        for source, key in sorted({(s.source, s.key) for s, _ in self.history}):
            for start, seen, _, deliveries in self._episodes(key, self.history):
                signal = deliveries[0][0]
                if _matches(leaf, signal) and belongs(signal) and not _is_undecided(leaf, signal):
                    found.setdefault((source, key, start), (min(start, seen), signal, seen))
        for signal, seen in self.history:
            counts = _matches(leaf, signal) and belongs(signal) and not _is_undecided(leaf, signal)
            if signal.status is SignalStatus.OCCURRED and counts:
                start = signal.started_at
                assert start is not None
                found.setdefault((signal.source, signal.key, start, signal.passed, signal.id), (min(start, seen), signal, seen))
        return list(found.values())

    def _tally(self, leaf: Leaf, now: datetime, belongs: Any, arrived: bool) -> datetime | None:
        """Since when it holds, None when it does not."""
        condition = leaf.condition
        if isinstance(condition, AbsentCondition):
            heard = list(self._heard(leaf, belongs))
            over = max(heard) + condition.after if heard else None
            return over if over is not None and over <= now else None
        taken = self._taken(leaf, belongs)
        if isinstance(condition, CountCondition):
            begin = now - condition.within
            first = {(s.key, s.started_at, s.id): (at, s) for at, s, _ in reversed(taken) if not s.passed}
            counted = [(at, s) for at, s in first.values() if at > begin]
            number = len({s.labels.get(condition.distinct, "") for _, s in counted}) if condition.distinct else len(counted)
            return max(at for at, _ in counted) if number > condition.above else None
        checks = [(at, s.passed) for at, s, _ in taken if s.passed is not None]
        if isinstance(condition, ConsecutiveCondition):
            passed = max((at for at, good in checks if good), default=None)
            row = [at for at, good in checks if not good and (passed is None or at > passed)]
            life = leaf.rule.hold + leaf.rule.active_for
            return max(row) if len(row) >= condition.count and max(row) + life > now else None
        assert isinstance(condition, RatioCondition)
        verdicts = {(s.key, s.started_at, s.id): (at, s.passed) for at, s, _ in reversed(taken) if s.passed is not None}
        within = [(at, good) for at, good in verdicts.values() if at > now - condition.within]
        failed = sum(not good for _, good in within)
        if len(within) < condition.least or not within or failed / len(within) <= condition.above:
            return None
        newest = max(at for at, _ in within)
        return newest if arrived else max(newest, now)

    def _heard(self, leaf: Leaf, belongs: Any) -> Iterator[datetime]:
        for key in {s.key for s, _ in self.history}:
            for _, _, _, deliveries in self._episodes(key, self.history):
                yield from (seen for s, seen in deliveries if _matches(leaf, s) and belongs(s))
        for signal, seen in self.history:
            if signal.status is SignalStatus.OCCURRED and _matches(leaf, signal) and belongs(signal):
                yield seen

    def _stand_in(self, leaf: Leaf, since: datetime, belongs: Any) -> Member:
        if isinstance(leaf.condition, AbsentCondition):
            return Member(True, since, "", "absent", since)
        last = self._last_taken(leaf, belongs)
        assert last.started_at is not None
        return Member(True, since, last.source, last.key, last.started_at)

    def _last_taken(self, leaf: Leaf, belongs: Any) -> Signal:
        """The one that was told last of those the condition did not know."""
        condition = leaf.condition
        latest: dict[Any, datetime] = {}
        passed: datetime | None = None
        last: Signal | None = None
        order = {id(signal): number for number, (signal, _) in enumerate(self.history)}
        for at, signal, seen in sorted(self._taken(leaf, belongs), key=lambda one: order[id(one[1])]):
            if isinstance(condition, CountCondition):
                if signal.passed or at + condition.within <= seen:
                    continue
                key = (
                    signal.labels.get(condition.distinct, "")
                    if condition.distinct
                    else (signal.key, signal.started_at, signal.id)
                )
                if key in latest and latest[key] >= at:
                    continue
                latest[key] = at
            elif signal.passed is None:
                continue
            elif isinstance(condition, ConsecutiveCondition):
                if passed is not None and at <= passed:
                    continue
                passed = at if signal.passed else passed
            elif at + condition.within <= seen:
                continue
            last = signal
        assert last is not None
        return last


def _first(members: list[Member]) -> Member | None:
    counting = [member for member in members if member.holds] or members
    return min(counting, key=lambda member: member.age, default=None)


def _matches(leaf: Leaf, signal: Signal) -> bool:
    return all(matcher.matches(signal.labels) for matcher in leaf.matchers)


def _is_late(event: Signal, newest: datetime | None) -> bool:
    """Older than what is known; what has an id may be another one of the same moment."""
    if newest is None or event.started_at is None or event.started_at > newest:
        return False
    return event.started_at < newest or not event.id


def _is_undecided(leaf: Leaf, signal: Signal) -> bool:
    """Grafana does not know either, and the rule does not ask for that."""
    asked_for = any(one.name == "grafana_state" and not one.matches({}) for one in leaf.matchers)
    return leaf.number >= 0 and not asked_for and signal.labels.get("grafana_state", "") != ""


def _queries(leaf: Leaf) -> tuple[Any, ...]:
    return leaf.condition.queries if isinstance(leaf.condition, ValueCondition) else ()


def _asked(leaf: Leaf, target: str, signal: Signal) -> list[str]:
    """Texts without anything that would have to be quoted."""
    found = []
    for query in _queries(leaf):
        text = query.text.replace("{{ target }}", f'"{target}"')
        for name in leaf.rule.by:
            text = text.replace(f"{{{{ labels.{name} }}}}", f'"{signal.labels.get(name, "")}"')
        found.append(text)
    return found


def _judge_numbers(leaf: Leaf, signal: Signal, numbers: list[float | None]) -> bool | None:
    condition = leaf.condition
    text = signal.annotations.get("value")
    number = numbers[0] if condition.query is not None else None if text is None else parse_number(text)
    if condition.baseline is not None:
        baseline = numbers[-1]
        number = None if number is None or baseline is None or baseline <= 0 else number / baseline
    return None if number is None else number > condition.above


def _judge(leaf: Leaf, signal: Signal) -> bool | None:
    if _is_undecided(leaf, signal):
        return None
    condition = leaf.condition
    if not isinstance(condition, ValueCondition):
        return True
    text = signal.annotations.get("value")
    if text is None:
        return None
    assert condition.above is not None
    return parse_number(text) > condition.above
