"""Label matchers in Alertmanager's syntax: `name="value"`, `!=`, `=~`, `!~` (regular expressions are anchored)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class MatchOperator(StrEnum):
    EQUAL = "="
    NOT_EQUAL = "!="
    REGEX = "=~"
    NOT_REGEX = "!~"


@dataclass(frozen=True, slots=True)
class Matcher:
    """One matcher. A label that is missing counts as the empty string, as in Alertmanager."""

    name: str
    operator: MatchOperator
    value: str
    _pattern: re.Pattern[str] | None = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Compile the pattern once. Raises re.error for a pattern that does not compile."""
        if self.operator in (MatchOperator.REGEX, MatchOperator.NOT_REGEX):
            object.__setattr__(self, "_pattern", re.compile(self.value, re.DOTALL))

    def matches(self, labels: Mapping[str, str]) -> bool:
        actual = labels.get(self.name, "")
        if self._pattern is None:
            return (actual == self.value) is (self.operator is MatchOperator.EQUAL)
        return (self._pattern.fullmatch(actual) is not None) is (self.operator is MatchOperator.REGEX)

    def __str__(self) -> str:
        escaped = self.value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        return f'{self.name}{self.operator}"{escaped}"'


_MATCHER = re.compile(
    r"""\s*(?P<name>[A-Za-z_][A-Za-z0-9_:]*)\s*(?P<operator>=~|!~|!=|=)\s*(?:"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<bare>[^"\s{},]*))\s*""",
    re.DOTALL,
)
_ESCAPES = {"\\n": "\n", '\\"': '"', "\\\\": "\\"}


def parse_matcher(text: str) -> Matcher:
    """Read one matcher. Raises ValueError with what is wrong and an example."""
    found = _MATCHER.fullmatch(text)
    if found is None:
        raise ValueError(f'not a matcher: {text!r} (write for example alertname="HighErrorRate")')
    quoted = found["quoted"]
    value = found["bare"] if quoted is None else re.sub(r'\\[n"\\]', lambda escape: _ESCAPES[escape[0]], quoted)
    try:
        return Matcher(found["name"], MatchOperator(found["operator"]), value)
    except re.error as error:
        raise ValueError(f"regular expression {value!r} does not compile: {error}") from error


def all_match(matchers: Iterable[Matcher], labels: Mapping[str, str]) -> bool:
    """True without matchers, too."""
    return all(matcher.matches(labels) for matcher in matchers)
