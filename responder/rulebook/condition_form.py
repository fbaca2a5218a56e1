"""The YAML form of conditions."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any, ClassVar, Self

from pydantic import AfterValidator, ConfigDict, Discriminator, Field, Tag, model_validator
from pydantic.json_schema import JsonSchemaValue

from responder.domain.condition import (
    ANY_FIRING,
    AbsentCondition,
    AllOf,
    AnyOf,
    Baseline,
    Condition,
    ConsecutiveCondition,
    CountCondition,
    LeafCondition,
    Part,
    RatioCondition,
    ValueCondition,
)
from responder.rulebook.scalar import (
    AnnotationName,
    Between,
    LabelName,
    Matchers,
    Number,
    PositiveDuration,
    PromQL,
    Share,
    ValueSource,
)
from responder.rulebook.strict_form import Form

PLACE_TAG, QUERY_TAG = "[place]", "[query]"  # brackets: steps of pydantic's, which nobody wrote


def _default(owner: type[Any], field: str) -> Any:
    """The default of a domain dataclass, so that it is written down once."""
    return next(each.default for each in dataclasses.fields(owner) if each.name == field)


_BASELINES = ("annotation", "history", "query")


class BaselineForm(Form):
    """Exactly one of `annotation`, `history` and `query`."""

    model_config = ConfigDict(json_schema_extra={"oneOf": [{"required": [key]} for key in _BASELINES]})
    annotation: Annotated[AnnotationName | None, Field(description="The alert's annotation that carries it.")] = None
    history: Annotated[
        PositiveDuration | None, Field(description="The median of the signal's own calm numbers in this window.")
    ] = None
    query: Annotated[PromQL | None, Field(description="What Prometheus answers to this.")] = None

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if len(self.model_fields_set) != 1:
            raise ValueError("needs exactly one of `annotation`, `history` and `query`")
        return self


class QueryForm(Form):
    """A number that Prometheus is asked for."""

    query: Annotated[PromQL, Field(description="Its answer is one number.")]


def _kind_of_source(value: object) -> str:
    return QUERY_TAG if isinstance(value, dict | QueryForm) else PLACE_TAG


Source = Annotated[Annotated[ValueSource, Tag(PLACE_TAG)] | Annotated[QueryForm, Tag(QUERY_TAG)], Discriminator(_kind_of_source)]


class ValueForm(Form):
    """Exactly one of `above`, `below`, `between`."""

    model_config = ConfigDict(json_schema_extra={"oneOf": [{"required": [key]} for key in ("above", "below", "between")]})
    above: Annotated[Number | None, Field(description="value > above")] = None
    below: Annotated[Number | None, Field(description="value < below")] = None
    between: Annotated[Between | None, Field(description="low <= value <= high")] = None
    source: Annotated[Source, Field(alias="from", description="Where the number comes from.")] = _default(
        ValueCondition, "source"
    )

    baseline: Annotated[
        BaselineForm | None, Field(description="Compare a multiple: the bounds then speak of value / baseline.")
    ] = None

    @model_validator(mode="after")
    def _one_bound(self) -> Self:
        if len(self.model_fields_set & {"above", "below", "between"}) != 1:
            raise ValueError("needs exactly one of `above`, `below` and `between`")
        return self

    def condition(self) -> ValueCondition:
        form = self.baseline
        baseline = None if form is None else Baseline(form.annotation, form.history, form.query)
        if isinstance(self.source, QueryForm):
            return ValueCondition(self.above, self.below, self.between, baseline=baseline, query=self.source.query)
        return ValueCondition(self.above, self.below, self.between, self.source, baseline)


class CountForm(Form):
    """More than so many episodes or point events began within the window."""

    above: Annotated[int, Field(strict=True, ge=0, le=10_000, description="count > above")]
    within: PositiveDuration
    distinct: Annotated[LabelName | None, Field(description="Count the different values of this label instead.")] = None


class RatioForm(Form):
    """failed / (passed + failed) of the point events within the window."""

    above: Annotated[Share, Field(description="ratio > above")]
    within: PositiveDuration
    least: Annotated[int, Field(alias="min", strict=True, ge=1, le=10_000, description="With fewer events it never holds.")] = (
        _default(RatioCondition, "least")
    )


class AbsentForm(Form):
    """Nothing that matches was heard of for so long. `absent: 5m` is short for `{for: 5m}`."""

    shorthand = "for"
    after: Annotated[PositiveDuration, Field(alias="for", description="How long.")]
    from_start: Annotated[bool, Field(strict=True, description="Also when nothing was ever heard of.")] = _default(
        AbsentCondition, "from_start"
    )


class LeafForm(Form):
    """At most one condition; without one: the alert fires."""

    value: ValueForm | None = None
    count: CountForm | None = None
    consecutive: Annotated[int | None, Field(strict=True, ge=1, le=1000, description="So many failed point events in a row.")] = (
        None
    )
    ratio: RatioForm | None = None
    absent: AbsentForm | None = None

    def leaf(self) -> LeafCondition:
        if self.value is not None:
            return self.value.condition()
        if self.count is not None:
            return CountCondition(self.count.above, self.count.within, self.count.distinct)
        if self.consecutive is not None:
            return ConsecutiveCondition(self.consecutive)
        if self.ratio is not None:
            return RatioCondition(self.ratio.above, self.ratio.within, self.ratio.least)
        if self.absent is not None:
            return AbsentCondition(self.absent.after, self.absent.from_start)
        return ANY_FIRING


LEAVES = tuple(LeafForm.model_fields)


class PartForm(LeafForm):
    """One of several conditions: its own matchers, added to the rule's, and what must hold for them."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 1})
    match: Annotated[Matchers | None, Field(description="In addition to the rule's own.")] = None

    @classmethod
    def expand(cls, data: object) -> object:
        if not isinstance(data, dict) or not data:
            raise ValueError("must be a condition, such as {match: 'alertname=\"Down\"', value: {above: 5%}}")
        if "all" in data or "any" in data:
            raise ValueError("can't hold `all` or `any` of its own; write two rules instead")
        return data

    @model_validator(mode="after")
    def _one_condition(self) -> Self:
        if len(self.model_fields_set & set(LEAVES)) > 1:
            raise ValueError("can hold one condition only; make the other one a part of its own")
        return self

    def part(self) -> Part:
        return Part(self.leaf(), self.match or ())


def _several(parts: tuple[PartForm, ...]) -> tuple[PartForm, ...]:
    if len(parts) < 2:
        raise ValueError("must have at least two parts")
    return parts


Parts = Annotated[tuple[PartForm, ...], AfterValidator(_several), Field(json_schema_extra={"minItems": 2})]


class WhenForm(LeafForm):
    """`firing` (the alert fires, whatever its value), or a condition."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 1})
    shorthand_schema: ClassVar[JsonSchemaValue] = {"const": "firing"}
    shorthand = "firing"
    every: Annotated[Parts | None, Field(alias="all", description="All of these hold, in the same group.")] = None
    some: Annotated[Parts | None, Field(alias="any", description="At least one of these holds.")] = None
    unless: Annotated[Matchers | None, Field(description="The same as the rule's `unless`.")] = None

    @classmethod
    def expand(cls, data: object) -> object:
        if data == "firing":
            return {}
        if not isinstance(data, dict) or not data:
            raise ValueError("must be `firing` or a condition, such as {value: {above: 5%}}")
        return data

    @model_validator(mode="after")
    def _one_condition(self) -> Self:
        given = [name for name in (*LEAVES, "every", "some") if name in self.model_fields_set]
        if len(given) > 1:
            raise ValueError("can hold one condition only; join several with `all` or `any`")
        return self

    def condition(self) -> Condition:
        if self.every is not None:
            return AllOf(tuple(each.part() for each in self.every))
        if self.some is not None:
            return AnyOf(tuple(each.part() for each in self.some))
        return self.leaf()
