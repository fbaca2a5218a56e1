"""What the conditions of a group come to when one source is taken at its word of this moment, instead of what it told before."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from responder.domain.condition import AllOf, AnyOf
from responder.domain.reading import Verdict
from responder.domain.signal import Signal
from responder.engine.alerts import Member
from responder.engine.membership import Membership
from responder.engine.rule_table import RuleTable
from responder.engine.watches import Reading, Role, Watch

_WEIGHT = {Verdict.CALM: 0, Verdict.INCONCLUSIVE: 1, Verdict.HOLDS: 2}


class Appraisal(NamedTuple):
    """seen: how many of the listed alerts belong to the group, whatever their numbers say."""

    verdict: Verdict
    seen: int


def appraise(
    table: RuleTable,
    membership: Membership,
    root: Watch,
    group: str,
    *,
    listed: Sequence[Signal],
    now: datetime,
    source: str,
    alone: bool,
) -> Appraisal:
    """Nothing is changed by it.

    listed: every alert that the source knows of now; what it told before does not count. Alerts of other sources, point events
    and what conditions remember count as they are, unless it is `alone` that matters.
    """
    condition = root.rule.condition
    parts: list[list[Verdict]] = [[] for _ in (condition.parts if isinstance(condition, AllOf | AnyOf) else (condition,))]
    if not alone:
        for part, member in membership.members(root, group):
            if type(member) is not Member or member.alert.id[0] != source:
                parts[part].append(member.verdict)
    seen = 0
    for signal in listed:
        matches, _ = table.matching(signal.labels)
        watches = [one.watch for one in matches if one.watch.root is root and one.group == group]
        mine = [watch for watch in watches if watch.role is not Role.GATE and not watch.is_windowed]
        if mine:
            seen += 1
            texts = tuple(map(signal.annotations.get, table.kept))
            reading = table.read(signal.labels, texts, signal.value, signal.link)
            for watch in mine:
                parts[watch.part].append(_judge(membership, watch, signal, reading, now))
    found = [max(part, key=_WEIGHT.__getitem__, default=Verdict.CALM) for part in parts]
    choose = min if isinstance(condition, AllOf) else max
    return Appraisal(choose(found, key=_WEIGHT.__getitem__), seen)


def _judge(membership: Membership, watch: Watch, signal: Signal, reading: Reading, now: datetime) -> Verdict:
    if watch.history is None:
        return watch.judge(reading)[0]
    known = membership.histories.look((watch.index, signal.source, signal.key), watch.history, now)
    return watch.judge_against(watch.number(reading), known)[0]
