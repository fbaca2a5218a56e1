"""What answers of Prometheus, of proxies before it, and of nobody come to."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from urllib.parse import parse_qs

import httpx
import pytest

from responder.clients.prometheus import NOT_SET, NoPrometheus, PrometheusClient
from responder.domain.measurement import Measurement

URL = "https://prometheus.example/prefix"
Answers = Callable[[httpx.Request], httpx.Response]


def success(kind: str, result: object, **more: object) -> bytes:
    return json.dumps({"status": "success", "data": {"resultType": kind, "result": result}, **more}).encode()


def series(value: str, **labels: str) -> dict[str, object]:
    return {"metric": labels, "value": [1795301699.621, value]}


async def measure(answers: Answers, url: str = URL, token: str | None = None) -> Measurement:
    async with httpx.AsyncClient(transport=httpx.MockTransport(answers)) as http:
        return await PrometheusClient(url, http, token=token, answers_within=timedelta(seconds=5)).measure("up")


async def test_asks_by_a_form_below_the_prefix_and_with_a_time_limit() -> None:
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, content=success("vector", [series("1")]))

    assert await measure(answer, token="a-token") == Measurement(1.0)
    [request] = seen
    assert (request.method, str(request.url)) == ("POST", f"{URL}/api/v1/query")
    assert parse_qs(request.content.decode()) == {"query": ["up"], "timeout": ["5s"]}
    assert request.headers["authorization"] == "Bearer a-token"


@pytest.mark.parametrize("status", [405, 501])
async def test_asks_by_get_where_post_is_not_known(status: int) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if request.method == "POST":
            return httpx.Response(status)
        assert request.url.params["query"] == "up"
        return httpx.Response(200, content=success("scalar", [1795301699.74, "1"]))

    assert await measure(answer) == Measurement(1.0)


async def test_user_and_password_of_the_address_are_used() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        assert request.headers["authorization"].startswith("Basic ")
        return httpx.Response(200, content=success("scalar", [0, "2"]))

    assert await measure(answer, "https://me:pass%20word@prometheus.example") == Measurement(2.0)


READ = {
    "one series": (200, success("vector", [series("0.0731", job="a")]), 0.0731),
    "a scalar": (200, success("scalar", [1, "1e-3"]), 0.001),
    "infos do not count": (200, success("vector", [series("1")], infos=["metric might not be a counter"]), 1.0),
    "no warnings": (200, success("vector", [series("1")], warnings=[]), 1.0),
    "nothing": (200, success("vector", []), "the result is empty"),
    "several series": (200, success("vector", [series("1"), series("1")]), "2 series instead of one"),
    "NaN": (200, success("scalar", [1, "NaN"]), "the result is NaN"),
    "infinity": (200, success("vector", [series("+Inf")]), "the result is +Inf"),
    "less than nothing": (200, success("vector", [series("-Inf")]), "the result is -Inf"),
    "a text": (200, success("string", [1, "abc"]), "a text instead of a number"),
    "a range": (200, success("matrix", [{"metric": {}, "values": [[1, "1"]]}]), "a range instead of one number"),
    "a histogram": (200, success("vector", [{"metric": {}, "histogram": [1, {}]}]), "a histogram"),
    "a kind of the future": (200, success("tensor", []), "of a kind nobody knows"),
    "a value that is none": (200, success("vector", [{"metric": {}, "value": [1]}]), "no number"),
    "a value that is a word": (200, success("scalar", [1, "many"]), "no number"),
    "a warning": (200, success("vector", [series("1")], warnings=["remote read: timeout"]), "warns: remote read: timeout"),
    "an execution error": (422, b'{"status":"error","errorType":"execution","error":"many-to-many"}', "execution: many-to-many"),
    "a time-out": (503, b'{"status":"error","errorType":"timeout","error":"query timed out"}', "says timeout: query timed out"),
    "an unknown error": (500, b'{"status":"error","errorType":"new","error":"x"}', "says new: x"),
    "success with a bad status": (502, success("scalar", [1, "1"]), "says 502"),
    "a proxy's page": (502, b"<html>bad gateway</html>", "answered 502"),
    "a log-in page": (200, b"<html>log in</html>", "no answer of Prometheus's API"),
    "JSON of somebody else": (200, b'{"ok": true}', "no answer of Prometheus's API"),
    "data of another form": (200, b'{"status": "success", "data": []}', "no answer of Prometheus's API"),
    "nested without end": (200, b"[" * 100_000, "no answer of Prometheus's API"),
    "a redirect": (302, b"", "a redirect is not followed"),
    "no token": (401, b"", "answered 401 (set RESPONDER_PROMETHEUS_TOKEN)"),
    "no right": (403, b"", "answered 403"),
    "another place": (404, b"404 page not found", "is RESPONDER_PROMETHEUS_URL right?"),
    "more than anybody needs": (200, b"[" + b"1," * 600_000 + b"1]", "longer than 1024 KiB"),
}


@pytest.mark.parametrize(("status", "body", "expected"), READ.values(), ids=READ)
async def test_reads(status: int, body: bytes, expected: float | str) -> None:
    told = await measure(lambda _: httpx.Response(status, content=body))
    assert not told.is_refused
    if isinstance(expected, float):
        assert told == Measurement(expected)
    else:
        assert told.number is None
        assert expected in told.why


@pytest.mark.parametrize(
    ("status", "is_silence"), [(200, False), (400, False), (401, False), (422, False), (429, True), (502, True)]
)
async def test_a_server_that_can_not_answer_is_told_apart_from_an_answer_without_a_number(status: int, is_silence: bool) -> None:
    told = await measure(lambda _: httpx.Response(status, content=success("vector", [])))
    assert told.number is None
    assert told.is_silence is is_silence


async def test_a_wrong_query_is_told_apart() -> None:
    body = b'{"status":"error","errorType":"bad_data","error":"parse error: unclosed left parenthesis"}'
    told = await measure(lambda _: httpx.Response(400, content=body))
    assert told == Measurement(None, "Prometheus says bad_data: parse error: unclosed left parenthesis", is_refused=True)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (httpx.ConnectError("refused"), "can't be reached"),
        (httpx.ReadTimeout("slow"), "no answer"),
        (httpx.ReadError("x"), "no answer"),
    ],
    ids=["refused", "too slow", "cut off"],
)
async def test_silence_is_a_reason(error: Exception, said: str) -> None:
    def answer(_: httpx.Request) -> httpx.Response:
        raise error

    told = await measure(answer)
    assert told.number is None
    assert said in told.why
    assert told.is_silence
    assert not told.is_refused


async def test_no_secret_is_shown() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        said = f"{request.url} secret-password hidden%20pass the-token-of-it {request.headers['authorization']}"
        body = {"status": "error", "errorType": "internal", "error": said}
        return httpx.Response(500, content=json.dumps(body).encode())

    told = await measure(answer, "https://me:hidden%20pass@prometheus.example", token=None)
    assert "hidden" not in told.why
    told = await measure(answer, token="the-token-of-it")
    assert "the-token-of-it" not in told.why

    def broken(_: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("https://me:hidden%20pass@prometheus.example/api/v1/query hidden pass")

    told = await measure(broken, "https://me:hidden%20pass@prometheus.example")
    assert "hidden" not in told.why


async def test_without_an_address_nobody_is_asked() -> None:
    assert await NoPrometheus().measure("up") == Measurement(None, NOT_SET)
