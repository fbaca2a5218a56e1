"""What the rulebook counts on and the settings lack: said at the start, and when another rulebook comes into force."""

from __future__ import annotations

from collections.abc import Collection

import structlog

from responder.domain.prometheus_users import prometheus_users
from responder.domain.rulebook import DEFAULT_ROUTES, Rulebook
from responder.settings.service import Settings

_log = structlog.get_logger(__name__)


def warn_about_notifiers(rulebook: Rulebook, configured: Collection[str]) -> None:
    """A silent responder is the last thing people expect: say at the start who will not be told."""
    if not configured:
        _log.warning("nobody_is_told", hint="set RESPONDER_SLACK_…, RESPONDER_PAGERDUTY_ROUTING_KEY or RESPONDER_SMTP_URL")
    declared = () if rulebook.routes == DEFAULT_ROUTES else rulebook.routes
    wanted = [*(route.to for route in declared), *(name for level in rulebook.escalation for name in level.tell)]
    for name in dict.fromkeys(name for name in wanted if name not in configured):
        _log.warning("notifier_not_configured", notifier=name, hint=f"the rulebook notifies {name}, but its settings are missing")


def warn_about_prometheus(rulebook: Rulebook, settings: Settings) -> None:
    """Rules whose numbers would always be missing ask and never act: say so at the start."""
    users = prometheus_users(rulebook)
    if users and settings.prometheus_url is None:
        _log.warning("prometheus_not_configured", needed_by=users, hint="set RESPONDER_PROMETHEUS_URL; they have no numbers")
