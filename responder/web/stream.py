"""`/v1/stream`: changes of incidents as server-sent events.

    id: <for Last-Event-ID>
    event: incident          data: {"incident": {…}, "events": [what was added to its story]}
    event: missed            data: {}: changes were lost, read `/v1/incidents` anew

A comment line is sent when nothing happens, so that a broken connection is noticed. `Last-Event-ID` (or `?after=`) goes on from
there.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import timedelta

import orjson
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from responder.domain.feed import Change
from responder.engine.feed import Feed
from responder.errors import JournalUnavailableError
from responder.web.answers import for_readers
from responder.web.documents import incident_document
from responder.web.problems import ProblemError
from responder.web.services import WebServices
from responder.web.tokens import READERS

BEAT = timedelta(seconds=15)
_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


def stream_routes(services: WebServices, beat: timedelta = BEAT) -> list[Route]:
    feed = services.feed
    if feed is None:
        return []

    async def stream(request: Request) -> Response:
        if feed.is_full:
            raise JournalUnavailableError("too many are listening already", retry_after=timedelta(seconds=30))
        after = request.headers.get("last-event-id") or request.query_params.get("after", "")
        headers = dict(request.scope["headers"])

        def is_welcome() -> bool:
            """A token that was withdrawn meanwhile hears no more."""
            try:
                services.tokens.admit(headers, READERS)
            except ProblemError:
                return False
            return True

        return StreamingResponse(_events(feed, after, beat, is_welcome), media_type="text/event-stream", headers=_HEADERS)

    return [Route("/v1/stream", for_readers(services.tokens, stream), methods=["GET"])]


async def _events(feed: Feed, after: str, beat: timedelta, is_welcome: Callable[[], bool]) -> AsyncIterator[bytes]:
    with feed.listening(after) as listener:
        yield b"retry: 3000\n\n"
        while True:
            try:
                async with asyncio.timeout(beat.total_seconds()):
                    taken = await listener.take()
            except TimeoutError:
                taken = (False, [])
            if taken is None or not is_welcome():
                return
            missed, changes = taken
            if not missed and not changes:
                yield b": still here\n\n"
            if missed:
                yield b"event: missed\ndata: {}\n\n"
            for change in changes:
                yield _event(change)


def _event(change: Change) -> bytes:
    document = incident_document(change.incident, change.events)
    added = document.pop("events")
    data = orjson.dumps({"incident": document, "events": added}, default=str, option=orjson.OPT_NON_STR_KEYS)
    return b"id: %s\nevent: incident\ndata: %s\n\n" % (change.id.encode(), data)  # JSON has no line breaks
