"""`http.check`: probe an address until it answers well several times in a row.

It goes on until `successes` good answers in a row, or `failures` bad ones in a row, or the step's timeout. By default bad answers
never end it, since a service that has just been rolled back may need a moment; ended by `failures`, the step's own `retry` may
begin again.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping
from datetime import timedelta
from urllib.parse import urlsplit

import httpx

from responder.actions.parameters import HttpCheckParameters, statuses
from responder.clients.http import Answer, exchange
from responder.errors import TemporaryError
from responder.ports import StepContext

MAX_BODY = 1024 * 1024


class HttpCheck:
    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    async def run(self, parameters: Mapping[str, object], context: StepContext) -> str:
        check = HttpCheckParameters.read(parameters)
        place = _place(check.url)
        latencies: list[timedelta] = []
        failures = 0
        while True:
            problem, elapsed = await self._probe(check, context)
            if problem:
                latencies.clear()
                failures += 1
                context.progress(f"{place}: {problem}; 0 of {check.successes} good answers in a row")
                if failures == check.failures:
                    raise TemporaryError(f"{place}: {problem}; {_times(failures, 'bad answer')} in a row")
            else:
                latencies.append(elapsed)
                failures = 0
                context.progress(f"{place}: {len(latencies)} of {check.successes} good answers in a row")
                if len(latencies) >= check.successes:
                    return f"{place}: {_times(len(latencies), 'good answer')} in a row, {_latency(latencies)}"
            await context.sleep(check.every)

    async def _probe(self, check: HttpCheckParameters, context: StepContext) -> tuple[str, timedelta]:
        """What is wrong with the answer ("" when it is good), and how long it took."""
        try:
            answer = await exchange(
                self._client,
                check.method,
                check.url,
                service="it",
                headers=check.headers,
                timeout=check.timeout,
                max_body=MAX_BODY,
                secrets=(check.url, *check.headers.values(), *context.secrets),
            )
        except TemporaryError as error:
            return str(error), timedelta(0)
        return _problem(answer, check), answer.elapsed


def _problem(answer: Answer, check: HttpCheckParameters) -> str:
    if not any(answer.status in good for good in statuses(check.status)):
        return f"answered {answer.status}"
    if check.body_contains is not None and check.body_contains not in answer.text:
        return f"answered {answer.status} without the expected text"
    if check.json_values:
        try:
            body = answer.json()
        except (ValueError, RecursionError):
            return f"answered {answer.status} with a body that is not JSON"
        for path, expected in check.json_values.items():
            found, actual = _at(body, path)
            if not found:
                return f"answered {answer.status} without {path}"
            if not _same(actual, expected):
                return f"answered {answer.status} with {path} = {_short(actual)}, not {_short(expected)}"
    return ""


def _at(body: object, path: str) -> tuple[bool, object]:
    for step in path.split("."):
        if isinstance(body, dict) and step in body:
            body = body[step]
        elif isinstance(body, list) and step.isascii() and step.isdigit() and int(step) < len(body):
            body = body[int(step)]
        else:
            return False, None
    return True, body


def _same(actual: object, expected: object) -> bool:
    return actual == expected and isinstance(actual, bool) is isinstance(expected, bool)


def _short(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 80 else text[:79] + "…"


def _place(url: str) -> str:
    """The address without user, password and query: what may be shown."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path}"


def _times(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def _latency(latencies: list[timedelta]) -> str:
    milliseconds = sorted(latency / timedelta(milliseconds=1) for latency in latencies)
    return f"median {statistics.median(milliseconds):.0f} ms, slowest {milliseconds[-1]:.0f} ms"
