"""A Slack of our own: an incoming webhook and an API for a bot that refuse what Slack refuses and keep the rest."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import orjson
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from responder.ports import Clock
from responder.sandbox.catcher import Catcher
from responder.sandbox.slack_workspace import SlackWorkspace

TOKEN = "T000/B000/catcher"  # noqa: S105 - of a webhook that leads nowhere
MOST_BLOCKS = 50
MOST_ACTIONS = 25
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
    """`url` is the webhook's address, `messages` what was accepted there; `api_url` and `workspace` are what a bot uses.

    check: looks at each message of a bot, too, and gives Slack's word for what is wrong, "" when nothing is.
    """

    def __init__(self, clock: Clock | None = None, port: int = 0, check: Callable[[object], str] = lambda _: "") -> None:
        self.messages: list[CaughtMessage] = []
        self.workspace = SlackWorkspace(lambda payload: problem_of(payload) or check(payload))
        super().__init__(clock, port)

    @property
    def url(self) -> str:
        return f"{self.base_url}/services/{TOKEN}"

    @property
    def api_url(self) -> str:
        return f"{self.base_url}/api"

    def response_url(self, name: str) -> str:
        return f"{self.base_url}/actions/{name}"

    def caught(self) -> object:
        return {
            "workspace": self.workspace.caught(),
            "messages": [
                {"at": one.at, "shown": one.shown, "mentions": one.mentions, "payload": one.payload} for one in self.messages
            ],
        }

    def _routes(self) -> Sequence[Route]:
        webhook = Route("/services/{token:path}", self._guarded(self._post), methods=["POST"])
        return [webhook, *self.workspace.routes(self._guarded)]

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


def _is_block(block: object) -> bool:  # noqa: PLR0911 (a table)
    if not isinstance(block, dict):
        return False
    match block.get("type"):
        case "divider":
            return True
        case "header":
            return _is_text(block.get("text"), 150, ("plain_text",))
        case "actions":
            elements = block.get("elements")
            return isinstance(elements, list) and 1 <= len(elements) <= MOST_ACTIONS and all(map(_is_button, elements))
        case "context":
            return _are_texts(block.get("elements"), 3000)
        case "section":
            text, fields = block.get("text"), block.get("fields")
            given = text is not None or fields is not None
            return given and (text is None or _is_text(text, 3000)) and (fields is None or _are_texts(fields, 2000))
        case _:
            return False


def _is_button(element: object) -> bool:
    """Of what an actions block may hold, buttons are all we use."""
    if not isinstance(element, dict) or element.get("type") != "button" or not _is_text(element.get("text"), 75, ("plain_text",)):
        return False
    texts = (("action_id", 255), ("value", 2000), ("url", 3000))
    if not all(isinstance(element.get(name, ""), str) and len(element.get(name, "")) <= limit for name, limit in texts):
        return False
    return element.get("style", "primary") in ("primary", "danger") and _is_confirm(element.get("confirm"))


def _is_confirm(confirm: object) -> bool:
    if confirm is None:
        return True
    limits = (("title", 100), ("text", 300), ("confirm", 30), ("deny", 30))
    return isinstance(confirm, dict) and all(_is_text(confirm.get(name), limit) for name, limit in limits)


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
