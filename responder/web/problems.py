"""Problem details (RFC 9457): the one shape of every error answer."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from dataclasses import field as made_by
from datetime import timedelta
from http import HTTPStatus

import orjson
from starlette.responses import Response

from responder.errors import (
    ConflictError,
    DeniedError,
    ForbiddenError,
    InvalidInputError,
    NotFoundError,
    RefusedError,
    ResponderError,
    TemporaryError,
)

Header = tuple[str, str]
RETRY_AFTER = timedelta(seconds=5)


@dataclass(frozen=True, slots=True)
class Problem:
    """field: what part of the request is wrong, None when it is not about one part.

    problems: one line each, when there are several. more: further members of the document.
    """

    status: int
    detail: str
    field: str | None = None
    headers: tuple[Header, ...] = ()
    problems: tuple[str, ...] = ()
    more: Mapping[str, object] = made_by(default_factory=dict)

    def body(self) -> bytes:
        document: dict[str, object] = {
            "type": "about:blank",
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "detail": self.detail,
        }
        if self.field is not None:
            document["field"] = self.field
        if self.problems:
            document["problems"] = self.problems
        return orjson.dumps({**document, **self.more})

    def response(self) -> Response:
        return Response(self.body(), self.status, dict(self.headers), media_type="application/problem+json")

    def error(self) -> ProblemError:
        return ProblemError(self)


class ProblemError(Exception):
    """Ends a request with a problem. For the web layer only."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.detail)
        self.problem = problem


INTERNAL = Problem(500, "an unexpected error; the service's log has the details")


def problem_of(error: ResponderError) -> Problem:  # noqa: PLR0911 (a table)
    """How an error of ours is told to the caller."""
    text = str(error)
    match error:
        case InvalidInputError():
            return Problem(400, text, error.field)
        case NotFoundError():
            return Problem(404, text, error.field)
        case DeniedError():
            return Problem(403, text)
        case RefusedError() | ConflictError():
            return Problem(409, text)
        case ForbiddenError():  # the service lacks a right, not the caller
            return Problem(502, text)
        case TemporaryError():
            return unavailable(text, error.retry_after or RETRY_AFTER)
        case _:
            return INTERNAL


def unavailable(detail: str, retry_after: timedelta) -> Problem:
    """503, which every sender tries again; 429 they would not."""
    seconds = max(1, math.ceil(retry_after.total_seconds()))
    return Problem(503, detail, headers=(("Retry-After", str(seconds)),))


def too_large(limit: int) -> Problem:
    return Problem(413, f"the body is larger than {limit} bytes", headers=(("Connection", "close"),))


def method_not_allowed(allowed: Sequence[str]) -> Problem:
    return Problem(405, f"this address takes {' or '.join(allowed)} only", headers=(("Allow", ", ".join(allowed)),))
