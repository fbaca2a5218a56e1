"""Who gets a message: routes by severity and by target."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from responder.domain.announcement import recipients
from responder.domain.notification import Message, Moment
from responder.domain.rulebook import Route, Severity

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
ROUTES = (
    Route("slack"),
    Route("pagerduty", frozenset({Severity.P0}), targets=("app", "jobs")),
    Route("statuspage", components={"app": "c1"}, targets=("app",)),
    Route("email", addresses=("app@example.com",), targets=("app",)),
    Route("email", addresses=("shop@example.com",), targets=("shop",)),
)
ALL = frozenset(route.to for route in ROUTES)


def message(target: str, severity: Severity = Severity.P0) -> Message:
    return Message("inc_1-1", "inc_1", Moment.OPENED, severity, target, "title", "text", NOON)


@pytest.mark.parametrize(
    ("target", "severity", "told", "addresses"),
    [
        pytest.param("app", Severity.P0, ALL, ("app@example.com",), id="everything that is for this target, and for all"),
        pytest.param("app", Severity.P2, ALL - {"pagerduty"}, ("app@example.com",), id="the severity counts, too"),
        pytest.param("jobs", Severity.P0, {"slack", "pagerduty"}, None, id="another target of the same team"),
        pytest.param("shop", Severity.P0, {"slack", "email"}, ("shop@example.com",), id="another team reads its own mail only"),
        pytest.param("other", Severity.P0, {"slack"}, None, id="a target that no route names"),
        pytest.param("", Severity.P0, ALL, ("app@example.com", "shop@example.com"), id="what is about no target concerns all"),
    ],
)
def test_routes_of_a_target(target: str, severity: Severity, told: set[str], addresses: tuple[str, ...] | None) -> None:
    found = dict(recipients(ROUTES, message(target, severity), ALL))
    assert set(found) == told
    assert (found["email"].addresses if "email" in found else None) == addresses


def test_who_is_called_by_name_is_told_though_no_route_is_for_the_target() -> None:
    [(name, sent)] = recipients(ROUTES, message("shop"), ALL, only="pagerduty")
    assert (name, sent.addressed) == ("pagerduty", True)
