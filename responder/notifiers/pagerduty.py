"""PagerDuty, Events API v2. One alert there for each incident here: its `dedup_key` is the incident's id.

| moment | what is sent |
|---|---|
| opened, waiting, failed | `trigger`; while the alert is open, PagerDuty merges it |
| notice that closes: notify only, refused, cancelled, a failed checkpoint | `trigger`; it stays open until a person ends it |
| notice that closes because the alert cleared before anything was done | `resolve` |
| notice that closes in observe mode | nothing: nobody is called for what was not to be done |
| acting | a change event: what was rolled back stands beside the alert |
| recovered | nothing: the watch goes on |
| resolved | `resolve` |
| other notice | nothing, unless it is meant for PagerDuty by name; once somebody acknowledged here: `acknowledge` |

202 does not prove effect: what is acknowledged or resolved without an open alert is dropped there, which is what we want. 400 is
never sent again; 429, 5xx and silence are, with long pauses.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from urllib.parse import urlsplit

import httpx

from responder.clients.http import request
from responder.domain.notification import Delivery, Message, Moment
from responder.domain.rulebook import Severity
from responder.domain.wording import one_line
from responder.errors import TemporaryError

ADDRESS = "https://events.pagerduty.com"
SUMMARY_LIMIT = 1024
DETAIL_LIMIT = 4000
MOST_DETAILS = 40
LINK_LIMIT = 2000
SHORTEST_PAUSE = timedelta(seconds=30)
LONGEST_PAUSE = timedelta(minutes=5)

_SEVERITY = {Severity.P0: "critical", Severity.P1: "error", Severity.P2: "warning", Severity.P3: "info"}
_ACTIONS = {
    Moment.OPENED: "trigger",
    Moment.WAITING: "trigger",
    Moment.ACTING: "change",
    Moment.RECOVERED: "",
    Moment.RESOLVED: "resolve",
    Moment.FAILED: "trigger",
}
_NO_CHANGES = "R"  # keys of rulesets begin so; they take no change events


class PagerDuty:
    """Keeps one alert in step with each incident. routing_key is a secret."""

    def __init__(self, client: httpx.AsyncClient, *, routing_key: str, address: str = ADDRESS) -> None:
        self._client = client
        self._routing_key = routing_key
        self._address = address.rstrip("/")

    async def send(self, delivery: Delivery) -> Mapping[str, str]:
        message = delivery.message
        action = action_for(message, acknowledged="acknowledged" in delivery.remote)
        if action == "change":
            if not self._routing_key.startswith(_NO_CHANGES):
                await self._post("/v2/change/enqueue", change(message), delivery.attempts)
        elif action:
            await self._post("/v2/enqueue", event(message, action), delivery.attempts)
        if action == "acknowledge":
            return {**delivery.remote, "acknowledged": message.taken_by}
        return delivery.remote

    async def _post(self, path: str, body: Mapping[str, object], attempts: int) -> None:
        try:
            await request(
                self._client,
                "POST",
                self._address + path,
                service="PagerDuty",
                json={"routing_key": self._routing_key, **body},
                secrets=(self._routing_key,),
            )
        except TemporaryError as error:
            pause = min(SHORTEST_PAUSE * 2 ** min(attempts, 10), LONGEST_PAUSE)
            raise type(error)(str(error), retry_after=max(pause, error.retry_after or pause)) from None


def action_for(message: Message, *, acknowledged: bool = False) -> str:
    """`trigger`, `acknowledge`, `resolve`, `change`, or "" for nothing. acknowledged: it was told there before."""
    if message.calm:
        return "resolve"
    if message.moment is not Moment.NOTICE:
        return _ACTIONS[message.moment]
    if message.addressed or (message.closes and message.status != "observed"):
        return "trigger"
    return "acknowledge" if message.taken_by and not message.closes and not acknowledged else ""


def dedup_key(message: Message) -> str:
    return f"responder-{message.incident_id}"[:255]


def event(message: Message, action: str) -> Mapping[str, object]:
    """The event as PagerDuty wants it, without the key."""
    if action != "trigger":
        return {"event_action": action, "dedup_key": dedup_key(message)}
    links = _links(message)
    return {
        "event_action": "trigger",
        "dedup_key": dedup_key(message),
        "client": "Responder",
        **({"client_url": links[0]["href"], "links": links} if links else {}),
        "payload": {
            "summary": _summary(message),
            "source": one_line(message.target, 250) or "responder",
            "severity": _severity(message),
            "timestamp": message.at.isoformat(),
            **({"component": one_line(message.target, 250)} if message.target else {}),
            "custom_details": _details(message),
        },
    }


def change(message: Message) -> Mapping[str, object]:
    """What was changed, for the list of changes beside the alert."""
    return {
        "payload": {
            "summary": _summary(message),
            "source": one_line(message.target, 250) or "responder",
            "timestamp": message.at.isoformat(),
            "custom_details": _details(message),
        },
        "links": _links(message),
    }


def _summary(message: Message) -> str:
    return one_line(f"{message.severity}: {message.title}. {message.text}", SUMMARY_LIMIT)


def _severity(message: Message) -> str:
    """A rollback that failed needs somebody now, whatever the alert alone would."""
    known = _SEVERITY[message.severity]
    return "error" if message.moment is Moment.FAILED and known in ("warning", "info") else known


def _details(message: Message) -> Mapping[str, str]:
    rows: Sequence[tuple[str, str]] = (("What", message.text), *message.facts, ("Message", message.id))
    details: dict[str, str] = {}
    for said, text in rows[:MOST_DETAILS]:
        name, value = one_line(said, 100), text[:DETAIL_LIMIT]
        details[name] = f"{details[name]}\n{value}"[:DETAIL_LIMIT] if name in details else value
    return details


def _links(message: Message) -> list[Mapping[str, str]]:
    try:
        usable = urlsplit(message.link).scheme in ("http", "https") and len(message.link) <= LINK_LIMIT
    except ValueError:
        usable = False
    return [{"href": message.link, "text": "Open the incident"}] if usable else []
