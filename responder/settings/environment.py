"""Reads the environment. The only module that does."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Mapping
from pathlib import Path

from pydantic import SecretStr, ValidationError

from responder.errors import SettingsError
from responder.settings.client import ClientSettings
from responder.settings.combinations import combination_problems
from responder.settings.service import SECRETS, Settings
from responder.settings.variables import PREFIX, variable_of

# Kubernetes puts these into every container beside a Service named `responder`; they are nobody's wish.
_SERVICE_LINK = re.compile(r"RESPONDER_(SERVICE_HOST|SERVICE_PORT(_.+)?|PORT_[0-9]+_(TCP|UDP|SCTP)(_.+)?)")
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


def prometheus_is_set() -> bool:
    """Whether this environment names a Prometheus, rightly or not: for commands that read no other settings."""
    environ = os.environ  # noqa: TID251 - the one place that reads the environment
    return any(environ.get(name) for name in (variable_of("prometheus_url"), f"{variable_of('prometheus_url')}_FILE"))


def client_settings_from_environment() -> ClientSettings:
    """The settings of an operator command. Raises SettingsError."""
    environ = os.environ  # noqa: TID251 - the one place that reads the environment
    values = {name: environ[variable_of(name)] for name in ("url", "token") if environ.get(variable_of(name))}
    try:
        return ClientSettings.model_validate(values)
    except ValidationError as error:
        problems = [f"{variable_of(str(detail['loc'][0]))}: {_plain(detail['msg'])}" for detail in error.errors()]
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
        problems += [f"{variable_of(str(detail['loc'][0]))}: {_plain(detail['msg'])}" for detail in error.errors()]
        settings = Settings.model_validate({name: value for name, value in values.items() if name not in wrong})
    problems += combination_problems(settings, values)
    if problems:
        raise SettingsError("\n".join(problems))
    settings._named_secrets = named
    settings._inherited = {name: environ[name] for name in INHERITED if environ.get(name)}
    settings._of_the_cluster = {name: environ[name] for name in OF_THE_CLUSTER if environ.get(name)}
    return settings


def _is_service_link(variable: str, text: str) -> bool:
    if variable == variable_of("port"):
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
    elif from_file and variable_of(name) in environ:
        problems.append(f"{variable}: set either this or {variable_of(name)}, not both")
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


def _hint(bare: str) -> str:
    known = [name.upper() for name in Settings.model_fields]
    known += [f"{name.upper()}_FILE" for name in sorted(SECRETS)]
    known += sorted(OF_THE_CLIENT)
    near = difflib.get_close_matches(bare.upper(), known, n=1, cutoff=0.6)
    return f"; did you mean {PREFIX}{near[0]}?" if near else ""


def _plain(message: str) -> str:
    text = message.removeprefix("Value error, ")
    return text[:1].lower() + text[1:] if text.startswith("Input") else text
