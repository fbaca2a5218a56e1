"""Tables: what `kubectl get` shows is written by the server."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from responder.sandbox.api.resources import DEPLOYMENTS, EVENTS, NAMESPACES, PODS, REPLICA_SETS, Resource
from responder.sandbox.api.store import Json

Row = Callable[[Json, datetime], list[Any]]


def _age(stamp: str | None, now: datetime) -> str:
    if not stamp:
        return "<unknown>"
    age = max(now - datetime.fromisoformat(stamp), timedelta(0))
    seconds = int(age.total_seconds())
    if seconds < 120:
        return f"{seconds}s"
    if seconds < 600:
        return f"{seconds // 60}m{seconds % 60}s" if seconds % 60 else f"{seconds // 60}m"
    if seconds < 3 * 3600:
        return f"{seconds // 60}m"
    return f"{seconds // 3600}h" if seconds < 48 * 3600 else f"{seconds // 86400}d"


def _created(item: Json, now: datetime) -> str:
    return _age(item["metadata"].get("creationTimestamp"), now)


def _containers(item: Json, key: str) -> str:
    return ",".join(container[key] for container in item["spec"]["template"]["spec"]["containers"])


def _selector(item: Json) -> str:
    return ",".join(f"{key}={value}" for key, value in sorted(item["spec"]["selector"].get("matchLabels", {}).items()))


def _deployment(item: Json, now: datetime) -> list[Any]:
    status = item.get("status", {})
    ready = f"{status.get('readyReplicas', 0)}/{item['spec']['replicas']}"
    return [
        item["metadata"]["name"], ready, status.get("updatedReplicas", 0), status.get("availableReplicas", 0),
        _created(item, now), _containers(item, "name"), _containers(item, "image"), _selector(item),
    ]  # fmt: skip


def _replica_set(item: Json, now: datetime) -> list[Any]:
    status = item.get("status", {})
    return [
        item["metadata"]["name"], item["spec"]["replicas"], status.get("replicas", 0), status.get("readyReplicas", 0),
        _created(item, now), _containers(item, "name"), _containers(item, "image"), _selector(item),
    ]  # fmt: skip


def _pod(item: Json, now: datetime) -> list[Any]:
    status = item.get("status", {})
    statuses = status.get("containerStatuses", [])
    reason = status.get("phase", "Unknown")
    for container in statuses:
        for state in ("waiting", "terminated"):
            reason = container["state"].get(state, {}).get("reason") or reason
    if item["metadata"].get("deletionTimestamp"):
        reason = "Terminating"
    ready = f"{sum(container['ready'] for container in statuses)}/{len(item['spec']['containers'])}"
    restarts = sum(container["restartCount"] for container in statuses)
    node = item["spec"].get("nodeName", "<none>")
    return [
        item["metadata"]["name"], ready, reason, str(restarts), _created(item, now), status.get("podIP", "<none>"), node,
        "<none>", "<none>",
    ]  # fmt: skip


def _event(item: Json, now: datetime) -> list[Any]:
    about = item.get("involvedObject", {})
    seen = _age(item.get("lastTimestamp"), now)
    return [
        seen,
        item.get("type"),
        item.get("reason"),
        f"{about.get('kind', '').lower()}/{about.get('name')}",
        item.get("message"),
    ]


def _namespace(item: Json, now: datetime) -> list[Any]:
    return [item["metadata"]["name"], item.get("status", {}).get("phase", "Active"), _created(item, now)]


def _plain(item: Json, now: datetime) -> list[Any]:
    return [item["metadata"]["name"], _created(item, now)]


# Columns with a "+" are shown by `-o wide` only.
_TABLES: dict[Resource, tuple[str, Row]] = {
    DEPLOYMENTS: ("Name Ready Up-to-date Available Age +Containers +Images +Selector", _deployment),
    REPLICA_SETS: ("Name Desired Current Ready Age +Containers +Images +Selector", _replica_set),
    PODS: ("Name Ready Status Restarts Age +IP +Node +Nominated-Node +Readiness-Gates", _pod),
    EVENTS: ("Last-Seen Type Reason Object Message", _event),
    NAMESPACES: ("Name Status Age", _namespace),
}
_NUMBERS = {"Up-to-date", "Available", "Desired", "Current"}


def _column(title: str) -> Json:
    name = title.removeprefix("+")
    return {
        "name": name.replace("-", " ") if name != "Up-to-date" else name,
        "type": "integer" if name in _NUMBERS else "string",
        "format": "name" if name == "Name" else "",
        "description": name,
        "priority": int(title.startswith("+")),
    }


def table(resource: Resource, items: list[Json], version: int, now: datetime) -> Json:
    titles, row = _TABLES.get(resource, ("Name Age", _plain))
    rows = [
        {
            "cells": row(item, now),
            "object": {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": item["metadata"]},
        }
        for item in items
    ]
    return {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": {"resourceVersion": str(version)},
        "columnDefinitions": [_column(title) for title in titles.split()],
        "rows": rows,
    }
