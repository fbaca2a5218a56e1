"""What the API server and the transport answer, as our errors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import orjson

from responder.errors import (
    ConflictError,
    ForbiddenError,
    NotFoundError,
    OutcomeUnknownError,
    PermanentError,
    RefusedError,
    ResponderError,
    TemporaryError,
    UnreachableError,
)

JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"
_MESSAGE_LIMIT = 300
# The request may have been carried out although the answer is an error: a proxy or the server gave up waiting.
_UNCLEAR_STATUSES = frozenset({500, 502, 504})


@dataclass(frozen=True, slots=True)
class Call:
    """One request. verb and resource: the right it needs, as RBAC spells it. repr keeps the body to itself."""

    verb: str
    resource: str
    path: str
    namespace: str = ""
    name: str = ""
    method: str = "GET"
    query: Mapping[str, str] = field(default_factory=dict)
    body: Any = field(default=None, repr=False)
    content: str = "application/json"
    accept: str = "application/json"

    @property
    def is_json_patch(self) -> bool:
        return self.content == JSON_PATCH

    @property
    def writes(self) -> bool:
        return self.method != "GET" and "dryRun" not in self.query

    def __str__(self) -> str:
        place = f" in namespace {self.namespace}" if self.namespace else ""
        name = f" {self.name}" if self.name else ""
        return f"{self.verb} {self.resource}{name}{place}"


def error_of_answer(call: Call, status: int, body: bytes, retry_after: str | None) -> ResponderError:  # noqa: PLR0911  a table
    """The error for an answer with status 400 or more."""
    answer = _status_object(body)
    message = f"{call}: {_message(answer)} ({status})"
    wait = timedelta(seconds=int(retry_after)) if retry_after and retry_after.isdigit() else None
    if status == 403:
        place = f" in namespace {call.namespace}" if call.namespace else ""
        return ForbiddenError(f"missing right: {call.verb} {call.resource}{place} ({_message(answer)})")
    if status == 404:
        return NotFoundError(message)
    if status == 409 and _is_owned_by_another(answer):
        return RefusedError(f"{call}: {_message(answer)}")
    if status == 409 or (status == 422 and call.is_json_patch and not _names_fields(answer)):
        return ConflictError(message, retry_after=wait)
    if status in _UNCLEAR_STATUSES and call.writes:
        return OutcomeUnknownError(message, retry_after=wait)
    if status in (408, 410, 429) or status >= 500:
        return TemporaryError(message, retry_after=wait)
    return PermanentError(message)


def error_of_transport(call: Call, error: BaseException) -> TemporaryError:
    """The error for a request that got no answer. Only the kind of the library's error is told: its text may hold the address."""
    import aiohttp

    kind = type(error).__name__
    if isinstance(error, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError | aiohttp.ClientProxyConnectionError):
        return UnreachableError(f"{call}: no connection to the API server ({kind})")
    if call.writes:
        return OutcomeUnknownError(f"{call}: sent, but the answer never came ({kind})")
    return UnreachableError(f"{call}: no answer from the API server ({kind})")


def _status_object(body: bytes) -> dict[str, Any]:
    try:
        answer = orjson.loads(body)
    except ValueError:
        return {"message": body[:_MESSAGE_LIMIT].decode(errors="replace")}
    return answer if isinstance(answer, dict) else {}


def _message(answer: dict[str, Any]) -> str:
    text = str(answer.get("message") or answer.get("reason") or "no message")
    return text if len(text) <= _MESSAGE_LIMIT else text[: _MESSAGE_LIMIT - 1] + "…"


def _names_fields(answer: dict[str, Any]) -> bool:
    """A validation error lists the fields that are wrong; a failed JSON patch `test` lists none."""
    return bool((answer.get("details") or {}).get("causes"))


def _is_owned_by_another(answer: dict[str, Any]) -> bool:
    """Server-side apply of a field that another manager set: trying again changes nothing."""
    causes = (answer.get("details") or {}).get("causes") or []
    return any(cause.get("reason") == "FieldManagerConflict" for cause in causes)
