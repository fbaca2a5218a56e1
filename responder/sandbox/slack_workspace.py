"""A Slack of our own for a bot: messages that are posted and changed, threads, and answers at response_urls."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

BOT_TOKEN = "xoxb-catcher-token"  # noqa: S105 - of a workspace that leads nowhere
CHANNEL, CHANNEL_NAME = "C0CATCHER", "#ops"
MOST_ANSWERS = 5
_LONGEST_UPDATE = 4000
Problem = Callable[[object], str]
Guard = Callable[[Callable[[Request], Any]], Callable[[Request], Any]]


@dataclass
class Post:
    """A message as people see it now. payloads: every version of it, the newest last. thread: what was said below it."""

    ts: str
    payloads: list[Mapping[str, Any]]
    thread: list[Mapping[str, Any]] = field(default_factory=list)

    @property
    def payload(self) -> Mapping[str, Any]:
        return self.payloads[-1]

    @property
    def buttons(self) -> Mapping[str, Mapping[str, Any]]:
        """By what is written on them, those that can be pressed now."""
        found: dict[str, Mapping[str, Any]] = {}
        for block in self.payload.get("blocks") or ():
            if block.get("type") == "actions":
                found |= {element["text"]["text"]: element for element in block["elements"]}
        return found


class SlackWorkspace:
    """problem_of: Slack's word for what is wrong with a message, "" when nothing is.

    posts: first messages by ts, in order. answers: what came to each response_url.
    """

    def __init__(self, problem_of: Problem) -> None:
        self._problem_of = problem_of
        self._numbers = count(1)
        self.posts: dict[str, Post] = {}
        self.answers: dict[str, list[Mapping[str, Any]]] = {}

    def routes(self, guarded: Guard) -> Sequence[Route]:
        return [
            Route("/api/chat.postMessage", guarded(self._post), methods=["POST"]),
            Route("/api/chat.update", guarded(self._update), methods=["POST"]),
            Route("/actions/{name}", guarded(self._answer), methods=["POST"]),
        ]

    def caught(self) -> object:
        return {
            "posts": [{"ts": one.ts, "payload": one.payload, "thread": one.thread} for one in self.posts.values()],
            "answers": self.answers,
        }

    async def _post(self, request: Request) -> Response:
        body, error = await self._read(request)
        if body.get("channel") not in (CHANNEL, CHANNEL_NAME, CHANNEL_NAME[1:]):
            error = error or "channel_not_found"
        thread = body.get("thread_ts")
        if thread is not None and thread not in self.posts:
            error = error or "thread_not_found"
        error = error or self._problem_of(body)
        if error:
            return _refused(error)
        ts = f"1772366400.{next(self._numbers):06d}"
        if thread is None:
            self.posts[ts] = Post(ts, [body])
        else:
            self.posts[thread].thread.append(body)
        message = {"type": "message", "subtype": "bot_message", "text": body.get("text", ""), "ts": ts, "bot_id": "B0CATCHER"}
        return JSONResponse({"ok": True, "channel": CHANNEL, "ts": ts, "message": message})

    async def _update(self, request: Request) -> Response:
        """Without `blocks` those that were there are gone, as at Slack."""
        body, error = await self._read(request)
        if body.get("channel") != CHANNEL:
            error = error or "channel_not_found"
        if body.get("ts") not in self.posts:
            error = error or "message_not_found"
        if len(str(body.get("text", ""))) > _LONGEST_UPDATE:
            error = error or "msg_too_long"
        error = error or self._problem_of(body)
        if error:
            return _refused(error)
        self.posts[body["ts"]].payloads.append(body)
        text = body.get("text", "")
        return JSONResponse(
            {"ok": True, "channel": CHANNEL, "ts": body["ts"], "text": text, "message": {"text": text, "user": "U0CATCHER"}}
        )

    async def _read(self, request: Request) -> tuple[Mapping[str, Any], str]:
        """The body, and what is wrong before it is looked at."""
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme != "Bearer" or not token:
            return {}, "not_authed"
        if token != BOT_TOKEN:
            return {}, "invalid_auth"
        if not request.headers.get("content-type", "").startswith("application/json"):
            return {}, "invalid_post_type"
        try:
            body = orjson.loads(await request.body())
        except orjson.JSONDecodeError:
            return {}, "invalid_json"
        return (body, "") if isinstance(body, dict) else ({}, "json_not_object")

    async def _answer(self, request: Request) -> Response:
        name = request.path_params["name"]
        try:
            body = orjson.loads(await request.body())
        except orjson.JSONDecodeError:
            body = None
        if not isinstance(body, dict):
            return PlainTextResponse("invalid_payload", 400)
        caught = self.answers.setdefault(name, [])
        if len(caught) >= MOST_ANSWERS:
            return PlainTextResponse("used_url", 404)
        if problem := self._problem_of(body):
            return PlainTextResponse(problem, 400)
        caught.append(body)
        return PlainTextResponse("ok")


def _refused(error: str) -> Response:
    """Failures are HTTP 200, too."""
    return JSONResponse({"ok": False, "error": error})
