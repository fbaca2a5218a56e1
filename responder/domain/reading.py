"""One reading of one alert, and how it is judged against a rule's condition."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from math import isfinite
from typing import NamedTuple

from responder.domain.condition import ValueCondition
from responder.domain.quantity import parse_number
from responder.domain.wording import spell_number

GRAFANA_STATE = "grafana_state"
"""Label of an alert that Grafana lets fire because there is no data (`nodata`) or because the query failed (`error`)."""


class Verdict(StrEnum):
    """What one alert says about the condition of a rule."""

    HOLDS = "holds"
    CALM = "calm"
    INCONCLUSIVE = "inconclusive"  # no number that says anything, or the sender does not know: never acts, asks


class Reading(NamedTuple):
    """What one delivery of an alert said, kept small: most alerts share the names, and many the texts.

    names, values: of the labels, in the sender's order. kept: names of the annotations worth keeping; texts: theirs, cut; None
    where there is none.
    """

    names: tuple[str, ...] = ()
    values: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    texts: tuple[str | None, ...] = ()
    value: float | None = None
    link: str = ""

    @property
    def labels(self) -> dict[str, str]:
        return dict(zip(self.names, self.values, strict=True))

    def label(self, name: str) -> str:
        """Empty when it is missing."""
        return self.values[self.names.index(name)] if name in self.names else ""

    def has_labels(self, labels: Mapping[str, str]) -> bool:
        """Senders keep their order, so comparing the two tuples nearly always settles it."""
        if tuple(labels.values()) == self.values and tuple(labels) == self.names:
            return True
        return len(labels) == len(self.names) and self.labels == labels


NOTHING_SAID = Reading()

_HOLDS, _CALM, _INCONCLUSIVE = Verdict.HOLDS, Verdict.CALM, Verdict.INCONCLUSIVE


def finite(number: float | None) -> float | None:
    """None for NaN and the infinities: they say nothing."""
    return number if number is not None and isfinite(number) else None


def read_number(text: str | None) -> float | None:
    """The number a text stands for (`5%`, `200ms`, `0.0731`); None when it is missing, unreadable or not finite."""
    if not text:
        return None
    try:
        return finite(parse_number(text))
    except (ValueError, OverflowError):
        return None


def judge(condition: ValueCondition, number: float | None) -> Verdict:
    """Every bound that is given must hold."""
    if number is None:
        return _INCONCLUSIVE
    if condition.above is not None and not number > condition.above:
        return _CALM
    if condition.below is not None and not number < condition.below:
        return _CALM
    if condition.between is not None and not condition.between[0] <= number <= condition.between[1]:
        return _CALM
    return _HOLDS


def times_baseline(number: float | None, baseline: float | None) -> float | None:
    """The number as a multiple of its baseline; None when one is missing, or nothing can be a multiple of the baseline."""
    if number is None or baseline is None or baseline <= 0:
        return None
    return finite(number / baseline)


def spell_bounds(condition: ValueCondition) -> str:
    """`above 0.05`, `between 1 and 2`, `above 1 and below 2`."""
    parts = []
    if condition.above is not None:
        parts.append(f"above {spell_number(condition.above)}")
    if condition.below is not None:
        parts.append(f"below {spell_number(condition.below)}")
    if condition.between is not None:
        low, high = condition.between
        parts.append(f"between {spell_number(low)} and {spell_number(high)}")
    return " and ".join(parts)
