"""HTTP outcomes as our errors. What needs a service is tested with Slack, Statuspage and `http.check`."""

from __future__ import annotations

from datetime import timedelta

import httpx
import pytest

from responder.clients.http import exchange, new_client, redact, request, retry_after
from responder.errors import OutcomeUnknownError, PermanentError, TemporaryError, UnreachableError

DATE = "Sun, 01 Mar 2026 12:00:00 GMT"
WAITS = [
    pytest.param({"retry-after": "30"}, timedelta(seconds=30), id="seconds"),
    pytest.param({"retry-after": "1.5"}, timedelta(seconds=1.5), id="parts of a second"),
    pytest.param({"retry-after": "Sun, 01 Mar 2026 12:02:00 GMT", "date": DATE}, timedelta(minutes=2), id="a date"),
    pytest.param({"retry-after": "Sun, 01 Mar 2026 11:00:00 GMT", "date": DATE}, timedelta(0), id="a date that has passed"),
    pytest.param({"retry-after": "Sun, 01 Mar 2026 12:02:00 GMT"}, None, id="a date without the answer's own"),
    pytest.param({"retry-after": "Sun, 01 Mar 2026 12:02:00", "date": DATE}, None, id="a date without a zone"),
    pytest.param({"retry-after": "soon"}, None, id="a word"),
    pytest.param({"retry-after": "-5"}, None, id="less than nothing"),
    pytest.param({"retry-after": "9" * 400}, None, id="a number without end"),
    pytest.param({}, None, id="nothing said"),
]


@pytest.mark.parametrize(("headers", "wait"), WAITS)
def test_retry_after(headers: dict[str, str], wait: timedelta | None) -> None:
    assert retry_after(headers) == wait


OUTCOMES = [
    pytest.param(httpx.ConnectError("refused"), UnreachableError, id="connection refused"),
    pytest.param(httpx.ConnectTimeout("slow"), UnreachableError, id="no connection in time"),
    pytest.param(httpx.PoolTimeout("busy"), UnreachableError, id="no free connection"),
    pytest.param(httpx.ReadTimeout("slow"), OutcomeUnknownError, id="no answer in time"),
    pytest.param(httpx.ReadError("reset"), OutcomeUnknownError, id="connection lost while reading"),
    pytest.param(httpx.WriteError("reset"), OutcomeUnknownError, id="connection lost while writing"),
    pytest.param(httpx.RemoteProtocolError("closed"), OutcomeUnknownError, id="closed without an answer"),
    pytest.param(httpx.LocalProtocolError("header"), PermanentError, id="a header that is none"),
    pytest.param(httpx.UnsupportedProtocol("ftp"), PermanentError, id="a scheme that is none"),
]


@pytest.mark.parametrize(("error", "kind"), OUTCOMES)
async def test_errors_of_the_library_become_ours(error: Exception, kind: type[Exception]) -> None:
    def fail(_request: httpx.Request) -> httpx.Response:
        raise error

    async with httpx.AsyncClient(transport=httpx.MockTransport(fail)) as client:
        with pytest.raises(kind) as raised:
            await exchange(client, "GET", "http://x/secret-path", service="It")
    assert "secret-path" not in str(raised.value)
    assert raised.value.__cause__ is None


async def test_a_long_refusal_is_cut_and_its_secrets_are_blanked_out_before_the_cut() -> None:
    secret = "s3cr3t-value"
    body = "x" * 295 + secret + "y" * 10_000

    async with httpx.AsyncClient(transport=httpx.MockTransport(lambda _: httpx.Response(400, text=body))) as client:
        with pytest.raises(PermanentError) as raised:
            await request(client, "GET", "http://x/", service="It", secrets=(secret,))
    assert "s3cr" not in str(raised.value)
    assert len(str(raised.value)) < 350


async def test_429_and_5xx_are_temporary_and_carry_the_wait() -> None:
    answer = httpx.Response(503, headers={"Retry-After": "4"})
    async with httpx.AsyncClient(transport=httpx.MockTransport(lambda _: answer)) as client:
        with pytest.raises(TemporaryError) as raised:
            await request(client, "GET", "http://x/", service="It")
    assert raised.value.retry_after == timedelta(seconds=4)


async def test_a_body_is_read_only_up_to_the_limit() -> None:
    answer = httpx.Response(200, content=b"x" * 5000)
    async with httpx.AsyncClient(transport=httpx.MockTransport(lambda _: answer)) as client:
        cut = await exchange(client, "GET", "http://x/", service="It", max_body=100)
        whole = await exchange(client, "GET", "http://x/", service="It", max_body=5000)
    assert (len(cut.body), cut.complete) == (100, False)
    assert (len(whole.body), whole.complete) == (5000, True)


async def test_the_environment_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    async with new_client() as client:
        assert client.trust_env is False
        assert client.follow_redirects is False
        assert not client._mounts


def test_longer_secrets_go_first_and_short_ones_are_no_secrets() -> None:
    assert redact("token-abc-def token-abc a", ["token-abc", "token-abc-def", "a"]) == "[secret] [secret] a"
