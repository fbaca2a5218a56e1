"""Slack: against a webhook over real HTTP."""

from __future__ import annotations

import logging
import random
from collections.abc import AsyncIterator
from datetime import timedelta

import httpx
import pytest

from responder.clients.http import new_client
from responder.domain.notification import Moment
from responder.errors import ForbiddenError, NotFoundError, OutcomeUnknownError, PermanentError, TemporaryError, UnreachableError
from responder.notifiers.slack import Slack, escape, payload
from responder.sandbox.catchers import Fault, SlackCatcher
from responder.sandbox.slack_catcher import problem_of
from tests.unit.message_values import delivery, message


@pytest.fixture
async def slack() -> AsyncIterator[SlackCatcher]:
    async with SlackCatcher() as catcher:
        yield catcher


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with new_client() as opened:
        yield opened


async def test_a_message_shows_title_text_facts_link_and_our_ids(slack: SlackCatcher, client: httpx.AsyncClient) -> None:
    await Slack(client, slack.url).send(delivery())

    (caught,) = slack.messages
    assert "P1: HighErrorRate on shop" in caught.shown
    assert "Error ratio 7.3% is above 5%." in caught.shown
    assert "*From*\n1.5.0" in caught.shown
    assert "<https://responder.example.com/incidents/inc_7|Open the incident>" in caught.texts
    assert "inc_7 · message inc_7-1" in caught.shown
    assert "HighErrorRate on shop" in caught.texts[0]


async def test_what_was_remembered_about_the_incident_is_kept(slack: SlackCatcher, client: httpx.AsyncClient) -> None:
    assert await Slack(client, slack.url).send(delivery(remote={"kept": "yes"})) == {"kept": "yes"}


HOSTILE = [
    pytest.param("<!channel> <!here> <@U123> <#C1>", id="mentions in angle brackets"),
    pytest.param("<https://evil.example|your bank>", id="a forged link"),
    pytest.param("&lt;!channel&gt; &amp;lt;", id="text that is escaped already"),
    pytest.param("@channel @here #general https://evil.example", id="names Slack would find by itself"),
    pytest.param("x" * 1_000_000, id="a megabyte"),
    pytest.param("&" * 1_000_000, id="a megabyte of what must be escaped"),
    pytest.param("😀" * 5000, id="many emoji"),
    pytest.param("👩‍👩‍👧‍👦" * 800, id="emoji made of several characters"),
    pytest.param("", id="nothing"),
    pytest.param(" \n\t ", id="only blanks"),
    pytest.param("a\x00b\x1b[31mc\ud800d", id="control characters and half a surrogate pair"),
    pytest.param("line\n" * 900, id="many lines"),
    pytest.param("*bold* _it_ ~s~ `code` ```", id="formatting"),
]


@pytest.mark.parametrize("text", HOSTILE)
async def test_hostile_text_is_accepted_by_slack_and_rings_nobody(
    text: str, slack: SlackCatcher, client: httpx.AsyncClient
) -> None:
    told = message(title=text, text=text, facts=((text, text),) * 30, link=text)

    await Slack(client, slack.url).send(delivery(told))

    (caught,) = slack.messages
    assert caught.mentions == ()
    assert not [part for part in caught.parsed if "<http" in part]
    for block in caught.payload["blocks"]:  # type: ignore[attr-defined]
        for part in (block.get("text"), *block.get("fields", ()), *block.get("elements", ())):
            assert part is None or part["type"] == "plain_text" or part["verbatim"] is True


@pytest.mark.parametrize("character", ["&", "<", ">", "a", "é", "😀", "\n"], ids=repr)
@pytest.mark.parametrize("length", range(1, 30))
def test_a_cut_never_falls_inside_an_entity_or_a_character(character: str, length: int) -> None:
    limit = 20
    text = escape("ab" + character * length, limit)

    assert len(text.encode("utf-16-le")) // 2 <= limit
    whole = text.removesuffix("…")
    for entity in ("&amp;", "&lt;", "&gt;"):
        whole = whole.replace(entity, "#")
    assert "&" not in whole
    assert "<" not in whole
    assert text.encode("utf-8")


def test_text_that_fits_is_not_cut() -> None:
    assert escape("a & b < c > d", 100) == "a &amp; b &lt; c &gt; d"
    assert escape("x" * 3000, 3000) == "x" * 3000
    assert escape("x" * 3001, 3000) == "x" * 2999 + "…"


def test_text_can_not_run_backwards() -> None:
    assert escape("gpj.\u202eexe\u2066", 100) == "gpj.�exe�"


def test_random_text_always_makes_a_payload_slack_takes() -> None:
    dice = random.Random(7)
    alphabet = "ab&<>|!@#*\n\t\x00😀é`_~\u202e" + "\ud800"
    for _ in range(300):
        text = "".join(dice.choices(alphabet, k=dice.randrange(6000)))
        told = message(title=text, text=text, facts=((text[:50], text),) * dice.randrange(25), link="https://x/" + text)
        assert problem_of(payload(told)) == ""


LINKS = [
    pytest.param("javascript:alert(1)", "", id="another scheme is not linked"),
    pytest.param("", "", id="no link"),
    pytest.param("https://a/" + "x" * 4000, "", id="an endless address is left out"),
    pytest.param("https://a/?x=1&y=2", "<https://a/?x=1&amp;y=2|Open the incident>", id="an ampersand is escaped"),
    pytest.param("https://a/|<!channel>", "<https://a/%7C%3C!channel%3E|Open the incident>", id="nobody breaks out of a link"),
]


@pytest.mark.parametrize(("link", "shown"), LINKS)
def test_links(link: str, shown: str) -> None:
    blocks = payload(message(link=link))["blocks"]
    texts = [block["text"]["text"] for block in blocks if block["type"] == "section" and "text" in block]  # type: ignore[attr-defined]
    assert [text for text in texts if "Open the incident" in text] == ([shown] if shown else [])


@pytest.mark.parametrize("moment", Moment)
def test_every_moment_has_a_mark(moment: Moment) -> None:
    assert problem_of(payload(message(moment=moment))) == ""


REFUSALS = [
    pytest.param(Fault(404, "no_service"), NotFoundError, "create a new one", id="webhook removed"),
    pytest.param(Fault(403, "invalid_token"), ForbiddenError, "revoked", id="webhook revoked"),
    pytest.param(Fault(410, "channel_is_archived"), PermanentError, "archived", id="channel archived"),
    pytest.param(Fault(400, "invalid_payload"), PermanentError, "invalid_payload", id="payload refused"),
    pytest.param(Fault(302, "moved"), PermanentError, "redirect is not followed", id="redirected"),
    pytest.param(Fault(500), TemporaryError, "internal error", id="Slack is broken"),
    pytest.param(Fault(503), TemporaryError, "503", id="Slack is down"),
]


@pytest.mark.parametrize(("fault", "kind", "said"), REFUSALS)
async def test_refusals(fault: Fault, kind: type[Exception], said: str, slack: SlackCatcher, client: httpx.AsyncClient) -> None:
    slack.fail(fault)
    with pytest.raises(kind, match=said):
        await Slack(client, slack.url).send(delivery())
    assert slack.messages == []


async def test_too_fast_says_how_long_to_wait(slack: SlackCatcher, client: httpx.AsyncClient) -> None:
    slack.fail(Fault(429, "rate_limited", retry_after="7"))
    with pytest.raises(TemporaryError) as raised:
        await Slack(client, slack.url).send(delivery())
    assert raised.value.retry_after == timedelta(seconds=7)


async def test_a_lost_answer_leaves_the_outcome_unknown(slack: SlackCatcher, client: httpx.AsyncClient) -> None:
    slack.fail(Fault(hang=True, after_accepting=True))
    async with new_client(total_timeout=timedelta(milliseconds=100)) as impatient:
        with pytest.raises(OutcomeUnknownError):
            await Slack(impatient, slack.url).send(delivery())
    assert len(slack.messages) == 1


async def test_the_webhook_address_is_in_no_error_and_no_log(
    slack: SlackCatcher, client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    secret = "T000/B000/catcher"
    errors: list[BaseException] = []
    for fault in (Fault(400, f"bad {slack.url} {secret}"), Fault(500, slack.url), Fault(429, slack.url), Fault(302, slack.url)):
        slack.fail(fault)
        with pytest.raises((TemporaryError, PermanentError)) as raised:
            await Slack(client, slack.url).send(delivery())
        errors.append(raised.value)
    await Slack(client, slack.url).send(delivery())
    await slack.__aexit__(None, None, None)
    for url in (slack.url, f"ftp://x/{secret}", f"http://[::1/{secret}", f"http://127.0.0.1:1/{secret}"):
        async with new_client(connect_timeout=timedelta(seconds=1)) as other:
            with pytest.raises((TemporaryError, PermanentError)) as raised:
                await Slack(other, url).send(delivery())
        errors.append(raised.value)

    # The first fault quotes the path by itself, as no service does; what we can recognise is the address.
    said = [str(error) for error in errors[1:]] + [
        record.getMessage() for record in caplog.records if not record.name.startswith("uvicorn")
    ]
    assert any("HTTP Request" in line for line in said)
    assert [line for line in said if secret in line] == []
    assert slack.url not in str(errors[0])
    for error in errors:
        assert error.__cause__ is None or secret not in repr(error.__cause__)


async def test_a_closed_port_is_unreachable(client: httpx.AsyncClient) -> None:
    async with SlackCatcher() as gone:
        url = gone.url
    with pytest.raises(UnreachableError):
        await Slack(client, url).send(delivery())
