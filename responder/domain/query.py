"""PromQL queries of a rulebook: fixed texts, with places for what the rulebook's own groups are called.

A place is `{{ target }}` or `{{ labels.<name> }}`. It becomes a quoted PromQL string, and may stand only as the value of a
matcher with `=` or `!=`: a value from outside narrows a query, it never chooses one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from responder.domain.quantity import parse_duration

LENGTH_LIMIT = 4_000
_TARGET = "target"
_LABEL = "labels."
_PLACE = re.compile(r"\{\{(?P<inside>.*?)\}\}", re.DOTALL)
_NAME = re.compile(r"target|labels\.[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_BEFORE_A_PLACE = re.compile(r"[A-Za-z0-9_:\"']\s*!?=\s*$", re.ASCII)
_RANGE = re.compile(r"\[\s*(?P<range>[0-9a-z]+)\s*(?P<subquery>:)?[^\]]*\]")
_STRING = {'"': re.compile(r'"(?:[^"\\\n]|\\.)*"'), "'": re.compile(r"'(?:[^'\\\n]|\\.)*'"), "`": re.compile(r"`[^`]*`")}
_CLOSES = {")": "(", "]": "[", "}": "{"}


@dataclass(frozen=True, slots=True)
class Query:
    """texts and places alternate: text, place, text, …; a place is `target` or `labels.<name>`. Made by `parse_query`."""

    text: str
    texts: tuple[str, ...] = field(repr=False)
    places: tuple[str, ...] = ()

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the labels that narrow it."""
        return tuple(dict.fromkeys(place.removeprefix(_LABEL) for place in self.places if place != _TARGET))

    def render(self, target: str, labels: Mapping[str, str]) -> str:
        """A label that is missing is the empty string, as it is in a matcher."""
        if not self.places:
            return self.text
        values = [quote(target if place == _TARGET else labels.get(place.removeprefix(_LABEL), "")) for place in self.places]
        return "".join(part for pair in zip(self.texts, (*values, ""), strict=True) for part in pair)

    def made(self, text: str) -> bool:
        """Whether `render` could have given this."""
        if not self.places:
            return text == self.text
        return re.fullmatch(r'"(?:[^"\\]|\\.)*"'.join(map(re.escape, self.texts)), text) is not None


def parse_query(text: str) -> Query:
    """Raises ValueError with what is wrong. Prometheus alone knows whether the rest is PromQL."""
    if not text.strip():
        raise ValueError("must be a query; write for example sum(rate(http_errors_total[5m]))")
    if len(text) > LENGTH_LIMIT:
        raise ValueError(f"is longer than {LENGTH_LIMIT} characters")
    plain = _without_strings(text)
    texts, places, end = [], [], 0
    for found in _PLACE.finditer(plain):
        inside = found["inside"].strip()
        if _NAME.fullmatch(inside) is None:
            raise ValueError(
                f"{{{{ {inside} }}}} is nothing a query can hold; it knows {{{{ target }}}} and {{{{ labels.<name> }}}}"
            )
        if _BEFORE_A_PLACE.search(plain, end, found.start()) is None:
            raise ValueError(
                f"{{{{ {inside} }}}} can only be the value of a matcher with = or !=; write for example "
                f"up{{instance={{{{ {inside} }}}}}}"
            )
        texts.append(text[end : found.start()])
        places.append(inside)
        end = found.end()
    rest = _PLACE.sub("", plain)
    if "{{" in rest or "{%" in rest:
        raise ValueError("holds a template that is not closed or not known; a query knows {{ target }} and {{ labels.<name> }}")
    _check_brackets(rest)
    return Query(text, (*texts, text[end:]), tuple(places))


def quote(value: str) -> str:
    """A PromQL string. Characters that PromQL would read are escaped; half a surrogate pair is replaced."""
    return '"' + "".join(map(_escaped, value)) + '"'


def window_of(text: str) -> timedelta:
    """How far back the samples of a query may lie: its longest range, and its subqueries' on top; 0 without any.

    `offset` and `@` are left out: who compares with last week wants last week.
    """
    plain = timedelta(0)
    around = timedelta(0)
    for found in _RANGE.finditer(_without_strings(text)):
        try:
            length = parse_duration(found["range"])
        except ValueError:
            continue
        if found["subquery"]:
            around += length
        else:
            plain = max(plain, length)
    return plain + around


def _escaped(character: str) -> str:
    code = ord(character)
    if character in '"\\':
        return "\\" + character
    if code < 32 or code == 127:
        return f"\\x{code:02x}"
    if 0xD800 <= code < 0xE000 or code == 0xFFFD:  # Prometheus takes a plain U+FFFD for broken UTF-8
        return r"\ufffd"
    return character


def _without_strings(text: str) -> str:
    """The same length, with blanks instead of what strings and comments hold. Raises ValueError for an open string."""
    parts: list[str] = []
    for piece in _pieces(text):
        if piece[0] in _STRING:
            if _PLACE.search(piece):
                raise ValueError("no quotes around {{ … }}: it becomes a quoted string by itself")
            parts.append(piece[0] + " " * (len(piece) - 2) + piece[0])
        else:
            parts.append(" " * len(piece) if piece[0] == "#" else piece)
    return "".join(parts)


def _pieces(text: str) -> Iterator[str]:
    """Strings, comments, and what stands between them."""
    begin = at = 0
    while at < len(text):
        character = text[at]
        end = at
        if character in _STRING:
            found = _STRING[character].match(text, at)
            if found is None:
                raise ValueError(f"a string that begins with {character} is not closed")
            end = found.end()
        elif character == "#":
            end = text.find("\n", at) if "\n" in text[at:] else len(text)
        if end == at:
            at += 1
            continue
        if begin < at:
            yield text[begin:at]
        yield text[at:end]
        begin = at = end
    if begin < len(text):
        yield text[begin:]


def _check_brackets(plain: str) -> None:
    open_ones: list[str] = []
    for character in plain:
        if character in _CLOSES.values():
            open_ones.append(character)
        elif character in _CLOSES and (not open_ones or open_ones.pop() != _CLOSES[character]):
            raise ValueError(f"has a {character} too many")
    if open_ones:
        raise ValueError(f"has a {open_ones[-1]} that is not closed")
