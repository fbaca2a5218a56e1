"""`http.request`: one request that changes something, sent once.

It is written down before it is sent. When the answer is lost, or Responder was killed meanwhile, the service may have carried it
out: then `check` is asked, or a request that is `safe` is sent again; with neither the step fails and a person has to look.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import timedelta

import httpx
from pydantic import JsonValue

from responder.actions.http import MAX_BODY, answer_problem, headers_of, hidden, place
from responder.actions.http_parameters import HttpRequestParameters, secret_in
from responder.actions.secrets import FromSecret
from responder.actions.templates import render_argument
from responder.clients.http import Answer, exchange, redact, retry_after
from responder.errors import PermanentError, TemporaryError, UnreachableError
from responder.ports import StepContext

_SHOWN_BODY = 500
_CHECK_TIMEOUT = timedelta(seconds=30)


class HttpRequest:
    """secrets: what `from_secret` may name, by lower-case name."""

    def __init__(self, client: httpx.AsyncClient, secrets: Mapping[str, str]) -> None:
        self._client = client
        self._secrets = secrets

    async def run(self, parameters: Mapping[str, object], context: StepContext) -> str:
        wanted = HttpRequestParameters.read(parameters)
        name = f"{wanted.method} {place(wanted.url)}"
        if wanted.method == "GET":
            answer = await self._send(wanted, context)
            return _good(name, answer, wanted, self._hidden(wanted, context))
        known = context.intent or {}
        if known.get("stage") == "ended":
            return str(known.get("output", ""))
        if known.get("stage") == "begun" and await self._is_done(wanted, name, context):
            return f"{name} had been carried out already, says {place(wanted.check.url) if wanted.check else 'nobody'}"
        _body_of(wanted, context, self._secrets)  # what can't be filled in is said before anything is on record
        headers_of(wanted, self._secrets)
        await context.mark_changed()
        await context.record({"stage": "begun", "request": name})
        try:
            answer = await self._send(wanted, context)
        except UnreachableError:
            await context.record({"stage": "unbegun", "request": name})
            raise
        if answer.status == 429:
            await context.record({"stage": "unbegun", "request": name})
        output = _good(name, answer, wanted, self._hidden(wanted, context))
        await context.record({"stage": "ended", "request": name, "output": output})
        return output

    async def preview(self, parameters: Mapping[str, object], context: StepContext) -> str:
        wanted = HttpRequestParameters.read(parameters)
        lines = [f"would send {wanted.method} {place(wanted.url)}"]
        text, body = _body_of(wanted, context, None)
        if body is not None:
            lines.append(json.dumps(body, indent=2, ensure_ascii=False))
        elif text is not None:
            lines.append(text)
        if wanted.undo is not None:
            lines.append(f"undone, should the plan fail later, by {wanted.undo.method} {place(wanted.undo.url)}")
        return "\n".join(lines)

    async def compensate(self, parameters: Mapping[str, object], context: StepContext) -> str:
        wanted = HttpRequestParameters.read(parameters)
        if wanted.undo is None or (context.intent or {}).get("stage") not in ("begun", "ended"):
            return ""
        undo = wanted.model_copy(
            update={"method": wanted.undo.method, "url": wanted.undo.url, "json_body": wanted.undo.json_body, "body": None}
        )
        name = f"{undo.method} {place(undo.url)}"
        answer = await self._send(undo, context)
        if not 200 <= answer.status < 300:
            raise _bad(name, answer, f"answered {answer.status}", self._hidden(undo, context))
        return f"undone by {name}"

    async def _is_done(self, wanted: HttpRequestParameters, name: str, context: StepContext) -> bool:
        """It was sent and its answer was not seen. Raises PermanentError when nobody can tell and it must not be sent again."""
        if wanted.check is None:
            if not wanted.safe:
                raise PermanentError(
                    f"{name} was sent and its answer never came; whether it was carried out is not known: a person has to look."
                    " It is not sent twice unless it says `safe: true` or has a `check`"
                )
            return False
        asked = wanted.model_copy(
            update={"method": "GET", "url": wanted.check.url, "json_body": None, "body": None, "timeout": _CHECK_TIMEOUT}
        )
        return not answer_problem(await self._send(asked, context), wanted.check.expect)

    async def _send(self, wanted: HttpRequestParameters, context: StepContext) -> Answer:
        headers = headers_of(wanted, self._secrets)
        text, body = _body_of(wanted, context, self._secrets)
        return await exchange(
            self._client,
            wanted.method,
            wanted.url,
            service=place(wanted.url),
            json=body,
            content=text.encode() if text is not None else None,
            headers=headers,
            timeout=wanted.timeout,
            max_body=MAX_BODY,
            secrets=self._hidden(wanted, context),
        )

    def _hidden(self, wanted: HttpRequestParameters, context: StepContext) -> tuple[str, ...]:
        bodies = (wanted.json_body, wanted.undo.json_body if wanted.undo else None)
        of_bodies = [one.value(self._secrets).removeprefix(one.prefix) for body in bodies for one in _secrets_in(body)]
        return (*hidden(wanted, self._secrets, headers_of(wanted, self._secrets)), *of_bodies, *context.secrets)


def _body_of(
    wanted: HttpRequestParameters, context: StepContext, secrets: Mapping[str, str] | None
) -> tuple[str | None, JsonValue]:
    """Text and JSON, at most one of them; templates filled in. secrets: None to leave the names in their places."""
    text = None if wanted.body is None else render_argument(wanted.body, context.incident, context.target)
    return text, _filled(wanted.json_body, context, secrets)


def _filled(value: JsonValue, context: StepContext, secrets: Mapping[str, str] | None) -> JsonValue:
    if isinstance(value, str):
        return render_argument(value, context.incident, context.target)
    if isinstance(value, list):
        return [_filled(item, context, secrets) for item in value]
    if isinstance(value, dict) and (secret := secret_in(value)) is not None:
        return value if secrets is None else secret.value(secrets)
    if isinstance(value, dict):
        return {name: _filled(item, context, secrets) for name, item in value.items()}
    return value


def _secrets_in(value: JsonValue) -> list[FromSecret]:
    if isinstance(value, dict) and (secret := secret_in(value)) is not None:
        return [secret]
    nested = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [secret for inner in nested for secret in _secrets_in(inner)]


def _good(name: str, answer: Answer, wanted: HttpRequestParameters, secrets: tuple[str, ...]) -> str:
    """What to say of a good answer; a bad one is raised."""
    problem = answer_problem(answer, wanted.expect)
    if problem:
        raise _bad(name, answer, problem, secrets)
    body = _quoted(answer, secrets)
    return f"{name} answered {answer.status}" + (f": {body}" if body else "")


def _bad(name: str, answer: Answer, problem: str, secrets: tuple[str, ...]) -> TemporaryError | PermanentError:
    """What is left to retry: the next attempt finds what is on record and does not send again blindly."""
    body = _quoted(answer, secrets)
    text = f"{name} {problem}" + (f": {body}" if body else "")
    if answer.status >= 500 or answer.status == 429:
        return TemporaryError(text, retry_after=retry_after(answer.headers))
    return PermanentError(text)


def _quoted(answer: Answer, secrets: tuple[str, ...]) -> str:
    body = " ".join(redact(answer.text, secrets).split())
    return body if len(body) <= _SHOWN_BODY else body[: _SHOWN_BODY - 1] + "…"
