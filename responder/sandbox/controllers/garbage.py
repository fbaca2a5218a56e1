"""Cascading deletion: dependants go with their owners, and everything goes with its namespace."""

from __future__ import annotations

from responder.sandbox.api.operations import FINALIZERS, Operations
from responder.sandbox.api.resources import BY_PLURAL, NAMESPACES, SERVICE_ACCOUNTS
from responder.sandbox.api.store import Json

Found = tuple[str, Json]  # plural and metadata


def _key(metadata: Json) -> tuple[str, str]:
    return metadata.get("namespace", ""), metadata["name"]


class GarbageCollector:
    def __init__(self, operations: Operations) -> None:
        self._operations, self._store = operations, operations.store

    def reconcile(self) -> None:
        self._namespaces()
        found = self._store.metadata()
        living = {metadata["uid"] for _, metadata in found}
        dependants: dict[str, list[Found]] = {}
        for plural, metadata in found:
            owners = [owner["uid"] for owner in metadata.get("ownerReferences", [])]
            for uid in owners:
                dependants.setdefault(uid, []).append((plural, metadata))
            if owners and living.isdisjoint(owners):
                self._delete(plural, metadata, "Background")
        for plural, metadata in found:
            if metadata.get("finalizers"):
                self._finalize(plural, metadata, dependants.get(metadata["uid"], []))

    def _finalize(self, plural: str, owner: Json, dependants: list[Found]) -> None:
        finalizers = owner["finalizers"]
        if FINALIZERS["Foreground"] in finalizers:
            for kind, dependant in dependants:
                self._delete(kind, dependant, "Foreground")
            if not dependants:
                self._release(plural, owner, FINALIZERS["Foreground"])
        elif FINALIZERS["Orphan"] in finalizers:
            for kind, dependant in dependants:
                self._cut_loose(kind, dependant, owner["uid"])
            self._release(plural, owner, FINALIZERS["Orphan"])

    def _cut_loose(self, plural: str, dependant: Json, uid: str) -> None:
        current = self._store.get(plural, *_key(dependant))
        if current is None:
            return
        kept = [owner for owner in current["metadata"].pop("ownerReferences", []) if owner["uid"] != uid]
        if kept:
            current["metadata"]["ownerReferences"] = kept
        self._store.put(plural, current)

    def _release(self, plural: str, owner: Json, finalizer: str) -> None:
        current = self._store.get(plural, *_key(owner))
        if current is None:
            return
        kept = [name for name in current["metadata"].get("finalizers", []) if name != finalizer]
        if kept:
            current["metadata"]["finalizers"] = kept
            self._store.put(plural, current)
        else:
            self._store.remove(plural, *_key(owner))

    def _delete(self, plural: str, metadata: Json, policy: str) -> None:
        if not metadata.get("deletionTimestamp") and self._store.get(plural, *_key(metadata)) is not None:
            self._operations.delete(BY_PLURAL[plural], *_key(metadata), {"propagationPolicy": policy})

    def _namespaces(self) -> None:
        for namespace in self._store.items(NAMESPACES.plural):
            name = namespace["metadata"]["name"]
            if not namespace["metadata"].get("deletionTimestamp"):
                if self._store.get(SERVICE_ACCOUNTS.plural, name, "default") is None:
                    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}}
                    self._operations.create(SERVICE_ACCOUNTS, name, account)
                continue
            inside = [found for found in self._store.metadata() if found[1].get("namespace") == name]
            for plural, metadata in inside:
                self._delete(plural, metadata, "Background")
            if not inside:
                self._store.remove(NAMESPACES.plural, "", name)
