"""The settings of the service."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal, get_args

from pydantic import BaseModel, ConfigDict, PrivateAttr, SecretStr

from responder.settings.values import (
    DatabaseUrl,
    Days,
    HttpUrl,
    PathToken,
    PerMinute,
    Port,
    Replicas,
    SecretHttpUrl,
    SmtpUrl,
    Token,
    Words,
)


class Settings(BaseModel):
    """Settings of the service; each field is the variable of that name with `RESPONDER_` in front.

    port: 0 takes any free one. database_url: a secret because it may hold a password.
    public_url: where people reach this service, for links in messages.
    alertmanager_url: where alerts are looked at a second time: every replica, with commas between.
    prometheus_url: who is asked for numbers; a secret because it may hold a password. prometheus_token: sent as bearer.
    argocd_url, argocd_token: where applications are rolled back, and as whom.
    tokens_file: named people and tools, see `web.people_file`. commands_per_minute: of each of them; 0 for no limit.
    slack_…: either a webhook, or a bot's token and channel; the signing secret takes buttons and slash commands.
    slack_api_url: base address as Slack documents it, ending in `/api`.
    sentry_legacy_token: end of the secret address `/webhooks/sentry/legacy/<token>`.
    statuspage_url: base address as Statuspage documents it, ending in `/v1`. pagerduty_url: the host alone.
    smtp_url: `smtp[s]://user:password@host:port?from=…&starttls=yes|no&ca=file`; see `clients.smtp`.
    allowed_programs: what steps may run, as the rulebook writes it; none by default. ssh_…: files of ours for hosts over SSH.
    reports_dir: folder in which the reports of closed incidents are kept as files, None for none.
    retention: days after which journal entries and closed incidents are deleted.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    host: str = "127.0.0.1"
    port: Port = 8080
    rules: Path = Path("rules")
    database_url: DatabaseUrl = SecretStr("sqlite:///responder.db")
    webhook_token: Token | None = None
    operator_token: Token | None = None
    viewer_token: Token | None = None
    tokens_file: Path | None = None
    commands_per_minute: PerMinute = 300
    sentry_client_secret: SecretStr | None = None
    sentry_legacy_token: PathToken | None = None
    grafana_secret: SecretStr | None = None
    alertmanager_url: Replicas = ()
    alertmanager_token: Token | None = None
    prometheus_url: SecretHttpUrl | None = None
    prometheus_token: Token | None = None
    argocd_url: HttpUrl | None = None
    argocd_token: Token | None = None
    slack_webhook_url: SecretHttpUrl | None = None
    slack_bot_token: Token | None = None
    slack_channel: str | None = None
    slack_api_url: HttpUrl = "https://slack.com/api"
    slack_signing_secret: SecretStr | None = None
    statuspage_api_key: Token | None = None
    statuspage_page_id: str | None = None
    statuspage_url: HttpUrl = "https://api.statuspage.io/v1"
    pagerduty_routing_key: Token | None = None
    pagerduty_url: HttpUrl = "https://events.pagerduty.com"
    smtp_url: SmtpUrl | None = None
    public_url: HttpUrl | None = None
    journal_retention_days: Days = 35
    incident_retention_days: Days = 400
    reports_dir: Path | None = None
    log_format: Literal["json", "console"] = "json"
    allowed_programs: Words = ()
    ssh_key_file: str = ""
    ssh_known_hosts_file: str = ""
    ssh_config_file: str = ""
    _named_secrets: Mapping[str, SecretStr] = PrivateAttr(default_factory=dict)
    _inherited: Mapping[str, str] = PrivateAttr(default_factory=dict)
    _of_the_cluster: Mapping[str, str] = PrivateAttr(default_factory=dict)

    @property
    def named_secrets(self) -> Mapping[str, str]:
        """What the rulebook may name as `from_secret`, by lower-case name."""
        return {name: value.get_secret_value() for name, value in self._named_secrets.items()}

    @property
    def inherited(self) -> Mapping[str, str]:
        """What programs that steps run inherit of our own environment."""
        return self._inherited

    @property
    def of_the_cluster(self) -> Mapping[str, str]:
        """What `helm` needs to find the cluster that we talk to."""
        return self._of_the_cluster

    @property
    def has_tokens(self) -> bool:
        return any((self.webhook_token, self.operator_token, self.viewer_token, self.tokens_file))

    def secrets(self) -> tuple[str, ...]:
        """Every secret value, for redaction."""
        values = [*(getattr(self, name) for name in SECRETS), *self._named_secrets.values()]
        return tuple(value.get_secret_value() for value in values if value is not None)


def _is_secret(annotation: object) -> bool:
    return annotation is SecretStr or any(_is_secret(part) for part in get_args(annotation))


SECRETS = frozenset(name for name, field in Settings.model_fields.items() if _is_secret(field.annotation))
"""Settings that may be given as a file, too, and are never shown."""
