"""The YAML form of plans and their steps. Defaults are the domain's own."""

from __future__ import annotations

import dataclasses
import re
from datetime import timedelta
from typing import Annotated, Any, ClassVar, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, PlainValidator, WithJsonSchema, model_validator
from pydantic.json_schema import JsonSchemaValue

from responder.clients.templates import check_condition
from responder.domain.plan import LONGEST_INPUT, PARALLEL, Input, Monitor, OnStepFailure, Plan, Retry, Step
from responder.rulebook.scalar import Backoff, Duration, Name, PositiveDuration, TemplateName
from responder.rulebook.strict_form import Form

_RETRY = Retry()
_STEPS_SCHEMA: JsonSchemaValue = {"type": "array", "minItems": 1}  # what is in it, `schema` adds: a form can't name itself here


def default_of(owner: type[Any], field: str) -> Any:
    """The default of a domain dataclass, so that it is written down once."""
    return next(each.default for each in dataclasses.fields(owner) if each.name == field)


def _not_empty(steps: tuple[Any, ...]) -> tuple[Any, ...]:
    # pydantic's own min_length also complains when the only step is there, but wrong
    if not steps:
        raise ValueError("must have at least one step")
    return steps


def _read_on_failure(value: object) -> OnStepFailure | tuple[Any, ...]:
    if isinstance(value, list | tuple):
        return _not_empty(tuple(value))
    if isinstance(value, str) and value in list(OnStepFailure):
        return OnStepFailure(value)
    raise ValueError(f"must be `abort`, `continue` or a list of steps, not `{value}`")


OnFailure = Annotated[
    OnStepFailure | tuple[Any, ...],
    PlainValidator(_read_on_failure),
    WithJsonSchema({"anyOf": [{"type": "string", "enum": [word.value for word in OnStepFailure]}, dict(_STEPS_SCHEMA)]}),
]


def _one_as_list(value: object) -> object:
    return [value] if isinstance(value, str) else value


Names = Annotated[
    tuple[Name, ...],
    BeforeValidator(_one_as_list),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}),
]


class RetryForm(Form):
    shorthand = "attempts"
    shorthand_schema: ClassVar[JsonSchemaValue] = {"type": "integer", "minimum": 1, "maximum": 100}
    attempts: Annotated[int, Field(strict=True, ge=1, le=100, description="Tries in all, the first included.")] = default_of(
        Retry, "attempts"
    )
    backoff: Annotated[Backoff, Field(description="Shortest and longest wait between two tries; it doubles and is jittered.")] = (
        _RETRY.backoff_min,
        _RETRY.backoff_max,
    )


class StepForm(Form):
    """One step of a plan. What is nested in it is validated step by step, where it stands."""

    shorthand = "uses"
    name: Annotated[Name | None, Field(description="For reports; unique in its plan. Without it, the action's name.")] = None
    uses: Annotated[str, Field(description="The action.")]
    parameters: Annotated[dict[str, Any], Field(alias="with", description="The action's parameters.")] = {}  # noqa: RUF012 (pydantic copies it)
    condition: Annotated[
        str,
        AfterValidator(check_condition),
        Field(alias="if", description="An expression; when it is false, the step is skipped. `inputs.region == 'eu'`"),
    ] = default_of(Step, "condition")
    needs: Annotated[Names, Field(description="Earlier steps that must have succeeded in this run, or the step refuses.")] = ()
    timeout: Annotated[PositiveDuration, Field(description="For the whole step, all attempts together.")] = default_of(
        Step, "timeout"
    )
    retry: RetryForm = RetryForm()
    on_failure: Annotated[
        OnFailure, Field(description="`abort`, `continue`, or steps to run instead: when they succeed, the plan goes on.")
    ] = default_of(Step, "on_failure")
    steps: Annotated[
        tuple[Any, ...],
        AfterValidator(_not_empty),
        Field(description="What `parallel` runs side by side."),
        WithJsonSchema(dict(_STEPS_SCHEMA)),
    ] = ()
    destroys_without_backup: Annotated[
        bool, Field(strict=True, description="The step destroys data, and no backup step is needed.")
    ] = False


class ParallelForm(Form):
    """Run `steps` side by side. All have ended when it ends; it fails when one of them aborts."""


class IncludeForm(Form):
    """Run the steps of another plan here, one after another."""

    plan: Annotated[str, Field(description="Name of a plan; its `steps` are run, nothing else of it.")]


INCLUDE = "include"
STRUCTURE: dict[str, type[BaseModel]] = {PARALLEL: ParallelForm, INCLUDE: IncludeForm}
"""Words in `uses` that are no actions, with their `with`."""


class MonitorForm(Form):
    """The watch after verification."""

    shorthand = "for"
    window: Annotated[Duration, Field(alias="for", description="How long to watch.")] = default_of(Monitor, "window")
    every: Annotated[PositiveDuration, Field(description="Time between two rounds of checks.")] = default_of(Monitor, "every")
    checks: tuple[StepForm, ...] = ()
    settle: Annotated[
        Duration, Field(description="How long past the window the alert may still fire before the incident fails.")
    ] = default_of(Monitor, "settle")
    failure_limit: Annotated[
        int, Field(strict=True, ge=0, le=1000, description="Failed rounds of checks in a row that are tolerated.")
    ] = default_of(Monitor, "failure_limit")


def _check_pattern(pattern: str) -> str:
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(f"is not a regular expression: {error}") from error
    return pattern


def _read_text(value: object) -> object:
    """A scalar as text: the value of an input is always text."""
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, int | float) else value


class InputForm(Form):
    """A value that whoever starts the plan gives."""

    pattern: Annotated[
        str,
        AfterValidator(_check_pattern),
        Field(description="Regular expression that the whole value must match."),
    ] = default_of(Input, "pattern")
    default: Annotated[
        str | None,
        BeforeValidator(_read_text),
        Field(description="Used when none is given; without it the input is required."),
        WithJsonSchema({"type": ["string", "number", "boolean"]}),
    ] = default_of(Input, "default")
    description: str = default_of(Input, "description")

    @model_validator(mode="after")
    def _default_fits(self) -> Self:
        if self.default is not None and (len(self.default) > LONGEST_INPUT or re.fullmatch(self.pattern, self.default) is None):
            raise ValueError(f"the default `{self.default}` does not match the pattern {self.pattern}")
        return self


_LATEST_CHECKPOINT = timedelta(days=30)


def _soon_enough(after: timedelta) -> timedelta:
    if after > _LATEST_CHECKPOINT:
        raise ValueError("must be at most 30d")
    return after


class CheckpointForm(Form):
    """A look back long after the incident was resolved."""

    name: Name
    after: Annotated[
        PositiveDuration,
        AfterValidator(_soon_enough),
        Field(description="How long after it was resolved; at most 30d."),
    ]
    checks: Annotated[tuple[StepForm, ...], AfterValidator(_not_empty), Field(json_schema_extra={"minItems": 1})]


class PlanForm(Form):
    """What to do, step by step."""

    steps: Annotated[tuple[StepForm, ...], AfterValidator(_not_empty), Field(json_schema_extra={"minItems": 1})]
    inputs: Annotated[dict[TemplateName, InputForm], Field(description="Values that whoever starts the plan gives.")] = {}  # noqa: RUF012
    deadline: Annotated[PositiveDuration, Field(description="For `steps` and `verify` together.")] = default_of(Plan, "deadline")
    updates: Annotated[
        PositiveDuration | None, Field(description="How often people hear how far it is, while it runs. Without it: never.")
    ] = default_of(Plan, "updates")
    verify: Annotated[tuple[StepForm, ...], Field(description="Must hold, or the run has failed.")] = ()
    monitor: MonitorForm = MonitorForm()
    checkpoints: Annotated[tuple[CheckpointForm, ...], Field(description="Checks long after the incident was resolved.")] = ()
    on_failure: Annotated[tuple[StepForm, ...], Field(description="Run when the plan has failed.")] = ()
    follow_up: Annotated[
        dict[Annotated[str, Field(min_length=1)], Annotated[tuple[str, ...], AfterValidator(_not_empty)]],
        Field(description="What the report leaves to people: texts by period. Default: a list for 30 minutes, 4 hours, 7 days."),
    ] = {}  # noqa: RUF012
