"""Owner references, times and conditions: what every controller reads and writes."""

from __future__ import annotations

from datetime import datetime

from responder.sandbox.api.resources import Resource
from responder.sandbox.api.selectors import matches_selector
from responder.sandbox.api.store import Json, Store


def parse_timestamp(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _controller_uid(metadata: Json) -> str | None:
    return next((owner["uid"] for owner in metadata.get("ownerReferences", []) if owner.get("controller")), None)


def owner_reference(resource: Resource, owner: Json) -> Json:
    named = {"apiVersion": resource.api_version, "kind": resource.kind, "name": owner["metadata"]["name"]}
    return {**named, "uid": owner["metadata"]["uid"], "controller": True, "blockOwnerDeletion": True}


def _is_adoptable(metadata: Json, owner: Json) -> bool:
    return not metadata.get("deletionTimestamp") and matches_selector(owner["spec"]["selector"], metadata.get("labels") or {})


def controlled(store: Store, plural: str, resource: Resource, owner: Json) -> list[Json]:
    """The objects this owner controls. Those that match its selector and have no controller are adopted."""
    metadata = owner["metadata"]
    may_adopt = not metadata.get("deletionTimestamp")
    candidates = store.items(plural, metadata["namespace"], lambda other: _controller_uid(other) in (None, metadata["uid"]))
    found = []
    for item in candidates:
        if _controller_uid(item["metadata"]) is not None:
            found.append(item)
        elif may_adopt and _is_adoptable(item["metadata"], owner):
            item["metadata"].setdefault("ownerReferences", []).append(owner_reference(resource, owner))
            found.append(store.put(plural, item))
    return found


def condition_of(status: Json, kind: str) -> Json | None:
    return next((condition for condition in status.get("conditions", []) if condition["type"] == kind), None)
