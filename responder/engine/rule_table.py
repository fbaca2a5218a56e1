"""A rulebook's rules and targets, prepared so that a signal finds the groups it belongs to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from sys import intern
from typing import NamedTuple

from responder.domain.condition import Verdict, finite, judge, read_number, spell_bounds
from responder.domain.rule_state import group_text
from responder.domain.rulebook import Response, Rule, Rulebook, ValueCondition
from responder.engine.matcher_index import MatcherIndex

TEXT_LIMIT = 1000
"""Annotations are kept up to this many characters."""
_SHOWN = ("summary", "description", "runbook_url", "value")
_NAMES_LIMIT = 1000
_ANNOTATION = "annotations."
_LABEL = "labels."


class Reading(NamedTuple):
    """What one delivery of an alert said. names: of the labels, in their order.

    texts: the annotations that are kept, in the order of `RuleTable.kept`, cut.
    """

    labels: Mapping[str, str]
    names: tuple[str, ...]
    texts: tuple[str | None, ...]
    value: float | None
    link: str


class Watch:
    """One rule, prepared. hold: the rule's `for`. number_name: what the number is called in reasons."""

    __slots__ = ("_condition", "_label", "_text", "bounds", "by", "hold", "index", "number_name", "rule", "watches_number")

    def __init__(self, index: int, rule: Rule, kept: Sequence[str]) -> None:
        self.index = index
        self.rule = rule
        self.hold: timedelta = rule.hold
        self.by = tuple(sorted(set(rule.by)))
        self.number_name = "value"
        self.bounds = ""
        self._text: int | None = None
        self._label: str | None = None
        self._condition: ValueCondition | None = None
        if isinstance(rule.condition, ValueCondition):
            self._condition = rule.condition
            self.bounds = spell_bounds(rule.condition)
            source = rule.condition.source
            if source.startswith(_ANNOTATION):
                self.number_name = source.removeprefix(_ANNOTATION)
                self._text = kept.index(self.number_name)
            elif source.startswith(_LABEL):
                self.number_name = self._label = source.removeprefix(_LABEL)
        self.watches_number = self._condition is not None

    def judge(self, reading: Reading) -> tuple[Verdict, float | None]:
        """The verdict and the number it rests on."""
        if self._condition is None:
            return Verdict.HOLDS, reading.value
        if self._text is not None:
            number = read_number(reading.texts[self._text])
        elif self._label is not None:
            number = read_number(reading.labels.get(self._label))
        else:
            number = reading.value
        return judge(self._condition, number), number

    def due(self, since: datetime) -> datetime:
        try:
            return since + self.hold
        except OverflowError:
            return datetime.max.replace(tzinfo=since.tzinfo)


class Match(NamedTuple):
    """A group that a signal belongs to. target: "" only for a rule that needs none."""

    watch: Watch
    target: str
    group: str


class RuleTable:
    """Finds the groups of a signal. kept: names of the annotations worth keeping."""

    def __init__(self, rulebook: Rulebook) -> None:
        named = [
            rule.condition.source.removeprefix(_ANNOTATION)
            for rule in rulebook.rules
            if isinstance(rule.condition, ValueCondition) and rule.condition.source.startswith(_ANNOTATION)
        ]
        self.digest = rulebook.digest
        self.kept = tuple(dict.fromkeys((*_SHOWN, *named)))
        self.watches = tuple(Watch(index, rule, self.kept) for index, rule in enumerate(rulebook.rules))
        self.by_name = {watch.rule.name: watch for watch in self.watches}
        self._names: dict[tuple[str, ...], tuple[str, ...]] = {}  # label names that alerts share
        self._rules = MatcherIndex([(watch.rule.matchers, watch) for watch in self.watches])
        # A target without matchers is spoken of only by the rules that name it.
        self._targets = MatcherIndex([(t.matchers, t.name) for t in rulebook.targets.values() if t.matchers])

    def matching(self, labels: Mapping[str, str]) -> tuple[list[Match], list[Watch]]:
        """The groups, and the matching rules that would roll back but find no target."""
        matches: list[Match] = []
        lost: list[Watch] = []
        spoken_of: list[str] | None = None
        for watch in self._rules.matching(labels):
            rule = watch.rule
            if rule.target is not None:
                targets = [rule.target]
            else:
                if spoken_of is None:
                    spoken_of = self._targets.matching(labels)
                targets = spoken_of
            if not targets:
                if rule.response is not Response.NOTIFY:
                    lost.append(watch)
                    continue
                targets = [""]
            pairs = [(name, labels.get(name, "")) for name in watch.by]
            matches += [Match(watch, target, group_text(target, pairs) if pairs else target) for target in targets]
        return matches, lost

    def read(self, labels: Mapping[str, str], texts: tuple[str | None, ...], value: float | None, link: str) -> Reading:
        names = tuple(labels)
        shared = self._names.get(names)
        if shared is None:
            if len(self._names) >= _NAMES_LIMIT:
                self._names.clear()
            shared = self._names[names] = tuple(map(intern, names))
        return Reading(labels, shared, tuple([text[:TEXT_LIMIT] if text else text for text in texts]), finite(value), link)
