"""The evaluator's state as bytes, so that start-up need not fold the whole journal.

Times are microseconds since 1970 in UTC; rules are counted from 0 in the rulebook's order, which is why a snapshot belongs to
one rulebook.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

from responder.domain.condition import Verdict
from responder.domain.rule_state import GroupState
from responder.engine.alerts import Alert, EndedEpisodes, Member
from responder.engine.groups import Group, Groups
from responder.engine.rule_table import RuleTable
from responder.engine.seen_ids import SeenIds

FORMAT = 1
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

Alerts = dict[tuple[str, str], Alert]


def encode(table: RuleTable, alerts: Alerts, ended: EndedEpisodes, groups: Groups, seen: SeenIds) -> bytes:
    return orjson.dumps(
        {
            "format": FORMAT,
            "rulebook": [table.digest, len(table.watches), table.kept],
            "alerts": [_alert_row(alert) for alert in alerts.values()],
            "ended": [[*alert_id, _pack(start), _pack(seen)] for alert_id, start, seen in ended.items()],
            "groups": [_group_row(group) for group in groups],
            "cleared": [[*key, _pack(at)] for key, at in groups.cleared()],
            "seen": [[*signal_id, _pack(at)] for signal_id, at in seen],
        }
    )


def decode(table: RuleTable, body: bytes) -> tuple[Alerts, EndedEpisodes, Groups, SeenIds]:
    """Raises ValueError when the snapshot is damaged, or not of this format and rulebook."""
    try:
        return _decode(table, orjson.loads(body))
    except (KeyError, IndexError, TypeError, OverflowError) as error:
        raise ValueError(f"the snapshot is damaged: {error!r}") from error


def _decode(table: RuleTable, state: Any) -> tuple[Alerts, EndedEpisodes, Groups, SeenIds]:
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise ValueError("the snapshot has another format")
    if state.get("rulebook") != [table.digest, len(table.watches), list(table.kept)]:
        raise ValueError("the snapshot was made with another rulebook")
    groups = Groups(table.kept)
    by_key = {(row[0], row[1]): _group(table, row) for row in state["groups"]}
    alerts: Alerts = {}
    for row in state["alerts"]:
        alert = _alert(table, row)
        alerts[alert.id] = alert
        for member in alert.members:
            if member.verdict is not Verdict.CALM:
                group = by_key[member.watch.index, member.group]
                group.members[member] = None
                group.holding += member.verdict is Verdict.HOLDS
    for group in by_key.values():
        groups.put(group)
    for index, text, at in state["cleared"]:
        groups.put_cleared((index, text), _unpack(at))
    ended = EndedEpisodes()
    for source, key, start, seen in state["ended"]:
        ended.remember((source, key), _unpack(start), _unpack(seen))
    seen = SeenIds()
    seen.put_all(((source, signal_id), _unpack(at)) for source, signal_id, at in state.get("seen", []))
    return alerts, ended, groups, seen


def _alert_row(alert: Alert) -> list[object]:
    members = [[m.watch.index, m.target, m.group, m.verdict.value, _pack(m.since), m.value] for m in alert.members]
    return [*alert.id, _pack(alert.start), alert.dated, alert.labels, alert.texts, alert.value, alert.link, members]


def _alert(table: RuleTable, row: list[Any]) -> Alert:
    source, key, start, dated, labels, texts, value, link, members = row
    alert = Alert((source, key), _unpack(start), dated=dated, reading=table.read(labels, tuple(texts), value, link))
    alert.members = tuple([_member(table, alert, place) for place in members])
    return alert


def _member(table: RuleTable, alert: Alert, row: list[Any]) -> Member:
    index, target, text, verdict, since, value = row
    member = Member(alert, table.watches[index], target, text, _unpack(since))
    member.verdict = Verdict(verdict)
    member.value = value
    return member


def _group_row(group: Group) -> list[object]:
    times = [_pack(group.since), _pack(group.due), _pack(group.fired_at), _pack(group.asked_at)]
    return [
        group.watch.index,
        group.text,
        group.target,
        group.opener[0],
        _pack(group.opener[1]),
        group.state.value,
        group.asking,
        *times,
    ]


def _group(table: RuleTable, row: list[Any]) -> Group:
    index, text, target, key, start, state, asking, since, due, fired_at, asked_at = row
    group = Group(table.watches[index], target, text, (key, _unpack(start)), _unpack(since))
    group.state = GroupState(state)
    group.asking = asking
    group.due = _unpack(due)
    group.fired_at = None if fired_at is None else _unpack(fired_at)
    group.asked_at = None if asked_at is None else _unpack(asked_at)
    return group


def _pack(at: datetime | None) -> int | None:
    return None if at is None else (at - _EPOCH) // _MICROSECOND


def _unpack(microseconds: int) -> datetime:
    return _EPOCH + timedelta(microseconds=microseconds)
