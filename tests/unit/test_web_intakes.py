"""Who may send what where: signatures over the raw bytes, tokens, secret paths, and Sentry's one second."""

from __future__ import annotations

import asyncio
import hmac
import json
from base64 import b64encode
from datetime import timedelta

import httpx
import pytest
import structlog

from responder.domain.signal import SignalStatus
from responder.errors import JournalUnavailableError
from responder.web import webhooks
from responder.web.admission import TIMESTAMP_WITHIN, SenderSecrets
from responder.web.tokens import Tokens
from tests.unit.sentry_bodies import body, envelope, event, event_alert, issue, legacy, metric_alert
from tests.unit.web_parts import NOW, FakeJournal, Parts, problem_of

SECRET = b"client-secret-of-sentry"
GRAFANA = b"secret-of-grafana"
PATH_TOKEN = "pathtoken-aaaa-bbbb-cccc"
TOKENS = Tokens.of(webhook="hook-token", viewer="viewer-token", operator="operator-token")
SECRETS = SenderSecrets(sentry=SECRET, grafana=GRAFANA, sentry_legacy=PATH_TOKEN.encode())
LEGACY = f"/webhooks/sentry/legacy/{PATH_TOKEN}"
ALERT = {
    "status": "firing",
    "labels": {"alertname": "A"},
    "startsAt": "2026-03-01T11:58:00Z",
    "fingerprint": "f1",
    "values": {"B": 7},
}
GROUP = json.dumps({"version": "1", "status": "firing", "groupKey": "{}", "alerts": [ALERT]}).encode()


def parts_of(secrets: SenderSecrets = SECRETS, tokens: Tokens = TOKENS, **changes: object) -> Parts:
    return Parts(tokens=tokens, overrides={"sender_secrets": secrets}, **changes)  # type: ignore[arg-type]


def sign(raw: bytes, secret: bytes = SECRET) -> str:
    return hmac.new(secret, raw, "sha256").hexdigest()


def from_sentry(raw: bytes, resource: str = "issue", **changes: str) -> dict[str, str]:
    """Headers of a delivery."""
    return {
        "content-type": "application/json",
        "sentry-hook-resource": resource,
        "sentry-hook-timestamp": "1772366400",
        "sentry-hook-signature": sign(raw),
        "request-id": "0f" * 16,
        **changes,
    }


def journalled(parts: Parts) -> int:
    return sum(len(signals) for _, _, signals in parts.journal.entries)


# --- Sentry ---------------------------------------------------------------------------------------------------------------

DELIVERIES = [
    pytest.param("event_alert", event_alert(), SignalStatus.OCCURRED, id="an issue alert"),
    pytest.param("error", envelope("created", {"error": event()}), SignalStatus.OCCURRED, id="an error"),
    pytest.param("metric_alert", metric_alert(), SignalStatus.FIRING, id="a metric alert that fires"),
    pytest.param("metric_alert", metric_alert("resolved"), SignalStatus.RESOLVED, id="a metric alert that ends"),
    pytest.param("issue", issue("unresolved"), SignalStatus.FIRING, id="an issue that came back"),
]


@pytest.mark.parametrize(("resource", "document", "status"), DELIVERIES)
async def test_a_signed_delivery_is_journalled(resource: str, document: object, status: SignalStatus) -> None:
    parts, raw = parts_of(), body(document)
    async with parts.client() as client:
        answer = await client.post("/webhooks/sentry", content=raw, headers=from_sentry(raw, resource))
        metrics = (await client.get("/metrics")).text
    assert (answer.status_code, answer.json()) == (202, {"accepted": 1, "ignored": 0})
    assert 'responder_intake_accepted_total{source="sentry"} 1.0' in metrics
    ((_, _, (signal,)),) = parts.journal.entries
    assert (signal.source, signal.status) == ("sentry", status)


@pytest.mark.parametrize(
    ("resource", "document"),
    [
        pytest.param("installation", envelope("created", {}), id="an installation"),
        pytest.param("never_heard_of", [], id="an unknown resource with an odd body"),
        pytest.param("issue", issue("assigned"), id="an action that is not used"),
        pytest.param("event_alert", event_alert(tags=[["sample_event", "yes"]]), id="a sample event"),
    ],
)
async def test_what_must_not_act_is_acknowledged_and_never_reaches_the_journal(resource: str, document: object) -> None:
    parts = parts_of(journal=FakeJournal(error=JournalUnavailableError("never asked")))
    raw = body(document)
    with structlog.testing.capture_logs() as lines:
        async with parts.client() as client:
            answer = await client.post("/webhooks/sentry", content=raw, headers=from_sentry(raw, resource))
    assert (answer.status_code, answer.json()) == (202, {"accepted": 0, "ignored": 1})
    assert [line["event"] for line in lines] == ["intake_noted"]


RAW = body(issue())
TAMPERED = [
    pytest.param(RAW.replace(b"901", b"902"), sign(RAW), id="another body"),
    pytest.param(RAW + b"\n", sign(RAW), id="a line end more"),
    pytest.param(json.dumps(json.loads(RAW)).encode(), sign(RAW), id="the same JSON with blanks"),
    pytest.param(RAW, sign(RAW, b"other"), id="another secret"),
    pytest.param(RAW, sign(RAW, b""), id="an empty secret"),
    pytest.param(RAW, sign(RAW).upper(), id="capital letters"),
    pytest.param(RAW, "sha256=" + sign(RAW), id="a prefix"),
    pytest.param(RAW, sign(RAW)[:-1], id="a digit short"),
    pytest.param(RAW, sign(RAW) + "0", id="a digit more"),
    pytest.param(RAW, sign(b"1772366400:" + RAW), id="the time signed too"),
    pytest.param(RAW, "é", id="no ASCII"),
    pytest.param(RAW, "", id="empty"),
    pytest.param(RAW, None, id="missing"),
    pytest.param(b"{", sign(RAW), id="no JSON: the signature is judged first"),
]


@pytest.mark.parametrize(("raw", "signature"), TAMPERED)
async def test_a_delivery_that_is_not_signed_by_sentry_is_refused(raw: bytes, signature: str | None) -> None:
    parts = parts_of()
    headers = from_sentry(raw)
    del headers["sentry-hook-signature"]
    given: list[tuple[bytes, bytes]] = [(name.encode(), value.encode()) for name, value in headers.items()]
    given.append((b"authorization", b"Bearer hook-token"))  # a token is no signature
    if signature is not None:
        given.append((b"sentry-hook-signature", signature.encode()))
    async with parts.client() as client:
        answer = await client.post("/webhooks/sentry", content=raw, headers=given)
    assert answer.status_code == 401
    assert problem_of(answer)["field"] == "Sentry-Hook-Signature"
    assert "www-authenticate" in answer.headers
    assert sign(RAW) not in answer.text
    assert parts.journal.entries == []


async def test_without_the_client_secret_sentry_is_not_taken_not_even_signed_with_nothing() -> None:
    for secret in (b"", SECRET):
        parts = parts_of(SenderSecrets(), Tokens.of())
        headers = from_sentry(RAW, **{"sentry-hook-signature": sign(RAW, secret)})
        async with parts.client() as client:
            answer = await client.post("/webhooks/sentry", content=RAW, headers=headers)
        assert (answer.status_code, parts.journal.entries) == (401, [])
        assert "RESPONDER_SENTRY_CLIENT_SECRET" in str(problem_of(answer)["detail"])


async def test_a_signed_body_that_can_not_be_used_is_a_problem_with_its_field() -> None:
    raw = body(envelope("created", {}))
    async with parts_of().client() as client:
        answer = await client.post("/webhooks/sentry", content=raw, headers=from_sentry(raw))
    assert (answer.status_code, problem_of(answer)["field"]) == (400, "data.issue")


async def test_a_large_event_is_verified_and_read_whole() -> None:
    parts, raw = parts_of(), body(event_alert(extra="x" * 1_000_000))
    async with parts.client() as client:
        good = await client.post("/webhooks/sentry", content=raw, headers=from_sentry(raw, "event_alert"))
        forged = await client.post("/webhooks/sentry", content=raw + b" ", headers=from_sentry(raw, "event_alert"))
    assert (good.status_code, forged.status_code, journalled(parts)) == (202, 401, 1)


async def test_sentry_is_answered_in_time_though_the_journal_never_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhooks, "SENTRY_WITHIN", timedelta(milliseconds=20))
    parts = parts_of(journal=FakeJournal(gate=asyncio.Event()))
    async with parts.client() as client:
        answer = await client.post("/webhooks/sentry", content=RAW, headers=from_sentry(RAW))
    assert answer.status_code == 503
    assert "retry-after" in answer.headers
    assert problem_of(answer)["detail"] == "the journal did not answer in time for this sender"


def test_sentrys_second_leaves_time_for_the_network() -> None:
    assert timedelta(milliseconds=700) >= webhooks.SENTRY_WITHIN


async def test_a_journal_that_can_not_be_written_is_said_at_once() -> None:
    parts = parts_of(journal=FakeJournal(error=JournalUnavailableError("the disk is full")))
    async with parts.client() as client:
        answer = await client.post("/webhooks/sentry", content=RAW, headers=from_sentry(RAW))
    assert (answer.status_code, problem_of(answer)["detail"]) == (503, "the disk is full")


# --- Sentry's legacy plugin -------------------------------------------------------------------------------------------------


async def test_the_legacy_plugin_comes_in_by_its_secret_address() -> None:
    parts = parts_of()
    async with parts.client() as client:
        answer = await client.post(LEGACY, json=legacy())
        metrics = (await client.get("/metrics")).text
    assert answer.json() == {"accepted": 1, "ignored": 0}
    assert 'responder_intake_accepted_total{source="sentry_legacy"} 1.0' in metrics


@pytest.mark.parametrize(
    ("path", "secrets"),
    [
        pytest.param(LEGACY[:-1], SECRETS, id="a letter short"),
        pytest.param(LEGACY + "x", SECRETS, id="a letter more"),
        pytest.param(LEGACY + "/", SECRETS, id="a slash more"),
        pytest.param("/webhooks/sentry/legacy/", SECRETS, id="nothing"),
        pytest.param("/webhooks/sentry/legacy", SECRETS, id="the folder"),
        pytest.param("/webhooks/sentry/legacy/%FF%00é", SECRETS, id="bytes that are no text"),
        pytest.param("/webhooks/sentry_legacy", SECRETS, id="the name of the intake"),
        pytest.param(LEGACY, SenderSecrets(), id="no secret set"),
        pytest.param("/webhooks/sentry/legacy/", SenderSecrets(), id="no secret set, none given"),
    ],
)
async def test_another_address_leads_nowhere_and_no_log_or_answer_tells_it(path: str, secrets: SenderSecrets) -> None:
    parts = parts_of(secrets)
    with structlog.testing.capture_logs() as lines:
        async with parts.client() as client:
            answer = await client.post(path, json=legacy(), headers={"authorization": "Bearer hook-token"})
    assert (answer.status_code, parts.journal.entries) == (404, [])
    assert "pathtoken" not in answer.text + json.dumps(lines, default=str)


async def test_the_secret_address_is_in_no_log_or_answer_whatever_goes_wrong() -> None:
    parts = parts_of(journal=FakeJournal(error=RuntimeError("boom")))
    with structlog.testing.capture_logs() as lines:
        async with parts.client() as client:
            answers = [
                await client.post(LEGACY, json=legacy()),
                await client.post(LEGACY, content=b"{", headers={"content-type": "application/json"}),
                await client.get(LEGACY),
            ]
    assert [answer.status_code for answer in answers] == [500, 400, 405]
    assert "pathtoken" not in "".join(answer.text for answer in answers) + json.dumps(lines, default=str)


def test_secrets_do_not_show_when_printed() -> None:
    assert "secret-of" not in repr(SECRETS)
    assert "pathtoken" not in repr(SECRETS)


# --- Grafana ----------------------------------------------------------------------------------------------------------------

SECONDS = int(NOW.timestamp())
LIMIT = int(TIMESTAMP_WITHIN.total_seconds())


async def to_grafana(parts: Parts, headers: dict[str, str], raw: bytes = GROUP, method: str = "POST") -> httpx.Response:
    async with parts.client() as client:
        return await client.request(
            method, "/webhooks/grafana", content=raw, headers={"content-type": "application/json", **headers}
        )


def stamped(seconds: object, name: str = "x-grafana-alerting-signature-timestamp", raw: bytes = GROUP) -> dict[str, str]:
    return {"x-grafana-alerting-signature": sign(f"{seconds}:".encode() + raw, GRAFANA), name: str(seconds)}


ADMITTED = [
    pytest.param({"x-grafana-alerting-signature": sign(GROUP, GRAFANA)}, id="a signature over the body"),
    pytest.param(stamped(SECONDS), id="a signature over time and body"),
    pytest.param(stamped(SECONDS, "x-grafana-alerting-timestamp"), id="the time in the other header"),
    pytest.param(stamped(SECONDS - LIMIT), id="a time five minutes ago"),
    pytest.param(stamped(SECONDS + LIMIT), id="a time five minutes ahead"),
    pytest.param({"authorization": "Bearer hook-token"}, id="the token instead of a signature"),
    pytest.param({"authorization": "Basic " + b64encode(b"any:hook-token").decode()}, id="the token as password"),
]


@pytest.mark.parametrize("method", ["POST", "PUT"])
@pytest.mark.parametrize("headers", ADMITTED)
async def test_grafana_comes_in_with_a_signature_or_the_token(headers: dict[str, str], method: str) -> None:
    parts = parts_of()
    answer = await to_grafana(parts, headers, method=method)
    assert (answer.status_code, answer.json()) == (202, {"accepted": 1, "ignored": 0})
    ((_, _, (signal,)),) = parts.journal.entries
    assert (signal.source, signal.value) == ("grafana", 7.0)


NOT_ADMITTED = [
    pytest.param({}, 401, id="nothing"),
    pytest.param({"x-grafana-alerting-signature": sign(GROUP, b"other")}, 401, id="another secret"),
    pytest.param({"x-grafana-alerting-signature": ""}, 401, id="an empty signature"),
    pytest.param({"x-grafana-alerting-signature": "x", "authorization": "Bearer hook-token"}, 401, id="wrong, beside the token"),
    pytest.param(stamped(SECONDS - LIMIT - 1), 401, id="an old time"),
    pytest.param(stamped(SECONDS + LIMIT + 1), 401, id="a time to come"),
    pytest.param(stamped("soon"), 401, id="a time that is none"),
    pytest.param(stamped("9" * 400), 401, id="a time of 400 digits"),
    pytest.param(stamped(""), 401, id="an empty time"),
    pytest.param(stamped(-1), 401, id="a negative time"),
    pytest.param({**stamped(SECONDS), "x-grafana-alerting-signature-timestamp": str(SECONDS - 1)}, 401, id="another time"),
    pytest.param({"x-grafana-alerting-signature": stamped(SECONDS)["x-grafana-alerting-signature"]}, 401, id="the time cut off"),
    pytest.param(
        {"x-grafana-alerting-signature": sign(GROUP, GRAFANA), "x-grafana-alerting-timestamp": str(SECONDS)},
        401,
        id="a time put on",
    ),
    pytest.param({"authorization": "Bearer viewer-token"}, 403, id="a viewer's token"),
    pytest.param({"authorization": "Basic hook-token"}, 401, id="basic that is not encoded"),
    pytest.param({"authorization": "Basic " + b64encode(b"hook-token").decode()}, 401, id="basic without a colon"),
    pytest.param({"authorization": "Basic " + b64encode(b"hook-token:").decode()}, 401, id="the token as user"),
    pytest.param({"authorization": "Basic !"}, 401, id="basic that is no Base64"),
]


@pytest.mark.parametrize(("headers", "status"), NOT_ADMITTED)
async def test_grafana_without_proof_is_refused(headers: dict[str, str], status: int) -> None:
    parts = parts_of()
    answer = await to_grafana(parts, headers)
    assert (answer.status_code, parts.journal.entries) == (status, [])
    assert problem_of(answer)["status"] == status


async def test_a_changed_body_does_not_fit_grafanas_signature() -> None:
    parts = parts_of()
    answer = await to_grafana(parts, stamped(SECONDS), raw=GROUP.replace(b'"B": 7', b'"B": 8'))
    assert (answer.status_code, parts.journal.entries) == (401, [])


async def test_with_a_secret_and_no_webhook_token_only_signatures_count() -> None:
    for tokens in (Tokens.of(), Tokens.of(operator="operator-token")):
        parts = parts_of(tokens=tokens)
        assert (await to_grafana(parts, {"authorization": "Bearer operator-token"})).status_code == 401
        assert (await to_grafana(parts, {"x-grafana-alerting-signature": sign(GROUP, GRAFANA)})).status_code == 202


async def test_without_a_secret_grafana_shows_the_token_and_its_signature_proves_nothing() -> None:
    parts = parts_of(SenderSecrets())
    signed = {"x-grafana-alerting-signature": sign(GROUP, b"")}
    assert (await to_grafana(parts, signed)).status_code == 401
    assert (await to_grafana(parts, {**signed, "authorization": "Bearer hook-token"})).status_code == 202


async def test_other_methods_are_refused_naming_those_that_are_taken() -> None:
    async with parts_of().client() as client:
        answer = await client.delete("/webhooks/grafana")
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST, PUT")


async def test_legacy_alerting_is_refused_naming_the_field() -> None:
    answer = await to_grafana(parts_of(), {"authorization": "Bearer hook-token"}, raw=b'{"evalMatches": [], "state": "alerting"}')
    assert (answer.status_code, problem_of(answer)["field"]) == (400, "evalMatches")


# --- events and custom payloads ---------------------------------------------------------------------------------------------

BEARER = {"authorization": "Bearer hook-token"}


async def test_events_are_taken_with_the_token_one_or_many() -> None:
    parts = parts_of()
    event = {"key": "smoke", "status": "failed", "labels": {}, "id": "1"}
    async with parts.client() as client:
        one = await client.post("/webhooks/events", json=event, headers=BEARER)
        many = await client.post("/webhooks/events", json=[event, {**event, "id": "2"}], headers=BEARER)
        none = await client.post("/webhooks/events", json=event)
    assert [one.json(), many.json(), none.status_code] == [{"accepted": 1, "ignored": 0}, {"accepted": 2, "ignored": 0}, 401]
    assert [signal.id for _, _, signals in parts.journal.entries for signal in signals] == ["1", "1", "2"]


async def test_one_wrong_event_costs_no_other_one_and_the_answer_says_which() -> None:
    parts = parts_of()
    events = [{"key": "smoke", "status": "failed", "labels": {}}, {"key": "smoke", "status": "failed", "labels": {}, "x": 1}]
    async with parts.client() as client:
        answer = await client.post("/webhooks/events", json=events, headers=BEARER)
    assert answer.status_code == 202
    assert (answer.json()["accepted"], answer.json()["ignored"]) == (1, 1)
    assert [problem.partition(":")[0] for problem in answer.json()["problems"]] == ["[1].x"]
    assert [signal.key for _, _, signals in parts.journal.entries for signal in signals] == ["smoke"]


@pytest.mark.parametrize("path", ["/webhooks/alertmanager", "/webhooks/grafana"])
@pytest.mark.parametrize(
    ("payload", "field"),
    [
        pytest.param({"text": "an alert"}, "alerts", id="an object of somebody's own"),
        pytest.param(["an alert"], None, id="a list"),
        pytest.param({"alerts": [{"name": "A"}]}, "alerts[0].status", id="alerts of somebody's own"),
        pytest.param(
            {"alerts": [{"status": "firing", "labels": [["alertname", "A"]]}]}, "alerts[0].labels", id="labels of somebody's own"
        ),
    ],
)
async def test_a_custom_payload_is_refused_naming_what_is_missing(path: str, payload: object, field: str | None) -> None:
    parts = parts_of()
    async with parts.client() as client:
        answer = await client.post(path, json=payload, headers=BEARER)
    assert (answer.status_code, problem_of(answer).get("field"), parts.journal.entries) == (400, field, [])
    assert "custom payload" in str(problem_of(answer)["detail"])
    assert "leave" in str(problem_of(answer)["detail"]), "it does not say what to change"
