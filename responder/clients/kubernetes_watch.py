"""A watch on one object that knows where it stopped."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import orjson

from responder.clients.kubernetes_connection import Connection, Object, transport_errors
from responder.clients.kubernetes_errors import Call, error_of_answer, error_of_transport
from responder.errors import TemporaryError, UnreachableError

if TYPE_CHECKING:
    import aiohttp

# The server ends a watch after this long; a little more silence than that means that the connection is dead.
_WATCH_SECONDS = 240
_SILENCE_SECONDS = 260.0


class Watch:
    """collection: `list` of what the object is in. The first change is the object as it is; None while it does not exist."""

    def __init__(self, connection: Connection, collection: Call, name: str) -> None:
        self._connection = connection
        self._list_call = replace(collection, query={"fieldSelector": f"metadata.name={name}"})
        self._watch_call = replace(self._list_call, verb="watch")
        self._version = ""  # "" means: list first
        self._stream: aiohttp.ClientResponse | None = None

    async def next_change(self) -> Object | None:
        """Wait for the next change. After an error the next call goes on where this one stopped."""
        try:
            if not self._version:
                return await self._list()
            while True:
                if self._stream is None:
                    self._stream = await self._open()
                event = await self._next_event(self._stream)
                if event["type"] != "BOOKMARK":
                    found: Object = event["object"]
                    return None if event["type"] == "DELETED" else found
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.close()

    async def _list(self) -> Object | None:
        listed = await self._connection.ask(self._list_call)
        self._version = listed["metadata"]["resourceVersion"]
        items = listed.get("items") or []
        if not items:
            return None
        # The items of a list carry no kind of their own.
        return {"apiVersion": listed["apiVersion"], "kind": listed["kind"].removesuffix("List"), **items[0]}

    async def _open(self) -> aiohttp.ClientResponse:
        query = {"watch": "true", "allowWatchBookmarks": "true", "timeoutSeconds": str(_WATCH_SECONDS)}
        query |= {**self._list_call.query, "resourceVersion": self._version}
        stream = await self._connection.send(replace(self._watch_call, query=query), silence=_SILENCE_SECONDS)
        if stream.status < 400:
            return stream
        if stream.status == 410:
            self._version = ""
        text = await stream.read()
        raise error_of_answer(self._watch_call, stream.status, text, stream.headers.get("Retry-After"))

    async def _next_event(self, stream: aiohttp.ClientResponse) -> Object:
        try:
            line = await stream.content.readline()
        except ValueError as error:
            raise UnreachableError(f"{self._watch_call}: an event is too long") from error
        except transport_errors() as error:
            raise error_of_transport(self._watch_call, error) from error
        if not line:
            raise UnreachableError(f"{self._watch_call}: the server ended the stream")
        try:
            event: Object = orjson.loads(line)
            found = event["object"]
            if event["type"] == "ERROR":
                self._version = ""
                raise TemporaryError(f"{self._watch_call}: {str(found.get('message', 'error'))[:200]}")
            self._version = found["metadata"]["resourceVersion"]
        except (ValueError, KeyError, TypeError) as error:
            raise UnreachableError(f"{self._watch_call}: the stream broke off in the middle of an event") from error
        return event
