"""PagerDuty: what each moment does to the alert there, over real HTTP against a catcher that refuses what PagerDuty refuses."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from datetime import timedelta
from typing import Any

import httpx
import pytest

from responder.clients.http import new_client
from responder.domain.notification import Message, Moment
from responder.domain.rulebook import Severity
from responder.errors import OutcomeUnknownError, PermanentError, TemporaryError
from responder.notifiers.pagerduty import PagerDuty, dedup_key
from responder.sandbox.catchers import Fault, PagerDutyCatcher
from tests.unit.message_values import delivery, message

KEY = dedup_key(message())


@pytest.fixture
async def pager() -> AsyncIterator[PagerDutyCatcher]:
    async with PagerDutyCatcher() as catcher:
        yield catcher


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with new_client() as opened:
        yield opened


@pytest.fixture
def pagerduty(pager: PagerDutyCatcher, client: httpx.AsyncClient) -> PagerDuty:
    return PagerDuty(client, routing_key=pager.routing_key, address=pager.url)


async def tell(
    pagerduty: PagerDuty, told: Message, remote: Mapping[str, str] | None = None, attempts: int = 0
) -> Mapping[str, str]:
    return await pagerduty.send(delivery(told, to="pagerduty", remote=remote, attempts=attempts))


def notice(number: int = 2, **changes: Any) -> Message:
    return message(number, moment=Moment.NOTICE, **changes)


async def test_a_whole_story_is_one_alert_with_the_rollback_beside_it(pager: PagerDutyCatcher, pagerduty: PagerDuty) -> None:
    seen = []
    for number, moment in enumerate((Moment.OPENED, Moment.WAITING, Moment.ACTING, Moment.RECOVERED, Moment.RESOLVED), 1):
        await tell(pagerduty, message(number, moment=moment, calm=moment is Moment.RESOLVED))
        seen.append(pager.status_of(KEY))
    assert seen == ["triggered"] * 4 + ["resolved"]
    [alert] = pager.alerts
    assert alert["merged"] == 1
    [change] = pager.changes
    assert change["payload"]["summary"].startswith("P1: HighErrorRate on shop.")


async def test_what_is_sent_is_what_pagerduty_documents(pager: PagerDutyCatcher, pagerduty: PagerDuty) -> None:
    await tell(pagerduty, message())
    [event] = pager.events
    assert event["dedup_key"] == "responder-inc_7"
    assert event["links"] == [{"href": "https://responder.example.com/incidents/inc_7", "text": "Open the incident"}]
    payload = event["payload"]
    assert (payload["source"], payload["component"], payload["severity"]) == ("shop", "shop", "error")
    assert payload["summary"] == "P1: HighErrorRate on shop. Error ratio 7.3% is above 5%."
    assert payload["timestamp"] == "2026-03-01T12:00:00+00:00"
    assert payload["custom_details"]["Rule"] == "error_rate_spike"


@pytest.mark.parametrize(
    ("severity", "moment", "word"),
    [
        (Severity.P0, Moment.OPENED, "critical"),
        (Severity.P1, Moment.OPENED, "error"),
        (Severity.P2, Moment.OPENED, "warning"),
        (Severity.P3, Moment.OPENED, "info"),
        (Severity.P3, Moment.FAILED, "error"),
        (Severity.P0, Moment.FAILED, "critical"),
    ],
)
async def test_severities_have_pagerdutys_words(
    severity: Severity, moment: Moment, word: str, pager: PagerDutyCatcher, pagerduty: PagerDuty
) -> None:
    await tell(pagerduty, message(severity=severity, moment=moment))
    assert pager.alerts[0]["severity"] == word


@pytest.mark.parametrize(
    ("told", "status"),
    [
        pytest.param(notice(closes=True, status="refused"), "triggered", id="refused stays open for a person"),
        pytest.param(notice(closes=True, status="failed"), "triggered", id="failed, too"),
        pytest.param(notice(closes=True, status="cancelled"), "triggered", id="cancelled by a person: that one ends it there"),
        pytest.param(notice(closes=True, status="cancelled", calm=True), "resolved", id="the alert cleared before anything"),
        pytest.param(notice(taken_by="ann"), "acknowledged", id="somebody has it in hand"),
        pytest.param(notice(), "triggered", id="how far it is calls nobody again"),
    ],
)
async def test_what_a_notice_does_to_an_open_alert(
    told: Message, status: str, pager: PagerDutyCatcher, pagerduty: PagerDuty
) -> None:
    await tell(pagerduty, message())
    await tell(pagerduty, told)
    assert pager.status_of(KEY) == status


@pytest.mark.parametrize(
    ("told", "status"),
    [
        pytest.param(notice(closes=True, status="notified"), "triggered", id="a rule that only notifies"),
        pytest.param(notice(closes=True, status="observed"), "", id="observe mode calls nobody"),
        pytest.param(notice(), "", id="a notice for everybody"),
        pytest.param(notice(addressed=True), "triggered", id="a notice for PagerDuty by name: escalation"),
        pytest.param(notice(closes=True, calm=True, status="cancelled"), "", id="over before it was told"),
    ],
)
async def test_what_a_notice_does_without_one(told: Message, status: str, pager: PagerDutyCatcher, pagerduty: PagerDuty) -> None:
    await tell(pagerduty, told)
    assert pager.status_of(KEY) == status


async def test_it_is_acknowledged_there_once(pager: PagerDutyCatcher, pagerduty: PagerDuty) -> None:
    remote = await tell(pagerduty, notice(2, taken_by="ann"))
    await tell(pagerduty, notice(3, taken_by="ann"), remote)
    assert [event["event_action"] for event in pager.events] == ["acknowledge"]


async def test_a_repeat_after_a_lost_answer_makes_no_second_alert(pager: PagerDutyCatcher, pagerduty: PagerDuty) -> None:
    pager.fail(Fault(502, after_accepting=True))
    with pytest.raises(TemporaryError):
        await tell(pagerduty, message())
    await tell(pagerduty, message(), attempts=1)
    [alert] = pager.alerts
    assert alert["merged"] == 1


@pytest.mark.parametrize(
    ("fault", "attempts", "pause"),
    [
        pytest.param(Fault(429), 0, 30, id="too fast: half a minute at least"),
        pytest.param(Fault(500), 1, 60, id="longer each time"),
        pytest.param(Fault(503, retry_after="200"), 0, 200, id="as long as it asks"),
        pytest.param(Fault(500), 40, 300, id="five minutes at most"),
    ],
)
async def test_pauses_are_long(fault: Fault, attempts: int, pause: int, pager: PagerDutyCatcher, pagerduty: PagerDuty) -> None:
    pager.fail(fault)
    with pytest.raises(TemporaryError) as refused:
        await tell(pagerduty, message(), attempts=attempts)
    assert refused.value.retry_after == timedelta(seconds=pause)


async def test_400_is_never_tried_again_and_the_key_is_not_told(pager: PagerDutyCatcher, client: httpx.AsyncClient) -> None:
    stranger = PagerDuty(client, routing_key="stranger0key0of0thirty0two0chars", address=pager.url)
    with pytest.raises(PermanentError) as refused:
        await tell(stranger, message())
    assert "Invalid routing key" in str(refused.value)
    pager.fail(Fault(400, text=f"bad key {pager.routing_key}"))
    with pytest.raises(PermanentError) as refused:
        await tell(PagerDuty(client, routing_key=pager.routing_key, address=pager.url), message())
    assert pager.routing_key not in str(refused.value)


async def test_silence_may_have_landed(client: httpx.AsyncClient) -> None:
    async with PagerDutyCatcher() as pager:
        gone = PagerDuty(client, routing_key=pager.routing_key, address=pager.url)
    with pytest.raises(TemporaryError) as refused:
        await tell(gone, message())
    assert not isinstance(refused.value, OutcomeUnknownError)
    assert refused.value.retry_after is not None


async def test_keys_of_rulesets_take_no_change_events(pager: PagerDutyCatcher, client: httpx.AsyncClient) -> None:
    pager.routing_key = "R" + pager.routing_key[1:]
    await tell(PagerDuty(client, routing_key=pager.routing_key, address=pager.url), message(moment=Moment.ACTING))
    assert pager.requests == []


async def test_the_longest_and_strangest_message_is_accepted(pager: PagerDutyCatcher, pagerduty: PagerDuty) -> None:
    huge = message(
        target="",
        title="t" * 5000,
        text="x\r\n\x00" * 300_000,
        facts=tuple(("n" * 500, "v" * 50_000) for _ in range(200)),
        link="javascript:alert(1)",
    )
    await tell(pagerduty, huge)
    [event] = pager.events
    assert len(event["payload"]["summary"]) <= 1024
    assert "links" not in event
    assert event["payload"]["source"] == "responder"
