"""JSON answers and the questions endpoints ask of a request."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import orjson
from starlette.requests import Request
from starlette.responses import Response

from responder.web.problems import Problem, ProblemError
from responder.web.tokens import READERS, Role, Tokens, with_bearer


@dataclass(frozen=True, slots=True)
class WholeAnswer:
    """An answer before it is put on the wire. headers: names in small letters, without content-length."""

    status: int
    headers: Sequence[tuple[bytes, bytes]]
    body: bytes


_CHALLENGE = "WWW-Authenticate"
_WINDOW = 'Basic realm="responder", charset="UTF-8"'

Endpoint = Callable[[Request], Awaitable[Response]]


def json_answer(document: Mapping[str, object], status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    body = orjson.dumps(document, default=str, option=orjson.OPT_UTC_Z | orjson.OPT_NON_STR_KEYS)
    return Response(body, status, headers, media_type="application/json")


def for_readers(tokens: Tokens, endpoint: Endpoint) -> Endpoint:
    """The endpoint behind the token of whoever may read."""
    return _behind(tokens, READERS, endpoint)


def for_browsers(tokens: Tokens, endpoint: Endpoint) -> Endpoint:
    """Also behind the token as the password of a browser's own window, which is how a link in a message is followed.

    Only for what changes nothing: a browser sends such a password along with requests that other pages make it send.
    """

    async def admitted(request: Request) -> Response:
        try:
            tokens.admit(with_bearer(dict(request.scope["headers"])), READERS)
        except ProblemError as error:
            if error.problem.status != 401:
                raise
            asked = ", ".join([_WINDOW, *(value for name, value in error.problem.headers if name == _CHALLENGE)])
            raise ProblemError(replace(error.problem, headers=((_CHALLENGE, asked),))) from None
        return await endpoint(request)

    return admitted


def _behind(tokens: Tokens, roles: frozenset[Role], endpoint: Endpoint) -> Endpoint:
    async def admitted(request: Request) -> Response:
        tokens.admit(dict(request.scope["headers"]), roles)
        return await endpoint(request)

    return admitted


def whole_number(request: Request, name: str, default: int, low: int, high: int) -> int:
    text = request.query_params.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) < 10 and low <= int(text) <= high):
        raise Problem(400, f"must be a whole number from {low} to {high}", name).error()
    return int(text)


def truth(request: Request, name: str) -> bool | None:
    """None when the parameter is absent."""
    text = request.query_params.get(name)
    if text is None:
        return None
    if text not in ("true", "false"):
        raise Problem(400, "must be true or false", name).error()
    return text == "true"
