"""Settings that need each other, or exclude each other."""

from __future__ import annotations

from collections.abc import Collection
from ipaddress import ip_address
from urllib.parse import urlsplit

from responder.settings.service import Settings
from responder.settings.variables import variable_of

_PAIRS = (
    ("statuspage_api_key", "statuspage_page_id", "the status page needs both its API key and its page id"),
    ("slack_bot_token", "slack_channel", "Slack's API needs both a bot token and a channel"),
)


def combination_problems(settings: Settings, given: Collection[str]) -> list[str]:
    """What is wrong with settings that are right one by one. given: names of those that were set, rightly or not."""
    problems = []
    for one, other, why in _PAIRS:
        if bool(getattr(settings, one)) != bool(getattr(settings, other)):
            missing = other if getattr(settings, one) else one
            if missing not in given:
                problems.append(f"{variable_of(missing)}: missing; {why}")
    if settings.argocd_url and not settings.argocd_token and "argocd_token" not in given:
        problems.append(f"{variable_of('argocd_token')}: missing; Argo CD needs both its address and a token")
    if settings.prometheus_token and settings.prometheus_url and urlsplit(settings.prometheus_url.get_secret_value()).username:
        problems.append(f"{variable_of('prometheus_token')}: the address holds a user already; use one of the two")
    if settings.slack_webhook_url and settings.slack_bot_token:
        problems.append(f"{variable_of('slack_bot_token')}: set either this or {variable_of('slack_webhook_url')}, not both")
    if settings.slack_signing_secret and not settings.tokens_file and "tokens_file" not in given:
        problems.append(
            f"{variable_of('tokens_file')}: missing; who presses buttons in Slack must be named there (`slack: U…`), "
            "or nobody may"
        )
    tokens_given = any(name in given for name in ("webhook_token", "operator_token", "viewer_token", "tokens_file"))
    if not tokens_given and not is_loopback(settings.host):
        problems.append(
            f"{variable_of('host')}: without tokens only a loopback address is served; set RESPONDER_WEBHOOK_TOKEN and "
            "RESPONDER_OPERATOR_TOKEN (each also as …_FILE) or RESPONDER_TOKENS_FILE, or leave the host at 127.0.0.1"
        )
    return problems


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the address. Names other than localhost are never trusted to be."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
