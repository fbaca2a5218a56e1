"""Rules, prepared for looking at signals. One with parts or with `unless` is several watches: its own, and one per part."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from enum import Enum
from functools import lru_cache

from responder.domain.condition import (
    AbsentCondition,
    AllOf,
    AnyOf,
    Firing,
    LeafCondition,
    ValueCondition,
)
from responder.domain.matcher import Matcher
from responder.domain.query import Query
from responder.domain.reading import GRAFANA_STATE, Reading, Verdict, judge, read_number, spell_bounds, times_baseline
from responder.domain.rule_state import label_text
from responder.domain.rulebook import Response, Rule, Rulebook

_ANNOTATION = "annotations."
_LABEL = "labels."
_HOLDS, _CALM, _INCONCLUSIVE = Verdict.HOLDS, Verdict.CALM, Verdict.INCONCLUSIVE


class Role(Enum):
    """What the members of a watch do: belong to the rule's group, are one part of its condition, or make the rule hold back."""

    RULE = "rule"
    PART = "part"
    GATE = "gate"


class Watch:
    """What looks at signals for one rule. index: its own among all watches.

    root: the rule's own watch. part: number of the part. hold: the rule's `for`; life: of point events.
    condition: None for a rule with parts, which looks at no signal itself.
    number_name: what the number is called in reasons. is_windowed: it remembers what was, instead of judging what is.
    hears_repeats: deliveries that say nothing new matter too. is_braked: more than `for` can delay a response.
    queries: what Prometheus is asked for its number and its baseline. is_plain: one reading of the alert says everything.
    """

    __slots__ = (
        "_baseline",
        "_label",
        "_takes_state",
        "_text",
        "_value",
        "bounds",
        "by",
        "condition",
        "hears_repeats",
        "history",
        "hold",
        "index",
        "is_braked",
        "is_plain",
        "is_windowed",
        "life",
        "matchers",
        "number_name",
        "part",
        "queries",
        "role",
        "root",
        "rule",
        "target",
        "watches_number",
    )

    def __init__(
        self,
        index: int,
        rule: Rule,
        kept: Sequence[str],
        *,
        role: Role = Role.RULE,
        condition: LeafCondition | None = None,
        matchers: Sequence[Matcher] = (),
        root: Watch | None = None,
        part: int = 0,
    ) -> None:
        self.index = index
        self.rule = rule
        self.role = role
        self.root = root or self
        self.part = part
        self.condition = condition
        self.matchers = (*rule.matchers, *matchers) if role is not Role.GATE else tuple(matchers)
        self._takes_state = role is Role.GATE or any(one.name == GRAFANA_STATE and not one.matches({}) for one in self.matchers)
        self.hold: timedelta = rule.hold
        self.life = rule.hold + rule.active_for
        self.by = tuple(sorted(set(rule.by))) if role is not Role.GATE else ()
        self.is_braked = bool(rule.unless or rule.cooldown or rule.settle)
        self.is_windowed = condition is not None and not isinstance(condition, Firing | ValueCondition)
        from_start = isinstance(condition, AbsentCondition) and condition.from_start
        self.target = "" if from_start and rule.target is None else rule.target
        self.number_name = "value"
        self.bounds = ""
        self.history: timedelta | None = None
        self._text: int | None = None
        self._label: str | None = None
        self._baseline: int | None = None
        self._value: ValueCondition | None = None
        self.queries: tuple[Query, ...] = ()
        if isinstance(condition, ValueCondition):
            self._prepare(condition, kept)
        self.watches_number = self._value is not None
        self.is_plain = self.history is None and not self.queries
        self.hears_repeats = isinstance(condition, AbsentCondition) or self.history is not None

    def _prepare(self, condition: ValueCondition, kept: Sequence[str]) -> None:
        self._value = condition
        self.bounds = spell_bounds(condition)
        self.queries = condition.queries
        source = condition.source
        if condition.query is not None:
            self.number_name = "query"
        elif source.startswith(_ANNOTATION):
            self.number_name = source.removeprefix(_ANNOTATION)
            self._text = kept.index(self.number_name)
        elif source.startswith(_LABEL):
            self.number_name = self._label = source.removeprefix(_LABEL)
        baseline = condition.baseline
        if baseline is not None:
            self.number_name += " / baseline"
            self.history = baseline.history
            if baseline.annotation is not None:
                self._baseline = kept.index(baseline.annotation)

    @property
    def needs_target(self) -> bool:
        return self.rule.response is not Response.NOTIFY and self.role is not Role.GATE

    def is_undecided(self, reading: Reading) -> bool:
        """Whether the sender itself does not know if it fires. A rule that asks for just that decides for itself, and what holds
        back does so in doubt.
        """
        return not self._takes_state and reading.label(GRAFANA_STATE) != ""

    def group_of(self, target: str, labels: Mapping[str, str]) -> str:
        """Canonical text of the group that a signal with these labels belongs to."""
        if not self.by:
            return target
        pairs = ",".join([label_text(name, labels.get(name, "")) for name in self.by])
        return f"{target}{{{pairs}}}"

    def judge(self, reading: Reading) -> tuple[Verdict, float | None]:
        """The verdict and the number it rests on. CALM where that is not for this one reading to say.

        INCONCLUSIVE where Prometheus has to be asked.
        """
        if self.is_windowed:
            return _CALM, reading.value
        if self.is_undecided(reading):
            return _INCONCLUSIVE, None
        if self._value is None:
            return _HOLDS, reading.value
        if self.queries:
            return _INCONCLUSIVE, None
        number = self.number(reading)
        if self._baseline is not None:
            number = times_baseline(number, read_number(reading.texts[self._baseline]))
        return judge(self._value, number), number

    def judge_against(self, number: float | None, baseline: float | None) -> tuple[Verdict, float | None]:
        """Like `judge`, for a number whose baseline comes from elsewhere."""
        if self._value is None:
            raise TypeError(f"{self.rule.name} watches no number")
        multiple = times_baseline(number, baseline)
        return judge(self._value, multiple), multiple

    def judge_measured(
        self, reading: Reading, measured: Sequence[float | None], past: float | None
    ) -> tuple[Verdict, float | None]:
        """Like `judge`, with what Prometheus said to `queries`, in their order. past: the baseline from its own history."""
        if self._value is None:
            raise TypeError(f"{self.rule.name} watches no number")
        number = measured[0] if self._value.query is not None else self.number(reading)
        baseline = self._value.baseline
        if baseline is None:
            return judge(self._value, number), number
        if baseline.query is not None:
            return self.judge_against(number, measured[-1])
        if self._baseline is not None:
            return self.judge_against(number, read_number(reading.texts[self._baseline]))
        return self.judge_against(number, past)

    def number(self, reading: Reading) -> float | None:
        """The number as the signal has it, without its baseline."""
        if self._text is not None:
            return read_number(reading.texts[self._text])
        if self._label is not None:
            return read_number(reading.label(self._label))
        return reading.value

    def due(self, since: datetime) -> datetime:
        return _due(since, self.hold)


def later(at: datetime, by: timedelta) -> datetime:
    """`at + by`, the end of time if that is beyond it."""
    try:
        return at + by
    except OverflowError:
        return datetime.max.replace(tzinfo=at.tzinfo)


@lru_cache(256)  # the alerts of one evaluation began at the same instant
def _due(since: datetime, hold: timedelta) -> datetime:
    return later(since, hold)


def watches_of(rulebook: Rulebook, kept: Sequence[str]) -> Iterator[Watch]:
    """All watches; the rules' own first, in the rulebook's order and with its numbers."""
    own = [Watch(index, rule, kept, condition=_leaf(rule)) for index, rule in enumerate(rulebook.rules)]
    yield from own
    index = len(own)
    for root in own:
        condition = root.rule.condition
        for number, part in enumerate(condition.parts if isinstance(condition, AllOf | AnyOf) else ()):
            yield Watch(
                index,
                root.rule,
                kept,
                role=Role.PART,
                condition=part.condition,
                matchers=part.matchers,
                root=root,
                part=number,
            )
            index += 1
        if root.rule.unless:
            yield Watch(index, root.rule, kept, role=Role.GATE, condition=Firing(), matchers=root.rule.unless, root=root)
            index += 1


def _leaf(rule: Rule) -> LeafCondition | None:
    return None if isinstance(rule.condition, AllOf | AnyOf) else rule.condition


def kept_annotations(rulebook: Rulebook) -> Iterator[str]:
    """Annotations that some condition reads."""
    for rule in rulebook.rules:
        condition = rule.condition
        leaves = [part.condition for part in condition.parts] if isinstance(condition, AllOf | AnyOf) else [condition]
        for leaf in leaves:
            if not isinstance(leaf, ValueCondition):
                continue
            if leaf.query is None and leaf.source.startswith(_ANNOTATION):
                yield leaf.source.removeprefix(_ANNOTATION)
            if leaf.baseline is not None and leaf.baseline.annotation is not None:
                yield leaf.baseline.annotation
