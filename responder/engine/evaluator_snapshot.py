"""The evaluator's state as bytes, so that start-up need not fold the whole journal.

Times are microseconds since 1970 in UTC; rules are counted from 0 in the rulebook's order, which is why a snapshot belongs to
one rulebook.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import orjson

from responder.domain.decision import Decision, DecisionKind
from responder.domain.reading import Verdict
from responder.domain.rule_state import GroupState
from responder.domain.rulebook import Response, Severity
from responder.engine.alerts import Alert, EventMember, Member, StandIn
from responder.engine.conditions.moments import pack, unpack
from responder.engine.conditions.tallies import Tally
from responder.engine.group import Group
from responder.engine.groups import LONG_AGO
from responder.engine.happenings import RANK as EVENT_RANK
from responder.engine.outbreak import RULE as OUTBREAK
from responder.engine.rule_table import RuleTable
from responder.engine.state import State
from responder.engine.watches import Role, Watch

FORMAT = 5


def encode(table: RuleTable, state: State) -> bytes:
    membership = state.membership
    loud = membership.outbreak.loud
    responded, last = membership.outbreak.responses()
    return orjson.dumps(
        {
            "format": FORMAT,
            "rulebook": [table.digest, len(table.watches), table.kept],
            "began": _pack(state.began),
            "moment": _pack(None if membership.groups.moment == LONG_AGO else membership.groups.moment),
            "alerts": [_alert_row(alert) for alert in state.alerts.values()],
            "wanted": [
                [one.query, _pack(one.at), _pack(one.wake), one.number, one.why]
                for one in membership.measurements.wanted.values()
            ],
            "events": [_alert_row(event) for event in state.happenings],
            "ended": [[*alert_id, pack(start), pack(seen)] for alert_id, start, seen in state.ended.items()],
            "groups": [_group_row(group) for group in membership.groups],
            "cleared": [[*key, pack(at)] for key, at in membership.groups.cleared()],
            "seen": [[*signal_id, pack(at)] for signal_id, at in state.seen],
            "tallies": [_tally_row(tally) for tally in membership.tallies],
            "ensembles": [_stand_in_row(one) for one in membership.ensembles.stand_ins()],
            "histories": [
                [*key, [[pack(at), number] for at, number in numbers]] for key, numbers in membership.histories.items()
            ],
            "opened": sorted([index, pack(at)] for index, at in membership.brakes.opened()),
            "responses": [[*key, pack(at)] for key, at in membership.brakes.responses()],
            "actions": sorted([target, pack(at)] for target, at in membership.brakes.actions()),
            "onsets": [[group.watch.index, group.text, pack(at)] for group, at in membership.outbreak.onsets()],
            "outbreak": [
                sorted([target, pack(at)] for target, at in responded.items()),
                _pack(last),
                None if loud is None else [pack(loud.at), loud.reason, loud.episode],
            ],
        }
    )


def decode(table: RuleTable, body: bytes) -> State:
    """Raises ValueError when the snapshot is damaged, or not of this format and rulebook."""
    try:
        return _Reader(table).read(orjson.loads(body))
    except (KeyError, IndexError, TypeError, AttributeError, OverflowError) as error:
        raise ValueError(f"the snapshot is damaged: {error!r}") from error


class _Reader:
    """Puts a state together. Groups come first, so that their members find them."""

    def __init__(self, table: RuleTable) -> None:
        self._table = table
        self._state = State(table)
        self._groups: dict[tuple[int, str], Group] = {}

    def read(self, rows: Any) -> State:
        table = self._table
        if not isinstance(rows, dict) or rows.get("format") != FORMAT:
            raise ValueError("the snapshot has another format")
        if rows.get("rulebook") != [table.digest, len(table.watches), list(table.kept)]:
            raise ValueError("the snapshot was made with another rulebook")
        self._groups_and_members(rows)
        self._memories(rows)
        self._brakes(rows)
        return self._state

    def _groups_and_members(self, rows: dict[str, Any]) -> None:
        membership = self._state.membership
        ghosts: list[tuple[Group, StandIn, datetime]] = []
        for query, at, wake, number, why in rows["wanted"]:
            membership.measurements.put(query, _unpack(at), _unpack(wake), number, why)
        for row in rows["groups"]:
            group = _group(self._table.watches[row[0]], row)
            self._groups[group.watch.index, group.text] = group
            membership.groups.put(group)
            if row[-1] is not None:
                stand_in, until = row[-1]
                ghosts.append((group, self._stand_in(stand_in), unpack(until)))
        for row in rows["alerts"]:
            alert = self._alert(row, Member)
            self._state.alerts[alert.id] = alert
        for row in rows["events"]:
            self._state.happenings.put(self._alert(row, EventMember))
        for row in rows["tallies"]:
            self._tally(row)
        for row in rows["ensembles"]:
            member = self._stand_in(row)
            membership.ensembles.of(member).member = member
            self._join(member)
        for group, ghost, until in ghosts:
            membership.groups.put_ghost(group, ghost, until)

    def _memories(self, rows: dict[str, Any]) -> None:
        state = self._state
        state.began = _unpack(rows["began"])
        state.membership.groups.moment = _unpack(rows["moment"]) or LONG_AGO
        for index, text, at in rows["cleared"]:
            state.membership.groups.put_cleared((index, text), unpack(at))
        for source, key, start, seen in rows["ended"]:
            state.ended.remember((source, key), unpack(start), unpack(seen))
        state.seen.put_all(((source, signal_id), unpack(at)) for source, signal_id, at in rows["seen"])
        for index, source, key, numbers in rows["histories"]:
            state.membership.histories.put((index, source, key), [(unpack(at), number) for at, number in numbers])

    def _brakes(self, rows: dict[str, Any]) -> None:
        brakes, outbreak = self._state.membership.brakes, self._state.membership.outbreak
        for index, at in rows["opened"]:
            brakes.put_opened(index, unpack(at))
        for index, text, at in rows["responses"]:
            brakes.put_response((index, text), unpack(at))
        for target, at in rows["actions"]:
            brakes.acted(target, unpack(at))
        for index, text, at in rows["onsets"]:
            outbreak.begins(self._groups[index, text], unpack(at))
        responded, last, loud = rows["outbreak"]
        outbreak.put_responses({target: unpack(at) for target, at in responded}, _unpack(last), _loud(loud))

    def _alert(self, row: list[Any], kind: type[Member]) -> Alert:
        alert = _words(self._table, row)
        members = []
        for index, target, text, verdict, since, value, wake, wants in row[-1]:
            member = kind(alert, self._table.watches[index], target, text, unpack(since))
            member.verdict = Verdict(verdict)
            member.value = value
            members.append(member)
            self._join(member)
            if wants:
                self._state.membership.measurements.attach(member, alert.reading.labels)
            if isinstance(member, EventMember) and wake is not None:
                order = (index, text, alert.id)
                self._state.membership.timers.set(member, unpack(wake), EVENT_RANK, order)
        alert.join(members)
        return alert

    def _join(self, member: Member) -> None:
        """Put a member that is not calm where it belongs."""
        if member.verdict is Verdict.CALM:
            return
        role = member.watch.role
        if role is Role.PART:
            self._state.membership.ensembles.put(member)
        elif role is Role.GATE:
            self._state.membership.brakes.put(member)
        else:
            group = self._groups[member.watch.index, member.group]
            group.members[member] = None
            group.holding += member.verdict is Verdict.HOLDS

    def _stand_in(self, row: list[Any]) -> StandIn:
        alert, index, target, text, verdict, since, value, words = row
        watch = self._table.watches[index]
        member = StandIn(_words(self._table, alert), watch, target, text, unpack(since))
        member.verdict = Verdict(verdict)
        member.tell(words, value)
        return member

    def _tally(self, row: list[Any]) -> None:
        index, target, text, memory, last, member, wake, number, words = row
        tally = Tally(self._table.watches[index], target, text)
        tally.memory.load(memory)
        tally.last = None if last is None else _words(self._table, last)
        tally.wake = _unpack(wake)
        tally.number, tally.words = number, words
        if member is not None:
            tally.member = self._stand_in(member)
            self._join(tally.member)
        self._state.membership.tallies.put(tally)


def _words_row(alert: Alert) -> list[object]:
    words = alert.reading
    return [*alert.id, pack(alert.start), alert.dated, words.labels, words.texts, words.value, words.link]


def _words(table: RuleTable, row: list[Any]) -> Alert:
    source, key, start, dated, labels, texts, value, link = row[:8]
    reading = table.read(labels, dict(zip(table.kept, texts, strict=True)), value, link)
    return Alert((source, key), unpack(start), dated=dated, reading=reading)


def _alert_row(alert: Alert) -> list[object]:
    members = [
        [
            m.watch.index,
            m.target,
            m.group,
            m.verdict.value,
            pack(m.since),
            m.value,
            _pack(m.wake) if isinstance(m, EventMember) else None,
            bool(m.wants),
        ]
        for m in alert.members
    ]
    return [*_words_row(alert), members]


def _stand_in_row(member: StandIn) -> list[object]:
    place = [member.watch.index, member.target, member.group, member.verdict.value, pack(member.since), member.value]
    return [_words_row(member.alert), *place, member.words]


def _tally_row(tally: Tally) -> list[object]:
    last = None if tally.last is None else _words_row(tally.last)
    member = None if tally.member is None else _stand_in_row(tally.member)
    return [
        tally.watch.index,
        tally.target,
        tally.group,
        tally.memory.rows(),
        last,
        member,
        _pack(tally.wake),
        tally.number,
        tally.words,
    ]


def _group_row(group: Group) -> list[object]:
    times = [pack(group.since), _pack(group.due), _pack(group.wake), _pack(group.fired_at), _pack(group.asked_at)]
    return [
        group.watch.index,
        group.text,
        group.target,
        group.key,
        pack(group.start),
        group.state.value,
        group.asking,
        group.overruled,
        *times,
        None if group.ghost is None else [_stand_in_row(group.ghost), _pack(group.wake)],
    ]


def _group(watch: Watch, row: list[Any]) -> Group:
    _, text, target, key, start, state, asking, overruled, since, due, wake, fired_at, asked_at, _ = row
    group = Group(watch, target, text, (key, unpack(start)), unpack(since))
    group.state = GroupState(state)
    group.asking = asking
    group.overruled = overruled
    group.due = _unpack(due)
    group.wake = _unpack(wake)
    group.fired_at = _unpack(fired_at)
    group.asked_at = _unpack(asked_at)
    return group


def _loud(row: list[Any] | None) -> Decision | None:
    if row is None:
        return None
    at, reason, episode = row
    told = Decision(DecisionKind.RESPOND, unpack(at), reason, OUTBREAK, severity=Severity.P0, response=Response.NOTIFY)
    return told._replace(episode=episode, began_at=unpack(at))


def _pack(at: datetime | None) -> int | None:
    return None if at is None else pack(at)


def _unpack(microseconds: int | None) -> datetime | None:
    return None if microseconds is None else unpack(microseconds)
