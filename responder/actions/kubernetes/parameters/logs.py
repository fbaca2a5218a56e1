"""The `with` of `kubernetes.logs`."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Self

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema, model_validator

from responder.actions.kubernetes.parameters.about import OnParameters
from responder.actions.kubernetes.parameters.written import ContainerName
from responder.actions.parameters import Duration
from responder.actions.templates import is_template

_LONGEST_TEXT = 200


def _texts(value: object) -> object:
    return [value] if isinstance(value, str) else value


def _check_text(value: str) -> str:
    if is_template(value):
        raise ValueError("must be written out")
    if not value.strip("* ") or len(value) > _LONGEST_TEXT or not value.isprintable():
        raise ValueError(f"must be one line of 1 to {_LONGEST_TEXT} characters, such as ERROR or error*database")
    return value


_TEXTS_SCHEMA = {"anyOf": [{"type": "string", "minLength": 1}, {"type": "array", "items": {"type": "string", "minLength": 1}}]}
LineTexts = Annotated[
    tuple[Annotated[str, AfterValidator(_check_text)], ...], BeforeValidator(_texts), WithJsonSchema(_TEXTS_SCHEMA)
]


class LogsParameters(OnParameters):
    """Read what the running pods have written since the rollback. Changes nothing. In texts, `*` is anything within the line."""

    lacks: LineTexts = Field((), description="Texts that no line has.")
    contains: LineTexts = Field((), description="Texts that must come, each in some line of some pod; it is waited for them.")
    ignore: LineTexts = Field((), description="Lines with one of these texts don't count.")
    ignore_case: bool = Field(False, strict=True, description="ERROR, Error and error are the same.")
    at_most: int = Field(0, ge=0, strict=True, description="So many lines, of all pods together, `lacks` lets pass.")
    since: Duration | None = Field(
        None, description="Only what is not older than this. Default: since the first change of the run."
    )
    hold: Duration | None = Field(None, alias="for", description="How long no such line may come. Default: one look.")
    every: Duration = Field(timedelta(seconds=5), description="Pause between two looks.")
    container: ContainerName | None = Field(None, description="Default: every container of the pods.")
    lines: int = Field(10_000, ge=1, le=100_000, strict=True, description="The last lines of each container; more are not read.")

    @model_validator(mode="after")
    def _looks_for_something(self) -> Self:
        if not self.lacks and not self.contains:
            raise ValueError("needs `lacks` or `contains`")
        if not self.lacks and (self.at_most or self.hold is not None):
            raise ValueError("`at_most` and `for` belong to `lacks`")
        return self

    def only_looks(self) -> bool:
        return True
