"""Durations and numbers as people and Prometheus templates write them."""

from __future__ import annotations

import math
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from responder.domain.quantity import format_duration, parse_duration, parse_number


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2m", timedelta(minutes=2)),
        ("1h30m", timedelta(minutes=90)),
        ("500ms", timedelta(milliseconds=500)),
        ("1d", timedelta(days=1)),
        ("1w", timedelta(days=7)),
        ("1y", timedelta(days=365)),
        ("1.5h", timedelta(minutes=90)),
        ("0", timedelta(0)),
        ("0s", timedelta(0)),
        (" 2m ", timedelta(minutes=2)),
        ("1d 2h 3m 4s", timedelta(days=1, hours=2, minutes=3, seconds=4)),
        ("1m500ms", timedelta(minutes=1, milliseconds=500)),
    ],
)
def test_durations_are_read_as_prometheus_writes_them(text: str, expected: timedelta) -> None:
    assert parse_duration(text) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is not a duration; write for example 30s, 2m or 1h30m"),
        ("2 minutes", "is not a duration"),
        ("30m1h", "is not a duration"),
        ("1m1m", "is not a duration"),
        ("5", "has no unit; write for example 5s"),
        ("-2m", "is negative"),
        ("200y", "longer than 100 years"),
        ("1e3s", "is not a duration"),
        ("nan", "is not a duration"),
        ("٣s", "is not a duration"),
        ("9" * 400 + "y", "longer than 100 years"),
    ],
)
def test_what_is_no_duration_is_refused_with_an_example(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_duration(text)


@pytest.mark.parametrize(
    ("duration", "expected"),
    [
        (timedelta(0), "0s"),
        (timedelta(minutes=90), "1h30m"),
        (timedelta(milliseconds=500), "500ms"),
        (timedelta(seconds=61, milliseconds=1), "1m1s1ms"),
        (timedelta(days=10), "10d"),
        (timedelta(minutes=-5), "-5m"),
    ],
)
def test_durations_are_written_for_people(duration: timedelta, expected: str) -> None:
    assert format_duration(duration) == expected


@given(st.integers(min_value=0, max_value=100 * 365 * 86_400_000))
def test_a_written_duration_is_read_back(milliseconds: int) -> None:
    duration = timedelta(milliseconds=milliseconds)
    assert parse_duration(format_duration(duration)) == duration


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("5%", 0.05),
        ("5 %", 0.05),
        ("5.1%", 0.051),
        ("200%", 2.0),
        ("0.05", 0.05),
        (0.05, 0.05),
        (5, 5.0),
        ("1e3", 1000.0),
        ("-5%", -0.05),
        ("+5%", 0.05),
        ("200ms", 0.2),
        ("350 ms", 0.35),
        ("1.234s", 1.234),
        ("12us", 12e-6),
        ("1h30m", 5400.0),
        ("2m 3s", 123.0),
        ("-200ms", -0.2),
        ("1.5GiB", 1.5 * 2**30),
        ("1.5Gi", 1.5 * 2**30),
        ("2ki", 2048.0),
        ("10k", 10_000.0),
        ("10 MB", 10e6),
        ("512B", 512.0),
        (" 7 ", 7.0),
    ],
)
def test_numbers_are_read_in_base_units(text: str | float, expected: float) -> None:
    assert parse_number(text) == pytest.approx(expected)


def test_five_percent_is_exactly_the_threshold_people_write() -> None:
    assert parse_number("5%") == 0.05
    assert parse_number("7%") == 0.07


@pytest.mark.parametrize(("text", "expected"), [("+Inf", math.inf), ("-Inf", -math.inf), ("Inf", math.inf)])
def test_infinities_of_prometheus_are_numbers(text: str, expected: float) -> None:
    assert parse_number(text) == expected


@pytest.mark.parametrize("text", ["NaN", "nan"])
def test_not_a_number_is_read_as_such(text: str) -> None:
    assert math.isnan(parse_number(text))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is not a number; write for example 5%"),
        ("five", "is not a number"),
        ("5%%", "is not a number"),
        ("--5s", "is not a number"),
        ("5 apples", "is not a number"),
        ("1,5", "is not a number"),
        ("1_000", "leave out the underscores"),
        (True, "true is not a number"),
        ("123.5m", "ambiguous"),
        ("5m", "ambiguous"),
    ],
)
def test_what_is_no_number_is_refused_with_an_example(text: str | float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_number(text)


@given(st.text(max_size=40))
def test_any_text_is_a_number_or_a_value_error(text: str) -> None:
    try:
        assert isinstance(parse_number(text), float)
    except ValueError as error:
        assert str(error)


@given(st.text(alphabet="0123456789.smhdwy -", max_size=40))
def test_any_text_is_a_duration_or_a_value_error(text: str) -> None:
    try:
        assert parse_duration(text) >= timedelta(0)
    except ValueError as error:
        assert str(error)
