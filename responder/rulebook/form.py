"""The YAML form of a rulebook, as people write it. Defaults are the domain's own."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator

from responder.domain.rulebook import Response, Rule, Severity
from responder.domain.target import Limits
from responder.rulebook.condition_form import WhenForm
from responder.rulebook.people_form import ApproveForm, FreezeForm, SeverityDefaultsForm
from responder.rulebook.plan_form import PlanForm, default_of
from responder.rulebook.scalar import (
    Duration,
    LabelNames,
    Limit,
    Matchers,
    Name,
    PositiveDuration,
    TargetShare,
    TemplateName,
)
from responder.rulebook.strict_form import Form
from responder.rulebook.target_form import TargetForm
from responder.rulebook.told_form import EscalationForm, RouteForm
from responder.rulebook.variables import Variable


class RuleForm(Form):
    """When to respond, and how."""

    name: Name
    match: Annotated[Matchers, Field(description="Alertmanager matchers; all must match.")]
    when: WhenForm = WhenForm.model_validate("firing")
    hold: Annotated[Duration, Field(alias="for", description="How long the condition must hold, from the alert's startsAt.")] = (
        default_of(Rule, "hold")
    )
    unless: Annotated[
        Matchers | None, Field(description="While an alert that matches all of these fires, the rule holds back.")
    ] = None
    keep_firing_for: Annotated[
        Duration, Field(description="How long a group that fired goes on firing after its condition holds no more.")
    ] = default_of(Rule, "keep_firing_for")
    cooldown: Annotated[Duration, Field(description="How long after it responded a group does not respond again.")] = default_of(
        Rule, "cooldown"
    )
    settle: Annotated[Duration, Field(description="How long after a rollback of its target the rule does not respond.")] = (
        default_of(Rule, "settle")
    )
    active_for: Annotated[
        PositiveDuration,
        Field(description="How long a point event counts as going on, after `for`, when nothing newer says otherwise."),
    ] = default_of(Rule, "active_for")
    by: Annotated[LabelNames, Field(description="Labels that make the group; without it, one group per target.")] = default_of(
        Rule, "by"
    )
    severity: Severity = default_of(Rule, "severity")
    respond: Response = default_of(Rule, "response")
    grace: Annotated[
        Duration, Field(description="A countdown before acting that a person, or the end of the alert, can stop.")
    ] = default_of(Rule, "grace")
    approve: Annotated[ApproveForm, Field(description="With `respond: approve`: who says yes, and how long they have.")] = (
        ApproveForm()
    )
    plan: Annotated[str | None, Field(description="Plan to run; without it, a bare rollback.")] = None
    target: Annotated[
        str | None, Field(description="The target this rule speaks of, whatever the targets' own `match` says.")
    ] = None


class HoldForm(Form):
    """When more than so many targets fall ill within a window, nothing is rolled back: it is the cluster or a dependency."""

    targets: Annotated[TargetShare, Field(description="More than so many, or more than this share of those declared.")]
    within: Annotated[PositiveDuration, Field(description="The window.")]


class LimitsForm(Form):
    """How many rollbacks there may be, and how many of them may fail, whatever the targets' own limits say."""

    rollbacks: Annotated[Limit, Field(description="Over all targets; after that people are told and nothing is done.")] = (
        default_of(Limits, "rollbacks")
    )
    per_namespace: Annotated[Limit, Field(description="In any one namespace.")] = default_of(Limits, "per_namespace")
    failures: Annotated[
        Limit, Field(description="So many failed rollbacks anywhere open the breaker for all targets, until a person closes it.")
    ] = default_of(Limits, "failures")


class RulebookForm(Form):
    """One rulebook file of Responder; all files of a directory are one rulebook."""

    version: Annotated[Literal[1], Field(description="Version of this format.")]
    targets: dict[Name, TargetForm] = {}  # noqa: RUF012 (pydantic copies it)
    notify: tuple[RouteForm, ...] = ()
    escalation: Annotated[
        tuple[EscalationForm, ...], Field(description="Who is called when nobody has an incident in hand.")
    ] = ()
    rules: tuple[RuleForm, ...] = ()
    plans: dict[Name, PlanForm] = {}  # noqa: RUF012 (pydantic copies it)
    vars: Annotated[
        dict[TemplateName, Variable],
        Field(description="Names and addresses that steps use as `{{ vars.name }}`."),
    ] = {}  # noqa: RUF012 (pydantic copies it)
    hold: HoldForm | None = None
    limits: LimitsForm | None = None
    freeze: Annotated[tuple[FreezeForm, ...], Field(description="Windows in which nothing is rolled back by itself.")] = ()
    defaults: Annotated[
        dict[Severity, SeverityDefaultsForm], Field(description="What rules of a severity do that don't say so themselves.")
    ] = {}  # noqa: RUF012 (pydantic copies it)

    @field_validator("version", mode="before")
    @classmethod
    def _known_version(cls, value: object) -> object:
        if value != 1 or isinstance(value, bool):
            raise ValueError("this Responder reads version 1; write `version: 1`")
        return value
