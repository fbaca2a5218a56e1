"""What a pod asks for, as quotas count it."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

_UNITS = {
    "n": Decimal("1e-9"),
    "u": Decimal("1e-6"),
    "m": Decimal("1e-3"),
    "k": Decimal(10**3),
    "M": Decimal(10**6),
    "G": Decimal(10**9),
    "T": Decimal(10**12),
    "P": Decimal(10**15),
    "E": Decimal(10**18),
    "Ki": Decimal(2**10),
    "Mi": Decimal(2**20),
    "Gi": Decimal(2**30),
    "Ti": Decimal(2**40),
    "Pi": Decimal(2**50),
    "Ei": Decimal(2**60),
}


def quantity(text: object) -> Decimal:
    """A quantity as the API spells it: `500m`, `1Gi`, `2`, `1e3`."""
    written = str(text)
    for length in (2, 1):
        unit = _UNITS.get(written[-length:])
        if unit is not None:
            return Decimal(written[:-length]) * unit
    return Decimal(written)


def amounts(listed: Mapping[str, Any] | None) -> dict[str, Decimal]:
    """`cpu` and `memory` of a quota are requests."""
    short = {"cpu": "requests.cpu", "memory": "requests.memory", "count/pods": "pods"}
    return {short.get(name, name): quantity(value) for name, value in (listed or {}).items()}


def needs_of(template: Mapping[str, Any]) -> dict[str, Decimal]:
    """One pod of this template. Init containers run one after the other, before all the others."""
    spec = template.get("spec") or {}
    total = {"pods": Decimal(1)}
    for container in spec.get("containers") or []:
        for name, value in _asked(container).items():
            total[name] = total.get(name, Decimal(0)) + value
    for container in spec.get("initContainers") or []:
        for name, value in _asked(container).items():
            total[name] = max(total.get(name, Decimal(0)), value)
    for name, value in (spec.get("overhead") or {}).items():
        total[f"requests.{name}"] = total.get(f"requests.{name}", Decimal(0)) + quantity(value)
    return total


def _asked(container: Mapping[str, Any]) -> dict[str, Decimal]:
    resources = container.get("resources") or {}
    limits = {name: quantity(value) for name, value in (resources.get("limits") or {}).items()}
    requests = limits | {name: quantity(value) for name, value in (resources.get("requests") or {}).items()}
    return {f"limits.{name}": value for name, value in limits.items()} | {
        f"requests.{name}": value for name, value in requests.items()
    }
