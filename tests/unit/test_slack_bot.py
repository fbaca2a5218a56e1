"""Slack with a bot token: one message per incident that is kept up to date, against a workspace over real HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import httpx
import pytest

from responder.clients.http import new_client
from responder.domain.notification import Message, Moment
from responder.domain.offer import Offer, OfferKind
from responder.errors import ForbiddenError, OutcomeUnknownError, PermanentError, TemporaryError
from responder.notifiers.slack_api import ResponseUrls, SlackApi
from responder.notifiers.slack_bot import SlackBot, read_value, value_of
from responder.sandbox.catchers import CaughtMessage, Fault, SlackCatcher
from responder.sandbox.slack_workspace import BOT_TOKEN, CHANNEL, CHANNEL_NAME, Post
from tests.harness.slack import block_kit_problem
from tests.unit.message_values import NOON, delivery, message

EVERY_OFFER = tuple(Offer(kind, "backup" if kind is OfferKind.APPROVE else "") for kind in OfferKind)


@pytest.fixture
async def slack() -> AsyncIterator[SlackCatcher]:
    async with SlackCatcher(check=block_kit_problem) as catcher:
        yield catcher


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with new_client() as opened:
        yield opened


def bot(slack: SlackCatcher, client: httpx.AsyncClient, token: str = BOT_TOKEN, channel: str = CHANNEL_NAME) -> SlackBot:
    return SlackBot(SlackApi(client, token, slack.api_url), channel)


def live(number: int = 1, standing: str = "Running", offers: tuple[Offer, ...] = (), **changes: Any) -> Message:
    return replace(message(number, **changes), standing=standing, offers=offers)


def only(slack: SlackCatcher) -> Post:
    (post,) = slack.workspace.posts.values()
    return post


def shown(payload: Mapping[str, Any]) -> str:
    return str(payload["blocks"])


async def test_one_message_is_changed_and_what_is_said_later_stands_in_its_thread(
    slack: SlackCatcher, client: httpx.AsyncClient
) -> None:
    carrier = bot(slack, client)
    remote = await carrier.send(delivery(live()))
    assert (remote["channel"], remote["ts"]) == (CHANNEL, only(slack).ts)
    remote = await carrier.send(delivery(live(2, "Monitoring", moment=Moment.RECOVERED, text="It works again."), remote=remote))
    post = only(slack)
    assert len(post.payloads) == 2
    assert "It works again." in shown(post.payload)
    assert "*Now:* Monitoring" in shown(post.payload)
    assert [("It works again." in shown(reply), "reply_broadcast" in reply) for reply in post.thread] == [(True, False)]
    assert post.payload["metadata"]["event_payload"] == {"incident": "inc_7", "message": "inc_7-2"}
    assert "inc_7-2" in shown(post.thread[0])


@pytest.mark.parametrize("moment", [Moment.WAITING, Moment.FAILED])
async def test_what_needs_people_is_seen_in_the_channel(moment: Moment, slack: SlackCatcher, client: httpx.AsyncClient) -> None:
    carrier = bot(slack, client)
    remote = await carrier.send(delivery(live()))
    await carrier.send(delivery(live(2, moment=moment), remote=remote))
    assert only(slack).thread[0]["reply_broadcast"] is True


async def test_a_call_for_somebody_is_seen_in_the_channel_and_a_mere_note_is_not(
    slack: SlackCatcher, client: httpx.AsyncClient
) -> None:
    carrier = bot(slack, client)
    remote = await carrier.send(delivery(live()))
    await carrier.send(delivery(live(2, moment=Moment.NOTICE, addressed=True), remote=remote))
    await carrier.send(delivery(live(3, moment=Moment.NOTICE), remote=remote))
    assert ["reply_broadcast" in reply for reply in only(slack).thread] == [True, False]


async def test_a_silent_message_changes_standing_and_buttons_and_nothing_else(
    slack: SlackCatcher, client: httpx.AsyncClient
) -> None:
    carrier = bot(slack, client)
    asked = live(
        1, "Waits for the yes", (Offer(OfferKind.APPROVE), Offer(OfferKind.HOLD)), moment=Moment.WAITING, text="Roll back?"
    )
    remote = await carrier.send(delivery(asked))
    assert list(only(slack).buttons) == ["Approve", "Hold"]
    again = await carrier.send(delivery(live(2, "Running", (), text="", title="", silent=True), remote=remote))
    post = only(slack)
    assert (list(post.buttons), post.thread) == ([], [])
    assert "Roll back?" in shown(post.payload)
    assert "*Now:* Running" in shown(post.payload)
    assert again == remote


async def test_a_silent_message_about_what_nobody_was_told_is_dropped(slack: SlackCatcher, client: httpx.AsyncClient) -> None:
    assert await bot(slack, client).send(delivery(live(silent=True))) == {}
    assert slack.workspace.posts == {}


async def test_every_button_is_taken_by_slacks_own_models_and_names_incident_and_step(
    slack: SlackCatcher, client: httpx.AsyncClient
) -> None:
    await bot(slack, client).send(delivery(live(offers=EVERY_OFFER)))
    buttons = only(slack).buttons
    assert list(buttons) == [
        "Approve", "Reject", "Stop countdown", "Cancel rollback", "Acknowledge", "Suppress 1 h", "Hold",
    ]  # fmt: skip
    assert read_value(buttons["Approve"]["value"]) == ("inc_7", "backup")
    assert read_value(value_of("inc_7", Offer(OfferKind.HOLD))) == ("inc_7", "")


@pytest.mark.parametrize("text", ["<!channel> <@U1>", "&" * 10_000, "😀" * 5000, "", "x\x00\u202e" * 3000])
async def test_hostile_text_stays_within_limits_and_rings_nobody(
    text: str, slack: SlackCatcher, client: httpx.AsyncClient
) -> None:
    told = live(1, text, EVERY_OFFER, title=text, text=text, facts=((text, text),) * 30)
    carrier = bot(slack, client)
    remote = await carrier.send(delivery(told))
    await carrier.send(delivery(replace(told, id="inc_7-2"), remote=remote))
    for payload in (*only(slack).payloads, *only(slack).thread):
        assert CaughtMessage(NOON, payload).mentions == ()
    assert len(only(slack).thread) == 1


async def test_a_message_that_somebody_deleted_is_posted_anew(slack: SlackCatcher, client: httpx.AsyncClient) -> None:
    carrier = bot(slack, client)
    remote = await carrier.send(delivery(live()))
    slack.workspace.posts.clear()
    silent = await carrier.send(delivery(live(2, silent=True), remote=remote))
    assert (silent, slack.workspace.posts) == (remote, {})
    again = await carrier.send(delivery(live(3), remote=remote))
    assert again["ts"] == only(slack).ts != remote["ts"]


ERRORS = [
    pytest.param("ratelimited", TemporaryError, "ratelimited", id="too fast, in the body"),
    pytest.param("internal_error", TemporaryError, "internal_error", id="Slack is broken"),
    pytest.param("invalid_auth", ForbiddenError, "the bot token is wrong", id="a wrong token"),
    pytest.param("token_revoked", ForbiddenError, "install the app again", id="a revoked token"),
    pytest.param("missing_scope", ForbiddenError, "shipped manifest", id="a missing scope"),
    pytest.param("not_in_channel", ForbiddenError, "invite the bot", id="not in the channel"),
    pytest.param("is_archived", PermanentError, "archived", id="an archived channel"),
    pytest.param("invalid_blocks", PermanentError, "invalid_blocks", id="blocks refused"),
    pytest.param("something_new", PermanentError, "something_new", id="a code we have not heard of"),
]


@pytest.mark.parametrize(("code", "kind", "said"), ERRORS)
async def test_failures_with_status_200(
    code: str, kind: type[Exception], said: str, slack: SlackCatcher, client: httpx.AsyncClient
) -> None:
    slack.fail(Fault(200, f'{{"ok": false, "error": "{code}"}}', retry_after="7"))
    with pytest.raises(kind, match=said) as raised:
        await bot(slack, client).send(delivery(live()))
    if code == "ratelimited":
        assert isinstance(raised.value, TemporaryError)
        assert raised.value.retry_after == timedelta(seconds=7)
    assert BOT_TOKEN not in str(raised.value)


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        pytest.param(Fault(429, '{"ok": false, "error": "ratelimited"}', retry_after="3"), TemporaryError, id="429"),
        pytest.param(Fault(502, "<html>bad gateway</html>"), TemporaryError, id="502"),
        pytest.param(Fault(200, "<html>a page of somebody's proxy</html>"), TemporaryError, id="200 that is no JSON"),
        pytest.param(Fault(200, "[]"), TemporaryError, id="200 that is no object"),
        pytest.param(Fault(200, '{"ok": true}'), TemporaryError, id="a success that does not say where"),
    ],
)
async def test_answers_that_are_none(fault: Fault, kind: type[Exception], slack: SlackCatcher, client: httpx.AsyncClient) -> None:
    slack.fail(fault)
    with pytest.raises(kind):
        await bot(slack, client).send(delivery(live()))


async def test_a_wrong_token_and_a_wrong_channel_are_told_apart(slack: SlackCatcher, client: httpx.AsyncClient) -> None:
    with pytest.raises(ForbiddenError, match="invalid_auth"):
        await bot(slack, client, token="xoxb-other").send(delivery(live()))
    with pytest.raises(PermanentError, match="channel_not_found"):
        await bot(slack, client, channel="#nowhere").send(delivery(live()))


async def test_a_post_whose_answer_was_lost_is_posted_again_and_can_be_recognised(
    slack: SlackCatcher, client: httpx.AsyncClient
) -> None:
    slack.fail(Fault(hang=True, after_accepting=True))
    async with new_client(total_timeout=timedelta(milliseconds=100)) as impatient:
        with pytest.raises(OutcomeUnknownError):
            await bot(slack, impatient).send(delivery(live()))
    remote = await bot(slack, client).send(delivery(live(), attempts=1))
    first, second = slack.workspace.posts.values()
    assert first.payload["metadata"] == second.payload["metadata"]
    assert remote["ts"] == second.ts


@pytest.mark.parametrize(
    "url",
    [
        "https://evil.example/x",
        "http://hooks.slack.com/actions/x",
        "https://hooks.slack.com.evil.example/x",
        "https://evilslack.com/x",
        "https://user@hooks.slack.com/x",
        "http://127.0.0.1:1/x",
        "not an address",
        "",
        "http://[::1",
    ],
)
async def test_answers_go_to_slack_only(url: str, slack: SlackCatcher, client: httpx.AsyncClient) -> None:
    with pytest.raises(PermanentError, match="elsewhere than to Slack"):
        await ResponseUrls(client, slack.api_url).tell(url, "x")


async def test_an_answer_is_for_the_eyes_of_who_asked(slack: SlackCatcher, client: httpx.AsyncClient) -> None:
    await ResponseUrls(client, slack.api_url).tell(slack.response_url("a"), "not done")
    assert slack.workspace.answers["a"] == [{"response_type": "ephemeral", "replace_original": False, "text": "not done"}]
