"""What a setting may hold: each kind of value with its refusal. No refusal shows the value."""

from __future__ import annotations

import re
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr

from responder.clients.smtp import read_smtp_url

_UNRESERVED = re.compile(r"[A-Za-z0-9._~-]+")


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
SecretHttpUrl = Annotated[SecretStr, AfterValidator(_secret_http_url)]
SmtpUrl = Annotated[SecretStr, AfterValidator(_smtp_url)]
DatabaseUrl = Annotated[SecretStr, AfterValidator(_database_url)]
Replicas = Annotated[tuple[Annotated[HttpUrl, AfterValidator(_replica)], ...], BeforeValidator(_several)]
Words = Annotated[tuple[str, ...], BeforeValidator(_listed)]
Port = Annotated[int, BeforeValidator(_whole_number), Field(ge=0, le=65535)]
PerMinute = Annotated[int, BeforeValidator(_whole_number), Field(ge=0, le=1_000_000)]
