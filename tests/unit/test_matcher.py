"""Matchers in Alertmanager's syntax."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from responder.domain.matcher import Matcher, MatchOperator, all_match, parse_matcher

LABELS = {"alertname": "HighErrorRate", "pod": "shop-7f9", "note": "two\nlines", "quote": 'say "hi"'}


@pytest.mark.parametrize(
    ("text", "matches"),
    [
        ('alertname="HighErrorRate"', True),
        ("alertname=HighErrorRate", True),
        (' alertname = "HighErrorRate" ', True),
        ('alertname="Other"', False),
        ('alertname!="Other"', True),
        ('alertname!="HighErrorRate"', False),
        ('pod=~"shop-.+"', True),
        ('pod=~"shop"', False),
        ('pod=~"shop-|cart-"', False),
        ('pod!~"cart-.+"', True),
        ('pod!~"shop-.+"', False),
        ('missing=""', True),
        ('missing!=""', False),
        ('missing=~".*"', True),
        ('missing=~".+"', False),
        ('missing!="x"', True),
        ('note=~"two.lines"', True),
        (r'note="two\nlines"', True),
        (r'quote="say \"hi\""', True),
    ],
)
def test_a_matcher_means_what_it_means_to_alertmanager(text: str, matches: bool) -> None:
    assert parse_matcher(text).matches(LABELS) is matches


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not a matcher"),
        ("alertname", "not a matcher"),
        ("alertname: X", "not a matcher"),
        ('alertname=="X"', "not a matcher"),
        ('alertname="X", pod="y"', "not a matcher"),
        ('{alertname="X"}', "not a matcher"),
        ('1a="X"', "not a matcher"),
        ('alertname="X', "not a matcher"),
        ('pod=~"shop-("', "does not compile"),
    ],
)
def test_what_is_no_matcher_is_refused_with_an_example(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_matcher(text)


@given(st.text(), st.sampled_from([MatchOperator.EQUAL, MatchOperator.NOT_EQUAL]))
def test_a_written_matcher_is_read_back(value: str, operator: MatchOperator) -> None:
    matcher = Matcher("name", operator, value)
    assert parse_matcher(str(matcher)) == matcher


def test_all_matchers_must_match() -> None:
    both = [parse_matcher('alertname="HighErrorRate"'), parse_matcher('pod="other"')]
    assert all_match(both[:1], LABELS)
    assert not all_match(both, LABELS)
    assert all_match([], LABELS)
