"""What the evaluator must decide, worked out the slow and obvious way: everything is read again from the whole history.

For rules that judge one alert at a time; `conditions_oracle` is for the others, and for point events.
No index, no timers, no running minimum, nothing carried along but which groups are pending or firing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from math import isfinite
from typing import NamedTuple

from responder.domain.condition import ValueCondition
from responder.domain.decision import Decision, DecisionKind
from responder.domain.quantity import parse_number
from responder.domain.rulebook import Response, Rule, Rulebook
from responder.domain.signal import Signal, SignalStatus

REMEMBERED = timedelta(hours=24)


class Outcome(NamedTuple):
    """A decision as far as it must agree."""

    kind: DecisionKind
    identity: str
    target: str
    at: datetime
    response: Response | None
    began_at: datetime | None
    value: float | None


def outcomes(decisions: Sequence[Decision]) -> list[Outcome]:
    """The decisions that somebody acts on, in an order of their own."""
    found = [
        Outcome(
            d.kind,
            d.identity,
            d.target,
            d.at,
            d.response if d.kind is DecisionKind.RESPOND else None,
            d.began_at if d.kind is DecisionKind.RESPOND else None,
            d.value if d.kind is DecisionKind.RESPOND else None,
        )
        for d in decisions
        if d.kind in (DecisionKind.RESPOND, DecisionKind.CLEAR)
    ]
    return sorted(found, key=repr)


class Slot(NamedTuple):
    """A group of a rule."""

    rule: Rule
    target: str
    group: str


class Place(NamedTuple):
    """An alert in a group. holds: None when nobody knows."""

    holds: bool | None
    since: datetime
    value: float | None
    key: str


@dataclass
class Standing:
    episode: str
    state: str = "pending"
    asking: bool = False
    asked: bool = False
    since: datetime | None = None


@dataclass
class Oracle:
    rulebook: Rulebook
    history: list[tuple[Signal, datetime]] = field(default_factory=list)
    standings: dict[tuple[str, str], Standing] = field(default_factory=dict)

    # --- what happens ---------------------------------------------------------------------------------------------------

    def observe(self, signals: Sequence[Signal], now: datetime) -> list[Outcome]:
        found = self.tick(now)
        for signal in signals:
            before = self._episode(signal.source, signal.key, self.history)
            self.history.append((signal, now))
            after = self._episode(signal.source, signal.key, self.history)
            if before and after and before[0] != after[0]:  # a newer episode: the old one leaves first
                found += self._settle(self._places(now, without=(signal.source, signal.key)), signal, now)
            found += self._settle(self._places(now), signal, now)
        return sorted(found, key=repr)

    def tick(self, now: datetime) -> list[Outcome]:
        found = []
        for slot, places in self._places(now).items():
            standing = self.standings[slot.rule.name, slot.group]
            if standing.state == "pending" and self._since(places) + slot.rule.hold <= now:
                found.append(self._fire(slot, places, standing, now))
        return sorted(found, key=repr)

    def _settle(self, places: dict[Slot, list[Place]], signal: Signal, now: datetime) -> list[Outcome]:
        found = []
        groups = {(slot.rule.name, slot.group): slot for slot in places}
        for (name, group), standing in list(self.standings.items()):
            if (name, group) not in groups:
                del self.standings[name, group]
                target = group.split("{")[0]
                identity = f"{name}|{group}|{standing.episode}{'|ask' if standing.asking else ''}"
                found.append(Outcome(DecisionKind.CLEAR, identity, target, now, None, None, None))
        for slot, members in places.items():
            asking = all(place.holds is None for place in members)
            standing = self.standings.get((slot.rule.name, slot.group))
            if standing is None:
                standing = self.standings[slot.rule.name, slot.group] = Standing(self._opened_by(signal), asking=asking)
            if standing.state == "firing" and (asking or not standing.asking):
                continue
            if asking and standing.asked:
                if standing.state != "firing":
                    standing.since = self._since(members)
                standing.state, standing.asking = "firing", True
                continue
            standing.state, standing.asking = "pending", asking
            if self._since(members) + slot.rule.hold <= now:
                found.append(self._fire(slot, members, standing, now))
        return found

    def _fire(self, slot: Slot, members: list[Place], standing: Standing, now: datetime) -> Outcome:
        standing.state = "firing"
        standing.asked = standing.asked or standing.asking
        standing.since = self._since(members)
        first = min(_counting(members), key=lambda place: (place.since, place.key))
        response = Response.NOTIFY if standing.asking else slot.rule.response
        identity = f"{slot.rule.name}|{slot.group}|{standing.episode}{'|ask' if standing.asking else ''}"
        return Outcome(DecisionKind.RESPOND, identity, slot.target, now, response, standing.since, first.value)

    # --- what the history says ------------------------------------------------------------------------------------------

    def views(self, now: datetime) -> set[tuple[str, str, str, datetime | None, tuple[str, ...]]]:
        """(rule, group, state, since, keys of the alerts that count)"""
        return {
            (
                slot.rule.name,
                slot.group,
                (standing := self.standings[slot.rule.name, slot.group]).state,
                self._since(places) if standing.state == "pending" else standing.since,
                tuple(place.key for place in sorted(_counting(places), key=lambda place: (place.since, place.key))),
            )
            for slot, places in self._places(now).items()
        }

    def _places(self, now: datetime, without: tuple[str, str] | None = None) -> dict[Slot, list[Place]]:
        """Who is in which group, by reading every alert's history."""
        found: dict[Slot, list[Place]] = {}
        for source, key in sorted({(s.source, s.key) for s, _ in self.history} - {without}):
            episode = self._episode(source, key, self.history)
            if episode is None:
                continue
            for slot in self._slots(episode[2][-1][0]):
                place = self._place(slot, episode)
                if place.holds is not False:
                    found.setdefault(slot, []).append(place)
        return found

    def _place(self, slot: Slot, episode: tuple[object, datetime, list[tuple[Signal, datetime]]]) -> Place:
        """Verdict and since: the start of the episode if the first reading said so already, else when it was seen changing."""
        verdict: object = "outside"
        since = episode[1]
        for number, (signal, seen) in enumerate(episode[2]):
            if slot not in self._slots(signal):
                verdict = "outside"
                continue
            holds, value = self._judge(slot.rule, signal)
            if holds is not verdict:
                start = signal.started_at or signal.received_at
                since = min(start, signal.received_at, seen) if number == 0 else min(signal.received_at, seen)
            verdict = holds
        return Place(holds, since, value, signal.key)

    def _episode(
        self, source: str, key: str, history: list[tuple[Signal, datetime]]
    ) -> tuple[object, datetime, list[tuple[Signal, datetime]]] | None:
        """The firing episode of an alert: what tells it apart, start, deliveries; None when it does not fire."""
        return self._read(source, key, history)[0]

    def _read(self, source: str, key: str, history: list[tuple[Signal, datetime]]) -> tuple:
        current = None
        ended = None
        for number, (signal, now) in enumerate(history):
            if ended and now - ended[1] > REMEMBERED:
                ended = None
            if (signal.source, signal.key) != (source, key):
                continue
            start = signal.started_at
            if signal.status is SignalStatus.FIRING:
                if current and start and start > current[1]:
                    current = None  # a newer episode; it may open below
                elif current:
                    if start is None or start == current[1] or not current[3]:
                        current[2].append((signal, now))
                        if not list(self._slots(signal)):
                            current = None  # its labels match nothing any more: not remembered
                    continue
                if ended and start and (start == ended[0] or start <= min(ended)):
                    continue
                if list(self._slots(signal)):
                    current = (number, start or signal.received_at, [(signal, now)], start is not None)
            elif signal.status is SignalStatus.RESOLVED:
                if current:
                    if start and start < current[1] and current[3]:
                        continue
                    ended = (max(filter(None, (start, current[1], ended and ended[0]))), now)
                    current = None
                elif ended or list(self._slots(signal)):
                    ended = (max(filter(None, (start or signal.received_at, ended and ended[0]))), now)
        return (current[:3] if current else None), ended

    def _slots(self, signal: Signal) -> Iterator[Slot]:
        for rule in self.rulebook.rules:
            if not all(matcher.matches(signal.labels) for matcher in rule.matchers):
                continue
            if rule.target is not None:
                targets = [rule.target]
            else:
                declared = self.rulebook.targets.values()
                targets = [t.name for t in declared if t.matchers and all(m.matches(signal.labels) for m in t.matchers)]
            if not targets and rule.response is Response.NOTIFY:
                targets = [""]
            inner = ",".join(f'{name}="{signal.labels.get(name, "")}"' for name in sorted(rule.by))
            for target in targets:
                yield Slot(rule, target, target + (f"{{{inner}}}" if inner else ""))

    def _judge(self, rule: Rule, signal: Signal) -> tuple[bool | None, float | None]:
        condition = rule.condition
        number: float | None
        if not isinstance(condition, ValueCondition) or condition.source == "value":
            number = signal.value if signal.value is not None and isfinite(signal.value) else None
        else:
            kind, name = condition.source.split(".", 1)
            try:
                number = parse_number((signal.labels if kind == "labels" else signal.annotations)[name])
            except (KeyError, ValueError):
                number = None
            if number is not None and not isfinite(number):
                number = None
        if not isinstance(condition, ValueCondition):
            return True, number
        if number is None:
            return None, None
        low, high = condition.between or (number, number)
        above = condition.above is None or number > condition.above
        below = condition.below is None or number < condition.below
        return above and below and low <= number <= high, number

    def _opened_by(self, signal: Signal) -> str:
        episode = self._episode(signal.source, signal.key, self.history)
        assert episode is not None
        return f"{signal.key}@{episode[1].astimezone(UTC).isoformat()}"

    @staticmethod
    def _since(places: list[Place]) -> datetime:
        return min(place.since for place in _counting(places))


def _counting(places: list[Place]) -> list[Place]:
    """Those that hold; when there is none, those that nobody knows of."""
    return [place for place in places if place.holds] or places
