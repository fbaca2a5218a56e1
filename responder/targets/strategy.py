"""How a rollout replaces pods: how many may be missing meanwhile, and how many there may be too many."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any


def room_of(workload: Mapping[str, Any], desired: int) -> tuple[int, int]:
    """(may be unavailable, may be added first), in pods. OnDelete replaces none by itself."""
    spec = workload["spec"]
    strategy = spec.get("strategy") or spec.get("updateStrategy") or {}
    rolling = strategy.get("rollingUpdate") or {}
    if strategy.get("type") == "Recreate":
        return desired, 0
    if strategy.get("type") == "OnDelete":
        return 0, 0
    if workload.get("kind") == "StatefulSet":
        return _pods(rolling.get("maxUnavailable", 1), desired, up=False) or 1, 0
    if workload.get("kind") == "DaemonSet":
        surge = _pods(rolling.get("maxSurge", 0), desired, up=True)
        return _pods(rolling.get("maxUnavailable", 0 if surge else 1), desired, up=True), surge
    unavailable = _pods(rolling.get("maxUnavailable", "25%"), desired, up=False)
    surge = _pods(rolling.get("maxSurge", "25%"), desired, up=True)
    return (unavailable, surge) if unavailable or surge else (1, 0)


def _pods(value: object, desired: int, *, up: bool) -> int:
    """A number, or a share in percent: the controllers round surge up and what may be missing down."""
    text = str(value)
    if not text.endswith("%"):
        return int(text)
    share = int(text[:-1]) * desired / 100
    return math.ceil(share) if up else math.floor(share)
