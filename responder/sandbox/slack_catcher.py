"""A Slack of our own: an incoming webhook that refuses what Slack refuses and keeps the rest."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import orjson
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from responder.ports import Clock
from responder.sandbox.catcher import Catcher

TOKEN = "T000/B000/catcher"  # noqa: S105 - of a webhook that leads nowhere
MOST_BLOCKS = 50
_CONTROL = re.compile(r"<([!@#][^>]*)>")
_LINK = re.compile(r"<(?:(https?:[^|>]*)\|)?([^>]*)>")


@dataclass(frozen=True, slots=True)
class CaughtMessage:
    """One accepted post. payload: as it was sent."""

    at: datetime
    payload: Mapping[str, object]

    @property
    def texts(self) -> tuple[str, ...]:
        """Every text in it, as sent: first the fallback, then the blocks' in order."""
        return (str(self.payload.get("text", "")), *_texts(self.payload.get("blocks")))

    @property
    def shown(self) -> str:
        """What people read, without the fallback."""
        return "\n".join(html.unescape(_LINK.sub(r"\2", text)) for text in self.texts[1:])

    @property
    def parsed(self) -> tuple[str, ...]:
        """The texts in which Slack looks for mentions and links; `plain_text` is shown as it is."""
        return (str(self.payload.get("text", "")), *_texts(self.payload.get("blocks"), plain=False))

    @property
    def mentions(self) -> tuple[str, ...]:
        """What would ring somewhere: `!channel`, `@U…`, `#C…`."""
        return tuple(found for text in self.parsed for found in _CONTROL.findall(text))


class SlackCatcher(Catcher):
    """`url` is the webhook's address, `messages` what was accepted."""

    def __init__(self, clock: Clock | None = None, port: int = 0) -> None:
        self.messages: list[CaughtMessage] = []
        super().__init__(clock, port)

    @property
    def url(self) -> str:
        return f"{self.base_url}/services/{TOKEN}"

    def caught(self) -> object:
        return {
            "messages": [
                {"at": one.at, "shown": one.shown, "mentions": one.mentions, "payload": one.payload} for one in self.messages
            ]
        }

    def _routes(self) -> Sequence[Route]:
        return [Route("/services/{token:path}", self._guarded(self._post), methods=["POST"])]

    async def _post(self, request: Request) -> Response:
        if request.path_params["token"] != TOKEN:
            return PlainTextResponse("no_service", 404)
        try:
            payload = orjson.loads(await request.body())
        except orjson.JSONDecodeError:
            return PlainTextResponse("invalid_payload", 400)
        problem = problem_of(payload)
        if problem:
            return PlainTextResponse(problem, 400)
        self.messages.append(CaughtMessage(self._now(len(self.messages)), payload))
        return PlainTextResponse("ok")


def problem_of(payload: object) -> str:
    """Slack's word for what is wrong with a message, "" when nothing is."""
    if not isinstance(payload, dict):
        return "invalid_payload"
    blocks = payload.get("blocks")
    if not payload.get("text") and not blocks:
        return "no_text"
    if not isinstance(payload.get("text", ""), str):
        return "invalid_payload"
    if blocks is not None and (not isinstance(blocks, list) or len(blocks) > MOST_BLOCKS or not all(map(_is_block, blocks))):
        return "invalid_blocks"
    return ""


def _is_block(block: object) -> bool:
    if not isinstance(block, dict):
        return False
    match block.get("type"):
        case "divider":
            return True
        case "header":
            return _is_text(block.get("text"), 150, ("plain_text",))
        case "context":
            return _are_texts(block.get("elements"), 3000)
        case "section":
            text, fields = block.get("text"), block.get("fields")
            given = text is not None or fields is not None
            return given and (text is None or _is_text(text, 3000)) and (fields is None or _are_texts(fields, 2000))
        case _:
            return False


def _are_texts(texts: object, limit: int) -> bool:
    return isinstance(texts, list) and 1 <= len(texts) <= 10 and all(_is_text(text, limit) for text in texts)


def _is_text(text: object, limit: int, kinds: Sequence[str] = ("mrkdwn", "plain_text")) -> bool:
    """limit: in UTF-16 units, the strictest way to count."""
    if not isinstance(text, dict) or text.get("type") not in kinds or not isinstance(text.get("text"), str):
        return False
    if ("verbatim" in text and text["type"] != "mrkdwn") or ("emoji" in text and text["type"] != "plain_text"):
        return False
    return 1 <= len(text["text"].encode("utf-16-le")) // 2 <= limit


def _texts(part: object, *, plain: bool = True) -> Iterator[str]:
    """plain: False leaves `plain_text` out."""
    if isinstance(part, list):
        for item in part:
            yield from _texts(item, plain=plain)
    elif isinstance(part, dict) and (plain or part.get("type") != "plain_text"):
        for name in ("text", "fields", "elements"):
            value = part.get(name)
            if isinstance(value, str):
                yield value
            else:
                yield from _texts(value, plain=plain)
