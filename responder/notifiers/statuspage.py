"""Atlassian Statuspage.

Anybody may read a status page, so nothing an alert carries is shown there: see `domain.public_words`.

| moment | on the page |
|---|---|
| opened | a new incident, `investigating`; components out of order |
| acting, recovered | `identified`, `monitoring` |
| resolved | `resolved`; components operational again, in the same request |
| failed | `investigating`, and it stays open: people take over |
| notice that closes | like failed if the page already shows the incident, else nothing ("refused" means nothing to readers) |
| other notice | nothing, unless it has a `public_text` |

Statuspage knows no idempotency key. Each update carries our message id, in the metadata and as the last line of its text, and
the incident carries our incident's: before anything is written, the page is read to see what has landed already. What a person
has resolved or deleted there stays as that person left it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import NamedTuple
from urllib.parse import quote

import httpx

from responder.clients.http import Answer, request
from responder.domain.notification import Delivery, Message, Moment
from responder.domain.public_words import public_text, public_title
from responder.domain.rulebook import Severity
from responder.errors import NotFoundError, PermanentError, TemporaryError

ADDRESS = "https://api.statuspage.io/v1"
SPACING = timedelta(seconds=1)  # 1 request/s per token
NAME_LIMIT = 255
BODY_LIMIT = 25_000
SEARCH_LIMIT = 100

_IMPACT = {Severity.P0: "critical", Severity.P1: "major", Severity.P2: "minor", Severity.P3: "none"}
_COMPONENT = {
    Severity.P0: "major_outage",
    Severity.P1: "partial_outage",
    Severity.P2: "degraded_performance",
    Severity.P3: "degraded_performance",
}
_STATUS = {
    Moment.OPENED: "investigating",
    Moment.ACTING: "identified",
    Moment.RECOVERED: "monitoring",
    Moment.RESOLVED: "resolved",
    Moment.FAILED: "investigating",
}
_WORTH_A_NEW_INCIDENT = frozenset({Moment.OPENED, Moment.ACTING, Moment.FAILED, Moment.NOTICE})
_OVER = frozenset({"resolved", "postmortem", "completed"})


class _Post(NamedTuple):
    """What one message means for the page. status: None leaves it as it is."""

    status: str | None
    body: str


class Statuspage:
    """Keeps one incident on one page in step with ours. api_key is a secret."""

    def __init__(
        self,
        client: httpx.AsyncClient,
        *,
        api_key: str,
        page_id: str,
        address: str = ADDRESS,
        spacing: timedelta = SPACING,
    ) -> None:
        self._client = client
        self._api_key = api_key
        self._page = f"{address.rstrip('/')}/pages/{quote(page_id, safe='')}"
        self._spacing = spacing.total_seconds()
        self._turn = asyncio.Lock()
        self._next_at = 0.0

    async def send(self, delivery: Delivery) -> Mapping[str, str]:
        message = delivery.message
        known = delivery.remote.get("incident")
        post = _post_for(message, on_page=known is not None)
        if post is None:
            return delivery.remote
        if known is None:
            # Also on a first attempt: an earlier message may have landed and then been given up.
            found = await self._find(message.incident_id)
            if found is None:
                return await self._create(message, post) if message.moment in _WORTH_A_NEW_INCIDENT else delivery.remote
        else:
            found = await self._read(known)
        if not _landed(found, message) and found.get("status") not in _OVER:
            await self._append(found, message, post)
        return {**delivery.remote, "incident": _id_of(found)}

    async def _create(self, message: Message, post: _Post) -> Mapping[str, str]:
        incident: dict[str, object] = {
            "name": public_title(message)[:NAME_LIMIT],
            "status": post.status or "investigating",
            "impact_override": _IMPACT[message.severity],
            "body": post.body,
            "metadata": {"responder": _marks(message)},
        }
        if message.components:
            incident["component_ids"] = list(message.components)
            incident["components"] = dict.fromkeys(message.components, _COMPONENT[message.severity])
        answer = await self._call("POST", "/incidents", {"incident": incident})
        return {"incident": _id_of(_object(answer))}

    async def _append(self, found: Mapping[str, object], message: Message, post: _Post) -> None:
        metadata = found.get("metadata")
        incident: dict[str, object] = {
            "status": post.status or found.get("status"),
            "body": post.body,
            "metadata": {**(metadata if isinstance(metadata, dict) else {}), "responder": _marks(message)},
        }
        if post.status == "resolved" and message.components:
            incident["components"] = dict.fromkeys(message.components, "operational")
        await self._call("PATCH", f"/incidents/{quote(_id_of(found), safe='')}", {"incident": incident})

    async def _read(self, incident: str) -> Mapping[str, object]:
        try:
            return _object(await self._call("GET", f"/incidents/{quote(incident, safe='')}"))
        except NotFoundError:
            raise PermanentError(f"incident {incident} is gone from the status page; it is not opened again") from None

    async def _find(self, incident_id: str) -> Mapping[str, object] | None:
        """Our incident on the page: among the open ones, then anywhere (the texts are searched, and they hold our id)."""
        searches: Sequence[tuple[str, Mapping[str, str] | None]] = (
            ("/incidents/unresolved", None),
            ("/incidents", {"q": incident_id, "limit": str(SEARCH_LIMIT)}),
        )
        for path, params in searches:
            for candidate in _objects(await self._call("GET", path, params=params)):
                if _mark(candidate, "incident") == incident_id:
                    return candidate
        return None

    async def _call(self, method: str, path: str, body: object = None, params: Mapping[str, str] | None = None) -> Answer:
        await self._wait_for_turn()
        return await request(
            self._client,
            method,
            self._page + path,
            service="Statuspage",
            json=body,
            params=params,
            headers={"Authorization": f"OAuth {self._api_key}"},
            secrets=(self._api_key,),
        )

    async def _wait_for_turn(self) -> None:
        async with self._turn:
            loop = asyncio.get_running_loop()
            await asyncio.sleep(max(0.0, self._next_at - loop.time()))
            self._next_at = loop.time() + self._spacing


def _post_for(message: Message, *, on_page: bool) -> _Post | None:
    """What to say on the page; None when nothing is to be said there."""
    moment = message.moment
    if moment is Moment.WAITING:  # between us and our people
        return None
    if moment is Moment.NOTICE:
        if message.closes:
            if not on_page:
                return None
            moment = Moment.FAILED
        elif not message.extra.get("public_text"):
            return None
    words = public_text(message, moment)
    reference = f"\n\n{_reference(message)}"
    return _Post(_STATUS.get(moment), words[: BODY_LIMIT - len(reference)] + reference)


def _reference(message: Message) -> str:
    return f"Reference: {message.id}"


def _marks(message: Message) -> Mapping[str, str]:
    return {"incident": message.incident_id, "message": message.id}


def _mark(incident: Mapping[str, object], name: str) -> object:
    metadata = incident.get("metadata")
    ours = metadata.get("responder") if isinstance(metadata, dict) else None
    return ours.get(name) if isinstance(ours, dict) else None


def _landed(incident: Mapping[str, object], message: Message) -> bool:
    if _mark(incident, "message") == message.id:
        return True
    updates = incident.get("incident_updates")
    reference = _reference(message)
    return isinstance(updates, list) and any(
        isinstance(update, dict) and str(update.get("body", "")).rstrip().endswith(reference) for update in updates
    )


def _id_of(incident: Mapping[str, object]) -> str:
    identity = incident.get("id")
    if not isinstance(identity, str) or not identity:
        raise TemporaryError("Statuspage answered without the incident's id")
    return identity


def _object(answer: Answer) -> Mapping[str, object]:
    body = _json(answer)
    if not isinstance(body, dict):
        raise TemporaryError("Statuspage answered something that is not an incident")
    return body


def _objects(answer: Answer) -> list[Mapping[str, object]]:
    body = _json(answer)
    if not isinstance(body, list):
        raise TemporaryError("Statuspage answered something that is not a list of incidents")
    return [item for item in body if isinstance(item, dict)]


def _json(answer: Answer) -> object:
    try:
        return answer.json()
    except ValueError:
        raise TemporaryError("Statuspage answered something that is not JSON") from None
