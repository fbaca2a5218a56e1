"""The arithmetic of a rollout: how many pods may be added, how many must stay. Pure."""

from __future__ import annotations

import math

from responder.sandbox.api.store import Json

PREFIX = "deployment.kubernetes.io/"
REVISION, HISTORY = f"{PREFIX}revision", f"{PREFIX}revision-history"
DESIRED, MAXIMUM = f"{PREFIX}desired-replicas", f"{PREFIX}max-replicas"


def _count(value: int | str, total: int, *, up: bool) -> int:
    if isinstance(value, int):
        return value
    share = int(value.rstrip("%")) * total / 100
    return math.ceil(share) if up else math.floor(share)


def limits(deployment: Json) -> tuple[int, int]:
    """(maxSurge, maxUnavailable) in pods; (0, 0) for Recreate."""
    spec = deployment["spec"]
    if spec["strategy"]["type"] != "RollingUpdate":
        return 0, 0
    rolling, wanted = spec["strategy"]["rollingUpdate"], spec["replicas"]
    surge, unavailable = _count(rolling["maxSurge"], wanted, up=True), _count(rolling["maxUnavailable"], wanted, up=False)
    if surge == 0 and unavailable == 0:
        unavailable = 1
    return surge, min(unavailable, wanted)


def replicas_of(sets: list[Json]) -> int:
    return sum(found["spec"]["replicas"] for found in sets)


def counted(sets: list[Json], key: str) -> int:
    """Sum of a count in the statuses."""
    return sum(found.get("status", {}).get(key, 0) for found in sets)


def new_set_size(deployment: Json, new: Json | None, sets: list[Json]) -> int:
    """How many replicas the new ReplicaSet may have now. sets: all of them, the new one included if it exists."""
    wanted, current = deployment["spec"]["replicas"], new["spec"]["replicas"] if new else 0
    if deployment["spec"]["strategy"]["type"] != "RollingUpdate":
        return int(wanted)
    room = wanted + limits(deployment)[0] - replicas_of(sets)
    return int(current + max(min(room, wanted - current), 0))


def old_sets_sizes(deployment: Json, new: Json, old: list[Json]) -> dict[str, int]:
    """New sizes of old ReplicaSets by name: first pods that are not available go, then as many as availability allows."""
    sizes = {found["metadata"]["name"]: found["spec"]["replicas"] for found in old}
    sets = [*old, new]
    minimum = deployment["spec"]["replicas"] - limits(deployment)[1]
    new_unavailable = new["spec"]["replicas"] - counted([new], "availableReplicas")
    removable = replicas_of(sets) - minimum - new_unavailable
    if replicas_of(old) == 0 or removable <= 0:
        return {}
    oldest_first = sorted(old, key=lambda found: (found["metadata"]["creationTimestamp"], found["metadata"]["name"]))
    for found in oldest_first:
        broken = found["spec"]["replicas"] - counted([found], "availableReplicas")
        taken = max(min(removable, broken), 0)
        sizes[found["metadata"]["name"]] -= taken
        removable -= taken
    spare = counted(sets, "availableReplicas") - minimum
    for found in oldest_first:
        taken = max(min(spare, sizes[found["metadata"]["name"]]), 0)
        sizes[found["metadata"]["name"]] -= taken
        spare -= taken
    return {
        found["metadata"]["name"]: size
        for found in old
        if (size := sizes[found["metadata"]["name"]]) != found["spec"]["replicas"]
    }


def proportional_sizes(deployment: Json, sets: list[Json]) -> dict[str, int]:
    """Sizes by name when a Deployment is scaled in the middle of a rollout: every set grows or shrinks by its share."""
    wanted = deployment["spec"]["replicas"]
    allowed = wanted + limits(deployment)[0] if wanted > 0 else 0
    to_add, added = allowed - replicas_of(sets), 0
    newest_first = sorted(sets, key=lambda found: found["metadata"]["creationTimestamp"], reverse=to_add > 0)
    ordered = sorted(newest_first, key=lambda found: -found["spec"]["replicas"])
    sizes: dict[str, int] = {}
    for found in ordered:
        size, share = found["spec"]["replicas"], 0
        if size and to_add not in (0, added):
            before = int(
                found["metadata"].get("annotations", {}).get(MAXIMUM) or deployment.get("status", {}).get("replicas") or 1
            )
            share = math.floor(size * allowed / before + 0.5) - size if wanted else -size
            share = min(share, to_add - added) if to_add > 0 else max(share, to_add - added)
        sizes[found["metadata"]["name"]] = size + share
        added += share
    if ordered and to_add:
        first = ordered[0]["metadata"]["name"]
        sizes[first] = max(sizes[first] + to_add - added, 0)
    return sizes
