"""The stream of changes that a watch request gets: one JSON object a line."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime

import orjson

from responder.ports import Clock
from responder.sandbox.api.refusals import expired
from responder.sandbox.api.resources import Resource
from responder.sandbox.api.selectors import Predicate
from responder.sandbox.api.store import Change, HistoryGoneError, Json, Store
from responder.sandbox.api.tables import table


@dataclass(frozen=True, slots=True)
class WatchRequest:
    """since: resource version to go on from; 0 sends what exists first. namespace None: all. timeout in seconds, None: no end.

    initial_events: send what exists first whatever `since` says, and a bookmark that marks the end of it.
    """

    resource: Resource
    namespace: str | None
    selected: Predicate
    since: int = 0
    timeout: float | None = None
    bookmarks: bool = False
    as_table: bool = False
    initial_events: bool = False


def _event_type(change: Change, selected: Predicate) -> str | None:
    """An object that enters or leaves the selection is added or deleted for this watcher."""
    before = change.previous is not None and selected(change.previous)
    now = change.type != "DELETED" and selected(change.object)
    if now:
        return "MODIFIED" if before else "ADDED"
    return "DELETED" if before else None


class Watch:
    """One watch request being answered."""

    def __init__(self, store: Store, request: WatchRequest, clock: Clock) -> None:
        self._store, self._request, self._clock = store, request, clock
        self._seen = request.since

    async def lines(self) -> AsyncIterator[bytes]:
        for kind, item in self._first():
            yield self._line(kind, item)
        if self._request.initial_events:
            yield self._bookmark({"k8s.io/initial-events-end": "true"})
        loop = asyncio.get_running_loop()
        end = None if self._request.timeout is None else loop.time() + self._request.timeout
        try:
            while not self._store.closed:
                for line in self._next():
                    yield line
                await asyncio.wait_for(self._store.changed(self._seen), None if end is None else end - loop.time())
        except TimeoutError:
            if self._request.bookmarks:
                yield self._bookmark()
        except HistoryGoneError as gone:
            status = expired(self._seen, gone.oldest).status
            yield orjson.dumps({"type": "ERROR", "object": status}) + b"\n"

    def _first(self) -> list[tuple[str, Json]]:
        if self._seen and not self._request.initial_events:
            return []
        self._seen = self._store.version
        found = self._store.items(self._request.resource.plural, self._request.namespace)
        return [("ADDED", item) for item in found if self._request.selected(item)]

    def _next(self) -> list[bytes]:
        lines = []
        for change in self._store.since(self._seen):
            self._seen = change.version
            if change.plural != self._request.resource.plural:
                continue
            if self._request.namespace not in (None, change.object["metadata"].get("namespace", "")):
                continue
            if (kind := _event_type(change, self._request.selected)) is not None:
                lines.append(self._line(kind, change.object))
        return lines

    def _line(self, kind: str, item: Json) -> bytes:
        shown = item
        if self._request.as_table:
            now: datetime = self._clock()
            shown = table(self._request.resource, [item], int(item["metadata"]["resourceVersion"]), now)
        return orjson.dumps({"type": kind, "object": shown}) + b"\n"

    def _bookmark(self, annotations: dict[str, str] | None = None) -> bytes:
        resource = self._request.resource
        metadata: Json = {"resourceVersion": str(self._seen), "creationTimestamp": None}
        if annotations:
            metadata["annotations"] = annotations
        item = {"kind": resource.kind, "apiVersion": resource.api_version, "metadata": metadata}
        return orjson.dumps({"type": "BOOKMARK", "object": item}) + b"\n"
