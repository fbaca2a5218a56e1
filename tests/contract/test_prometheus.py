"""The client against a real Prometheus: numbers, and everything that is none."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
import pytest_asyncio
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from responder.clients.http import new_client
from responder.clients.prometheus import PrometheusClient
from responder.domain.query import parse_query
from responder.sandbox.loopback import LoopbackServer
from tests.harness.prometheus import Prometheus
from tests.harness.timeline import Timeline

pytestmark = pytest.mark.asyncio(loop_scope="module")

PAGE = """# TYPE errors gauge
errors{pod="a"} 0.07
errors{pod="b"} 0.5
errors{pod="quote\\"back\\\\slash\\nline"} 3
"""
ALERT = {"alert": "Never", "expr": "vector(0) > 1"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def prometheus(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Prometheus]:
    async def metrics(_: object) -> PlainTextResponse:
        return PlainTextResponse(PAGE, media_type="text/plain; version=0.0.4")

    page = LoopbackServer(Starlette(routes=[Route("/metrics", metrics)]))
    await page.start()
    try:
        folder = tmp_path_factory.mktemp("contract") / "prometheus"
        async with Prometheus(folder, page=page.url, alert=ALERT, alertmanagers=[]) as running:
            await Timeline().until("it has the page", lambda: running.value('errors{pod="a"}'), lambda value: value == 0.07)
            yield running
    finally:
        await page.stop()


ANSWERS = {
    "one series": ('errors{pod="a"}', 0.07),
    "a sum": ("sum(errors)", 3.57),
    "a scalar": ("scalar(max(errors))", 3.0),
    "a comparison that holds": ("max(errors) > 1", 3.0),
    "no such series": ("no_such_series", "empty"),
    "a comparison that does not hold": ('errors{pod="a"} > 1', "empty"),
    "several series": ("errors", "3 series instead of one"),
    "nothing by nothing": ("vector(0) / 0", "NaN"),
    "a scalar that is none": ("0 / 0", "NaN"),
    "something by nothing": ("sum(errors) / 0", "+Inf"),
    "less than nothing by nothing": ("-1 / 0", "-Inf"),
    "a text": ('"text"', "a text instead of a number"),
    "a range": ("errors[1m]", "a range instead of one number"),
    "a join that is not unique": ("errors * on() errors", "execution"),
}


@pytest.mark.parametrize(("query", "expected"), ANSWERS.values(), ids=ANSWERS)
async def test_answers(query: str, expected: float | str, prometheus: Prometheus) -> None:
    async with new_client() as http:
        told = await PrometheusClient(prometheus.url, http).measure(query)
    assert not told.is_refused
    if isinstance(expected, float):
        assert told.number == pytest.approx(expected)
    else:
        assert told.number is None
        assert expected in told.why


@pytest.mark.parametrize("query", ["sum(", "errors{", "rate(errors)", ""])
async def test_a_query_that_is_none_is_refused(query: str, prometheus: Prometheus) -> None:
    async with new_client() as http:
        told = await PrometheusClient(prometheus.url, http).measure(query)
    assert told.is_refused, told
    assert "bad_data" in told.why


async def test_whatever_a_label_says_arrives_as_that_label(prometheus: Prometheus) -> None:
    query = parse_query("errors{pod={{ labels.pod }}}")
    async with new_client() as http:
        client = PrometheusClient(prometheus.url, http)
        assert (await client.measure(query.render("", {"pod": 'quote"back\\slash\nline'}))).number == 3
        for value in ('a"} or vector(1) #', "\0\x7f\u2028", "é日", "\ud800", "\ufffd", "x" * 5000):
            told = await client.measure(query.render("", {"pod": value}))
            assert (told.number, "empty" in told.why) == (None, True), told


async def test_too_slow_is_no_number(prometheus: Prometheus) -> None:
    heavy = "sum(sum_over_time(errors[1d:1s])) + " * 20 + "0"
    async with new_client() as http:
        told = await PrometheusClient(prometheus.url, http, answers_within=timedelta(milliseconds=20)).measure(heavy)
    assert told.number is None
    assert "timeout" in told.why or "did not answer within" in told.why


async def test_a_server_that_is_not_there_and_a_page_that_is_not_prometheus(prometheus: Prometheus) -> None:
    async with new_client() as http:
        told = await PrometheusClient("http://127.0.0.1:9", http).measure("up")
        assert "can't be reached" in told.why
        told = await PrometheusClient(f"{prometheus.url}/elsewhere", http).measure("up")
        assert "answered 404" in told.why
