"""Finds what matches a signal's labels without trying every matcher: cost stays flat as rulebooks grow."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Generic, TypeVar

from responder.domain.matcher import Matcher, MatchOperator

T = TypeVar("T")

_LITERALS = re.compile(r"[\w \-/:,@]+(?:\|[\w \-/:,@]+)*")
_Check = Callable[[Mapping[str, str]], bool]


KNOWN_LIMIT = 10_000
"""How many combinations of labels are remembered with what matches them."""

KNOWN_LENGTH = 100
"""Longer values are not worth the memory."""


class MatcherIndex(Generic[T]):
    """Entries under their most selective equality (`alertname` among equals).

    `=~` with plain alternatives ("A|B") counts as equality. Only an entry without any equality with a non-empty value has
    to be tried against every signal, because it may match a label that is absent.
    """

    def __init__(self, entries: Sequence[tuple[Sequence[Matcher], T]]) -> None:
        self._entries: list[tuple[tuple[_Check, ...], T]] = []  # what the bucket does not say already, and the value
        self._buckets: dict[str, dict[str, list[int]]] = {}
        self._scanned: list[int] = []
        # What matches depends on these labels alone, and alerts differ in others: pod, instance, …
        self._names = tuple(dict.fromkeys(matcher.name for matchers, _ in entries for matcher in matchers))
        self._known: dict[tuple[str | None, ...], list[T]] = {}
        uses: Counter[tuple[str, str]] = Counter(
            (matcher.name, value) for matchers, _ in entries for matcher in matchers for value in _equalities(matcher)
        )
        for number, (matchers, entry) in enumerate(entries):
            best = min(
                ((max(uses[m.name, v] for v in _equalities(m)), m.name != "alertname", m) for m in matchers if _equalities(m)),
                key=lambda choice: choice[:2],
                default=None,
            )
            known = None if best is None else best[2]
            self._entries.append((tuple([matcher.matches for matcher in matchers if matcher is not known]), entry))
            if best is None:
                self._scanned.append(number)
                continue
            bucket = self._buckets.setdefault(best[2].name, {})
            for value in _equalities(best[2]):
                bucket.setdefault(value, []).append(number)

    def matching(self, labels: Mapping[str, str]) -> list[T]:
        """Every entry whose matchers all match, in order of declaration. Not to be changed by the caller."""
        key = tuple(map(labels.get, self._names))
        found = self._known.get(key)
        if found is None:
            found = self._search(labels)
            if all(value is None or len(value) <= KNOWN_LENGTH for value in key):
                if len(self._known) >= KNOWN_LIMIT:
                    self._known.clear()
                self._known[key] = found
        return found

    def _search(self, labels: Mapping[str, str]) -> list[T]:
        candidates: list[int] = []
        buckets = self._buckets
        if len(buckets) <= len(labels):
            for name, bucket in buckets.items():
                if (value := labels.get(name)) and (numbers := bucket.get(value)):
                    candidates += numbers
        else:
            for name, value in labels.items():
                if value and (found := buckets.get(name)) and (numbers := found.get(value)):
                    candidates += numbers
        if self._scanned:
            candidates += self._scanned
        if len(candidates) > 1:
            candidates.sort()
        matched = []
        for number in candidates:
            checks, value_of = self._entries[number]
            for check in checks:
                if not check(labels):
                    break
            else:
                matched.append(value_of)
        return matched


def _equalities(matcher: Matcher) -> tuple[str, ...]:
    """The non-empty values of which the label must have one; () when the matcher is no equality."""
    if matcher.operator is MatchOperator.EQUAL:
        return (matcher.value,) if matcher.value else ()
    if matcher.operator is MatchOperator.REGEX and _LITERALS.fullmatch(matcher.value):
        return tuple(dict.fromkeys(matcher.value.split("|")))
    return ()
