"""The bodies of commands: JSON objects, read strictly; what is wrong is named by its field."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, TypeVar

import orjson
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, InstanceOf, ValidationError, WithJsonSchema
from starlette.requests import Request

from responder.domain.matcher import Matcher, parse_matcher
from responder.domain.quantity import parse_duration
from responder.web.problems import Problem, too_large

BODY_LIMIT = 64 * 1024
LONGEST_SUPPRESSION = timedelta(days=365)
_LONGEST_TEXT = 1000


def _said(text: str) -> str:
    if not text.strip():
        raise ValueError("must say something")
    return text.strip()


def _printable(text: str) -> str:
    if any(ord(character) < 32 and character not in "\t\n" for character in text):
        raise ValueError("must not have control characters")
    return text


def _revision(value: object) -> object:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _matcher(value: object) -> Matcher:
    if not isinstance(value, str):
        raise ValueError('must be a matcher, for example alertname="HighErrorRate"')  # noqa: TRY004
    return parse_matcher(value)


def _selective(matchers: tuple[Matcher, ...]) -> tuple[Matcher, ...]:
    if not matchers:
        raise ValueError("must have at least one matcher")
    if all(matcher.matches({}) for matcher in matchers):
        raise ValueError("would match every alert, even one without labels")
    return matchers


def _duration(value: object) -> timedelta:
    if not isinstance(value, str):
        raise ValueError("must be a duration, for example 30m or 2h")  # noqa: TRY004
    duration = parse_duration(value)
    if not timedelta(0) < duration <= LONGEST_SUPPRESSION:
        raise ValueError("must be longer than 0s and no longer than 365d")
    return duration


def _moment(value: object) -> datetime:
    if not isinstance(value, str) or re.match(r"\d{4}-\d\d-\d\d[Tt ]", value) is None:
        raise ValueError("must be a time, for example 2026-03-01T12:00:00Z")
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        raise ValueError("must be a time, for example 2026-03-01T12:00:00Z") from None
    if moment.tzinfo is None:
        raise ValueError("must say its time zone, for example 2026-03-01T12:00:00Z")
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise ValueError("is out of range") from None


Text = Annotated[str, Field(max_length=_LONGEST_TEXT), AfterValidator(_printable)]
Said = Annotated[Text, AfterValidator(_said)]
Name = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_printable)]
MatcherText = Annotated[InstanceOf[Matcher], BeforeValidator(_matcher)]


class Body(BaseModel):
    """Unknown members are refused: a misspelt one would change what is done."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class WordBody(Body):
    """Of approve and reject. step: which request, when several are open."""

    reason: Text = ""
    step: Annotated[str, Field(max_length=200)] | None = None


class ReasonBody(Body):
    reason: Text = ""


class RollbackBody(Body):
    """version or revision: what to go back to; without them the newest proven version. plan: without it a bare rollback."""

    target: Name
    reason: Said
    version: Name | None = None
    revision: Annotated[Name, BeforeValidator(_revision), WithJsonSchema({"type": ["string", "integer"]})] | None = None
    plan: Name | None = None
    inputs: Annotated[dict[Name, Text], Field(max_length=50)] = {}
    immediate: bool = False
    skip_validation: bool = False
    create_backup: bool = False
    dry_run: bool = False
    override: Annotated[list[Name], Field(max_length=50)] = []


def _as_tuple(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


_MATCHERS_SCHEMA: dict[str, Any] = {"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": 50}
MatcherTexts = Annotated[
    tuple[MatcherText, ...],
    BeforeValidator(_as_tuple),
    Field(max_length=50),
    AfterValidator(_selective),
    WithJsonSchema({**_MATCHERS_SCHEMA, "examples": [['alertname="HighErrorRate"']]}),
]
DurationText = Annotated[timedelta, BeforeValidator(_duration), WithJsonSchema({"type": "string", "examples": ["2h"]})]
MomentText = Annotated[datetime, BeforeValidator(_moment), WithJsonSchema({"type": "string", "format": "date-time"})]


class SuppressionBody(Body):
    """Either duration or until."""

    matchers: MatcherTexts
    reason: Said
    duration: DurationText | None = None
    until: MomentText | None = None

    def end(self, now: datetime) -> datetime:
        """Raises ProblemError unless it has exactly one end, in the future."""
        if (self.duration is None) is (self.until is None):
            raise Problem(400, "give either duration or until", "duration").error()
        until = now + self.duration if self.duration is not None else self.until
        if until is None or until <= now:
            raise Problem(400, "must be in the future", "until").error()
        if until - now > LONGEST_SUPPRESSION:
            raise Problem(400, "must be within 365d", "until").error()
        return until


class HoldBody(Body):
    """reason: required to hold."""

    held: bool
    reason: Text = ""


BodyT = TypeVar("BodyT", bound=Body)


async def read_document(request: Request) -> Mapping[str, Any]:
    """The JSON object in the body; an empty body is an empty object. Raises ProblemError."""
    raw = bytearray()
    async for chunk in request.stream():
        raw += chunk
        if len(raw) > BODY_LIMIT:
            raise too_large(BODY_LIMIT).error()
    if not raw.strip():
        return {}
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json" and not kind.endswith("+json"):
        raise Problem(415, "the body must be application/json", "Content-Type").error()
    try:
        document = orjson.loads(bytes(raw))
    except orjson.JSONDecodeError as error:
        raise Problem(400, f"the body is not JSON: {error}").error() from None
    if not isinstance(document, dict):
        raise Problem(400, "the body must be a JSON object").error()
    return document


def read_body(model: type[BodyT], document: Mapping[str, Any]) -> BodyT:
    """Raises ProblemError that names the first wrong field, and says all that is wrong."""
    try:
        return model.model_validate(document)
    except ValidationError as error:
        found = [(_path(one["loc"]), _message(one)) for one in error.errors(include_url=False, include_input=False)]
        field, what = found[0]
        lines = tuple(f"{path}: {text}" for path, text in found) if len(found) > 1 else ()
        raise Problem(400, what, field or None, problems=lines).error() from None


def digest_of(method: str, path: str, document: Mapping[str, Any]) -> str:
    """The same command, however its JSON is written."""
    canonical = orjson.dumps(document, option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS)
    return hashlib.sha256(f"{method} {path}\n".encode() + canonical).hexdigest()


def _path(location: tuple[int | str, ...]) -> str:
    path = ""
    for part in location:
        if isinstance(part, int):
            path += f"[{part}]"
        elif part != "[key]":
            path += f".{part}" if path else part
    return path[:200]


_MESSAGES = {
    "missing": "is required",
    "extra_forbidden": "is not known here",
    "string_type": "must be text",
    "bool_type": "must be true or false",
    "list_type": "must be a list",
    "tuple_type": "must be a list",
    "dict_type": "must be an object",
}


def _message(error: Any) -> str:
    known = _MESSAGES.get(error["type"])
    if known is not None:
        return known
    text = str(error["msg"]).removeprefix("Value error, ")
    return text[:1].lower() + text[1:]
