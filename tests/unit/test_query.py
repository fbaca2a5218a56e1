"""Queries: what may stand in them, how places are filled in, how far back they look."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from responder.domain.query import parse_query, quote, window_of

REFUSED = {
    "nothing": (" ", "must be a query"),
    "too much": ("x" * 4001, "longer than 4000"),
    "a place in quotes": ('up{job="{{ target }}"}', "no quotes around"),
    "a place in other quotes": ("up{job='a {{ labels.b }}'}", "no quotes around"),
    "a place in a regular expression": ("up{pod=~{{ labels.pod }}}", "only be the value of a matcher with = or !="),
    "a place in a regular expression that excludes": ("up{pod!~{{ labels.pod }}}", "only be the value of a matcher"),
    "a place that is a metric": ("{{ target }}", "only be the value of a matcher"),
    "a place that is an argument": ('label_replace(up, "a", {{ labels.b }}, "c", "d")', "only be the value of a matcher"),
    "a place after a comparison": ("up == {{ target }}", "only be the value of a matcher"),
    "a place after a place": ("up{a={{ target }}{{ target }}}", "only be the value of a matcher"),
    "another name": ("up{a={{ annotations.b }}}", "nothing a query can hold"),
    "a filter": ("up{a={{ target | upper }}}", "nothing a query can hold"),
    "a statement": ("{% if target %}up{% endif %}", "not closed or not known"),
    "a place that is not closed": ("up{a={{ target }", "not closed or not known"),
    "a string that is not closed": ('up{a="b}', "not closed"),
    "a bracket that is not closed": ("sum(rate(up[5m])", "not closed"),
    "a bracket too many": ("sum(up))", "too many"),
    "crossed brackets": ("sum(up[5m)]", "too many"),
}


@pytest.mark.parametrize(("text", "message"), REFUSED.values(), ids=REFUSED)
def test_a_query_can_not_hold(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_query(text)


RENDERED = {
    "a fixed text": ("sum(up)", "sum(up)"),
    "the target": ("up{a={{ target }}}", 'up{a="app"}'),
    "a label and the target": ("up{a!={{labels.pod}}, b = {{ target }} }", 'up{a!="p-1", b = "app" }'),
    "a label that is missing": ("up{a={{ labels.node }}}", 'up{a=""}'),
    "brackets in strings and comments": ('up{a="}{("} # {{ nothing }} (', 'up{a="}{("} # {{ nothing }} ('),
}


@pytest.mark.parametrize(("text", "expected"), RENDERED.values(), ids=RENDERED)
def test_is_filled_in(text: str, expected: str) -> None:
    query = parse_query(text)
    rendered = query.render("app", {"pod": "p-1"})
    assert rendered == expected
    assert query.made(rendered)


def test_knows_what_it_can_not_have_made() -> None:
    query = parse_query("up{a={{ target }}}")
    assert not query.made('up{a="b"} or up{a="c"}')
    assert not query.made("up{a={{ target }}}")
    assert not parse_query("up").made("down")


QUOTED = {
    "plain": ("app", '"app"'),
    "quotes and backslashes": ('a"b\\', '"a\\"b\\\\"'),
    "an attempt to get out": ('"} or vector(1) #', '"\\"} or vector(1) #"'),
    "line breaks and controls": ("a\nb\0\x7f", '"a\\x0ab\\x00\\x7f"'),
    "other scripts": ("é日", '"é日"'),
    "half a surrogate pair, and what stands for it": ("\ud800\ufffd", '"\\ufffd\\ufffd"'),
}


@pytest.mark.parametrize(("value", "expected"), QUOTED.values(), ids=QUOTED)
def test_quotes(value: str, expected: str) -> None:
    assert quote(value) == expected


@given(st.text())
def test_whatever_a_label_says_stays_inside_its_string(value: str) -> None:
    query = parse_query('up{a={{ labels.a }}} == 1 unless up{b="c"}')
    rendered = query.render("", {"a": value})
    assert query.made(rendered)
    inside = rendered.removeprefix('up{a="').removesuffix('"} == 1 unless up{b="c"}')
    assert '"' not in inside.replace("\\\\", "").replace('\\"', "")
    assert inside.isprintable() or not any(ord(character) < 32 for character in inside)


WINDOWS = {
    "no range": ("sum(up)", 0),
    "a range": ("rate(x[5m])", 300),
    "the longest of several": ("rate(x[5m]) / rate(x[1h30m])", 5400),
    "a subquery on top": ("max_over_time(rate(x[5m])[10m:1m])", 900),
    "a subquery with the default step": ("max_over_time(x[10m:])", 600),
    "not in a string": ('x{a="[5m]"}', 0),
    "not its offset": ("rate(x[5m] offset 1w)", 300),
    "with blanks": ("rate(x[ 5m ])", 300),
}


@pytest.mark.parametrize(("text", "expected"), WINDOWS.values(), ids=WINDOWS)
def test_looks_back(text: str, expected: int) -> None:
    assert window_of(text) == timedelta(seconds=expected)
