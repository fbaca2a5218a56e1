"""The index finds what trying every matcher would find, and does not remember what it can't afford."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from responder.domain.matcher import all_match, parse_matcher
from responder.engine import matcher_index
from responder.engine.matcher_index import MatcherIndex

TEXTS = ['a="1"', 'a="2"', 'a=~"1|2"', 'a!="1"', 'a=""', 'b="1"', 'b=~".+"', 'b!~"1.*"', 'c="x"']
labels = st.dictionaries(st.sampled_from("abcd"), st.sampled_from(["", "1", "2", "11", "x"]))


@given(st.lists(st.lists(st.sampled_from(TEXTS), min_size=1, max_size=3), max_size=6), st.lists(labels, max_size=8))
def test_finds_what_trying_every_matcher_would_find(entries: list[list[str]], seen: list[dict[str, str]]) -> None:
    parsed = [(tuple(parse_matcher(text) for text in texts), number) for number, texts in enumerate(entries)]
    index = MatcherIndex(parsed)
    for one in seen:
        expected = [number for matchers, number in parsed if all_match(matchers, one)]
        assert index.matching(one) == expected
        assert index.matching({**one, "pod": "another label"}) == expected


def test_remembers_a_limited_number_of_short_combinations(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matcher_index, "KNOWN_LIMIT", 3)
    index = MatcherIndex([((parse_matcher('a=~".+"'),), "any")])
    for number in range(20):
        assert index.matching({"a": f"v{number}"}) == ["any"]
        assert index.matching({"a": "v" * 1000 + str(number)}) == ["any"]
        assert len(index._known) <= 3
    assert all(len(key[0] or "") <= matcher_index.KNOWN_LENGTH for key in index._known)
