"""Slack's API as the catcher plays it: answers and limits are those of Slack's documentation and of Slack's own library."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from responder.sandbox.catchers import SlackCatcher
from responder.sandbox.slack_catcher import problem_of
from responder.sandbox.slack_workspace import BOT_TOKEN, CHANNEL
from tests.harness.slack import block_kit_problem, pressed

# As documented for chat.postMessage, chat.update and block_actions, with what is in them left out.
POSTED = {
    "ok": True,
    "channel": "C123ABC456",
    "ts": "1503435956.000247",
    "message": {"text": "", "ts": "", "bot_id": "", "type": ""},
}
UPDATED = {"ok": True, "channel": "C123ABC456", "ts": "1401383885.000061", "text": "", "message": {"text": "", "user": ""}}
PRESSED = {
    "type": "block_actions",
    "team": {"id": "", "domain": ""},
    "user": {"id": "", "username": "", "team_id": ""},
    "api_app_id": "",
    "token": "",
    "container": {"type": "", "message_ts": "", "channel_id": "", "is_ephemeral": False},
    "trigger_id": "",
    "channel": {"id": "", "name": ""},
    "message": {"type": "", "text": "", "ts": ""},
    "response_url": "",
    "actions": [{"action_id": "", "block_id": "", "text": {"type": "", "text": ""}, "value": "", "type": "", "action_ts": ""}],
}
BUTTON = {"type": "button", "action_id": "WaXA", "text": {"type": "plain_text", "text": "View"}, "value": "click_me_123"}


@pytest.fixture
async def slack() -> AsyncIterator[SlackCatcher]:
    async with SlackCatcher(check=block_kit_problem) as catcher:
        yield catcher


async def call(slack: SlackCatcher, method: str, body: object, token: str = f"Bearer {BOT_TOKEN}", **headers: str) -> Any:
    async with httpx.AsyncClient(trust_env=False) as http:
        answer = await http.post(f"{slack.api_url}/{method}", json=body, headers={"Authorization": token, **headers})
    assert answer.status_code == 200  # failures, too
    return answer.json()


def shape(value: object) -> object:
    """Names only."""
    if isinstance(value, dict):
        return {name: shape(inner) for name, inner in value.items()}
    return [shape(value[0])] if isinstance(value, list) and value else type(value).__name__


def covers(whole: Any, part: Any) -> bool:
    if isinstance(part, dict):
        return isinstance(whole, dict) and all(name in whole and covers(whole[name], inner) for name, inner in part.items())
    if isinstance(part, list):
        return isinstance(whole, list) and covers(whole[0], part[0])
    return bool(whole == part)


async def test_answers_have_the_documented_form(slack: SlackCatcher) -> None:
    posted = await call(slack, "chat.postMessage", {"channel": "#ops", "text": "hello"})
    assert covers(shape(posted), shape(POSTED))
    updated = await call(slack, "chat.update", {"channel": posted["channel"], "ts": posted["ts"], "text": "bye"})
    assert covers(shape(updated), shape(UPDATED))


def test_a_press_has_the_documented_form() -> None:
    payload = json.loads(pressed(BUTTON, "UA8RXUSPL", "1548261231.000200", "https://hooks.slack.com/actions/x")["payload"])
    assert covers(shape(payload), shape(PRESSED))


async def test_text_without_blocks_takes_the_blocks_away(slack: SlackCatcher) -> None:
    blocks = [{"type": "actions", "elements": [BUTTON]}]
    posted = await call(slack, "chat.postMessage", {"channel": CHANNEL, "text": "a", "blocks": blocks})
    post = slack.workspace.posts[posted["ts"]]
    assert list(post.buttons) == ["View"]
    await call(slack, "chat.update", {"channel": CHANNEL, "ts": posted["ts"], "text": "b"})
    assert list(post.buttons) == []


REFUSED = [
    ("no token", "chat.postMessage", {"channel": CHANNEL, "text": "x"}, "", "not_authed"),
    ("another token", "chat.postMessage", {"channel": CHANNEL, "text": "x"}, "Bearer xoxb-1", "invalid_auth"),
    ("another channel", "chat.postMessage", {"channel": "C1", "text": "x"}, None, "channel_not_found"),
    ("nothing to say", "chat.postMessage", {"channel": CHANNEL}, None, "no_text"),
    ("an unknown thread", "chat.postMessage", {"channel": CHANNEL, "text": "x", "thread_ts": "1.1"}, None, "thread_not_found"),
    ("an unknown message", "chat.update", {"channel": CHANNEL, "ts": "1.1", "text": "x"}, None, "message_not_found"),
    ("a channel by name", "chat.update", {"channel": "#ops", "ts": "1.1", "text": "x"}, None, "channel_not_found"),
    ("a list", "chat.update", [], None, "json_not_object"),
]


@pytest.mark.parametrize(("method", "body", "token", "error"), [one[1:] for one in REFUSED], ids=[one[0] for one in REFUSED])
async def test_refusals_are_told_in_the_body(
    method: str, body: object, token: str | None, error: str, slack: SlackCatcher
) -> None:
    answer = await call(slack, method, body, f"Bearer {BOT_TOKEN}" if token is None else token)
    assert answer == {"ok": False, "error": error}


async def test_an_answer_address_can_be_used_five_times(slack: SlackCatcher) -> None:
    async with httpx.AsyncClient(trust_env=False) as http:
        seen = [(await http.post(slack.response_url("a"), json={"text": "x"})).status_code for _ in range(6)]
    assert seen == [200] * 5 + [404]


def text(length: int, kind: str = "plain_text") -> dict[str, object]:
    return {"type": kind, "text": "x" * length}


def actions(**changes: object) -> dict[str, object]:
    return {"type": "actions", "elements": [{**BUTTON, **changes}]}


CONFIRM = {"title": text(100), "text": text(300), "confirm": text(30), "deny": text(30)}
BLOCKS = [
    ("a header", {"type": "header", "text": text(150)}, True),
    ("a header too long", {"type": "header", "text": text(151)}, False),
    ("a section", {"type": "section", "text": text(3000, "mrkdwn")}, True),
    ("a section too long", {"type": "section", "text": text(3001, "mrkdwn")}, False),
    ("a section of nothing", {"type": "section"}, False),
    ("ten fields", {"type": "section", "fields": [text(9, "mrkdwn")] * 10}, True),
    ("eleven fields", {"type": "section", "fields": [text(9, "mrkdwn")] * 11}, False),
    ("ten texts of context", {"type": "context", "elements": [text(9, "mrkdwn")] * 10}, True),
    ("eleven texts of context", {"type": "context", "elements": [text(9, "mrkdwn")] * 11}, False),
    ("a button", actions(), True),
    ("a button with a long label", actions(text=text(75)), True),
    ("a button with a label too long", actions(text=text(76)), False),
    ("a button with a long value", actions(value="x" * 2000), True),
    ("a button with a value too long", actions(value="x" * 2001), False),
    ("a button with an id too long", actions(action_id="x" * 256), False),
    ("a button of danger", actions(style="danger"), True),
    ("a button of another style", actions(style="loud"), False),
    ("a button that asks", actions(confirm=CONFIRM), True),
    ("a button that asks at length", actions(confirm={**CONFIRM, "text": text(301)}), False),
    ("a button that asks with a long yes", actions(confirm={**CONFIRM, "confirm": text(31)}), False),
    ("25 buttons", {"type": "actions", "elements": [BUTTON] * 25}, True),
    ("26 buttons", {"type": "actions", "elements": [BUTTON] * 26}, False),
]


@pytest.mark.parametrize(("block", "is_good"), [one[1:] for one in BLOCKS], ids=[one[0] for one in BLOCKS])
def test_the_catcher_and_slacks_own_models_draw_the_line_at_the_same_place(block: dict[str, Any], is_good: bool) -> None:
    payload = {"text": "x", "blocks": [block]}
    assert (problem_of(payload), block_kit_problem(payload)) == (("", "") if is_good else ("invalid_blocks", "invalid_blocks"))
