"""The `with` of every action: what may be written in a rulebook, checked when it is loaded and again before a step runs.

A second check is needed because a plan in flight has been through the database: durations then come as ISO 8601 (`PT5S`).
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError, WithJsonSchema

from responder.actions.templates import check_argument, check_template
from responder.domain.quantity import parse_duration
from responder.errors import InvalidInputError

_ISO_8601 = TypeAdapter(timedelta)


def _read_duration(value: object) -> timedelta:
    if isinstance(value, timedelta):
        return value
    if isinstance(value, str) and value.startswith("P"):
        with contextlib.suppress(ValidationError):
            return _ISO_8601.validate_python(value)
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError("must be a duration; write for example 30s, 2m or 1h30m")  # noqa: TRY004 - pydantic reads ValueError
    return parse_duration(f"{value}")


def _more_than_nothing(value: timedelta) -> timedelta:
    if value <= timedelta(0):
        raise ValueError("must be longer than 0s")
    return value


Duration = Annotated[
    timedelta,
    BeforeValidator(_read_duration),
    AfterValidator(_more_than_nothing),
    WithJsonSchema(
        {
            "type": "string",
            "pattern": r"^(\s*(\d+(\.\d+)? ?(y|w|d|h|m|s|ms)\s*)+|\{\{ *vars\.\w+ *\}\})$",
            "examples": ["30s", "2m", "1h30m"],
        }
    ),
]


def _check_url(value: str) -> str:
    if "{{" in value or "{%" in value:
        raise ValueError("must be written out: a template could let an alert choose what is called")
    try:
        parts = urlsplit(value)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        usable = False
    if not usable or re.search(r"[\s\x00-\x1f]", value):
        raise ValueError("must be an address; write for example https://api.example.com/health/ready")
    return value


_URL_SCHEMA = {"type": "string", "pattern": r"^(https?://|\{\{ *vars\.)"}
Url = Annotated[str, AfterValidator(_check_url), WithJsonSchema(_URL_SCHEMA)]


def statuses(value: object) -> tuple[range, ...]:
    """The HTTP statuses meant by `200`, `2xx`, `200-299` or a list of these. Raises ValueError."""
    if isinstance(value, list | tuple) and value:
        return tuple(one for item in value for one in statuses(item))
    text = str(value) if isinstance(value, int | str) and not isinstance(value, bool) else ""
    if re.fullmatch(r"[1-5]xx", text):
        return (range(int(text[0]) * 100, int(text[0]) * 100 + 100),)
    found = re.fullmatch(r"([1-5]\d\d)(?:\s*-\s*([1-5]\d\d))?", text)
    if found is None:
        raise ValueError("must be HTTP statuses; write for example 200, 2xx, 200-299 or [200, 204]")
    low, high = int(found[1]), int(found[2] or found[1])
    if low > high:
        raise ValueError(f"{text} begins after its end; swap the two")
    return (range(low, high + 1),)


def _check_statuses(value: object) -> object:
    statuses(value)
    return value


_STATUS_SCHEMA: dict[str, object] = {
    "anyOf": [
        {"type": "integer", "minimum": 100, "maximum": 599},
        {"type": "string", "pattern": r"^[1-5](xx|\d\d(\s*-\s*[1-5]\d\d)?)$"},
    ]
}
Statuses = Annotated[
    object,
    AfterValidator(_check_statuses),
    WithJsonSchema({"anyOf": [_STATUS_SCHEMA, {"type": "array", "items": _STATUS_SCHEMA, "minItems": 1}]}),
]


def _check_path(value: str) -> str:
    if not value or any(not step for step in value.split(".")):
        raise ValueError(f"{value!r} is not a path; write for example status or checks.0.status")
    return value


JsonPath = Annotated[str, AfterValidator(_check_path)]
JsonScalar = str | int | float | bool | None


def _check_header(value: str) -> str:
    if not value.isascii() or not value.isprintable():
        raise ValueError("must be printable ASCII, as it travels in a header")
    return value


Header = Annotated[str, AfterValidator(_check_header)]
Template = Annotated[str, AfterValidator(check_template)]
Argument = Annotated[str, AfterValidator(check_argument)]
"""Text that reaches a command, a body or an object: fill it in with `render_argument` before use."""


class Parameters(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    def destroys(self) -> bool:
        """Whether a step with these parameters destroys data: then it needs a backup step before it, and a person's word."""
        return False

    def only_looks(self) -> bool:
        """Whether a step with these parameters changes nothing, so that it may run at any time and as often as one likes."""
        return False

    @classmethod
    def read(cls, parameters: Mapping[str, object]) -> Self:
        """Check parameters just before they are used. Raises InvalidInputError."""
        try:
            return cls.model_validate(parameters)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(str(part) for part in first["loc"])
            raise InvalidInputError(f"{where or 'with'}: {first['msg']}", field=where or None) from None


class RollbackParameters(Parameters):
    """Bring a target back to the version pinned for this run, and wait until it is fully rolled out."""

    target: str | None = Field(None, min_length=1, description="Name of a declared target. Default: the incident's.")


class NotifyParameters(Parameters):
    """Tell people something in the course of a plan."""

    text: Template = Field(min_length=1, description="May hold templates such as `{{ target }}` or `{{ labels.pod }}`.")
    title: Template = Field("", description="One line; the default names the incident's rule and target.")
    to: str | None = Field(None, min_length=1, description="Name of one notifier. Default: all of the incident's routes.")

    def only_looks(self) -> bool:
        return True


class SleepParameters(Parameters):
    """Do nothing for a while. A restart does not begin anew."""

    duration: Duration = Field(alias="for")

    def only_looks(self) -> bool:
        return True
