"""Slack, with a bot token: one message per incident that is kept up to date, what is said later in its thread, and buttons.

The first message is posted; `channel` and `ts` of the answer are remembered. Each later one changes it (`chat.update`, always
with text and blocks) and, unless it is silent, goes into the thread as well; what needs people is shown in the channel too, since
a changed message rings nobody. Buttons are those that apply as the incident stands; the next change takes away what does not.

Slack knows no idempotency key, and finding out what has landed would take the right to read the channel. So a post whose answer
was lost is posted again: at least once, recognisable by our message id in its last line and its metadata. Of two first messages
only the later one is kept up to date; the buttons of the other still work, and what no longer applies is answered with why.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from responder.domain.notification import Delivery, Message, Moment
from responder.domain.offer import Offer, OfferKind
from responder.errors import NotFoundError, TemporaryError
from responder.notifiers.slack import payload
from responder.notifiers.slack_api import SlackApi

ACTION_PREFIX = "responder_"
_EVENT_TYPE = "responder_message"
_VALUE_LIMIT = 2000
_LOUD = frozenset({Moment.WAITING, Moment.FAILED})
_LABELS: Mapping[OfferKind, str] = {
    OfferKind.APPROVE: "Approve",
    OfferKind.REJECT: "Reject",
    OfferKind.STOP: "Stop countdown",
    OfferKind.CANCEL: "Cancel rollback",
    OfferKind.ACKNOWLEDGE: "Acknowledge",
    OfferKind.SUPPRESS: "Suppress 1 h",
    OfferKind.HOLD: "Hold",
}
_STYLES: Mapping[OfferKind, str] = {OfferKind.APPROVE: "primary", OfferKind.STOP: "danger", OfferKind.CANCEL: "danger"}


class SlackBot:
    """channel: id or name; what Slack answers is used from then on."""

    def __init__(self, api: SlackApi, channel: str) -> None:
        self._api = api
        self._channel = channel

    async def send(self, delivery: Delivery) -> Mapping[str, str]:
        message, known = delivery.message, delivery.remote
        if message.silent and "ts" not in known:
            return known  # nothing was said yet that could be kept up to date
        shown = _as_said_last(message, known) if message.silent else message
        if "ts" in known:
            try:
                await self._update(shown, known)
                if not message.silent:
                    await self._reply(message, known)
            except NotFoundError:  # somebody deleted it, or it is too old to be changed
                if message.silent:
                    return known
            else:
                return {**known, **_said(shown)}
        return {**known, **await self._post(shown), **_said(shown)}

    async def _post(self, message: Message) -> Mapping[str, str]:
        answer = await self._api.call("chat.postMessage", {"channel": self._channel, **_live(message)})
        channel, ts = answer.get("channel"), answer.get("ts")
        if not isinstance(channel, str) or not isinstance(ts, str):
            raise TemporaryError("Slack took a message and did not say where it is")
        return {"channel": channel, "ts": ts}

    async def _update(self, message: Message, known: Mapping[str, str]) -> None:
        await self._api.call("chat.update", {"channel": known["channel"], "ts": known["ts"], **_live(message)})

    async def _reply(self, message: Message, known: Mapping[str, str]) -> None:
        body = {"channel": known["channel"], "thread_ts": known["ts"], **_marked(message, payload(replace(message, facts=())))}
        loud = message.moment in _LOUD or message.addressed
        await self._api.call("chat.postMessage", {**body, "reply_broadcast": True} if loud else body)


def value_of(incident_id: str, offer: Offer) -> str:
    """What a button sends back; `read_value` reads it."""
    return f"{incident_id}|{offer.step}"[:_VALUE_LIMIT]


def read_value(value: str) -> tuple[str, str]:
    """Incident id and step."""
    incident_id, _, step = value.partition("|")
    return incident_id, step


def _live(message: Message) -> Mapping[str, object]:
    return _marked(
        message, payload(message, standing=message.standing, buttons=[_button(message, one) for one in message.offers])
    )


def _button(message: Message, offer: Offer) -> Mapping[str, object]:
    button: dict[str, object] = {
        "type": "button",
        "action_id": f"{ACTION_PREFIX}{offer.kind}",
        "text": {"type": "plain_text", "text": _LABELS[offer.kind], "emoji": False},
        "value": value_of(message.incident_id, offer),
    }
    if offer.kind in _STYLES:
        button["style"] = _STYLES[offer.kind]
    if offer.kind is OfferKind.HOLD:
        button["confirm"] = {
            "title": {"type": "plain_text", "text": "Hold everything?"},
            "text": {"type": "plain_text", "text": "No rollback of any target begins until somebody lets go."},
            "confirm": {"type": "plain_text", "text": "Hold"},
            "deny": {"type": "plain_text", "text": "Leave it"},
        }
    return button


def _marked(message: Message, body: Mapping[str, object]) -> Mapping[str, object]:
    marks = {"incident": message.incident_id, "message": message.id}
    return {**body, "metadata": {"event_type": _EVENT_TYPE, "event_payload": marks}}


def _said(message: Message) -> Mapping[str, str]:
    """What a silent message shows again."""
    return {"title": message.title, "text": message.text, "moment": message.moment.value}


def _as_said_last(message: Message, known: Mapping[str, str]) -> Message:
    moment = Moment(known["moment"]) if "moment" in known else message.moment
    return replace(message, title=known.get("title", message.title), text=known.get("text", message.text), moment=moment)
