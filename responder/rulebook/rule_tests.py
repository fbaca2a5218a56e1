"""Reads a file of rule tests: YAML to deliveries and expectations, every error as file:line:column."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import product
from pathlib import Path

from pydantic import BaseModel, ValidationError

from responder.domain.condition import query_users
from responder.domain.measurement import Measurement
from responder.domain.quantity import format_duration, parse_number
from responder.domain.reading import finite
from responder.domain.rule_state import group_text
from responder.domain.rule_test import START, Answers, Delivery, Expectation, RuleTest, spell_truth
from responder.domain.rulebook import Rulebook
from responder.domain.signal import Signal, SignalStatus
from responder.domain.wording import did_you_mean, spell_number
from responder.errors import RulebookError
from responder.rulebook.explain import explain
from responder.rulebook.loader import load_rulebook
from responder.rulebook.problem import Problem, Step
from responder.rulebook.rule_test_form import ExpectForm, InputForm, ReadingForm, RuleTestsForm, TestForm
from responder.rulebook.series import EVENTS, Sample, Word
from responder.rulebook.source import Source, read_source


@dataclass(frozen=True, slots=True)
class RuleTestFile:
    file: str
    rulebook: Rulebook
    tests: tuple[RuleTest, ...]


def read_rule_tests(path: Path, actions: Mapping[str, type[BaseModel]]) -> RuleTestFile:
    """actions: as for `load_rulebook`. Raises RulebookError with every problem of the tests, else of their rulebook."""
    source, problems = read_source(path)
    form = None
    if not problems:
        try:
            form = RuleTestsForm.model_validate(source.data)
        except ValidationError as error:
            problems += explain(error, RuleTestsForm, source, ())
    if form is None:
        raise RulebookError([str(problem) for problem in sorted(set(problems))])
    rulebook = load_rulebook(path.parent / form.rules, actions)
    reader = _Reader(source, form, rulebook)
    tests = tuple(reader.test(index, each) for index, each in enumerate(form.tests))
    if reader.problems:
        raise RulebookError([str(problem) for problem in sorted(set(reader.problems))])
    return RuleTestFile(source.file, rulebook, tests)


class _Reader:
    def __init__(self, source: Source, form: RuleTestsForm, rulebook: Rulebook) -> None:
        self.problems: list[Problem] = []
        self._source = source
        self._form = form
        self._rulebook = rulebook
        self._names: set[str] = set()
        self._queries = [
            query for rule in rulebook.rules for condition in query_users(rule.condition) for query in condition.queries
        ]

    def test(self, index: int, form: TestForm) -> RuleTest:
        path: tuple[Step, ...] = ("tests", index)
        if form.name in self._names:
            self._complain((*path, "name"), form.name, "another test of this file has this name")
        self._names.add(form.name)
        arrivals: dict[timedelta, list[Signal]] = defaultdict(list)
        for number, each in enumerate(form.inputs):
            for at, signal in self._deliveries(each, form, (*path, "inputs", number)):
                arrivals[at].append(signal)
        return RuleTest(
            name=form.name,
            location=self._location(path),
            deliveries=tuple(Delivery(at, tuple(arrivals[at])) for at in sorted(arrivals)),
            expectations=tuple(self._expectation(each, (*path, "expect", n)) for n, each in enumerate(form.expect)),
            until=form.until,
            answers=tuple(self._answers(each, form, (*path, "readings", n)) for n, each in enumerate(form.readings)),
        )

    def _answers(self, form: ReadingForm, test: TestForm, path: tuple[Step, ...]) -> Answers:
        interval = form.interval or test.interval or self._form.interval
        if not any(query.made(form.query) for query in self._queries):
            hint = did_you_mean(form.query, [query.text for query in self._queries])
            self._complain((*path, "query"), test.name, "no rule asks this", hint)
        if sum(other.query == form.query for other in test.readings) > 1:
            self._complain((*path, "query"), test.name, "given twice in this test")
        return Answers(form.query, tuple((number * interval, _told_by(sample)) for number, sample in enumerate(form.values)))

    def _deliveries(self, form: InputForm, test: TestForm, path: tuple[Step, ...]) -> Iterator[tuple[timedelta, Signal]]:
        interval = form.interval or test.interval or self._form.interval
        shared = {**self._form.labels, **test.labels, **form.labels, "alertname": form.alert, "source": form.source}
        for values in product(*form.each.values()):
            labels = {**shared, **dict(zip(form.each, values, strict=True))}
            told = dict(_told(form, labels, interval))
            for at, signal in told.items():
                yield at + form.delay, signal
                if form.pair is not None:
                    yield at + form.delay + form.pair, _received(signal, at + form.delay + form.pair)
            for number, again in enumerate(form.again):
                if again.of not in told:
                    text = f"there is no delivery at {format_duration(again.of)} that could come again"
                    self._complain((*path, "again", number, "of"), test.name, text)
                else:
                    yield again.at, _received(told[again.of], again.at)

    def _expectation(self, form: ExpectForm, path: tuple[Step, ...]) -> Expectation:
        test = str(self._source.value((*path[:2], "name")))
        rules = [rule.name for rule in self._rulebook.rules]
        if form.rule is not None and form.rule not in rules:
            self._complain((*path, "rule"), test, f"there is no rule `{form.rule}`", did_you_mean(form.rule, rules))
        if form.target and form.target not in self._rulebook.targets:
            hint = did_you_mean(form.target, self._rulebook.targets)
            self._complain((*path, "target"), test, f"there is no target `{form.target}`", hint)
        if form.plan and form.plan not in self._rulebook.plans:
            self._complain(
                (*path, "plan"), test, f"there is no plan `{form.plan}`", did_you_mean(form.plan, self._rulebook.plans)
            )
        what = form.decision or form.state
        if what is None:
            raise ValueError("neither a decision nor a state")
        return Expectation(form.at, what, dict(_facts(form)), self._location(path))

    def _location(self, path: tuple[Step, ...]) -> str:
        return f"{self._source.file}:{self._source.position(path)[0]}"

    def _complain(self, path: tuple[Step, ...], test: str, what: str, hint: str = "") -> None:
        self.problems.append(self._source.problem(path, f"test {test}", what, hint))


def _told_by(sample: Sample) -> Measurement:
    if sample.number is not None:
        number = finite(parse_number(sample.number))
        return Measurement(number, "" if number is not None else f"the result is {sample.number}")
    if sample.word is Word.FAILED:
        return Measurement(None, "Prometheus did not answer", is_silence=True)
    return Measurement(None, "the result is empty")


_RUN = ("plan", "grace", "within")


def _facts(form: ExpectForm) -> Iterator[tuple[str, str]]:
    """What was written, in the spelling of `rule_test.Course.facts_of`."""
    for name in ("rule", "target", "group", "response", "severity", "inconclusive", "value", *_RUN, "due", "since", "reason"):
        found = getattr(form, name)
        if isinstance(found, timedelta):
            yield name, format_duration(found)
        elif isinstance(found, bool):
            yield name, spell_truth(found)
        elif isinstance(found, float):
            yield name, spell_number(found)
        elif found is not None:
            yield name, str(found)


def _told(form: InputForm, labels: Mapping[str, str], interval: timedelta) -> Iterator[tuple[timedelta, Signal]]:
    """Every sample as a signal, by its time."""
    key = form.key or group_text("", labels.items())
    began: timedelta | None = None  # of the latest episode
    is_over = False
    for number, sample in enumerate(form.values):
        at = number * interval
        if sample.word is Word.NOTHING:
            continue
        blank = Signal(
            form.source, key, SignalStatus.OCCURRED, labels, form.annotations, START + at, None, START + at + form.delay
        )
        if sample.word in EVENTS:
            passed = {Word.PASSED: True, Word.FAILED: False}.get(sample.word)
            yield at, replace(blank, passed=passed, id=f"{key}#{number}")
            continue
        if began is None:
            began = at - form.age
        elif is_over and sample.word is Word.FIRING:
            began = at
        is_over = sample.word is Word.RESOLVED
        if is_over:
            yield at, replace(blank, status=SignalStatus.RESOLVED, started_at=START + began, ended_at=START + at)
        else:
            yield at, _with_number(replace(blank, status=SignalStatus.FIRING, started_at=START + began), form.number, sample)


def _with_number(signal: Signal, place: str, sample: Sample) -> Signal:
    if sample.number is None:
        return signal
    kind, _, name = place.partition(".")
    if kind == "annotations":
        return replace(signal, annotations={**signal.annotations, name: sample.number})
    if kind == "labels":
        return replace(signal, labels={**signal.labels, name: sample.number})
    return replace(signal, value=parse_number(sample.number))


def _received(signal: Signal, at: timedelta) -> Signal:
    return replace(signal, received_at=START + at)
