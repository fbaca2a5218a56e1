"""HTTP to other services: one client for all of them, bounded answers, errors of our own.

The client ignores the environment (`trust_env` is off): which proxy is used is a setting like any other, and no `HTTPS_PROXY` or
`.netrc` left in an image can send a secret somewhere else. Redirects are never followed, since a request may carry a secret and a
check that is redirected has not seen what it asked for.

A URL can be a secret (Slack's webhooks), so no error and no log line made here holds more of one than its scheme and host;
callers name the peer in `service`. For the same reason library errors are not chained: they carry the request.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from email.utils import parsedate_to_datetime

import httpx

from responder.errors import (
    ForbiddenError,
    NotFoundError,
    OutcomeUnknownError,
    PermanentError,
    TemporaryError,
    UnreachableError,
)

CONNECT_TIMEOUT = timedelta(seconds=5)
TOTAL_TIMEOUT = timedelta(seconds=15)
MAX_BODY = 4 * 1024 * 1024
QUOTED_BODY = 300
SHORTEST_SECRET = 6  # shorter ones would blank out ordinary words
# 420 is Statuspage's older spelling of 429. 408 and 425 ask for another try by definition.
_TRY_AGAIN = frozenset({408, 420, 425, 429})
_NOTHING_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError)


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back.

    headers: lower-case names. body: cut at `max_body`, then `complete` is False. elapsed: until the last byte was read.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)
    elapsed: timedelta
    complete: bool = True

    @property
    def text(self) -> str:
        return self.body.decode("utf-8", "replace")

    def json(self) -> object:
        """The body as JSON. Raises ValueError."""
        return json.loads(self.body)


def new_client(
    *,
    connect_timeout: timedelta = CONNECT_TIMEOUT,
    total_timeout: timedelta = TOTAL_TIMEOUT,
    proxy: str | None = None,
    verify: bool = True,
) -> httpx.AsyncClient:
    """A client for services and checks; share it, and close it with `async with`.

    total_timeout: bounds each single read and write; `exchange` bounds the whole request.
    verify: False only for tests against a throw-away certificate.
    """
    library_log = logging.getLogger("httpx")
    library_log.addFilter(_hide_url)  # the library logs every full URL at INFO; adding a filter twice does nothing
    return httpx.AsyncClient(
        timeout=httpx.Timeout(total_timeout.total_seconds(), connect=connect_timeout.total_seconds()),
        limits=httpx.Limits(max_connections=50, max_keepalive_connections=10, keepalive_expiry=30),
        follow_redirects=False,
        trust_env=False,
        proxy=proxy,
        verify=verify,
        headers={"User-Agent": "responder"},
    )


async def exchange(
    client: httpx.AsyncClient,
    method: str,
    url: str,
    *,
    service: str,
    json: object = None,
    content: bytes | None = None,
    form: Mapping[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
    params: Mapping[str, str] | None = None,
    timeout: timedelta = TOTAL_TIMEOUT,
    max_body: int = MAX_BODY,
    secrets: Sequence[str] = (),
) -> Answer:
    """Send one request and return the answer, whatever its status. form: sent as a form, instead of JSON.

    Raises UnreachableError when nothing was sent, OutcomeUnknownError when the request may have taken effect, PermanentError
    when the request can't be written down (a URL or a header that is none).
    """
    loop = asyncio.get_running_loop()
    began = loop.time()
    try:
        async with asyncio.timeout(timeout.total_seconds()):
            request = client.build_request(method, url, json=json, content=content, data=form, headers=headers, params=params)
            response = await client.send(request, stream=True)
            try:
                body, complete = await _read(response, max_body)
            finally:
                await response.aclose()
    except _NOTHING_SENT as error:
        raise UnreachableError(f"{service} can't be reached: {_named(error, secrets)}") from None
    except (httpx.UnsupportedProtocol, httpx.LocalProtocolError, httpx.InvalidURL, UnicodeEncodeError) as error:
        raise PermanentError(f"the address or a header for {service} is not usable ({type(error).__name__})") from None
    except TimeoutError:
        raise OutcomeUnknownError(f"{service} did not answer within {timeout.total_seconds():g} s") from None
    except httpx.HTTPError as error:
        raise OutcomeUnknownError(f"{service} gave no answer: {_named(error, secrets)}") from None
    elapsed = timedelta(seconds=loop.time() - began)
    return Answer(
        response.status_code, {name.lower(): value for name, value in response.headers.items()}, body, elapsed, complete
    )


async def request(
    client: httpx.AsyncClient,
    method: str,
    url: str,
    *,
    service: str,
    json: object = None,
    headers: Mapping[str, str] | None = None,
    params: Mapping[str, str] | None = None,
    timeout: timedelta = TOTAL_TIMEOUT,
    secrets: Sequence[str] = (),
) -> Answer:
    """Like `exchange`, but only a 2xx comes back.

    5xx and "not so fast" raise TemporaryError with `retry_after`; 401 and 403 ForbiddenError, 404 NotFoundError, every other
    status PermanentError, each with the beginning of the body, `secrets` and the URL blanked out.
    """
    answer = await exchange(
        client, method, url, service=service, json=json, headers=headers, params=params, timeout=timeout, secrets=(url, *secrets)
    )
    if 200 <= answer.status < 300:
        return answer
    raise _refusal(answer, service, (url, *secrets))


def retry_after(headers: Mapping[str, str]) -> timedelta | None:
    """How long the peer asks us to wait; None when it does not say or can't be understood.

    A date is held against the answer's own `Date`, so that clocks that differ don't matter; without one it is ignored.
    """
    text = headers.get("retry-after", "").strip()
    if re.fullmatch(r"\d{1,9}(\.\d+)?", text):
        return timedelta(seconds=float(text))
    try:
        wait = parsedate_to_datetime(text) - parsedate_to_datetime(headers.get("date", ""))
    except (ValueError, TypeError):  # TypeError: one of the two has no time zone
        return None
    return max(wait, timedelta(0))


def redact(text: str, secrets: Sequence[str]) -> str:
    """Blank out every secret; those too short to be one are left."""
    for secret in sorted(secrets, key=len, reverse=True):
        if len(secret) >= SHORTEST_SECRET:
            text = text.replace(secret, "[secret]")
    return text


async def _read(response: httpx.Response, limit: int) -> tuple[bytes, bool]:
    parts: list[bytes] = []
    size = 0
    async for part in response.aiter_bytes():
        parts.append(part[: limit - size])
        size += len(part)
        if size > limit:
            return b"".join(parts), False
    return b"".join(parts), True


def _refusal(answer: Answer, service: str, secrets: Sequence[str]) -> TemporaryError | PermanentError:
    body = " ".join(redact(answer.text, secrets).split())  # blanked before it is cut, or half a secret could stay
    quoted = body if len(body) <= QUOTED_BODY else body[: QUOTED_BODY - 1] + "…"
    said = f"{service} answered {answer.status}" + (f": {quoted}" if quoted else "")
    if answer.status >= 500 or answer.status in _TRY_AGAIN:
        return TemporaryError(said, retry_after=retry_after(answer.headers))
    if 300 <= answer.status < 400:
        return PermanentError(f"{said} (a redirect is not followed; correct the address)")
    kinds: Mapping[int, type[PermanentError]] = {401: ForbiddenError, 403: ForbiddenError, 404: NotFoundError}
    return kinds.get(answer.status, PermanentError)(said)


def _named(error: Exception, secrets: Sequence[str]) -> str:
    detail = redact(str(error), secrets)[:QUOTED_BODY]
    return f"{detail} ({type(error).__name__})" if detail else type(error).__name__


def _hide_url(record: logging.LogRecord) -> bool:
    if isinstance(record.args, tuple):
        record.args = tuple(
            f"{value.scheme}://{value.host}/…" if isinstance(value, httpx.URL) else value for value in record.args
        )
    return True
