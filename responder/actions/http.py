"""`http.check`: probe an address until it answers well several times in a row.

It goes on until `successes` good probes in a row, or `failures` bad ones in a row, or the step's timeout. By default bad answers
never end it, since a service that has just been rolled back may need a moment; ended by `failures`, the step's own `retry` may
begin again. A probe is one request, or with `requests` several, whose mean and 95th percentile may be bounded.
"""

from __future__ import annotations

import base64
import math
import statistics
from collections.abc import Mapping, Sequence
from datetime import timedelta
from urllib.parse import urlsplit

import httpx

from responder.actions.expectations import text_problem
from responder.actions.http_parameters import Asking, HttpCheckParameters, HttpExpectation
from responder.actions.parameters import statuses
from responder.actions.secrets import FromSecret
from responder.actions.templates import render_argument
from responder.clients.http import Answer, exchange
from responder.errors import TemporaryError
from responder.ports import StepContext

MAX_BODY = 1024 * 1024


class HttpCheck:
    """secrets: what `from_secret` may name, by lower-case name."""

    def __init__(self, client: httpx.AsyncClient, secrets: Mapping[str, str]) -> None:
        self._client = client
        self._secrets = secrets

    async def run(self, parameters: Mapping[str, object], context: StepContext) -> str:
        check = HttpCheckParameters.read(parameters)
        if check.body_contains is not None:
            expected = render_argument(check.body_contains, context.incident, context.target)
            check = check.model_copy(update={"body_contains": expected})
        headers = headers_of(check, self._secrets)
        shown = place(check.url)
        latencies: list[timedelta] = []
        good = bad = 0
        while True:
            problem, measured = await self._probe(check, headers, context)
            if problem:
                latencies.clear()
                good, bad = 0, bad + 1
                context.progress(f"{shown}: {problem}; 0 of {check.good_probes} {_plural(_what(check))} in a row")
                if bad == check.failures:
                    raise TemporaryError(f"{shown}: {problem}; {_times(bad, 'bad answer')} in a row")
            else:
                latencies += measured
                good, bad = good + 1, 0
                context.progress(f"{shown}: {good} of {check.good_probes} {_plural(_what(check))} in a row")
                if good >= check.good_probes:
                    return f"{shown}: {_times(good, _what(check))} in a row, {_latency(latencies)}"
            await context.sleep(check.every)

    async def preview(self, parameters: Mapping[str, object], context: StepContext) -> str:  # noqa: ARG002
        check = HttpCheckParameters.read(parameters)
        return f"would probe {place(check.url)} until {_times(check.good_probes, _what(check))} in a row"

    async def _probe(
        self, check: HttpCheckParameters, headers: Mapping[str, str], context: StepContext
    ) -> tuple[str, list[timedelta]]:
        """What is wrong with the answers ("" when they are good), and how long each took."""
        latencies: list[timedelta] = []
        for number in range(check.requests):
            if number:
                await context.sleep(timedelta(milliseconds=1))  # where a person may stop it
            try:
                answer = await exchange(
                    self._client,
                    check.method,
                    check.url,
                    service="it",
                    headers=headers,
                    timeout=check.timeout,
                    max_body=MAX_BODY,
                    secrets=(check.url, *headers.values(), *context.secrets),
                )
            except TemporaryError as error:
                return str(error), []
            problem = answer_problem(answer, check)
            if problem:
                return problem, []
            latencies.append(answer.elapsed)
        return _slowness(check, latencies), latencies


def headers_of(asking: Asking, secrets: Mapping[str, str]) -> dict[str, str]:
    """Ready to be sent. Raises RefusedError for a secret that is not set."""
    headers = {name: one.value(secrets) if isinstance(one, FromSecret) else one for name, one in asking.headers.items()}
    if asking.auth is not None:
        pair = f"{asking.auth.user}:{asking.auth.value(secrets)}"
        headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
    return headers


def hidden(asking: Asking, secrets: Mapping[str, str], headers: Mapping[str, str]) -> tuple[str, ...]:
    """What of a request must never be shown: its headers, and the secrets in them by themselves."""
    named = [one for one in (asking.auth, *asking.headers.values()) if isinstance(one, FromSecret)]
    return (asking.url, *headers.values(), *(one.value(secrets).removeprefix(one.prefix) for one in named))


def answer_problem(answer: Answer, expected: HttpCheckParameters | HttpExpectation) -> str:
    """What is wrong with an answer; "" when it is good."""
    if not any(answer.status in good for good in statuses(expected.status)):
        return f"answered {answer.status}"
    problem = text_problem(answer.text, expected.body_contains, expected.json_values)
    return f"answered {answer.status} {problem}" if problem else ""


def place(url: str) -> str:
    """The address without user, password and query: what may be shown."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path}"


def _slowness(check: HttpCheckParameters, latencies: Sequence[timedelta]) -> str:
    milliseconds = sorted(latency / timedelta(milliseconds=1) for latency in latencies)
    measured = {"mean": statistics.fmean(milliseconds), "p95": milliseconds[math.ceil(0.95 * len(milliseconds)) - 1]}
    for name, limit in (("mean", check.mean_below), ("p95", check.p95_below)):
        if limit is not None and measured[name] >= limit / timedelta(milliseconds=1):
            allowed = limit / timedelta(milliseconds=1)
            return f"{name} of {len(milliseconds)} requests is {measured[name]:.0f} ms, not below {allowed:.0f} ms"
    return ""


def _what(check: HttpCheckParameters) -> str:
    return "good answer" if check.requests == 1 else f"good probe of {check.requests} requests"


def _times(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {_plural(what)}"


def _plural(what: str) -> str:
    noun, of, rest = what.partition(" of ")
    return f"{noun}s{of}{rest}"


def _latency(latencies: list[timedelta]) -> str:
    milliseconds = sorted(latency / timedelta(milliseconds=1) for latency in latencies)
    return f"median {statistics.median(milliseconds):.0f} ms, slowest {milliseconds[-1]:.0f} ms"
