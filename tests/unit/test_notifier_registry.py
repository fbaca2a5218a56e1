"""Which notifiers there are depends on the settings alone."""

from __future__ import annotations

import httpx
import pytest

from responder.clients.http import new_client
from responder.domain.rulebook import DEFAULT_ROUTES
from responder.errors import SettingsError
from responder.notifiers.registry import NOTIFIERS, build_notifiers
from responder.rulebook.loader import NOTIFIERS as WORDS
from responder.settings.environment import load_settings
from responder.settings.service import Settings

SLACK = {"RESPONDER_SLACK_WEBHOOK_URL": "https://hooks.slack.com/services/T/B/x"}
STATUSPAGE = {"RESPONDER_STATUSPAGE_API_KEY": "key", "RESPONDER_STATUSPAGE_PAGE_ID": "page"}
PAGERDUTY = {"RESPONDER_PAGERDUTY_ROUTING_KEY": "key"}
MAIL = {"RESPONDER_SMTP_URL": "smtp://mail.example?from=responder@example.com"}


@pytest.mark.parametrize(
    ("environment", "names"),
    [
        pytest.param({}, set(), id="nothing set"),
        pytest.param(SLACK, {"slack"}, id="Slack"),
        pytest.param({**SLACK, **STATUSPAGE}, {"slack", "statuspage"}, id="both"),
        pytest.param({**PAGERDUTY, **MAIL}, {"pagerduty", "email"}, id="pager and mail"),
    ],
)
async def test_what_is_configured_is_built(environment: dict[str, str], names: set[str]) -> None:
    async with new_client() as client:
        assert set(build_notifiers(load_settings(environment), client)) == names


async def test_half_a_configuration_is_refused_by_the_variables_name() -> None:
    half = Settings.model_validate({"statuspage_page_id": "page"})
    async with httpx.AsyncClient() as client:
        with pytest.raises(SettingsError, match="RESPONDER_STATUSPAGE_API_KEY"):
            build_notifiers(half, client)


def test_default_routes_and_rulebooks_know_every_notifier_and_no_other() -> None:
    assert {route.to for route in DEFAULT_ROUTES} <= set(NOTIFIERS)
    assert set(WORDS) == set(NOTIFIERS)
