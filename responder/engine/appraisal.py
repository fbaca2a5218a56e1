"""What the conditions of a group come to when one source is taken at its word of this moment, instead of what it told before."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from responder.domain.condition import AllOf, AnyOf
from responder.domain.reading import Reading, Verdict
from responder.domain.signal import Signal
from responder.engine.alerts import Member
from responder.engine.membership import Membership
from responder.engine.rule_table import Match, RuleTable
from responder.engine.watches import Role, Watch

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
        found = [one for one in matches if one.watch.root is root and one.group == group]
        mine = [one for one in found if one.watch.role is not Role.GATE and not one.watch.is_windowed]
        if mine:
            seen += 1
            reading = table.read(signal.labels, signal.annotations, signal.value, signal.link)
            for match in mine:
                parts[match.watch.part].append(_judge(membership, match, signal, reading, now))
    verdicts = [max(part, key=_WEIGHT.__getitem__, default=Verdict.CALM) for part in parts]
    choose = min if isinstance(condition, AllOf) else max
    return Appraisal(choose(verdicts, key=_WEIGHT.__getitem__), seen)


def _judge(membership: Membership, match: Match, signal: Signal, reading: Reading, now: datetime) -> Verdict:
    watch = match.watch
    if watch.is_plain:
        return watch.judge(reading)[0]
    known = None
    if watch.history is not None:
        known = membership.histories.look((watch.index, signal.source, signal.key), watch.history, now)
    if watch.queries:
        measured = membership.measurements.look(watch, match.target, signal.labels)
        return watch.judge_measured(reading, measured, known)[0]
    return watch.judge_against(watch.number(reading), known)[0]
