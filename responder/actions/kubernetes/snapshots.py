"""Snapshots: ConfigMaps and Secrets have no history on the server, so copies are kept beside them, labelled and immutable.

A pipeline may keep one before a deployment with `kubectl create`: what counts are the labels and annotations named here.
"""

from __future__ import annotations

import hashlib
import json
from datetime import datetime
from typing import Any

from responder.actions.kubernetes.difference import content_hash
from responder.actions.kubernetes.kinds import POD_TEMPLATES
from responder.actions.kubernetes.paths import Object
from responder.actions.kubernetes.place import Place
from responder.clients.kubernetes import CONFIG_MAPS, SECRETS, KubernetesClient, Resource
from responder.errors import ConflictError, NotFoundError, RefusedError

KIND_LABEL = "responder.dev/snapshot"  # kind of the object, in lower case
NAME_LABEL = "responder.dev/snapshot-of"  # its name; a hash of it where that is too long for a label
TAKEN_AT = "responder.dev/taken-at"
CONTENT = "responder.dev/content"
INCIDENT = "responder.dev/incident"
_LABEL_LIMIT = 63
_UNCOPIABLE = frozenset({"kubernetes.io/service-account-token", "bootstrap.kubernetes.io/token"})


def kept_in(place: Place) -> Resource:
    return SECRETS if place.kind == "Secret" else CONFIG_MAPS


def labels_of(place: Place) -> dict[str, str]:
    name = place.name
    if len(name) > _LABEL_LIMIT:
        name = f"sha256-{hashlib.sha256(name.encode()).hexdigest()[:40]}"
    return {KIND_LABEL: place.kind.lower(), NAME_LABEL: name}


def snapshot_of(place: Place, item: Object, now: datetime, incident_id: str) -> Object:
    """The object to create. Raises RefusedError for what can't be kept."""
    content = _content(place, item)
    digest = content_hash(content)
    stamp = now.strftime("%Y%m%d%H%M%S")
    return {
        "apiVersion": "v1",
        "kind": "Secret" if place.kind == "Secret" else "ConfigMap",
        "metadata": {
            "name": f"responder-snapshot-{place.kind.lower()}-{place.name[:170]}-{stamp}-{digest[:8]}",
            "namespace": place.namespace,
            "labels": labels_of(place),
            "annotations": {TAKEN_AT: now.isoformat(timespec="seconds"), CONTENT: digest, INCIDENT: incident_id},
        },
        "immutable": True,
        **content,
    }


def _content(place: Place, item: Object) -> Object:
    if place.kind in POD_TEMPLATES:
        return {"data": {"template.json": json.dumps(item["spec"]["template"], indent=1, sort_keys=True)}}
    if place.kind not in ("ConfigMap", "Secret"):
        raise RefusedError(f"a {place.kind} can't be kept as a snapshot")
    content = {key: item[key] for key in ("data", "binaryData") if item.get(key)}
    if place.kind == "Secret":
        kind = item.get("type", "Opaque")
        if kind in _UNCOPIABLE:
            raise RefusedError(f"{place} is a {kind}: a copy of it would be made another by the server")
        content["type"] = kind
    return content


async def known_snapshots(client: KubernetesClient, place: Place) -> list[Object]:
    """Newest first."""
    labels = ",".join(f"{key}={value}" for key, value in labels_of(place).items())
    found = await client.list(kept_in(place), place.namespace, labels=labels)
    return sorted(found, key=taken_at, reverse=True)


def taken_at(snapshot: Object) -> datetime:
    """As the snapshot says, else when it was created."""
    meta = snapshot["metadata"]
    text = (meta.get("annotations") or {}).get(TAKEN_AT, "")
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is not None:
            return moment
    except ValueError:
        pass
    return datetime.fromisoformat(meta["creationTimestamp"])


async def keep(client: KubernetesClient, place: Place, snapshot: Object) -> None:
    """Create it unless it is there. Safe to repeat."""
    name, resource = snapshot["metadata"]["name"], kept_in(place)
    if await client.get_or_none(resource, place.namespace, name) is None:
        try:
            await client.create(resource, place.namespace, snapshot)
        except ConflictError:
            if await client.get_or_none(resource, place.namespace, name) is None:
                raise


async def forget_old(client: KubernetesClient, place: Place, count: int) -> int:
    """Only the newest `count` stay. Returns how many went."""
    old = (await known_snapshots(client, place))[count:]
    for snapshot in old:
        meta: Any = snapshot["metadata"]
        try:
            await client.delete(kept_in(place), place.namespace, meta["name"], uid=meta["uid"])
        except (NotFoundError, ConflictError):
            continue  # somebody else tidied up
    return len(old)
