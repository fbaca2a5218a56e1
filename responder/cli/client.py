"""The connection of operator commands to a running service."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import update_wrapper
from typing import Any

import click

from responder.errors import SettingsError
from responder.settings import client_settings_from_environment

_WITHIN = 30.0  # seconds
_EXIT_FAILED = 1


class ServiceClient:
    """Reads from the service; an answer that is an error ends the command with its reason."""

    def __init__(self, address: str, token: str | None) -> None:
        self._address = address
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}

    def get(self, path: str, parameters: Mapping[str, str] | None = None) -> Any:
        return self._get(path, parameters).json()

    def get_text(self, path: str, parameters: Mapping[str, str] | None = None) -> str:
        return str(self._get(path, parameters).text)

    def _get(self, path: str, parameters: Mapping[str, str] | None) -> Any:
        import httpx

        try:
            answer = httpx.get(
                self._address + path, params=dict(parameters or {}), headers=self._headers, timeout=_WITHIN, trust_env=False
            )
        except httpx.HTTPError as error:
            _fail(
                f"no answer from {self._address} ({type(error).__name__}); is the service running, and RESPONDER_URL its address?"
            )
        if answer.status_code >= 400:
            _fail(_problem(answer))
        return answer


def _problem(answer: Any) -> str:
    try:
        problem = answer.json()
        text = f"{answer.status_code} {problem.get('title', '')}: {problem.get('detail', '')}".rstrip(": ")
    except ValueError:
        text = f"{answer.status_code} from the service"
    if answer.status_code in (401, 403):
        text += " (set RESPONDER_TOKEN to a token with the right to read)"
    return text


def _fail(message: str) -> None:
    click.echo(f"responder: {message}", err=True)
    raise SystemExit(_EXIT_FAILED)


def pass_client(command: Callable[..., None]) -> Callable[..., None]:
    """Give the command a ServiceClient as its first argument."""

    def with_client(*args: Any, **options: Any) -> None:
        try:
            settings = client_settings_from_environment()
        except SettingsError as error:
            raise click.UsageError(str(error)) from error
        token = settings.token.get_secret_value() if settings.token else None
        command(ServiceClient(settings.url, token), *args, **options)

    return update_wrapper(with_client, command)
