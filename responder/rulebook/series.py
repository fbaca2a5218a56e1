"""The compact notation of a test's input: one word per interval, as in `0.01x5 0.07x10 resolved`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from responder.domain.quantity import parse_number
from responder.domain.wording import spell_number


class Word(StrEnum):
    """What a sample can be beside a number."""

    FIRING = "firing"
    RESOLVED = "resolved"
    OCCURRED = "occurred"
    PASSED = "passed"
    FAILED = "failed"
    NOTHING = "_"


NO_READING = frozenset({Word.NOTHING, Word.FAILED})
"""What a reading can be beside a number: an empty result, or no answer."""
EVENTS = frozenset({Word.OCCURRED, Word.PASSED, Word.FAILED})
MOST_SAMPLES = 100_000

_TIMES = re.compile(r"(?P<item>.+?)x(?P<times>\d{1,6})", re.ASCII)
_LONE_TIMES = re.compile(r"x\d{1,6}", re.ASCII)
_RAMP = re.compile(r"(?P<first>[-+]?[^-+]+?)(?P<step>[-+][^-+]+)", re.ASCII)


@dataclass(frozen=True, slots=True)
class Sample:
    """number: as written; None for a word."""

    word: Word
    number: str | None = None


def parse_series(text: str) -> tuple[Sample, ...]:
    """Read a series. Raises ValueError with what is wrong and an example.

    `0.07x10` is ten times 0.07, `_x3` three intervals without a delivery, `0.01+0.02x3` is 0.01 0.03 0.05.
    """
    samples: list[Sample] = []
    for word in _words(text):
        samples += _samples(word)
        if len(samples) > MOST_SAMPLES:
            raise ValueError(f"more than {MOST_SAMPLES} samples; use a longer interval")
    if all(sample.word is Word.NOTHING for sample in samples):
        raise ValueError("says nothing; write for example '0.01x5 0.07x10 resolved' or 'passed failed x3'")
    events = {sample.word for sample in samples} & EVENTS
    if events and any(sample.word in (Word.FIRING, Word.RESOLVED) for sample in samples):
        raise ValueError(f"mixes an alert with point events ({', '.join(sorted(events))}); write two inputs")
    return tuple(samples)


def parse_readings(text: str) -> tuple[Sample, ...]:
    """Read a series of answers: numbers, `_` for an empty result and `failed` for none at all. Raises ValueError."""
    samples = [sample for word in _words(text) for sample in _samples(word)]
    for sample in samples:
        if sample.number is None and sample.word not in NO_READING:
            raise ValueError(f"`{sample.word}` is no reading; write numbers, `_` for an empty result, `failed` for no answer")
    if not samples:
        raise ValueError("says nothing; write for example '0.01x5 0.07x10 _'")
    if len(samples) > MOST_SAMPLES:
        raise ValueError(f"more than {MOST_SAMPLES} samples; use a longer interval")
    return tuple(samples)


def _words(text: str) -> Iterator[str]:
    """Blanks separate; `failed x3` is one word."""
    held = ""
    for part in text.split():
        if held and _LONE_TIMES.fullmatch(part):
            yield held + part
            held = ""
            continue
        if held:
            yield held
        held = part
    if held:
        yield held


def _samples(word: str) -> list[Sample]:
    repeated = _TIMES.fullmatch(word)
    item, times = (repeated["item"], int(repeated["times"])) if repeated else (word, 1)
    if times == 0 or times > MOST_SAMPLES:
        raise ValueError(f"{word!r}: a sample can be repeated 1 to {MOST_SAMPLES} times")
    if item in list(Word):
        return [Sample(Word(item))] * times
    number = _number(item)
    if number is not None:
        return [Sample(Word.FIRING, item)] * times
    ramp = _RAMP.fullmatch(item)
    if ramp is not None:
        first, step = _number(ramp["first"]), _number(ramp["step"])
        if first is not None and step is not None:
            return [Sample(Word.FIRING, spell_number(first + n * step)) for n in range(times)]
    known = ", ".join(f"`{each}`" for each in Word)
    raise ValueError(
        f"{word!r} is no sample; write a number such as 0.07 or 5%, or one of {known}, and x10 after it to repeat it"
    )


def _number(text: str) -> float | None:
    try:
        return parse_number(text)
    except ValueError:
        return None
