"""The YAML form of a rulebook, as people write it. Defaults are the domain's own."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field, field_validator
from pydantic.json_schema import JsonSchemaValue

from responder.domain.plan import Monitor, OnStepFailure, Plan, Retry, Step
from responder.domain.rulebook import Response, Route, Rule, Severity
from responder.rulebook.condition_form import WhenForm
from responder.rulebook.scalar import (
    Backoff,
    Duration,
    LabelNames,
    Matchers,
    Name,
    PositiveDuration,
    Severities,
    TargetShare,
)
from responder.rulebook.strict_form import Form
from responder.rulebook.target_form import TargetForm

_RETRY = Retry()


def _default(owner: type[Any], field: str) -> Any:
    """The default of a domain dataclass, so that it is written down once."""
    return next(each.default for each in dataclasses.fields(owner) if each.name == field)


def _not_empty(steps: tuple[StepForm, ...]) -> tuple[StepForm, ...]:
    # pydantic's own min_length also complains when the only step is there, but wrong
    if not steps:
        raise ValueError("must have at least one step")
    return steps


class RouteForm(Form):
    """Who is told."""

    shorthand = "to"
    to: Annotated[str, Field(description="Name of a notifier.")]
    severity: Annotated[Severities, Field(description="Only incidents of these severities.")] = _default(Route, "severities")
    components: Annotated[dict[str, str], Field(description="Status page component ids by target.")] = {}  # noqa: RUF012


class RuleForm(Form):
    """When to respond, and how."""

    name: Name
    match: Annotated[Matchers, Field(description="Alertmanager matchers; all must match.")]
    when: WhenForm = WhenForm.model_validate("firing")
    hold: Annotated[Duration, Field(alias="for", description="How long the condition must hold, from the alert's startsAt.")] = (
        _default(Rule, "hold")
    )
    unless: Annotated[
        Matchers | None, Field(description="While an alert that matches all of these fires, the rule holds back.")
    ] = None
    keep_firing_for: Annotated[
        Duration, Field(description="How long a group that fired goes on firing after its condition holds no more.")
    ] = _default(Rule, "keep_firing_for")
    cooldown: Annotated[Duration, Field(description="How long after it responded a group does not respond again.")] = _default(
        Rule, "cooldown"
    )
    settle: Annotated[Duration, Field(description="How long after a rollback of its target the rule does not respond.")] = (
        _default(Rule, "settle")
    )
    active_for: Annotated[
        PositiveDuration,
        Field(description="How long a point event counts as going on, after `for`, when nothing newer says otherwise."),
    ] = _default(Rule, "active_for")
    by: Annotated[LabelNames, Field(description="Labels that make the group; without it, one group per target.")] = _default(
        Rule, "by"
    )
    severity: Severity = _default(Rule, "severity")
    respond: Response = _default(Rule, "response")
    plan: Annotated[str | None, Field(description="Plan to run; without it, a bare rollback.")] = None
    target: Annotated[
        str | None, Field(description="The target this rule speaks of, whatever the targets' own `match` says.")
    ] = None


class HoldForm(Form):
    """When more than so many targets fall ill within a window, nothing is rolled back: it is the cluster or a dependency."""

    targets: Annotated[TargetShare, Field(description="More than so many, or more than this share of those declared.")]
    within: Annotated[PositiveDuration, Field(description="The window.")]


class RetryForm(Form):
    shorthand = "attempts"
    shorthand_schema: ClassVar[JsonSchemaValue] = {"type": "integer", "minimum": 1, "maximum": 100}
    attempts: Annotated[int, Field(strict=True, ge=1, le=100, description="Tries in all, the first included.")] = _default(
        Retry, "attempts"
    )
    backoff: Annotated[Backoff, Field(description="Shortest and longest wait between two tries; it doubles and is jittered.")] = (
        _RETRY.backoff_min,
        _RETRY.backoff_max,
    )


class StepForm(Form):
    """One step of a plan."""

    shorthand = "uses"
    name: Annotated[Name | None, Field(description="For reports; unique in its plan. Without it, the action's name.")] = None
    uses: Annotated[str, Field(description="The action.")]
    parameters: Annotated[dict[str, Any], Field(alias="with", description="The action's parameters.")] = {}  # noqa: RUF012 (pydantic copies it)
    timeout: Annotated[PositiveDuration, Field(description="For the whole step, all attempts together.")] = _default(
        Step, "timeout"
    )
    retry: RetryForm = RetryForm()
    on_failure: OnStepFailure = _default(Step, "on_failure")


class MonitorForm(Form):
    """The watch after verification."""

    shorthand = "for"
    window: Annotated[Duration, Field(alias="for", description="How long to watch.")] = _default(Monitor, "window")
    every: Annotated[PositiveDuration, Field(description="Time between two rounds of checks.")] = _default(Monitor, "every")
    checks: tuple[StepForm, ...] = ()
    settle: Annotated[
        Duration, Field(description="How long past the window the alert may still fire before the incident fails.")
    ] = _default(Monitor, "settle")
    failure_limit: Annotated[
        int, Field(strict=True, ge=0, le=1000, description="Failed rounds of checks in a row that are tolerated.")
    ] = _default(Monitor, "failure_limit")


class PlanForm(Form):
    """What to do, step by step."""

    steps: Annotated[tuple[StepForm, ...], AfterValidator(_not_empty), Field(json_schema_extra={"minItems": 1})]
    deadline: Annotated[PositiveDuration, Field(description="For `steps` and `verify` together.")] = _default(Plan, "deadline")
    verify: Annotated[tuple[StepForm, ...], Field(description="Must hold, or the run has failed.")] = ()
    monitor: MonitorForm = MonitorForm()
    on_failure: Annotated[tuple[StepForm, ...], Field(description="Run when the plan has failed.")] = ()


class RulebookForm(Form):
    """One rulebook file of Responder; all files of a directory are one rulebook."""

    version: Annotated[Literal[1], Field(description="Version of this format.")]
    targets: dict[Name, TargetForm] = {}  # noqa: RUF012 (pydantic copies it)
    notify: tuple[RouteForm, ...] = ()
    rules: tuple[RuleForm, ...] = ()
    plans: dict[Name, PlanForm] = {}  # noqa: RUF012 (pydantic copies it)
    hold: HoldForm | None = None

    @field_validator("version", mode="before")
    @classmethod
    def _known_version(cls, value: object) -> object:
        if value != 1 or isinstance(value, bool):
            raise ValueError("this Responder reads version 1; write `version: 1`")
        return value
