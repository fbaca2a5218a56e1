"""A rulebook's rules and targets, prepared so that a signal finds the groups it belongs to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from sys import intern
from typing import NamedTuple

from responder.domain.reading import Reading, finite
from responder.domain.rulebook import Rulebook
from responder.domain.signal import Signal
from responder.engine.matcher_index import MatcherIndex
from responder.engine.watches import Role, Watch, kept_annotations, watches_of

TEXT_LIMIT = 1000
"""Annotations are kept up to this many characters."""
_SHOWN = ("summary", "description", "runbook_url", "value")
_NAMES_LIMIT = 1000
_NONE = ("",)
_GATE = Role.GATE


class Match(NamedTuple):
    """A group that a signal belongs to. target: "" only for a rule that needs none."""

    watch: Watch
    target: str
    group: str


class RuleTable:
    """Finds the groups of a signal. kept: names of the annotations worth keeping."""

    def __init__(self, rulebook: Rulebook) -> None:
        self.digest = rulebook.digest
        self.hold = rulebook.hold
        self.target_count = len(rulebook.targets)
        self.kept = tuple(dict.fromkeys((*_SHOWN, *kept_annotations(rulebook))))
        self.watches = tuple(watches_of(rulebook, self.kept))
        self.by_name = {watch.rule.name: watch for watch in self.watches if watch.role is Role.RULE}
        self._names: dict[tuple[str, ...], tuple[str, ...]] = {}  # label names that alerts share
        self._rules = MatcherIndex([(watch.matchers, watch) for watch in self.watches if watch.condition is not None])
        gates = [(watch.matchers, watch) for watch in self.watches if watch.role is _GATE]
        self._gates = MatcherIndex(gates)
        self.has_gates = bool(gates)
        # A target without matchers is spoken of only by the rules that name it.
        self._targets = MatcherIndex([(t.matchers, t.name) for t in rulebook.targets.values() if t.matchers])

    def matching(self, labels: Mapping[str, str]) -> tuple[list[Match], list[Watch]]:
        """The groups, and the matching rules that would roll back but find no target."""
        matches: list[Match] = []
        lost: list[Watch] = []
        for watch in self._rules.matching(labels):
            if watch.role is _GATE:
                targets: Sequence[str] = _NONE
            elif watch.target is not None:
                targets = (watch.target,)
            else:
                targets = self._targets.matching(labels)
                if not targets:
                    if watch.needs_target:
                        lost.append(watch)
                        continue
                    targets = _NONE
            for target in targets:
                matches.append(Match(watch, target, watch.group_of(target, labels)))
        return matches, lost

    def gates_first(self, signals: Sequence[Signal]) -> Sequence[Signal]:
        """Of what arrives together, first that which makes rules hold back; the rest in the order given."""
        if not self.has_gates or len(signals) < 2:
            return signals
        return sorted(signals, key=lambda signal: not self._gates.matching(signal.labels))

    def read(self, labels: Mapping[str, str], annotations: Mapping[str, str | None], value: float | None, link: str) -> Reading:
        """Interned: ten thousand alerts of one rule share most of their texts."""
        names = tuple(labels)
        shared = self._names.get(names)
        if shared is None:
            if len(self._names) >= _NAMES_LIMIT:
                self._names.clear()
            shared = self._names[names] = tuple(map(intern, names))
        values = tuple(map(intern, labels.values()))
        return Reading(shared, values, self.kept, self._texts(annotations), finite(value), intern(link))

    def read_again(self, known: Reading, annotations: Mapping[str, str | None], value: float | None, link: str) -> Reading:
        """For the labels that are known already."""
        return Reading(known.names, known.values, self.kept, self._texts(annotations), finite(value), intern(link))

    def _texts(self, annotations: Mapping[str, str | None]) -> tuple[str | None, ...]:
        texts = map(annotations.get, self.kept)
        return tuple([text and intern(text if len(text) <= TEXT_LIMIT else text[:TEXT_LIMIT]) for text in texts])
