"""The small words of the YAML form: durations, numbers, matchers, names. Each validates, explains itself and describes itself
to editors (JSON Schema)."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from datetime import timedelta
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, InstanceOf, WithJsonSchema

from responder.domain.matcher import Matcher, parse_matcher
from responder.domain.quantity import parse_duration, parse_number
from responder.domain.query import Query, parse_query
from responder.domain.rulebook import Severity
from responder.domain.target import RollbackLimit

DURATION_PATTERN = r"^\s*(0|(\d+(\.\d+)? ?(y|w|d|h|m|s|ms)\s*)+)$"
_RANGE_MARK = ".."


def _read_duration(value: object) -> timedelta:
    if isinstance(value, timedelta):
        return value
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError("must be a duration; write for example 30s, 2m or 1h30m")  # noqa: TRY004
    return parse_duration(f"{value}")


def _more_than_nothing(value: timedelta) -> timedelta:
    if not value:
        raise ValueError("must be longer than 0s")
    return value


Duration = Annotated[
    timedelta,
    BeforeValidator(_read_duration),
    WithJsonSchema(
        {"type": ["string", "integer"], "pattern": DURATION_PATTERN, "maximum": 0, "examples": ["30s", "2m", "1h30m"]}
    ),
]
PositiveDuration = Annotated[Duration, AfterValidator(_more_than_nothing)]


def _read_number(value: object) -> float:
    if not isinstance(value, str | int | float):
        raise ValueError("must be a number; write for example 5%, 0.05, 200ms or 1.5GiB")  # noqa: TRY004
    number = parse_number(value)
    if not math.isfinite(number):
        raise ValueError(f"{value} can't be a bound; write a finite number")
    return number


Number = Annotated[
    float,
    BeforeValidator(_read_number),
    WithJsonSchema({"type": ["number", "string"], "examples": ["5%", 0.05, "200ms", "1.5GiB", "10k"]}),
]


def _read_between(value: object) -> tuple[float, float]:
    ends = _ends(value) if isinstance(value, str) else value
    if not isinstance(ends, list) or len(ends) != 2:
        raise ValueError("must be two numbers; write for example [5%, 10%]")
    low, high = _read_number(ends[0]), _read_number(ends[1])
    if low > high:
        raise ValueError(f"the lower bound {ends[0]} is above the upper bound {ends[1]}; swap them")
    return low, high


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


def _read_backoff(value: object) -> tuple[timedelta, timedelta]:
    ends = _ends(value) if isinstance(value, str) else []
    try:
        low, high = parse_duration(ends[0]), parse_duration(ends[-1])
    except (IndexError, ValueError):
        ends = []
    if len(ends) not in (1, 2):
        raise ValueError("must be a range of durations, or one; write for example 1s..30s or 5s")
    if low > high:
        raise ValueError(f"the shortest wait {ends[0]} is longer than the longest {ends[1]}; swap them")
    return low, high


Backoff = Annotated[
    tuple[timedelta, timedelta],
    BeforeValidator(_read_backoff),
    WithJsonSchema({"type": "string", "examples": ["1s..30s", "5s"]}),
]


def _ends(text: str) -> list[str]:
    return [end.strip() for end in text.split(_RANGE_MARK)]


_LIMIT = re.compile(r"\s*(?P<count>\d{1,4})\s+per\s+(?P<within>.+)")


def _read_limit(value: object) -> RollbackLimit:
    if isinstance(value, RollbackLimit):
        return value
    found = _LIMIT.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise ValueError("must be a number per duration; write for example 2 per 24h")
    within = found["within"].strip()
    limit = RollbackLimit(int(found["count"]), parse_duration(within if within[0].isdigit() else f"1{within}"))
    if limit.count < 1:
        raise ValueError("must allow at least 1; to never act, write `mode: observe` on the target")
    _more_than_nothing(limit.within)
    return limit


Limit = Annotated[
    InstanceOf[RollbackLimit],
    BeforeValidator(_read_limit),
    WithJsonSchema({"type": "string", "pattern": r"^\s*\d{1,4}\s+per\s+", "examples": ["2 per 24h"]}),
]


def _read_matcher(value: object) -> Matcher:
    if not isinstance(value, str):
        raise ValueError("must be a matcher in quotes; write for example 'alertname=\"HighErrorRate\"'")  # noqa: TRY004
    return parse_matcher(value)


def _as_list(value: object) -> object:
    return [value] if isinstance(value, str) else value


def _as_matcher_list(value: object) -> object:
    if isinstance(value, dict):
        raise ValueError("must be matchers, not a mapping; write for example 'alertname=\"HighErrorRate\"'")  # noqa: TRY004
    return _as_list(value)


def _not_empty(severities: frozenset[Severity]) -> frozenset[Severity]:
    if not severities:
        raise ValueError("must name at least one severity; to tell nobody, remove the route")
    return severities


def _selective(matchers: tuple[Matcher, ...]) -> tuple[Matcher, ...]:
    if not matchers:
        raise ValueError("must have at least one matcher")
    if all(matcher.matches({}) for matcher in matchers):
        raise ValueError('would match every alert, even one without labels; add a matcher with a value, such as alertname="…"')
    return matchers


_MATCHER_SCHEMA: dict[str, Any] = {
    "type": "string",
    "pattern": r"^\s*[A-Za-z_][A-Za-z0-9_:]*\s*(=~|!~|!=|=)",
    "examples": ['alertname="HighErrorRate"', 'namespace=~"prod-.+"'],
}
Matchers = Annotated[
    tuple[Annotated[InstanceOf[Matcher], BeforeValidator(_read_matcher)], ...],
    BeforeValidator(_as_matcher_list),
    AfterValidator(_selective),
    WithJsonSchema({"anyOf": [_MATCHER_SCHEMA, {"type": "array", "items": _MATCHER_SCHEMA, "minItems": 1}]}),
]


def _pattern(pattern: str, rule: str) -> Callable[[str], str]:
    compiled = re.compile(pattern, re.ASCII)

    def check(value: str) -> str:
        if compiled.fullmatch(value) is None:
            raise ValueError(f"{value!r} {rule}")
        return value

    return check


NAME_PATTERN = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}"
check_name = _pattern(NAME_PATTERN, "is not a name; use letters, digits, `_`, `-` and `.`, beginning with a letter or a digit")
Name = Annotated[str, AfterValidator(check_name), WithJsonSchema({"type": "string", "pattern": f"^{NAME_PATTERN}$"})]

_OBJECT_PATTERN = r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?"
ObjectName = Annotated[
    str,
    AfterValidator(
        _pattern(_OBJECT_PATTERN, "can't be the name of a Kubernetes object; use lower case letters, digits, `-` and `.`")
    ),
    WithJsonSchema({"type": "string", "pattern": f"^{_OBJECT_PATTERN}$"}),
]

_LABEL_PATTERN = r"[A-Za-z_][A-Za-z0-9_]*"
LabelName = Annotated[
    str,
    AfterValidator(_pattern(_LABEL_PATTERN, "is not a label name; use letters, digits and `_`, not beginning with a digit")),
    WithJsonSchema({"type": "string", "pattern": f"^{_LABEL_PATTERN}$"}),
]
TEMPLATE_NAME_PATTERN = _LABEL_PATTERN
TemplateName = Annotated[
    str,
    AfterValidator(
        _pattern(TEMPLATE_NAME_PATTERN, "can't be named in a template; use letters, digits and `_`, not first a digit")
    ),
    WithJsonSchema({"type": "string", "pattern": f"^{TEMPLATE_NAME_PATTERN}$"}),
]
LabelNames = Annotated[
    tuple[LabelName, ...],
    BeforeValidator(_as_list),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "pattern": f"^{_LABEL_PATTERN}$"},
                {"type": "array", "items": {"type": "string", "pattern": f"^{_LABEL_PATTERN}$"}},
            ]
        }
    ),
]

# Grafana's numbers are annotations such as `values.B`.
_SOURCE_PATTERN = rf"value|labels\.{_LABEL_PATTERN}|annotations\.[A-Za-z_][A-Za-z0-9_.]*"
ValueSource = Annotated[
    str,
    AfterValidator(
        _pattern(_SOURCE_PATTERN, "is not a place to find a number; write `value`, `annotations.<name>` or `labels.<name>`")
    ),
    WithJsonSchema({"type": "string", "pattern": f"^({_SOURCE_PATTERN})$", "examples": ["annotations.value", "labels.ratio"]}),
]

AnnotationName = Annotated[
    str,
    AfterValidator(_pattern(r"[A-Za-z_][A-Za-z0-9_.]*", "is not the name of an annotation; use letters, digits, `_` and `.`")),
    WithJsonSchema({"type": "string", "pattern": r"^[A-Za-z_][A-Za-z0-9_.]*$"}),
]


def _read_query(value: object) -> Query:
    if not isinstance(value, str):
        raise ValueError("must be a query in quotes; write for example 'sum(rate(http_errors_total[5m]))'")  # noqa: TRY004
    return parse_query(value)


PromQL = Annotated[
    InstanceOf[Query],
    BeforeValidator(_read_query),
    WithJsonSchema({"type": "string", "minLength": 1, "examples": ["sum(rate(http_errors_total{deployment={{ target }}}[5m]))"]}),
]


def _read_share(value: object) -> float:
    share = _read_number(value)
    if not 0 <= share < 1:
        raise ValueError(f"{value} is no share; write for example 50%")
    return share


_SHARE_SCHEMA: dict[str, Any] = {
    "anyOf": [
        {"type": "number", "minimum": 0, "exclusiveMaximum": 1},
        {"type": "string", "pattern": r"^\s*\d{1,2}(\.\d+)?\s*%\s*$"},
    ],
    "examples": ["50%"],
}
Share = Annotated[float, BeforeValidator(_read_share), WithJsonSchema(_SHARE_SCHEMA)]


def _read_target_share(value: object) -> int | float:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError("must be a number of targets or a share of them; write for example 3 or 50%")  # noqa: TRY004
    if isinstance(value, int):
        if value < 1:
            raise ValueError("must be at least 1; with 0 nothing would ever be rolled back")
        return value
    try:
        return _read_share(value)
    except ValueError:
        raise ValueError(f"{value} is neither a number of targets nor a share of them; write for example 3 or 50%") from None


TargetShare = Annotated[
    int | float,
    BeforeValidator(_read_target_share),
    WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 1}, *_SHARE_SCHEMA["anyOf"]], "examples": [3, "50%"]}),
]

_SEVERITY_SCHEMA: dict[str, Any] = {"type": "string", "enum": [severity.value for severity in Severity]}


Severities = Annotated[
    frozenset[Severity],
    BeforeValidator(_as_list),
    AfterValidator(_not_empty),
    WithJsonSchema({"anyOf": [_SEVERITY_SCHEMA, {"type": "array", "items": _SEVERITY_SCHEMA, "minItems": 1}]}),
]
