"""The environment as settings: everything wrong is said at once, and no value is ever shown."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from responder.errors import SettingsError
from responder.settings.combinations import is_loopback
from responder.settings.environment import load_settings
from responder.settings.service import SECRETS, Settings


def problems_of(environ: Mapping[str, str]) -> list[str]:
    with pytest.raises(SettingsError) as refused:
        load_settings(environ)
    return str(refused.value).splitlines()


def test_an_empty_environment_gives_the_documented_defaults() -> None:
    settings = load_settings({"PATH": "/bin", "HOME": "/root"})
    assert (settings.host, settings.port, settings.rules) == ("127.0.0.1", 8080, Path("rules"))
    assert settings.database_url.get_secret_value() == "sqlite:///responder.db"
    assert settings.statuspage_url == "https://api.statuspage.io/v1"
    assert not settings.has_tokens


def test_every_variable_reaches_its_field() -> None:
    settings = load_settings(
        {
            "RESPONDER_HOST": "0.0.0.0",
            "RESPONDER_PORT": "0",
            "RESPONDER_RULES": "/etc/responder/rules",
            "RESPONDER_DATABASE_URL": "sqlite:////var/lib/responder/responder.db",
            "RESPONDER_WEBHOOK_TOKEN": "hook-token",
            "RESPONDER_OPERATOR_TOKEN": "operator-token",
            "RESPONDER_VIEWER_TOKEN": "viewer-token",
            "RESPONDER_SLACK_WEBHOOK_URL": "https://hooks.slack.example/services/x",
            "RESPONDER_STATUSPAGE_API_KEY": "api-key",
            "RESPONDER_STATUSPAGE_PAGE_ID": "page",
            "RESPONDER_STATUSPAGE_URL": "http://127.0.0.1:9/v1/",
            "RESPONDER_JOURNAL_RETENTION_DAYS": "7",
            "RESPONDER_INCIDENT_RETENTION_DAYS": "90",
            "RESPONDER_LOG_FORMAT": "console",
        }
    )
    assert (settings.host, settings.port, settings.rules) == ("0.0.0.0", 0, Path("/etc/responder/rules"))
    assert settings.statuspage_url == "http://127.0.0.1:9/v1"
    assert (settings.journal_retention_days, settings.incident_retention_days, settings.log_format) == (7, 90, "console")
    assert set(settings.secrets()) == {
        "sqlite:////var/lib/responder/responder.db",
        "hook-token",
        "operator-token",
        "viewer-token",
        "https://hooks.slack.example/services/x",
        "api-key",
    }


@pytest.mark.parametrize("name", sorted(SECRETS))
def test_every_secret_can_come_from_a_file(name: str, tmp_path: Path) -> None:
    address = "https://hooks.slack.example/from-file"
    values = {"database_url": "sqlite:///from-file.db", "slack_webhook_url": address, "prometheus_url": address}
    values["smtp_url"] = "smtp://ann:from-file@mail.example?from=responder@example.com"
    value = values.get(name, "from-file")
    (tmp_path / "secret").write_text(f"{value}\n")
    environ = {f"RESPONDER_{name.upper()}_FILE": str(tmp_path / "secret"), "RESPONDER_STATUSPAGE_PAGE_ID": "page"}
    others = {
        "slack_bot_token": {"RESPONDER_SLACK_CHANNEL": "#ops"},
        "slack_signing_secret": {"RESPONDER_TOKENS_FILE": "people.yaml"},
    }
    environ |= others.get(name, {})
    if name != "statuspage_api_key":
        environ["RESPONDER_STATUSPAGE_API_KEY"] = "key"
    assert getattr(load_settings(environ), name).get_secret_value() == value


def test_a_secret_given_twice_is_refused(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("one")
    (problem,) = problems_of({"RESPONDER_WEBHOOK_TOKEN": "two", "RESPONDER_WEBHOOK_TOKEN_FILE": str(tmp_path / "secret")})
    assert problem == "RESPONDER_WEBHOOK_TOKEN_FILE: set either this or RESPONDER_WEBHOOK_TOKEN, not both"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        pytest.param(None, "the file can't be read: No such file or directory", id="missing"),
        pytest.param(b" \n", "the file is empty", id="empty"),
        pytest.param(b"\xff\xfe\x00", "the file can't be read: not a UTF-8 text file", id="not text"),
    ],
)
def test_a_secret_file_that_can_not_be_used_is_refused(content: bytes | None, expected: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "secret").write_bytes(content)
    (problem,) = problems_of({"RESPONDER_VIEWER_TOKEN_FILE": str(tmp_path / "secret")})
    assert problem == f"RESPONDER_VIEWER_TOKEN_FILE: {expected}"


@pytest.mark.parametrize(
    ("variable", "value", "expected"),
    [
        pytest.param("PORT", "http", "must be a whole number", id="a port that is a word"),
        pytest.param("PORT", "70000", "input should be less than or equal to 65535", id="a port out of range"),
        pytest.param("PORT", "-1", "must be a whole number", id="a negative port"),
        pytest.param("JOURNAL_RETENTION_DAYS", "0", "input should be greater than or equal to 1", id="no retention"),
        pytest.param("LOG_FORMAT", "xml", "input should be 'json' or 'console'", id="an unknown log format"),
        pytest.param("DATABASE_URL", "postgresql://u:hunter2@db/r", "PostgreSQL is not supported yet", id="PostgreSQL"),
        pytest.param("DATABASE_URL", "hunter2.db", "must be sqlite:///<path>", id="a path as database"),
        pytest.param("SLACK_WEBHOOK_URL", "hooks.slack.com/hunter2", "must be an http:// or https:// address", id="no scheme"),
        pytest.param("ALERTMANAGER_URL", "http://am-0:9093,hunter2:9093", "must be an http://", id="one of two addresses"),
        pytest.param("ALERTMANAGER_URL", "http://a:9093,", "must be an http:// or https://", id="a comma too many"),
        pytest.param("ALERTMANAGER_URL", "http://u:hunter2@a", "must not hold a password", id="a password in an address"),
        pytest.param("WEBHOOK_TOKEN", "hunter2 hunter2", "must be printable ASCII without blanks", id="a token with a blank"),
        pytest.param("WEBHOOK_TOKEN", "hünter2", "must be printable ASCII without blanks", id="a token outside ASCII"),
        pytest.param("WEBHOOK_TOKEN", "", "set but empty", id="an empty token"),
        pytest.param("RULES", "", "set but empty", id="an empty path"),
        pytest.param("TOEKN", "hunter2", "did you mean RESPONDER_TOKEN?", id="a slip in a variable of the commands"),
        pytest.param("WEBHOK_TOKEN", "hunter2", "did you mean RESPONDER_WEBHOOK_TOKEN?", id="a slip of the pen"),
        pytest.param(
            "SLACK_WEBHOOK_URL_FIL", "/x", "did you mean RESPONDER_SLACK_WEBHOOK_URL_FILE?", id="a slip in a file variable"
        ),
        pytest.param("PORT_FILE", "/x", "no such setting", id="a file for what is no secret"),
        pytest.param("webhook_token", "hunter2", "did you mean RESPONDER_WEBHOOK_TOKEN?", id="small letters"),
        pytest.param("ZZZZZZ", "hunter2", "no such setting", id="something else entirely"),
    ],
)
def test_a_wrong_variable_is_named_with_the_reason_and_never_with_its_value(variable: str, value: str, expected: str) -> None:
    (problem,) = problems_of({f"RESPONDER_{variable}": value})
    assert problem.startswith(f"RESPONDER_{variable}: ")
    assert expected in problem
    assert "hunter2" not in problem
    assert "hünter2" not in problem


def test_several_alertmanagers_are_given_with_commas() -> None:
    settings = load_settings({"RESPONDER_ALERTMANAGER_URL": "http://am-0:9093/, https://am.example/prefix"})
    assert settings.alertmanager_url == ("http://am-0:9093", "https://am.example/prefix")
    assert load_settings({}).alertmanager_url == ()


def test_everything_wrong_is_said_at_once() -> None:
    problems = problems_of(
        {
            "RESPONDER_HOST": "0.0.0.0",
            "RESPONDER_PORT": "x",
            "RESPONDER_LOG_FORMAT": "y",
            "RESPONDER_SMTP_URL": "z",
            "RESPONDER_STATUSPAGE_API_KEY": "key",
        }
    )
    named = [problem.partition(":")[0] for problem in problems]
    assert sorted(named) == [
        "RESPONDER_HOST",
        "RESPONDER_LOG_FORMAT",
        "RESPONDER_PORT",
        "RESPONDER_SMTP_URL",
        "RESPONDER_STATUSPAGE_PAGE_ID",
    ]


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.7", "responder.example", "127.0.0.1.example"])
def test_without_tokens_no_address_but_loopback_is_served(host: str) -> None:
    (problem,) = problems_of({"RESPONDER_HOST": host})
    assert problem.startswith("RESPONDER_HOST: without tokens only a loopback address is served; set RESPONDER_WEBHOOK_TOKEN")
    assert load_settings({"RESPONDER_HOST": host, "RESPONDER_WEBHOOK_TOKEN": "hook-token"}).host == host


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_loopback_is_served_without_tokens(host: str) -> None:
    assert is_loopback(host)
    assert load_settings({"RESPONDER_HOST": host}).host == host


def test_what_kubernetes_injects_for_a_service_of_this_name_is_passed_over() -> None:
    settings = load_settings(
        {
            "RESPONDER_PORT": "tcp://10.96.0.7:8080",
            "RESPONDER_SERVICE_HOST": "10.96.0.7",
            "RESPONDER_SERVICE_PORT": "8080",
            "RESPONDER_SERVICE_PORT_HTTP": "8080",
            "RESPONDER_PORT_8080_TCP": "tcp://10.96.0.7:8080",
            "RESPONDER_PORT_8080_TCP_ADDR": "10.96.0.7",
        }
    )
    assert settings.port == 8080


def test_secrets_do_not_show_when_the_settings_are_printed() -> None:
    environ = {f"RESPONDER_{name.upper()}": "https://hunter2.example" for name in SECRETS if name.endswith("webhook_url")}
    settings = load_settings({**environ, "RESPONDER_WEBHOOK_TOKEN": "hunter2", "RESPONDER_DATABASE_URL": "sqlite:///hunter2"})
    assert "hunter2" not in f"{settings!r} {settings}"


def test_every_secret_field_is_listed_for_redaction() -> None:
    typed = {name for name, field in Settings.model_fields.items() if "SecretStr" in str(field.annotation)}
    assert typed == SECRETS


def test_prometheus_is_shown_either_a_token_or_a_user() -> None:
    address = {"RESPONDER_PROMETHEUS_URL": "https://me:secret-of-mine@prometheus.example/prefix/"}
    assert load_settings(address).prometheus_url is not None
    (problem,) = problems_of({**address, "RESPONDER_PROMETHEUS_TOKEN": "a-token"})
    assert problem == "RESPONDER_PROMETHEUS_TOKEN: the address holds a user already; use one of the two"
    assert "secret-of-mine" not in repr(load_settings(address))
    (problem,) = problems_of({"RESPONDER_PROMETHEUS_URL": "prometheus:9090"})
    assert "must be an http:// or https:// address" in problem


class TestWhatProgramsMayUse:
    def test_allowed_programs_are_a_list(self) -> None:
        assert load_settings({}).allowed_programs == ()
        settings = load_settings({"RESPONDER_ALLOWED_PROGRAMS": "pg_dump, /usr/bin/psql,"})
        assert settings.allowed_programs == ("pg_dump", "/usr/bin/psql")

    def test_secrets_of_the_rulebook_are_found_by_name_and_redacted(self, tmp_path: Path) -> None:
        (tmp_path / "secret").write_text("from-a-file\n")
        settings = load_settings({"RESPONDER_SECRET_DB": "hunter2", "RESPONDER_SECRET_COUCH_FILE": str(tmp_path / "secret")})
        assert settings.named_secrets == {"db": "hunter2", "couch": "from-a-file"}
        assert {"hunter2", "from-a-file"} <= set(settings.secrets())
        assert "hunter2" not in repr(settings)

    @pytest.mark.parametrize(
        ("environ", "problem"),
        [
            pytest.param({"RESPONDER_SECRET_DB": ""}, "RESPONDER_SECRET_DB: set but empty", id="empty"),
            pytest.param({"RESPONDER_SECRET_DB_FILE": "/no/such"}, "can't be read: No such file", id="no file"),
            pytest.param({"RESPONDER_SECRET_DB": "a", "RESPONDER_SECRET_DB_FILE": "/x"}, "not both", id="both"),
            pytest.param({"RESPONDER_SECRET_": "a"}, "no such setting", id="no name"),
        ],
    )
    def test_what_is_wrong_with_one_is_said_without_its_value(self, environ: Mapping[str, str], problem: str) -> None:
        assert any(problem in line for line in problems_of(environ))

    def test_programs_inherit_where_things_are_and_nothing_else(self) -> None:
        environ = {"PATH": "/bin", "DOCKER_HOST": "unix:///x", "AWS_SECRET_ACCESS_KEY": "s", "LD_PRELOAD": "x", "HOME": ""}
        assert load_settings(environ).inherited == {"PATH": "/bin", "DOCKER_HOST": "unix:///x"}


SLACK_BY_HALF = [
    ({"SLACK_BOT_TOKEN": "xoxb-hunter2"}, "RESPONDER_SLACK_CHANNEL: missing"),
    ({"SLACK_CHANNEL": "#ops"}, "RESPONDER_SLACK_BOT_TOKEN: missing"),
    (
        {"SLACK_BOT_TOKEN": "xoxb-hunter2", "SLACK_CHANNEL": "#ops", "SLACK_WEBHOOK_URL": "https://hooks.slack.example/hunter2"},
        "set either this or RESPONDER_SLACK_WEBHOOK_URL",
    ),
    ({"SLACK_SIGNING_SECRET": "hunter2"}, "RESPONDER_TOKENS_FILE: missing"),
]


@pytest.mark.parametrize(
    ("values", "said"), SLACK_BY_HALF, ids=["no channel", "no token", "two ways at once", "nobody may press"]
)
def test_slack_by_half_is_refused(values: dict[str, str], said: str) -> None:
    (problem,) = problems_of({f"RESPONDER_{name}": value for name, value in values.items()})
    assert said in problem
    assert "hunter2" not in problem


def test_a_file_of_people_is_enough_to_serve_the_network() -> None:
    settings = load_settings({"RESPONDER_HOST": "0.0.0.0", "RESPONDER_TOKENS_FILE": "/etc/responder/people.yaml"})
    assert settings.has_tokens
