"""Slack, by incoming webhook.

A webhook gives nothing back, so a message can't be threaded, changed or recognised: after a lost answer the same message may
appear twice, with the same id in its last line.

Whatever an alert carries is shown as text: `&`, `<` and `>` are escaped, which is what stops `<!channel>` and forged links, and
`verbatim` stops Slack from finding names and addresses by itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from urllib.parse import quote, urlsplit

import httpx

from responder.clients.http import request
from responder.domain.notification import Delivery, Message, Moment
from responder.errors import PermanentError

HEADER_LIMIT = 150
SECTION_LIMIT = 3000
FIELD_LIMIT = 2000
FIELDS_PER_SECTION = 10
MOST_FACTS = 20
LINK_LIMIT = 2000
CONTEXT_LIMIT = 300

_MARKS = {
    Moment.OPENED: "🚨",
    Moment.WAITING: "✋",
    Moment.ACTING: "⏪",
    Moment.RECOVERED: "🟢",
    Moment.RESOLVED: "✅",
    Moment.FAILED: "❌",
    Moment.NOTICE: "🔔",
}
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
# Control characters, halves of characters, and what makes text run backwards, so that it reads as something else.
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_ADVICE = {
    "no_service": "the webhook was removed or its app is gone; create a new one",
    "no_service_id": "the webhook's address is incomplete",
    "no_active_hooks": "the webhook was switched off",
    "no_team": "the workspace does not exist",
    "team_disabled": "the workspace is switched off",
    "invalid_token": "the webhook's address is wrong or was revoked",
    "channel_not_found": "the webhook's channel does not exist",
    "channel_is_archived": "the webhook's channel is archived",
    "action_prohibited": "the workspace's administrators forbid this post",
    "posting_to_general_channel_denied": "only few may post to this channel",
}


class Slack:
    """Posts messages to the channel a webhook belongs to. webhook_url is a secret."""

    def __init__(self, client: httpx.AsyncClient, webhook_url: str) -> None:
        self._client = client
        self._webhook_url = webhook_url

    async def send(self, delivery: Delivery) -> Mapping[str, str]:
        try:
            await request(self._client, "POST", self._webhook_url, service="Slack", json=payload(delivery.message))
        except PermanentError as error:
            advice = next((advice for code, advice in _ADVICE.items() if re.search(rf"\b{code}\b", str(error))), None)
            if advice is None:
                raise
            raise type(error)(f"{error} ({advice})") from None
        return delivery.remote


def payload(message: Message, *, standing: str = "", buttons: Sequence[Mapping[str, object]] = ()) -> Mapping[str, object]:
    """The message as Slack wants it: blocks, and `text` for notifications and screen readers.

    standing: a line on how the incident stands, buttons: what can be pressed; for messages that are kept up to date.
    """
    title = f"{_MARKS[message.moment]} {message.severity}: {_one_line(message.title)}"
    return {
        "text": escape(f"{title}\n{message.text}", SECTION_LIMIT),
        "blocks": list(_blocks(message, title, standing, buttons)),
        "unfurl_links": False,
        "unfurl_media": False,
    }


def escape(text: str, limit: int) -> str:
    """Escape for mrkdwn and cut to `limit` UTF-16 units (the strictest way to count), never inside an entity or a character."""
    return _cut((_ENTITIES.get(character, character) for character in _printable(text[: limit + 1])), limit)


def _blocks(
    message: Message, title: str, standing: str, buttons: Sequence[Mapping[str, object]]
) -> Iterator[Mapping[str, object]]:
    yield {"type": "header", "text": {"type": "plain_text", "text": _cut(iter(_printable(title)), HEADER_LIMIT), "emoji": False}}
    if message.text.strip():
        yield {"type": "section", "text": _mrkdwn(escape(message.text, SECTION_LIMIT))}
    if standing:
        yield {"type": "section", "text": _mrkdwn(f"*Now:* {escape(_one_line(standing), SECTION_LIMIT - 100)}")}
    fields = [_mrkdwn(_field(name, value)) for name, value in message.facts[:MOST_FACTS]]
    for start in range(0, len(fields), FIELDS_PER_SECTION):
        yield {"type": "section", "fields": fields[start : start + FIELDS_PER_SECTION]}
    link = _link(message.link)
    if link:
        yield {"type": "section", "text": _mrkdwn(link)}
    if buttons:
        yield {"type": "actions", "elements": list(buttons)}
    yield {"type": "context", "elements": [_mrkdwn(escape(f"{message.incident_id} · message {message.id}", CONTEXT_LIMIT))]}


def _field(name: str, value: str) -> str:
    label = escape(_one_line(name).replace("*", ""), 100)
    return f"*{label or '-'}*\n{escape(value.strip() or '-', FIELD_LIMIT - 110)}"


def _link(url: str) -> str:
    """A link in mrkdwn, or "" when the address can't be shown safely as one."""
    try:
        scheme = urlsplit(url).scheme
    except ValueError:
        return ""
    if scheme not in ("http", "https"):
        return ""
    quoted = re.sub(r"[\s|<>]", lambda found: quote(found[0]), _printable(url)).replace("&", "&amp;")
    return f"<{quoted}|Open the incident>" if len(quoted) <= LINK_LIMIT else ""


def _mrkdwn(text: str) -> Mapping[str, object]:
    return {"type": "mrkdwn", "text": text, "verbatim": True}


def _one_line(text: str) -> str:
    return " ".join(text[:SECTION_LIMIT].split())


def _printable(text: str) -> str:
    return _UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", text)


def _cut(pieces: Iterator[str], limit: int) -> str:
    kept: list[str] = []
    size = 0
    for piece in pieces:
        size += len(piece.encode("utf-16-le")) // 2
        if size > limit:
            return _shortened(kept, limit)
        kept.append(piece)
    return "".join(kept)


def _shortened(pieces: list[str], limit: int) -> str:
    while pieces and len("".join(pieces).encode("utf-16-le")) // 2 >= limit:
        pieces.pop()
    return "".join(pieces) + "…"
