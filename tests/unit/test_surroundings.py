"""What stands around a workload, read off raw objects: quantities, strategies, selectors."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from responder.targets.pod_needs import amounts, needs_of, quantity
from responder.targets.strategy import room_of
from responder.targets.surroundings import selects


@pytest.mark.parametrize(
    ("text", "value"),
    [("500m", "0.5"), ("2", "2"), ("1Gi", str(2**30)), ("1.5G", "1500000000"), ("1e3", "1000"), ("100n", "1e-7"), (3, "3")],
)
def test_quantities_are_read_as_the_api_spells_them(text: object, value: str) -> None:
    assert quantity(text) == Decimal(value)


def test_a_pod_needs_the_sum_of_its_containers_or_its_largest_init_container() -> None:
    small = {"resources": {"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"cpu": "1"}}}
    limited = {"resources": {"limits": {"memory": "1Gi"}}}
    large = {"resources": {"requests": {"cpu": "2"}}}
    needs = needs_of({"spec": {"containers": [small, limited], "initContainers": [large], "overhead": {"memory": "1Mi"}}})
    assert needs == {
        "pods": 1,
        "requests.cpu": 2,
        "limits.cpu": 1,
        "requests.memory": 64 * 2**20 + 2**30 + 2**20,
        "limits.memory": 2**30,
    }


def test_short_names_of_a_quota_are_requests() -> None:
    assert amounts({"cpu": "4", "memory": "1Gi", "count/pods": "3"}) == {
        "requests.cpu": 4,
        "requests.memory": 2**30,
        "pods": 3,
    }


ROOM: dict[str, tuple[str, dict[str, Any], int, tuple[int, int]]] = {
    "a Deployment by default": ("Deployment", {}, 4, (1, 1)),
    "a Deployment of one": ("Deployment", {}, 1, (0, 1)),
    "a Deployment with numbers": ("Deployment", {"strategy": {"rollingUpdate": {"maxSurge": 0, "maxUnavailable": 2}}}, 5, (2, 0)),
    "shares that come to nothing": (
        "Deployment",
        {"strategy": {"rollingUpdate": {"maxSurge": "0%", "maxUnavailable": "10%"}}},
        5,
        (1, 0),
    ),
    "one that is taken down first": ("Deployment", {"strategy": {"type": "Recreate"}}, 3, (3, 0)),
    "a StatefulSet": ("StatefulSet", {"updateStrategy": {"type": "RollingUpdate"}}, 3, (1, 0)),
    "a DaemonSet": (
        "DaemonSet",
        {"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "50%"}}},
        5,
        (3, 0),
    ),
    "one that waits for people": ("DaemonSet", {"updateStrategy": {"type": "OnDelete"}}, 5, (0, 0)),
}


@pytest.mark.parametrize(("kind", "spec", "desired", "room"), ROOM.values(), ids=ROOM.keys())
def test_the_strategy_says_how_many_may_be_missing_or_too_many(
    kind: str, spec: dict[str, Any], desired: int, room: tuple[int, int]
) -> None:
    assert room_of({"kind": kind, "spec": spec}, desired) == room


LABELS = {"app": "shop", "tier": "web"}
SELECTORS: dict[str, tuple[dict[str, Any] | None, bool]] = {
    "an empty one": ({}, True),
    "none": (None, False),
    "equal labels": ({"matchLabels": {"app": "shop"}}, True),
    "another label": ({"matchLabels": {"app": "other"}}, False),
    "among values": ({"matchExpressions": [{"key": "tier", "operator": "In", "values": ["web"]}]}, True),
    "not among values": ({"matchExpressions": [{"key": "tier", "operator": "NotIn", "values": ["web"]}]}, False),
    "a key that is there": ({"matchExpressions": [{"key": "tier", "operator": "Exists"}]}, True),
    "a key that must not be": ({"matchExpressions": [{"key": "tier", "operator": "DoesNotExist"}]}, False),
}


@pytest.mark.parametrize(("selector", "is_meant"), SELECTORS.values(), ids=SELECTORS.keys())
def test_a_budget_is_for_the_pods_that_its_selector_selects(selector: dict[str, Any] | None, is_meant: bool) -> None:
    assert selects(selector, LABELS) is is_meant
