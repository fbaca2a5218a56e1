"""Objects of the sandbox cluster and the history that watches read."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar, cast

Json = dict[str, Any]
Value = TypeVar("Value")


def _copied(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _copied(element) for key, element in value.items()}
    return [_copied(element) for element in value] if isinstance(value, list) else value


def copied(value: Value) -> Value:
    """A deep copy of a JSON value; several times as fast as copy.deepcopy, which the controllers would feel."""
    return cast("Value", _copied(value))


class HistoryGoneError(Exception):
    """The history before `oldest` has been forgotten: list again."""

    def __init__(self, oldest: int) -> None:
        super().__init__(f"history starts at {oldest}")
        self.oldest = oldest


@dataclass(frozen=True, slots=True)
class Change:
    """One write. previous: the object before it, None for the first. For a deletion `object` is its last state."""

    version: int
    type: str
    plural: str
    object: Json
    previous: Json | None


class Store:
    """Every write gets the next resource version. Objects go in and come out as copies.

    history: how many changes a watch can go back.
    """

    def __init__(self, history: int = 2000) -> None:
        self._objects: dict[tuple[str, str, str], Json] = {}
        self._history: deque[Change] = deque(maxlen=history)
        self._oldest = 1
        self._changed = asyncio.Event()
        self.version = 1
        self.closed = False

    def get(self, plural: str, namespace: str, name: str) -> Json | None:
        return copied(self._objects.get((plural, namespace, name)))

    def items(
        self, plural: str, namespace: str | None = None, where: Callable[[Json], bool] = lambda _metadata: True
    ) -> list[Json]:
        """Ordered by namespace and name. namespace None means all. where: what the metadata must fulfil."""
        keys = sorted(
            key
            for key, item in self._objects.items()
            if key[0] == plural and namespace in (None, key[1]) and where(item["metadata"])
        )
        return [copied(self._objects[key]) for key in keys]

    def metadata(self) -> list[tuple[str, Json]]:
        """Kind (plural) and metadata of everything. Not copies: only to be read."""
        return [(key[0], item["metadata"]) for key, item in self._objects.items()]

    def count(self, plural: str) -> int:
        return sum(key[0] == plural for key in self._objects)

    def put(self, plural: str, item: Json) -> Json:
        """Write an object and return it with its new resource version."""
        item = copied(item)
        key = (plural, item["metadata"].get("namespace", ""), item["metadata"]["name"])
        previous = self._objects.get(key)
        self._write("MODIFIED" if previous else "ADDED", plural, item, previous)
        self._objects[key] = item
        return copied(item)

    def remove(self, plural: str, namespace: str, name: str) -> None:
        item = self._objects.pop((plural, namespace, name), None)
        if item is not None:
            self._write("DELETED", plural, copied(item), item)

    def since(self, version: int) -> list[Change]:
        """Changes after `version`, oldest first. Raises HistoryGoneError when some of them are forgotten."""
        if version < self._oldest - 1:
            raise HistoryGoneError(self._oldest)
        return [change for change in self._history if change.version > version]

    def forget_history(self) -> None:
        """As after an etcd compaction: watches from any earlier version get 410."""
        self._history.clear()
        self._oldest = self.version + 2
        self.version += 1

    async def changed(self, after: int) -> None:
        """Return once there is something newer than `after`, or the store is closed."""
        while self.version <= after and not self.closed:
            await self._changed.wait()

    def close(self) -> None:
        self.closed = True
        self._wake()

    def _write(self, kind: str, plural: str, item: Json, previous: Json | None) -> None:
        self.version += 1
        item["metadata"]["resourceVersion"] = str(self.version)
        if len(self._history) == self._history.maxlen:
            self._oldest = self._history[1].version
        self._history.append(Change(self.version, kind, plural, item, previous))
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
