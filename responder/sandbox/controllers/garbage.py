"""Cascading deletion: dependants go with their owners, and everything goes with its namespace."""

from __future__ import annotations

from responder.sandbox.api.operations import FINALIZERS, Operations
from responder.sandbox.api.resources import BY_PLURAL, NAMESPACES, SERVICE_ACCOUNTS
from responder.sandbox.api.store import Json


def _key(item: Json) -> tuple[str, str]:
    return item["metadata"].get("namespace", ""), item["metadata"]["name"]


class GarbageCollector:
    def __init__(self, operations: Operations) -> None:
        self._operations, self._store = operations, operations.store

    def reconcile(self) -> None:
        self._namespaces()
        items = self._store.all()
        owners = {item["metadata"]["uid"]: item for _, item in items}
        dependants: dict[str, list[tuple[str, Json]]] = {}
        for plural, item in items:
            for owner in item["metadata"].get("ownerReferences", []):
                dependants.setdefault(owner["uid"], []).append((plural, item))
        for plural, item in items:
            references = item["metadata"].get("ownerReferences", [])
            if references and not any(owner["uid"] in owners for owner in references):
                self._delete(plural, item, "Background")
        for plural, item in items:
            self._finalize(plural, item, dependants.get(item["metadata"]["uid"], []))

    def _finalize(self, plural: str, item: Json, dependants: list[tuple[str, Json]]) -> None:
        finalizers = item["metadata"].get("finalizers", [])
        if FINALIZERS["Foreground"] in finalizers:
            for kind, dependant in dependants:
                self._delete(kind, dependant, "Foreground")
            if not dependants:
                self._release(plural, item, FINALIZERS["Foreground"])
        elif FINALIZERS["Orphan"] in finalizers:
            for kind, dependant in dependants:
                metadata = dependant["metadata"]
                kept = [owner for owner in metadata["ownerReferences"] if owner["uid"] != item["metadata"]["uid"]]
                current = self._store.get(kind, *_key(dependant))
                if current is not None:
                    current["metadata"].pop("ownerReferences", None)
                    if kept:
                        current["metadata"]["ownerReferences"] = kept
                    self._store.put(kind, current)
            self._release(plural, item, FINALIZERS["Orphan"])

    def _release(self, plural: str, item: Json, finalizer: str) -> None:
        current = self._store.get(plural, *_key(item))
        if current is None:
            return
        kept = [name for name in current["metadata"].get("finalizers", []) if name != finalizer]
        if kept:
            current["metadata"]["finalizers"] = kept
            self._store.put(plural, current)
        else:
            self._store.remove(plural, *_key(item))

    def _delete(self, plural: str, item: Json, policy: str) -> None:
        namespace, name = _key(item)
        if not item["metadata"].get("deletionTimestamp") and self._store.get(plural, namespace, name) is not None:
            self._operations.delete(BY_PLURAL[plural], namespace, name, {"propagationPolicy": policy})

    def _namespaces(self) -> None:
        for namespace in self._store.items(NAMESPACES.plural):
            name = namespace["metadata"]["name"]
            if not namespace["metadata"].get("deletionTimestamp"):
                if self._store.get(SERVICE_ACCOUNTS.plural, name, "default") is None:
                    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}}
                    self._operations.create(SERVICE_ACCOUNTS, name, account)
                continue
            inside = [(plural, item) for plural, item in self._store.all() if item["metadata"].get("namespace") == name]
            for plural, item in inside:
                self._delete(plural, item, "Background")
            if not inside:
                self._store.remove(NAMESPACES.plural, "", name)
