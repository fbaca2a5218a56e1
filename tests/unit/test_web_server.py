"""The HTTP surface behind the real server: streaming, limits, senders that misbehave, and still alive afterwards."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import suppress

import httpx
import pytest
import structlog

from responder.errors import JournalUnavailableError
from responder.web import protocol
from responder.web.tokens import Tokens
from tests.unit.served import served
from tests.unit.web_parts import FakeJournal, Parts

PATH = "/webhooks/alertmanager"
ALERT = {"status": "firing", "labels": {"alertname": "A"}, "startsAt": "2026-03-01T11:58:00Z", "fingerprint": "f1"}
BODY = json.dumps({"version": "4", "status": "firing", "alerts": [ALERT]}).encode()
JSON = {"content-type": "application/json"}
WITHIN = 10.0  # seconds, before a test gives up


async def talk(port: int, *pieces: bytes, close: bool = False) -> bytes:
    """Send raw bytes; return everything that comes back. close: hang up at once instead of reading."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for piece in pieces:
        writer.write(piece)
    try:
        if close:
            return b""
        async with asyncio.timeout(WITHIN):
            return await reader.read()
    except ConnectionResetError:
        return b""
    finally:
        writer.close()


def head(**headers: object) -> bytes:
    lines = [f"POST {PATH} HTTP/1.1", "Host: 127.0.0.1", "Content-Type: application/json", "Connection: close"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


async def assert_alive(port: int, parts: Parts) -> None:
    before = len(parts.journal.entries)
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
        assert (await client.post(PATH, content=BODY, headers=JSON)).status_code == 202
        assert (await client.get("/healthz")).status_code == 200
    assert len(parts.journal.entries) == before + 1


async def test_many_senders_at_once_are_all_journalled() -> None:
    parts = Parts()
    async with served(parts) as port, httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
        answers = await asyncio.gather(*(client.post(PATH, content=BODY, headers=JSON) for _ in range(200)))
    assert {answer.status_code for answer in answers} == {202}
    assert {answer.content for answer in answers} == {b'{"accepted":1,"ignored":0}'}
    assert len(parts.journal.entries) == 200


async def test_a_body_that_comes_in_pieces_is_put_together() -> None:
    parts = Parts()

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(BODY), 7):
            yield BODY[start : start + 7]
            await asyncio.sleep(0)

    async with served(parts) as port, httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
        answer = await client.post(PATH, content=pieces(), headers=JSON)
    assert (answer.status_code, answer.json()) == (202, {"accepted": 1, "ignored": 0})


@pytest.mark.parametrize(
    ("pieces", "status"),
    [
        pytest.param((head(Content_Length=20_000_000), b"x" * 1000), b"413", id="20 MB are declared"),
        pytest.param(
            (head(Transfer_Encoding="chunked"), *[b"100000\r\n" + b" " * 0x100000 + b"\r\n"] * 20, b"0\r\n\r\n"),
            b"413",
            id="20 MB in pieces, not declared",
        ),
        pytest.param((head(Content_Length=100_000), b"[" * 100_000), b"400", id="nested 100 000 deep"),
        pytest.param((head(Content_Length=0),), b"400", id="an empty body"),
        pytest.param((head(Transfer_Encoding="chunked"), b"zzz\r\n"), b"400", id="a chunk of no size"),
        pytest.param((b"NONSENSE\r\n\r\n",), b"400", id="no HTTP at all"),
    ],
)
async def test_a_sender_that_misbehaves_gets_its_answer_and_the_service_stays_alive(
    pieces: tuple[bytes, ...], status: bytes
) -> None:
    parts = Parts()
    async with served(parts) as port:
        answer = await talk(port, *pieces)
        assert answer == b"" or answer.split(b" ")[1] == status
        assert parts.journal.entries == []
        await assert_alive(port, parts)


async def test_a_sender_that_hangs_up_in_mid_body_leaves_nothing_behind(caplog: pytest.LogCaptureFixture) -> None:
    parts = Parts()
    async with served(parts) as port:
        await talk(port, head(Content_Length=len(BODY)), BODY[:10], close=True)
        await assert_alive(port, parts)
    assert len(parts.journal.entries) == 1
    assert [record for record in caplog.records if record.levelname in ("ERROR", "CRITICAL")] == []


async def test_a_sender_that_hangs_up_while_the_journal_is_busy_is_journalled_all_the_same() -> None:
    parts = Parts(journal=FakeJournal(gate=asyncio.Event()))
    assert parts.journal.gate is not None
    async with served(parts) as port:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(head(Content_Length=len(BODY)) + BODY)
        async with asyncio.timeout(WITHIN):
            await parts.journal.arrived.wait()
        writer.close()
        parts.journal.gate.set()
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
            assert (await client.post(PATH, content=BODY, headers=JSON)).status_code == 202
    assert len(parts.journal.entries) == 2


async def test_a_full_journal_answers_503_and_the_connection_can_be_used_again() -> None:
    parts = Parts(journal=FakeJournal(error=JournalUnavailableError("full")), tokens=Tokens.of(webhook="hook-token"))
    headers = {**JSON, "authorization": "Bearer hook-token"}
    async with served(parts) as port, httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
        refused = await client.post(PATH, content=BODY, headers=headers)
        parts.journal.error = None
        taken = await client.post(PATH, content=BODY, headers=headers)
    assert (refused.status_code, taken.status_code) == (503, 202)
    assert int(refused.headers["retry-after"]) >= 1
    assert "server" not in refused.headers


async def test_requests_sent_without_waiting_are_answered_in_their_order() -> None:
    parts = Parts(journal=FakeJournal(gate=asyncio.Event()))
    assert parts.journal.gate is not None
    webhook = head(Content_Length=len(BODY)).replace(b"Connection: close\r\n", b"") + BODY
    health = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    last = b"GET /nowhere HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
    async with served(parts) as port:
        talking = asyncio.create_task(talk(port, webhook + health + webhook + last))
        async with asyncio.timeout(WITHIN):
            await parts.journal.arrived.wait()
        assert not talking.done()
        parts.journal.gate.set()
        answers = await talking
    statuses = re.findall(rb"HTTP/1.1 ([0-9]+)", answers)
    assert statuses == [b"202", b"200", b"202", b"404"]
    assert len(parts.journal.entries) == 2


async def test_a_webhook_can_follow_another_on_the_same_connection_whole_or_in_pieces() -> None:
    parts = Parts()
    webhook = head(Content_Length=len(BODY)).replace(b"Connection: close\r\n", b"") + BODY
    async with served(parts) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for cut in (len(webhook), 10, len(webhook) - 5, len(webhook), len(webhook) - len(BODY)):
            writer.write(webhook[:cut])
            await writer.drain()
            await asyncio.sleep(0.01)  # so that the pieces arrive as pieces; either way the answer is the same
            writer.write(webhook[cut:])
            async with asyncio.timeout(WITHIN):
                start = await reader.readuntil(b"\r\n\r\n")
                assert start.startswith(b"HTTP/1.1 202 ")
                assert await reader.readexactly(26) == b'{"accepted":1,"ignored":0}'
        writer.close()
    assert len(parts.journal.entries) == 5


@pytest.mark.parametrize(
    "request_line",
    [
        pytest.param(b"POST /webhooks/alertmanager HTTP/1.0\r\n", id="HTTP/1.0"),
        pytest.param(b"POST /webhooks/alertmanager?from=prometheus HTTP/1.1\r\n", id="a query"),
        pytest.param(b"POST /webhooks/%61lertmanager HTTP/1.1\r\n", id="a quoted letter"),
        pytest.param(b"POST /webhooks/alertmanager HTTP/1.1\r\nExpect: 100-continue\r\n", id="a sender that asks first"),
    ],
)
async def test_an_unusual_webhook_is_taken_all_the_same(request_line: bytes) -> None:
    parts = Parts()
    _, _, headers = head(Content_Length=len(BODY)).partition(b"\r\n")
    async with served(parts) as port:
        answer = await talk(port, request_line + headers + BODY)
    assert b" 202 " in answer
    assert answer.endswith(b'{"accepted":1,"ignored":0}')
    assert len(parts.journal.entries) == 1


async def test_stopping_the_server_lets_a_webhook_in_flight_be_answered() -> None:
    parts = Parts(journal=FakeJournal(gate=asyncio.Event()))
    assert parts.journal.gate is not None
    webhook = head(Content_Length=len(BODY)).replace(b"Connection: close\r\n", b"") + BODY
    async with served(parts, stopping=parts.journal.gate.set) as port:
        talking = asyncio.create_task(talk(port, webhook))
        async with asyncio.timeout(WITHIN):
            await parts.journal.arrived.wait()
    answer = await talking
    assert answer.startswith(b"HTTP/1.1 202 ")
    assert b"connection: close" in answer


async def test_a_storm_that_is_refused_does_not_fill_the_log(caplog: pytest.LogCaptureFixture) -> None:
    parts = Parts(journal=FakeJournal(error=JournalUnavailableError("full")))
    with structlog.testing.capture_logs() as lines:
        async with served(parts) as port, httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
            answers = await asyncio.gather(*(client.post(PATH, content=BODY, headers=JSON) for _ in range(100)))
    assert {answer.status_code for answer in answers} == {503}
    assert 1 <= len([line for line in lines if line["event"] == "intake_rejected"]) <= 50


@pytest.mark.parametrize(
    ("begin", "more"),
    [
        pytest.param(b"GET /", b"a" * 60_000, id="an address without end"),
        pytest.param(b"GET / HTTP/1.1\r\nX: ", b"a" * 60_000, id="a header without end"),
        pytest.param(b"GET / HTTP/1.1\r\n", b"X: a\r\n" * 10_000, id="headers without end"),
    ],
)
async def test_a_head_without_end_is_refused_before_it_fills_the_memory(begin: bytes, more: bytes) -> None:
    parts = Parts()
    async with served(parts) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        sent = 0
        with suppress(ConnectionError):
            writer.write(begin)
            while sent < 20_000_000 and not reader.at_eof():
                writer.write(more)
                await writer.drain()
                await asyncio.sleep(0)
                sent += len(more)
        assert sent < 20_000_000
        writer.close()
        await assert_alive(port, parts)


@pytest.mark.parametrize(
    "before",
    [
        pytest.param(b"", id="nothing at all"),
        pytest.param(b"POST /webhooks/alertmanager HTTP/1.1\r\nHost: 127.0.", id="half a head"),
        pytest.param(
            head(Content_Length=len(BODY)).replace(b"Connection: close\r\n", b"") + BODY + b"POST /web", id="half a second head"
        ),
    ],
)
async def test_a_connection_that_does_not_say_what_it_wants_is_closed(before: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "HEAD_WITHIN", 0.05)
    parts = Parts()
    async with served(parts) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(before)
        async with asyncio.timeout(WITHIN):
            await reader.read()
        writer.close()
        await assert_alive(port, parts)


async def test_a_head_of_usual_size_may_come_in_pieces_and_the_connection_stays_open_between_two_webhooks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(protocol, "HEAD_WITHIN", 0.1)
    parts = Parts()
    webhook = head(Content_Length=len(BODY), X_Padding="p" * 30_000).replace(b"Connection: close\r\n", b"") + BODY
    async with served(parts) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for _ in range(3):
            for start in range(0, len(webhook), 20_000):
                writer.write(webhook[start : start + 20_000])
                await asyncio.sleep(0)
            async with asyncio.timeout(WITHIN):
                assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 202 ")
                await reader.readexactly(26)
            await asyncio.sleep(0.2)  # longer than a head may take
        writer.close()
    assert len(parts.journal.entries) == 3
