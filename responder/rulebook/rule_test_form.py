"""The YAML form of a file of rule tests, as people write it."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Self

from pydantic import AfterValidator, BeforeValidator, Field, InstanceOf, WithJsonSchema, field_validator, model_validator

from responder.domain.decision import DecisionKind
from responder.domain.quantity import parse_duration
from responder.domain.rule_state import GroupState
from responder.domain.rulebook import Response, Severity
from responder.domain.wording import one_line
from responder.rulebook.scalar import Duration, LabelName, Number, PositiveDuration, ValueSource
from responder.rulebook.series import Sample, parse_readings, parse_series
from responder.rulebook.strict_form import Form


def _read_series(value: object) -> tuple[Sample, ...]:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError("must be samples in quotes; write for example '0.01x5 0.07x10 resolved'")  # noqa: TRY004
    return parse_series(str(value))


Series = Annotated[
    InstanceOf[tuple],  # type: ignore[type-arg]
    BeforeValidator(_read_series),
    WithJsonSchema({"type": "string", "examples": ["0.01x5 0.07x10 resolved", "passed failed x3"]}),
]


def _read_readings(value: object) -> tuple[Sample, ...]:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError("must be samples in quotes; write for example '0.01x5 0.07x10 _'")  # noqa: TRY004
    return parse_readings(str(value))


Readings = Annotated[
    InstanceOf[tuple],  # type: ignore[type-arg]
    BeforeValidator(_read_readings),
    WithJsonSchema({"type": "string", "examples": ["0.01x5 0.07x10", "0.07x4 _ failed"]}),
]


def _read_moment(value: object) -> timedelta:
    if isinstance(value, str) and value.startswith("-"):
        return -parse_duration(value[1:])
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise ValueError("must be a time from the start of the test; write for example 2m or -30s")  # noqa: TRY004
    return parse_duration(f"{value}")


Moment = Annotated[timedelta, BeforeValidator(_read_moment), WithJsonSchema({"type": ["string", "integer"], "examples": ["2m"]})]


def _one_line(name: str) -> str:
    if not name.strip() or one_line(name, len(name)) != name:
        raise ValueError("must be one line of text")
    return name


def _not_empty(values: tuple[object, ...]) -> tuple[object, ...]:
    if not values:
        raise ValueError("must have at least one entry")
    return values


class AgainForm(Form):
    """One delivery once more: late, or twice."""

    of: Annotated[Duration, Field(description="The sample that is delivered again, by its time.")]
    at: Annotated[Duration, Field(description="When it arrives again.")]


class InputForm(Form):
    """One alert, or one kind of point event."""

    alert: Annotated[str, Field(description="The label `alertname`.")]
    labels: Annotated[dict[LabelName, str], Field(default_factory=dict)]
    each: Annotated[
        dict[LabelName, Annotated[tuple[str, ...], AfterValidator(_not_empty)]],
        Field(default_factory=dict, description="One such input for each of these label values."),
    ]
    annotations: Annotated[dict[LabelName, str], Field(default_factory=dict)]
    source: Annotated[str, Field(description="The label `source`: name of the intake.")] = "alertmanager"
    key: Annotated[str | None, Field(description="Identity at the source; without it, its labels.")] = None
    values: Annotated[Series, Field(description="One sample per interval, from the start of the test.")]
    interval: PositiveDuration | None = None
    number: Annotated[ValueSource, Field(description="Where the sample's number is written.")] = "annotations.value"
    age: Annotated[Duration, Field(description="How long it has been firing when it is first delivered.")] = timedelta(0)
    delay: Annotated[Duration, Field(description="How long every delivery is under way.")] = timedelta(0)
    pair: Annotated[PositiveDuration | None, Field(description="A second Alertmanager says the same so much later.")] = None
    again: tuple[AgainForm, ...] = ()


class ReadingForm(Form):
    """What Prometheus answers to one query, whenever it is asked."""

    query: Annotated[str, Field(description="As it is asked: labels filled in.")]
    values: Annotated[Readings, Field(description="One sample per interval; each counts until the next, the last one for ever.")]
    interval: PositiveDuration | None = None


class ExpectForm(Form):
    """A decision at a moment, or the state of a group then."""

    at: Duration
    decision: DecisionKind | None = None
    state: GroupState | None = None
    rule: str | None = None
    target: str | None = None
    group: str | None = None
    response: Response | None = None
    severity: Severity | None = None
    inconclusive: Annotated[bool | None, Field(strict=True)] = None
    value: Number | None = None
    plan: Annotated[str | None, Field(description="The plan that the response would run.")] = None
    grace: Annotated[Duration | None, Field(description="The countdown before it.")] = None
    within: Annotated[Duration | None, Field(description="How long people have to say yes.")] = None
    due: Moment | None = None
    since: Moment | None = None
    reason: Annotated[str | None, Field(description="Part of the decision's reason.")] = None

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        if (self.decision is None) is (self.state is None):
            raise ValueError("needs either `decision` or `state`")
        if self.state is GroupState.SETTLING:
            raise ValueError("`state: settling` never comes in a test: nothing is rolled back there")
        if self.state is not None:
            wrong = self.model_fields_set & {"response", "severity", "value", "plan", "grace", "within"}
            if wrong:
                raise ValueError(f"`{min(wrong)}` belongs to a decision, not to a state")
            if self.rule is None:
                raise ValueError("`state` needs `rule`")
        return self


class TestForm(Form):
    """One course of events."""

    __test__ = False  # pytest: this is no test

    name: Annotated[str, Field(max_length=200), AfterValidator(_one_line)]
    interval: PositiveDuration | None = None
    labels: Annotated[dict[LabelName, str], Field(default_factory=dict, description="Labels that all inputs have.")]
    inputs: tuple[InputForm, ...] = ()
    readings: Annotated[tuple[ReadingForm, ...], Field(description="What Prometheus answers.")] = ()
    expect: Annotated[tuple[ExpectForm, ...], Field(description="[] when nothing must be done.")]
    until: Annotated[Duration | None, Field(description="How long time goes on; else until nothing waits any more.")] = None


class RuleTestsForm(Form):
    """One file of rule tests."""

    rules: Annotated[str, Field(description="The rulebook, a file or a directory, seen from this file.")]
    interval: Annotated[PositiveDuration, Field(description="Time from one sample to the next.")] = timedelta(seconds=30)
    labels: Annotated[dict[LabelName, str], Field(default_factory=dict, description="Labels that all inputs of all tests have.")]
    tests: Annotated[tuple[TestForm, ...], AfterValidator(_not_empty)]

    @field_validator("rules")
    @classmethod
    def _names_something(cls, value: str) -> str:
        if not value.strip():
            raise ValueError("must name a rulebook")
        return value
