"""Argo CD's API for one application: read it, change its sync policy, ask for a rollback."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import httpx
import orjson

from responder.clients.http import Answer, exchange, redact
from responder.errors import ConflictError, ForbiddenError, NotFoundError, OutcomeUnknownError, PermanentError, TemporaryError

Application = dict[str, Any]

NOT_SET = "RESPONDER_ARGOCD_URL and RESPONDER_ARGOCD_TOKEN are not set, so Argo CD can't be asked"
_NAME = "Argo CD"
_FAILED_PRECONDITION = 9  # gRPC's number; over HTTP the status is 400
_QUOTED = 300


class ArgoCdClient:
    """url: as people open it, with its path prefix. token: of an account that may `get`, `update` and `sync` the application."""

    def __init__(self, url: str, token: str, http: httpx.AsyncClient) -> None:
        self._url = f"{url.rstrip('/')}/api/v1/applications"
        self._http = http
        self._headers = {"Authorization": f"Bearer {token}"}
        self._secrets = (token,)

    async def get(self, name: str, namespace: str, *, refresh: bool = False) -> Application:
        """namespace: "" for Argo CD's own. refresh: have it compared with the cluster anew."""
        return await self._ask("GET", name, "", _parameters(namespace) | ({"refresh": "normal"} if refresh else {}), None)

    async def patch(self, name: str, namespace: str, change: Mapping[str, Any]) -> Application:
        """A JSON merge patch."""
        body = {"name": name, "patchType": "merge", "patch": orjson.dumps(change).decode()}
        return await self._ask("PATCH", name, "", {}, body | _parameters(namespace))

    async def roll_back(self, name: str, namespace: str, history_id: int) -> Application:
        """Raises ConflictError when an operation is under way or automated sync is on."""
        body = {"name": name, "id": history_id, "prune": False}
        return await self._ask("POST", name, "/rollback", {}, body | _parameters(namespace))

    async def _ask(
        self, method: str, name: str, what: str, parameters: Mapping[str, str], body: Mapping[str, Any] | None
    ) -> Application:
        url = f"{self._url}/{quote(name, safe='')}{what}"
        answer = await exchange(
            self._http, method, url, service=_NAME, json=body, headers=self._headers, params=parameters, secrets=self._secrets
        )
        if not 200 <= answer.status < 300:
            raise self._refusal(answer, f"{method} application {name}{what}", writes=body is not None)
        try:
            found = answer.json()
        except ValueError:
            found = None
        if not isinstance(found, dict) or not isinstance(found.get("metadata"), dict):
            raise TemporaryError(f"{_NAME} answered something that is no application; is RESPONDER_ARGOCD_URL right?")
        return found

    def _refusal(self, answer: Answer, doing: str, *, writes: bool) -> TemporaryError | PermanentError:
        code, text = _message(answer)
        said = f"{_NAME}: {doing}: {redact(text, self._secrets)[:_QUOTED]} ({answer.status})"
        if code == _FAILED_PRECONDITION or answer.status == 409:
            return ConflictError(said)
        if answer.status in (401, 403):  # also what it answers for an application that does not exist
            return ForbiddenError(f"{said}; is there such an application, and does the token have the right?")
        if answer.status == 404:
            return NotFoundError(said)
        if writes and answer.status in (500, 502, 504):
            return OutcomeUnknownError(said)
        if answer.status in (408, 429) or answer.status >= 500:
            return TemporaryError(said)
        return PermanentError(said)


def _parameters(namespace: str) -> dict[str, str]:
    return {"appNamespace": namespace} if namespace else {}


def _message(answer: Answer) -> tuple[int, str]:
    try:
        found = answer.json()
    except ValueError:
        found = None
    if not isinstance(found, dict):
        return 0, " ".join(answer.text[: _QUOTED * 4].split())
    code = found.get("code")
    return (code if isinstance(code, int) else 0), str(found.get("message") or found.get("error") or "")
