"""Prometheus' API for one question: what number is this query now? Everything else is a reason why there is none.

One finite number is an answer: a scalar, or a vector of one series. An empty result, several series, NaN, an infinity, a text, a
range, a histogram, warnings (they can mean that data is missing), an error or silence are reasons.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import timedelta
from math import isfinite
from typing import Any
from urllib.parse import unquote, urlsplit

import httpx

from responder.clients.http import Answer, exchange, redact
from responder.domain.measurement import Measurement
from responder.domain.wording import one_line
from responder.errors import ResponderError, TemporaryError

ANSWERS_WITHIN = timedelta(seconds=10)
MAX_BODY = 1024 * 1024
_PATH = "/api/v1/query"
_NAME = "Prometheus"
_QUOTED = 200
_NO_POST = frozenset({405, 501})  # what does not know POST is asked by GET, as Prometheus' own client does
_NOT_SO_FAST = 429
_HINTS = {401: "set RESPONDER_PROMETHEUS_TOKEN", 403: "the token lacks the right", 404: "is RESPONDER_PROMETHEUS_URL right?"}
NOT_SET = "RESPONDER_PROMETHEUS_URL is not set, so nobody can be asked"


class PrometheusClient:
    """url: as people open it, with its path prefix, and with user and password if it wants them. token: sent as bearer."""

    def __init__(
        self, url: str, http: httpx.AsyncClient, *, token: str | None = None, answers_within: timedelta = ANSWERS_WITHIN
    ) -> None:
        self._url = url.rstrip("/") + _PATH
        self._http = http
        self._answers_within = answers_within
        self._headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        password = unquote(urlsplit(url).password or "")
        self._secrets = tuple(secret for secret in (url, self._url, token, password, urlsplit(url).password) if secret)

    async def measure(self, query: str) -> Measurement:
        try:
            answer = await self._ask(query)
        except ResponderError as error:
            return Measurement(None, str(error), is_silence=isinstance(error, TemporaryError))
        read = _read(answer)
        is_silence = read.number is None and (answer.status == _NOT_SO_FAST or answer.status >= 500)
        return Measurement(read.number, one_line(redact(read.why, self._secrets), _QUOTED * 2), read.is_refused, is_silence)

    async def _ask(self, query: str) -> Answer:
        fields = {"query": query, "timeout": f"{self._answers_within.total_seconds():g}s"}
        answer = await self._exchange("POST", form=fields)
        if answer.status in _NO_POST:
            answer = await self._exchange("GET", params=fields)
        return answer

    async def _exchange(
        self, method: str, *, form: Mapping[str, str] | None = None, params: Mapping[str, str] | None = None
    ) -> Answer:
        return await exchange(
            self._http,
            method,
            self._url,
            service=_NAME,
            form=form,
            params=params,
            headers=self._headers,
            timeout=self._answers_within,
            max_body=MAX_BODY,
            secrets=self._secrets,
        )


class NoPrometheus:
    """In its place when there is none."""

    async def measure(self, query: str) -> Measurement:  # noqa: ARG002 (what is asked does not matter)
        return Measurement(None, NOT_SET)


def _read(answer: Answer) -> Measurement:
    if not answer.complete:
        return Measurement(None, f"{_NAME}'s answer is longer than {MAX_BODY // 1024} KiB: it holds too many series")
    body = _json(answer)
    if not isinstance(body, dict) or body.get("status") not in ("success", "error"):
        return Measurement(None, _foreign(answer))
    if body["status"] == "error" or not 200 <= answer.status < 300:
        kind, said = str(body.get("errorType", answer.status)), str(body.get("error", ""))
        refused = answer.status == 400 and kind == "bad_data"
        return Measurement(None, f"{_NAME} says {kind}: {one_line(said, _QUOTED)}", is_refused=refused)
    warnings = body.get("warnings")
    if warnings:
        first = str(warnings[0]) if isinstance(warnings, list) else str(warnings)
        return Measurement(None, f"{_NAME} warns: {one_line(first, _QUOTED)}")
    data = body.get("data")
    if not isinstance(data, dict):
        return Measurement(None, _foreign(answer))
    return _number_of(data.get("resultType"), data.get("result"))


def _number_of(kind: object, result: Any) -> Measurement:
    if kind == "scalar":
        return _number(result)
    if kind != "vector" or not isinstance(result, list):
        words = {"matrix": "a range instead of one number", "string": "a text instead of a number"}
        return Measurement(None, f"the result is {words.get(str(kind), 'of a kind nobody knows')}")
    if not result:
        return Measurement(None, "the result is empty: no such series, or a comparison left none")
    if len(result) > 1:
        return Measurement(None, f"the result is {len(result)} series instead of one; join them, with sum(…) for example")
    [series] = result
    if isinstance(series, dict) and "histogram" in series:
        return Measurement(None, "the result is a histogram instead of a number")
    return _number(series.get("value") if isinstance(series, dict) else None)


def _number(sample: Any) -> Measurement:
    try:
        _, text = sample
        number = float(text)
    except (TypeError, ValueError):
        return Measurement(None, "the result is no number")
    if not isfinite(number):
        return Measurement(None, f"the result is {one_line(str(text), 20)}")
    return Measurement(number)


def _json(answer: Answer) -> object:
    try:
        return json.loads(answer.body)
    except (ValueError, RecursionError):
        return None


def _foreign(answer: Answer) -> str:
    hint = _HINTS.get(answer.status)
    if hint is None and 300 <= answer.status < 400:
        hint = "a redirect is not followed; correct the address"
    if hint is None and 200 <= answer.status < 300:
        hint = f"this is no answer of {_NAME}'s API"
    return f"{_NAME} answered {answer.status}{f' ({hint})' if hint else ''}"
