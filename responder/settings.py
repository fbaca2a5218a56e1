"""The environment as one typed object. The only module that reads it."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PrivateAttr, SecretStr, ValidationError

from responder.clients.smtp import read_smtp_url
from responder.errors import SettingsError

PREFIX = "RESPONDER_"

# Kubernetes puts these into every container beside a Service named `responder`; they are nobody's wish.
_SERVICE_LINK = re.compile(r"RESPONDER_(SERVICE_HOST|SERVICE_PORT(_.+)?|PORT_[0-9]+_(TCP|UDP|SCTP)(_.+)?)")
_UNRESERVED = re.compile(r"[A-Za-z0-9._~-]+")
_SERVICE_LINK_PORT = re.compile(r"(tcp|udp|sctp)://.+")
# What a program that a step runs inherits: where things are, never who we are.
INHERITED = frozenset(
    {"PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "TZ", "TMPDIR", "XDG_RUNTIME_DIR", "DBUS_SESSION_BUS_ADDRESS"}
    | {"SSH_AUTH_SOCK", "DOCKER_HOST", "DOCKER_CONFIG", "DOCKER_CONTEXT", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH", "PM2_HOME"}
)
# How a program of ours (`helm`) finds the cluster: by kubeconfig, or from inside a pod.
OF_THE_CLUSTER = frozenset({"KUBECONFIG", "KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT"})
# `RESPONDER_SECRET_<NAME>`, for the rulebook's `from_secret`.
_NAMED_SECRET = re.compile(r"RESPONDER_SECRET_([A-Z][A-Z0-9_]*)")
# Read by the operator commands, not by the service; both may stand in one environment.
OF_THE_CLIENT = frozenset({"URL", "TOKEN"})


def _http_url(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("must be an http:// or https:// address")
    return value.rstrip("/")


def _secret_http_url(value: SecretStr) -> SecretStr:
    return SecretStr(_http_url(value.get_secret_value()))


def _smtp_url(value: SecretStr) -> SecretStr:
    read_smtp_url(value.get_secret_value())
    return value


def _database_url(value: SecretStr) -> SecretStr:
    scheme = urlsplit(value.get_secret_value()).scheme
    if scheme.startswith("postgres"):
        raise ValueError("PostgreSQL is not supported yet: use sqlite:///<path>")
    if scheme != "sqlite" or not value.get_secret_value().startswith("sqlite:///"):
        raise ValueError("must be sqlite:///<path>")
    return value


def _token(value: SecretStr) -> SecretStr:
    text = value.get_secret_value()
    if not text.isascii() or not text.isprintable() or " " in text:
        raise ValueError("must be printable ASCII without blanks, as it travels in a header")
    return value


def _path_token(value: SecretStr) -> SecretStr:
    if not _UNRESERVED.fullmatch(value.get_secret_value()):
        raise ValueError("must be letters, digits, - . _ ~ only, as it is the end of an address")
    return value


def _listed(value: object) -> object:
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


def _whole_number(value: object) -> object:
    if isinstance(value, str) and not (value.isascii() and value.isdigit()):
        raise ValueError("must be a whole number")
    return value


def _replica(value: str) -> str:
    if urlsplit(value).password is not None:
        raise ValueError("must not hold a password; a token goes into its own variable")
    return value


def _several(value: object) -> object:
    return tuple(part.strip() for part in value.split(",")) if isinstance(value, str) else value


Token = Annotated[SecretStr, AfterValidator(_token)]
PathToken = Annotated[SecretStr, AfterValidator(_path_token)]
HttpUrl = Annotated[str, AfterValidator(_http_url)]
Days = Annotated[int, BeforeValidator(_whole_number), Field(ge=1, le=3650)]


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
    port: Annotated[int, BeforeValidator(_whole_number), Field(ge=0, le=65535)] = 8080
    rules: Path = Path("rules")
    database_url: Annotated[SecretStr, AfterValidator(_database_url)] = SecretStr("sqlite:///responder.db")
    webhook_token: Token | None = None
    operator_token: Token | None = None
    viewer_token: Token | None = None
    tokens_file: Path | None = None
    commands_per_minute: Annotated[int, BeforeValidator(_whole_number), Field(ge=0, le=1_000_000)] = 300
    sentry_client_secret: SecretStr | None = None
    sentry_legacy_token: PathToken | None = None
    grafana_secret: SecretStr | None = None
    alertmanager_url: Annotated[tuple[Annotated[HttpUrl, AfterValidator(_replica)], ...], BeforeValidator(_several)] = ()
    alertmanager_token: Token | None = None
    prometheus_url: Annotated[SecretStr, AfterValidator(_secret_http_url)] | None = None
    prometheus_token: Token | None = None
    argocd_url: HttpUrl | None = None
    argocd_token: Token | None = None
    slack_webhook_url: Annotated[SecretStr, AfterValidator(_secret_http_url)] | None = None
    slack_bot_token: Token | None = None
    slack_channel: str | None = None
    slack_api_url: HttpUrl = "https://slack.com/api"
    slack_signing_secret: SecretStr | None = None
    statuspage_api_key: Token | None = None
    statuspage_page_id: str | None = None
    statuspage_url: HttpUrl = "https://api.statuspage.io/v1"
    pagerduty_routing_key: Token | None = None
    pagerduty_url: HttpUrl = "https://events.pagerduty.com"
    smtp_url: Annotated[SecretStr, AfterValidator(_smtp_url)] | None = None
    public_url: HttpUrl | None = None
    journal_retention_days: Days = 35
    incident_retention_days: Days = 400
    reports_dir: Path | None = None
    log_format: Literal["json", "console"] = "json"
    allowed_programs: Annotated[tuple[str, ...], BeforeValidator(_listed)] = ()
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


SECRETS = frozenset(
    {
        "database_url",
        "webhook_token",
        "operator_token",
        "viewer_token",
        "sentry_client_secret",
        "sentry_legacy_token",
        "grafana_secret",
        "alertmanager_token",
        "prometheus_url",
        "prometheus_token",
        "argocd_token",
        "slack_webhook_url",
        "slack_bot_token",
        "slack_signing_secret",
        "statuspage_api_key",
        "pagerduty_routing_key",
        "smtp_url",
    }
)


class ClientSettings(BaseModel):
    """What operator commands read: where the service is, and the token to show it."""

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    url: HttpUrl = "http://127.0.0.1:8080"
    token: Token | None = None


def prometheus_is_set() -> bool:
    """Whether this environment names a Prometheus, rightly or not: for commands that read no other settings."""
    environ = os.environ  # noqa: TID251 - the one place that reads the environment
    return any(environ.get(name) for name in (_variable("prometheus_url"), f"{_variable('prometheus_url')}_FILE"))


def client_settings_from_environment() -> ClientSettings:
    """The settings of an operator command. Raises SettingsError."""
    environ = os.environ  # noqa: TID251 - the one place that reads the environment
    values = {name: environ[_variable(name)] for name in ("url", "token") if environ.get(_variable(name))}
    try:
        return ClientSettings.model_validate(values)
    except ValidationError as error:
        problems = [f"{_variable(str(detail['loc'][0]))}: {_plain(detail['msg'])}" for detail in error.errors()]
        raise SettingsError("\n".join(problems)) from None


def settings_from_environment() -> Settings:
    """The settings of this process. Raises SettingsError with every problem."""
    return load_settings(os.environ)  # noqa: TID251 - the one place that reads the environment


def load_settings(environ: Mapping[str, str]) -> Settings:
    """Read the `RESPONDER_*` variables. Raises SettingsError with every problem, one a line; values are never shown."""
    problems: list[str] = []
    values: dict[str, str] = {}
    named: dict[str, SecretStr] = {}
    for variable in sorted(environ):
        if _NAMED_SECRET.fullmatch(variable):
            _take_named(variable, environ, named, problems)
        elif variable.startswith(PREFIX) and not _is_service_link(variable, environ[variable]):
            _take(variable, environ[variable], values, problems, environ)
    try:
        settings = Settings.model_validate(values)
    except ValidationError as error:
        # The rules below are checked with what could be read, so that one run shows everything.
        wrong = {str(detail["loc"][0]) for detail in error.errors()}
        problems += [f"{_variable(str(detail['loc'][0]))}: {_plain(detail['msg'])}" for detail in error.errors()]
        settings = Settings.model_validate({name: value for name, value in values.items() if name not in wrong})
    problems += _combination_problems(settings, values)
    if problems:
        raise SettingsError("\n".join(problems))
    settings._named_secrets = named
    settings._inherited = {name: environ[name] for name in INHERITED if environ.get(name)}
    settings._of_the_cluster = {name: environ[name] for name in OF_THE_CLUSTER if environ.get(name)}
    return settings


def _is_service_link(variable: str, text: str) -> bool:
    if variable == _variable("port"):
        return _SERVICE_LINK_PORT.fullmatch(text) is not None
    return _SERVICE_LINK.fullmatch(variable) is not None


def _take(variable: str, text: str, values: dict[str, str], problems: list[str], environ: Mapping[str, str]) -> None:
    """Put one variable into `values`, or say what is wrong with it."""
    bare = variable.removeprefix(PREFIX)
    name, from_file = bare.lower(), False
    if bare.endswith("_FILE") and name.removesuffix("_file") in SECRETS:
        name, from_file = name.removesuffix("_file"), True
    if bare in OF_THE_CLIENT:
        return
    if name not in Settings.model_fields or variable != variable.upper():
        problems.append(f"{variable}: no such setting{_hint(bare)}")
    elif from_file and _variable(name) in environ:
        problems.append(f"{variable}: set either this or {_variable(name)}, not both")
    elif from_file:
        _read_secret(variable, text, name, values, problems)
    elif not text.strip():
        problems.append(f"{variable}: set but empty; give it a value or unset it")
    else:
        values[name] = text


def _take_named(variable: str, environ: Mapping[str, str], named: dict[str, SecretStr], problems: list[str]) -> None:
    """A secret of the rulebook's, itself or from a file."""
    bare = variable.removeprefix(f"{PREFIX}SECRET_").removesuffix("_FILE").lower()
    values: dict[str, str] = {}
    if not variable.endswith("_FILE"):
        values[bare] = environ[variable]
    elif variable.removesuffix("_FILE") in environ:
        problems.append(f"{variable}: set either this or {variable.removesuffix('_FILE')}, not both")
        return
    else:
        _read_secret(variable, environ[variable], bare, values, problems)
    if values.get(bare):
        named[bare] = SecretStr(values[bare])
    elif bare in values:
        problems.append(f"{variable}: set but empty; give it a value or unset it")


def _read_secret(variable: str, path: str, name: str, values: dict[str, str], problems: list[str]) -> None:
    try:
        values[name] = Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a UTF-8 text file"
        problems.append(f"{variable}: the file can't be read: {reason}")
        return
    if not values[name]:
        del values[name]
        problems.append(f"{variable}: the file is empty")


def _combination_problems(settings: Settings, values: Mapping[str, str]) -> list[str]:
    problems = []
    if bool(settings.statuspage_api_key) != bool(settings.statuspage_page_id):
        missing = "statuspage_page_id" if settings.statuspage_api_key else "statuspage_api_key"
        if missing not in values:
            problems.append(f"{_variable(missing)}: missing; the status page needs both its API key and its page id")
    if settings.argocd_url and not settings.argocd_token and "argocd_token" not in values:
        problems.append(f"{_variable('argocd_token')}: missing; Argo CD needs both its address and a token")
    if settings.prometheus_token and settings.prometheus_url and urlsplit(settings.prometheus_url.get_secret_value()).username:
        problems.append(f"{_variable('prometheus_token')}: the address holds a user already; use one of the two")
    if settings.slack_webhook_url and settings.slack_bot_token:
        problems.append(f"{_variable('slack_bot_token')}: set either this or {_variable('slack_webhook_url')}, not both")
    if bool(settings.slack_bot_token) != bool(settings.slack_channel):
        missing = "slack_channel" if settings.slack_bot_token else "slack_bot_token"
        if missing not in values:
            problems.append(f"{_variable(missing)}: missing; Slack's API needs both a bot token and a channel")
    if settings.slack_signing_secret and not settings.tokens_file and "tokens_file" not in values:
        problems.append(
            f"{_variable('tokens_file')}: missing; who presses buttons in Slack must be named there (`slack: U…`), or nobody may"
        )
    tokens_given = any(name in values for name in ("webhook_token", "operator_token", "viewer_token", "tokens_file"))
    if not tokens_given and not is_loopback(settings.host):
        problems.append(
            f"{_variable('host')}: without tokens only a loopback address is served; set RESPONDER_WEBHOOK_TOKEN and "
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


def _variable(name: str) -> str:
    return PREFIX + name.upper()


def _hint(bare: str) -> str:
    known = [name.upper() for name in Settings.model_fields]
    known += [f"{name.upper()}_FILE" for name in sorted(SECRETS)]
    known += sorted(OF_THE_CLIENT)
    near = difflib.get_close_matches(bare.upper(), known, n=1, cutoff=0.6)
    return f"; did you mean {PREFIX}{near[0]}?" if near else ""


def _plain(message: str) -> str:
    text = message.removeprefix("Value error, ")
    return text[:1].lower() + text[1:] if text.startswith("Input") else text
