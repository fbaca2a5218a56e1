"""Owner references, times and conditions: what every controller reads and writes."""

from __future__ import annotations

from datetime import datetime

from responder.sandbox.api.resources import Resource
from responder.sandbox.api.selectors import matches_selector
from responder.sandbox.api.store import Json, Store


def parse_timestamp(text: str) -> datetime:
    return datetime.fromisoformat(text)


def controller_of(item: Json) -> Json | None:
    return next((owner for owner in item["metadata"].get("ownerReferences", []) if owner.get("controller")), None)


def owner_reference(resource: Resource, owner: Json) -> Json:
    named = {"apiVersion": resource.api_version, "kind": resource.kind, "name": owner["metadata"]["name"]}
    return {**named, "uid": owner["metadata"]["uid"], "controller": True, "blockOwnerDeletion": True}


def controlled(store: Store, plural: str, resource: Resource, owner: Json) -> list[Json]:
    """The objects this owner controls. Those that match its selector and have no controller are adopted."""
    found = []
    for item in store.items(plural, owner["metadata"]["namespace"]):
        holder = controller_of(item)
        if holder is None and not (item["metadata"].get("deletionTimestamp") or owner["metadata"].get("deletionTimestamp")):
            if matches_selector(owner["spec"]["selector"], item["metadata"].get("labels") or {}):
                item["metadata"].setdefault("ownerReferences", []).append(owner_reference(resource, owner))
                found.append(store.put(plural, item))
        elif holder is not None and holder["uid"] == owner["metadata"]["uid"]:
            found.append(item)
    return found


def condition_of(status: Json, kind: str) -> Json | None:
    return next((condition for condition in status.get("conditions", []) if condition["type"] == kind), None)
