"""The `with` of `prometheus.check`."""

from __future__ import annotations

from datetime import timedelta
from math import isfinite
from typing import Annotated, Self

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, WithJsonSchema, model_validator

from responder.actions.parameters import Duration, Parameters
from responder.domain.condition import ValueCondition
from responder.domain.quantity import parse_number
from responder.domain.query import parse_query

_BOUNDS = ("above", "below", "between", "equals")


def _check_query(value: str) -> str:
    parse_query(value)
    return value


def _read_number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError("must be a number; write for example 5%, 0.05 or 200ms")  # noqa: TRY004 - pydantic reads ValueError
    number = parse_number(value)
    if not isfinite(number):
        raise ValueError(f"{value} can't be a bound; write a finite number")
    return number


def _read_between(value: object) -> tuple[float, float]:
    ends = [end.strip() for end in value.split("..")] if isinstance(value, str) else value
    if not isinstance(ends, list | tuple) or len(ends) != 2:
        raise ValueError("must be two numbers; write for example [5%, 10%]")
    low, high = _read_number(ends[0]), _read_number(ends[1])
    if low > high:
        raise ValueError(f"the lower bound {ends[0]} is above the upper bound {ends[1]}; swap them")
    return low, high


_NUMBER_SCHEMA = {"type": ["number", "string"], "examples": ["5%", 0.05, "200ms"]}
Number = Annotated[float, BeforeValidator(_read_number), WithJsonSchema(_NUMBER_SCHEMA)]
Between = Annotated[
    tuple[float, float],
    BeforeValidator(_read_between),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "array", "items": {"type": ["number", "string"]}, "minItems": 2, "maxItems": 2},
                {"type": "string", "pattern": r"\.\."},
            ],
            "examples": [["5%", "10%"], "5%..10%"],
        }
    ),
]
PromQL = Annotated[
    str,
    AfterValidator(_check_query),
    WithJsonSchema({"type": "string", "minLength": 1, "examples": ["sum(rate(http_errors_total[5m]))"]}),
]


class PrometheusCheckParameters(Parameters):
    """Ask Prometheus until its answer holds. Exactly one of `above`, `below`, `between` and `equals`."""

    model_config = ConfigDict(json_schema_extra={"oneOf": [{"required": [key]} for key in _BOUNDS]})

    query: PromQL = Field(description="Its answer is one number. It may hold `{{ target }}` and `{{ labels.pod }}`.")
    above: Number | None = Field(None, description="value > above")
    below: Number | None = Field(None, description="value < below")
    between: Between | None = Field(None, description="low <= value <= high")
    equals: Number | None = Field(None, description="value = equals")
    hold: Duration | None = Field(
        None, alias="for", description="How long it must hold, without an answer between that does not. Default: once is enough."
    )
    every: Duration = Field(timedelta(seconds=15), description="Pause between two questions.")
    initial_delay: Duration | None = Field(None, description="Pause before the first question.")
    failures: int | None = Field(
        None,
        ge=1,
        strict=True,
        description="Answers in a row that do not hold, or are none, that end the attempt. Default: until the step's timeout.",
    )
    wait_for_window: bool = Field(
        True, strict=True, description="First wait until the query's range (`[5m]`) holds nothing from before the rollback."
    )

    @model_validator(mode="after")
    def _one_bound(self) -> Self:
        if sum(getattr(self, name) is not None for name in _BOUNDS) != 1:
            raise ValueError("needs exactly one of `above`, `below`, `between` and `equals`")
        return self

    def condition(self) -> ValueCondition:
        between = self.between if self.equals is None else (self.equals, self.equals)
        return ValueCondition(self.above, self.below, between)

    def only_looks(self) -> bool:
        return True
