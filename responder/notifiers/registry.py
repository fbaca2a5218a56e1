"""Every notifier by the name it has in the rulebook's `notify: [{to: …}]`. A new one is a module and a line here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

import httpx
from pydantic import SecretStr

from responder.clients.smtp import Mailer, read_smtp_url
from responder.errors import SettingsError
from responder.notifiers import email, pagerduty, slack, statuspage
from responder.notifiers.slack_api import SlackApi
from responder.notifiers.slack_bot import SlackBot
from responder.ports import Notifier


class NotifierSettings(Protocol):
    """The part of the settings that notifiers read. None: not set."""

    @property
    def slack_webhook_url(self) -> SecretStr | None: ...
    @property
    def slack_bot_token(self) -> SecretStr | None: ...
    @property
    def slack_channel(self) -> str | None: ...
    @property
    def slack_api_url(self) -> str: ...
    @property
    def statuspage_api_key(self) -> SecretStr | None: ...
    @property
    def statuspage_page_id(self) -> str | None: ...
    @property
    def statuspage_url(self) -> str: ...
    @property
    def pagerduty_routing_key(self) -> SecretStr | None: ...
    @property
    def pagerduty_url(self) -> str: ...
    @property
    def smtp_url(self) -> SecretStr | None: ...


def build_notifiers(settings: NotifierSettings, client: httpx.AsyncClient) -> Mapping[str, Notifier]:
    """The notifiers that are configured. Raises SettingsError for one that is configured by half."""
    built = ((name, build(settings, client)) for name, build in NOTIFIERS.items())
    return {name: notifier for name, notifier in built if notifier is not None}


def _slack(settings: NotifierSettings, client: httpx.AsyncClient) -> Notifier | None:
    if settings.slack_bot_token and settings.slack_channel:
        api = SlackApi(client, settings.slack_bot_token.get_secret_value(), settings.slack_api_url)
        return SlackBot(api, settings.slack_channel)
    if settings.slack_bot_token or settings.slack_channel:
        missing = "RESPONDER_SLACK_CHANNEL" if settings.slack_bot_token else "RESPONDER_SLACK_BOT_TOKEN"
        raise SettingsError(f"{missing} is missing: Slack's API needs a bot token and a channel")
    if not settings.slack_webhook_url:
        return None
    return slack.Slack(client, settings.slack_webhook_url.get_secret_value())


def _statuspage(settings: NotifierSettings, client: httpx.AsyncClient) -> Notifier | None:
    key, page = settings.statuspage_api_key, settings.statuspage_page_id
    if not key and not page:
        return None
    if not key or not page:
        missing = "RESPONDER_STATUSPAGE_PAGE_ID" if key else "RESPONDER_STATUSPAGE_API_KEY"
        raise SettingsError(f"{missing} is missing: the status page needs a key and a page id")
    return statuspage.Statuspage(client, api_key=key.get_secret_value(), page_id=page, address=settings.statuspage_url)


def _pagerduty(settings: NotifierSettings, client: httpx.AsyncClient) -> Notifier | None:
    if not settings.pagerduty_routing_key:
        return None
    key = settings.pagerduty_routing_key.get_secret_value()
    return pagerduty.PagerDuty(client, routing_key=key, address=settings.pagerduty_url)


def _email(settings: NotifierSettings, _client: httpx.AsyncClient) -> Notifier | None:
    return email.Email(Mailer(read_smtp_url(settings.smtp_url.get_secret_value()))) if settings.smtp_url else None


NOTIFIERS: Mapping[str, Callable[[NotifierSettings, httpx.AsyncClient], Notifier | None]] = {
    "slack": _slack,
    "statuspage": _statuspage,
    "pagerduty": _pagerduty,
    "email": _email,
}
