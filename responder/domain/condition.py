"""What a rule may ask of alerts and point events: its condition."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

from responder.domain.matcher import Matcher
from responder.domain.query import Query


@dataclass(frozen=True, slots=True)
class Firing:
    """Condition: the alert fires, whatever its value."""


ANY_FIRING = Firing()


@dataclass(frozen=True, slots=True)
class Baseline:
    """What a number is compared with: the bounds are then multiples of it. Exactly one is given.

    annotation: name of the alert's annotation that carries it.
    history: the median of the signal's own calm numbers in a window of this length.
    query: what Prometheus answers.
    """

    annotation: str | None = None
    history: timedelta | None = None
    query: Query | None = None


@dataclass(frozen=True, slots=True)
class ValueCondition:
    """Condition on a number. Bounds are exclusive for above and below, inclusive for between.

    above alone: value > above. below alone: value < below. Both None never happens.
    between: (low, high) with low <= value <= high.
    source: where the number comes from: `value`, `annotations.<name>` or `labels.<name>`.
    query: with one, the number is what Prometheus answers, and `source` means nothing.
    """

    above: float | None = None
    below: float | None = None
    between: tuple[float, float] | None = None
    source: str = "annotations.value"
    baseline: Baseline | None = None
    query: Query | None = None

    @property
    def queries(self) -> tuple[Query, ...]:
        """What it has to ask Prometheus: for its number, then for its baseline."""
        asked = (self.query, None if self.baseline is None else self.baseline.query)
        return tuple(query for query in asked if query is not None)


@dataclass(frozen=True, slots=True)
class CountCondition:
    """More than `above` episodes or point events began within the window that ends now.

    distinct: label whose different values are counted instead; a missing label is an empty value.
    """

    above: int
    within: timedelta
    distinct: str | None = None


@dataclass(frozen=True, slots=True)
class ConsecutiveCondition:
    """At least `count` failed point events in a row."""

    count: int


@dataclass(frozen=True, slots=True)
class RatioCondition:
    """failed / (passed + failed) of the window's point events is above the bound. least: with fewer events it never holds."""

    above: float
    within: timedelta
    least: int = 1


@dataclass(frozen=True, slots=True)
class AbsentCondition:
    """Nothing that matches was heard of for so long.

    from_start: also when nothing was ever heard of since the journal begins; otherwise it waits for a first sign of life.
    """

    after: timedelta
    from_start: bool = False


LeafCondition = Firing | ValueCondition | CountCondition | ConsecutiveCondition | RatioCondition | AbsentCondition


@dataclass(frozen=True, slots=True)
class Part:
    """One of several conditions of a rule. matchers: in addition to the rule's own."""

    condition: LeafCondition
    matchers: tuple[Matcher, ...] = ()


@dataclass(frozen=True, slots=True)
class AllOf:
    """Every part holds, in the same group."""

    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class AnyOf:
    """At least one part holds."""

    parts: tuple[Part, ...]


Condition = LeafCondition | AllOf | AnyOf


def query_users(condition: Condition) -> Iterator[ValueCondition]:
    """The conditions on numbers, of all its parts, that have to ask Prometheus."""
    leaves = [part.condition for part in condition.parts] if isinstance(condition, AllOf | AnyOf) else [condition]
    for leaf in leaves:
        if isinstance(leaf, ValueCondition) and leaf.queries:
            yield leaf
