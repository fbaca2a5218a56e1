"""Slack's side of a conversation: what it takes as a message, by its own library, and what it sends when people press or type."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from itertools import count
from typing import Any
from urllib.parse import urlencode

import httpx
from slack_sdk.errors import SlackObjectFormationError
from slack_sdk.models.blocks import Block

from responder.sandbox.catchers import SlackCatcher
from responder.sandbox.slack_workspace import CHANNEL, Post

SIGNING_SECRET = "signing-secret-of-the-tests"


def block_kit_problem(payload: object) -> str:
    """What slack_sdk's models say about a message's blocks: "invalid_blocks" beyond a limit, and for what they do not know."""
    blocks = payload.get("blocks") if isinstance(payload, Mapping) else None
    if blocks is None:
        return ""
    try:
        if [block.to_dict() for block in Block.parse_all(blocks)] != [json.loads(json.dumps(one)) for one in blocks]:
            return "invalid_blocks"
    except (SlackObjectFormationError, AttributeError, TypeError, KeyError, ValueError):
        return "invalid_blocks"
    return ""


def signed(form: Mapping[str, str], at: datetime, secret: str = SIGNING_SECRET) -> tuple[bytes, dict[str, str]]:
    """Body and headers as Slack sends them."""
    body = urlencode(form).encode()
    stamp = str(int(at.timestamp()))
    digest = hmac.new(secret.encode(), f"v0:{stamp}:".encode() + body, hashlib.sha256).hexdigest()
    headers = {
        "Content-Type": "application/x-www-form-urlencoded",
        "X-Slack-Request-Timestamp": stamp,
        "X-Slack-Signature": f"v0={digest}",
    }
    return body, headers


def pressed(button: Mapping[str, Any], user: str, post_ts: str, response_url: str) -> dict[str, str]:
    """The form of a press, built like the documented sample."""
    payload = {
        "type": "block_actions",
        "team": {"id": "T9TK3CUKW", "domain": "example"},
        "user": {"id": user, "username": "whoever", "team_id": "T9TK3CUKW"},
        "api_app_id": "AABA1ABCD",
        "token": "9s8d9as89d8as9d8as989",
        "container": {"type": "message", "message_ts": post_ts, "channel_id": CHANNEL, "is_ephemeral": False},
        "trigger_id": "12321423423.333649436676.d8c1bb837935619ccad0f624c448ffb3",
        "channel": {"id": CHANNEL, "name": "ops"},
        "message": {"ts": post_ts, "type": "message", "text": "This content can't be displayed."},
        "response_url": response_url,
        "actions": [{**button, "block_id": "=qXel", "action_ts": "1548426417.840180"}],
    }
    return {"payload": json.dumps(payload)}


@dataclass
class SlackHands:
    """People at Slack. http: leads to the service."""

    catcher: SlackCatcher
    http: httpx.AsyncClient
    clock: Callable[[], datetime]
    _numbers: count[int] = field(default_factory=lambda: count(1))

    async def press(self, post: Post, label: str, user: str) -> tuple[httpx.Response, str]:
        """The answer, and the name of the response_url; the button must be on the message now."""
        name = f"press-{next(self._numbers)}"
        form = pressed(post.buttons[label], user, post.ts, self.catcher.response_url(name))
        return await self.send("interactions", form), name

    async def say(self, text: str, user: str) -> httpx.Response:
        name = f"say-{next(self._numbers)}"
        form = {
            "token": "x",
            "team_id": "T9TK3CUKW",
            "channel_id": CHANNEL,
            "user_id": user,
            "user_name": "whoever",
            "command": "/responder",
            "text": text,
            "response_url": self.catcher.response_url(name),
            "trigger_id": str(next(self._numbers)),
            "api_app_id": "AABA1ABCD",
        }
        return await self.send("commands", form)

    async def send(self, way: str, form: Mapping[str, str]) -> httpx.Response:
        body, headers = signed(form, self.clock())
        headers["Authorization"] = ""
        return await self.http.post(f"/webhooks/slack/{way}", content=body, headers=headers)
