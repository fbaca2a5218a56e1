"""`POST /webhooks/alertmanager`: acknowledged only when journalled; everything else is a problem with its field."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
import structlog

from responder.domain.signal import SignalStatus
from responder.errors import JournalUnavailableError
from responder.ports import EntryKind
from responder.web.app import build_app
from responder.web.tokens import Tokens
from tests.unit.web_parts import NOW, FakeJournal, Parts, problem_of

PATH = "/webhooks/alertmanager"
ALERT = {"status": "firing", "labels": {"alertname": "A"}, "startsAt": "2026-03-01T11:58:00Z", "fingerprint": "f1"}
BODY = json.dumps({"version": "4", "status": "firing", "alerts": [ALERT]}).encode()
JSON = {"content-type": "application/json"}


async def test_an_alert_is_in_the_journal_before_it_is_acknowledged() -> None:
    parts = Parts(journal=FakeJournal(gate=asyncio.Event()))
    async with parts.client() as client:
        answering = asyncio.create_task(client.post(PATH, content=BODY, headers=JSON))
        for _ in range(20):
            await asyncio.sleep(0)
        assert not answering.done()
        assert parts.journal.gate is not None
        parts.journal.gate.set()
        answer = await answering
    assert (answer.status_code, answer.json()) == (202, {"accepted": 1, "ignored": 0})
    ((kind, at, (signal,)),) = parts.journal.entries
    assert (kind, at, signal.key, signal.status) == (EntryKind.SIGNALS, NOW, "f1", SignalStatus.FIRING)


async def test_what_could_not_be_used_is_counted_in_the_answer_in_the_metrics_and_in_the_log() -> None:
    parts = Parts()
    body = json.dumps({"receiver": r"on\.call", "alerts": [ALERT, {**ALERT, "status": "burning"}]}).encode()
    with structlog.testing.capture_logs() as lines:
        async with parts.client() as client:
            answer = await client.post(PATH, content=body, headers=JSON)
            metrics = (await client.get("/metrics")).text
    problem = "alerts[1].status: must be 'firing' or 'resolved', not 'burning'"
    assert answer.json() == {"accepted": 1, "ignored": 1, "problems": [problem]}
    assert 'responder_intake_accepted_total{source="alertmanager"} 1.0' in metrics
    assert 'responder_intake_ignored_total{source="alertmanager"} 1.0' in metrics
    assert "responder_journal_append_seconds_count 1.0" in metrics
    (line,) = lines
    assert (line["event"], line["receiver"]) == ("intake_noted", "on.call")
    assert line["notes"] == (problem,)


@pytest.mark.parametrize(
    ("path", "document", "told"),
    [
        pytest.param(
            PATH, {"alerts": [ALERT, {**ALERT, "labels": {"code": 500}}]}, "alerts[1].labels.code: must be", id="a part"
        ),
        pytest.param(PATH, {"groupKey": "g", "alerts": [{**ALERT, "status": 7}]}, "alerts[0].status: must be", id="nothing good"),
        pytest.param(PATH, {"truncatedAlerts": 3, "alerts": [ALERT]}, "", id="what the sender left out by itself"),
        pytest.param("/webhooks/grafana", {"groupKey": f"w-{'0' * 16}-1", "alerts": [ALERT]}, "", id="a test notification"),
        pytest.param("/webhooks/events", [{"key": "k"}], "[0].status: must be", id="an event"),
    ],
)
async def test_what_a_person_must_mend_at_the_sender_is_told(path: str, document: object, told: str) -> None:
    heard: list[tuple[str, str]] = []
    parts = Parts(overrides={"unreadable": lambda source, what: heard.append((source, what))})
    async with parts.client() as client:
        await client.post(path, content=json.dumps(document).encode(), headers=JSON)
    if not told:
        assert heard == []
        return
    ((source, what),) = heard
    assert source == path.rpartition("/")[2]
    assert what.startswith(told)


async def test_a_body_without_alerts_is_accepted_and_costs_no_journal_entry() -> None:
    parts = Parts(journal=FakeJournal(error=JournalUnavailableError("never asked")))
    async with parts.client() as client:
        answer = await client.post(PATH, content=b'{"alerts": []}', headers=JSON)
    assert (answer.status_code, answer.json()) == (202, {"accepted": 0, "ignored": 0})


@pytest.mark.parametrize(
    "content_type",
    ["application/json", "application/json; charset=utf-8", 'Application/JSON;charset="UTF-8"', "application/json ; foo=bar"],
)
async def test_json_is_taken_however_its_type_is_spelt(content_type: str) -> None:
    parts = Parts()
    async with parts.client() as client:
        answer = await client.post(PATH, content=BODY, headers={"content-type": content_type})
    assert answer.status_code == 202


REFUSED = [
    pytest.param(b"", JSON, 400, None, id="an empty body"),
    pytest.param(BODY[:-9], JSON, 400, None, id="truncated JSON"),
    pytest.param(b"[" * 100_000, JSON, 400, None, id="nested 100 000 deep"),
    pytest.param(b'{"alerts":' * 100_000, JSON, 400, None, id="objects nested 100 000 deep"),
    pytest.param(b'{"alerts": "\xff"}', JSON, 400, None, id="invalid UTF-8"),
    pytest.param(b'{"alerts": ["\x00"]}', JSON, 400, None, id="a bare NUL"),
    pytest.param(b"[]", JSON, 400, None, id="a list"),
    pytest.param(b"{}", JSON, 400, "alerts", id="no alerts"),
    pytest.param(b'{"alerts": 7}', JSON, 400, "alerts", id="a number as alerts"),
    pytest.param(BODY.replace(b'"A"', b"5"), JSON, 400, "alerts[0].labels.alertname", id="a number as label"),
    pytest.param(BODY.replace(b'"A"', b'"\\u0000"'), JSON, 400, "alerts[0].labels.alertname", id="NUL in a label"),
    pytest.param(b" " * (20 * 1024 * 1024), JSON, 413, None, id="20 MB"),
    pytest.param(BODY, {}, 415, "Content-Type", id="no content type"),
    pytest.param(BODY, {"content-type": "text/plain"}, 415, "Content-Type", id="plain text"),
    pytest.param(BODY, {"content-type": "application/x-www-form-urlencoded"}, 415, "Content-Type", id="a form"),
    pytest.param(BODY, {"content-type": "application/json; charset=utf-16"}, 415, "Content-Type", id="UTF-16"),
    pytest.param(BODY, {**JSON, "content-encoding": "gzip"}, 415, "Content-Encoding", id="compressed"),
]


@pytest.mark.parametrize(("body", "headers", "status", "field"), REFUSED)
async def test_bad_input_is_a_problem_and_the_next_alert_is_taken(
    body: bytes, headers: dict[str, str], status: int, field: str | None
) -> None:
    parts = Parts()
    async with parts.client() as client:
        answer = await client.post(PATH, content=body, headers=headers)
        assert answer.status_code == status
        assert problem_of(answer).get("field") == field
        assert parts.journal.entries == []
        assert (await client.post(PATH, content=BODY, headers=JSON)).status_code == 202
        assert (
            f'responder_intake_rejected_total{{source="alertmanager",status="{status}"}} 1.0'
            in (await client.get("/metrics")).text
        )


async def test_a_body_too_large_is_not_held_in_memory_when_its_size_was_not_declared() -> None:
    parts = Parts(overrides={"body_limit": 1000})
    sent = 0

    async def pieces() -> AsyncIterator[bytes]:
        nonlocal sent
        for _ in range(1000):
            sent += 100
            yield b" " * 100

    async with parts.client() as client:
        answer = await client.post(PATH, content=pieces(), headers=JSON)
    assert answer.status_code == 413
    assert sent <= 1200


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS"])
async def test_only_post_is_taken(method: str) -> None:
    async with Parts().client() as client:
        answer = await client.request(method, PATH)
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")


async def test_a_journal_that_can_not_keep_up_asks_the_sender_to_come_again() -> None:
    error = JournalUnavailableError("the journal can't keep up", retry_after=timedelta(milliseconds=1500))
    parts = Parts(journal=FakeJournal(error=error))
    async with parts.client() as client:
        answer = await client.post(PATH, content=BODY, headers=JSON)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
        assert problem_of(answer)["detail"] == "the journal can't keep up"
        parts.journal.error = None
        assert (await client.post(PATH, content=BODY, headers=JSON)).status_code == 202


async def test_an_unexpected_error_tells_nothing_of_the_inside_but_is_logged() -> None:
    parts = Parts(journal=FakeJournal(error=RuntimeError("secret inside")))
    with structlog.testing.capture_logs() as lines:
        async with parts.client() as client:
            answer = await client.post(PATH, content=BODY, headers=JSON)
    assert answer.status_code == 500
    assert "secret inside" not in json.dumps(problem_of(answer))
    assert "intake_failed" in [line["event"] for line in lines]


TOKENS = Tokens.of(webhook="hook-token", viewer="viewer-token", operator="operator-token")


@pytest.mark.parametrize(
    ("authorization", "status"),
    [
        pytest.param("Bearer hook-token", 202, id="the webhook token"),
        pytest.param("bearer hook-token", 202, id="the scheme in small letters"),
        pytest.param(None, 401, id="none"),
        pytest.param("", 401, id="an empty one"),
        pytest.param("Bearer", 401, id="a scheme alone"),
        pytest.param("Bearer wrong", 401, id="a wrong one"),
        pytest.param("Bearer hook-toke", 401, id="all but the last letter"),
        pytest.param("Bearer hook-token2", 401, id="a letter too many"),
        pytest.param("Basic hook-token", 401, id="another scheme"),
        pytest.param(b"Bearer \xff\xfe", 401, id="bytes that are no text"),
        pytest.param("Bearer viewer-token", 403, id="a viewer's"),
        pytest.param("Bearer operator-token", 403, id="an operator's"),
    ],
)
async def test_only_the_webhook_token_opens_the_intake(authorization: str | bytes | None, status: int) -> None:
    parts = Parts(tokens=TOKENS)
    headers: list[tuple[str | bytes, str | bytes]] = [("content-type", "application/json")]
    if authorization is not None:
        headers.append(("authorization", authorization))
    async with parts.client() as client:
        answer = await client.post(PATH, content=BODY, headers=headers)
    assert answer.status_code == status
    assert len(parts.journal.entries) == (status == 202)
    assert ("www-authenticate" in answer.headers) is (status == 401)
    assert "hook-token" not in answer.text


async def test_with_other_tokens_but_none_for_webhooks_nothing_is_taken() -> None:
    parts = Parts(tokens=Tokens.of(viewer="viewer-token"))
    async with parts.client() as client:
        assert (await client.post(PATH, content=BODY, headers=JSON)).status_code == 401


def test_tokens_do_not_show_when_printed() -> None:
    assert repr(TOKENS) == "Tokens(operator, viewer, webhook)"


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost:8080", 202),
        ("127.0.0.1", 202),
        ("[::1]:8080", 202),
        ("responder.localhost", 202),
        ("attacker.example", 403),
        ("127.0.0.1.attacker.example:8080", 403),
        ("[", 403),
        ("10.0.0.1", 403),
    ],
)
async def test_without_tokens_a_page_of_another_name_can_not_post(host: str, status: int) -> None:
    async with Parts().client() as client:
        answer = await client.post(PATH, content=BODY, headers={**JSON, "host": host})
    assert answer.status_code == status


async def test_a_sender_who_goes_away_in_mid_body_leaves_nothing_behind() -> None:
    parts = Parts()
    app = build_app(parts.services())
    messages = [
        {"type": "http.request", "body": BODY[:10], "more_body": True},
        {"type": "http.disconnect"},
    ]
    sent: list[object] = []

    async def receive() -> dict[str, object]:
        return messages.pop(0)

    async def send(message: object) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": PATH, "headers": [(b"content-type", b"application/json")]}
    await app(scope, receive, send)
    assert (sent, parts.journal.entries) == ([], [])


async def test_a_body_that_never_ends_is_given_up_and_others_are_not_kept_waiting() -> None:
    parts = Parts(overrides={"body_within": timedelta(milliseconds=20)})

    async def trickle() -> AsyncIterator[bytes]:
        yield BODY[:10]
        await asyncio.Event().wait()

    async with parts.client() as client:
        slow = asyncio.create_task(client.post(PATH, content=trickle(), headers=JSON))
        assert (await client.post(PATH, content=BODY, headers=JSON)).status_code == 202
        answer = await slow
    assert (answer.status_code, answer.headers["connection"]) == (408, "close")
    assert len(parts.journal.entries) == 1


async def test_cancelling_a_request_for_another_reason_is_not_taken_for_the_deadline() -> None:
    parts = Parts()
    app = build_app(parts.services())
    started = asyncio.Event()

    async def receive() -> dict[str, object]:
        started.set()
        await asyncio.Event().wait()
        return {}

    async def send(message: object) -> None:
        raise AssertionError(message)

    scope = {"type": "http", "method": "POST", "path": PATH, "headers": [(b"content-type", b"application/json")]}
    request = asyncio.create_task(app(scope, receive, send))
    await started.wait()
    request.cancel()
    with pytest.raises(asyncio.CancelledError):
        await request


async def test_a_body_of_several_megabytes_is_taken_whole() -> None:
    parts = Parts()
    alerts = [{**ALERT, "fingerprint": f"{number:016x}", "annotations": {"text": "x" * 500}} for number in range(8000)]
    async with parts.client() as client:
        answer = await client.post(PATH, content=json.dumps({"alerts": alerts}).encode(), headers=JSON)
    assert answer.json() == {"accepted": 8000, "ignored": 0}
    ((_, _, signals),) = parts.journal.entries
    assert len({signal.key for signal in signals}) == 8000
