"""The connection of operator commands to a running service."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import update_wrapper
from typing import Any, NoReturn
from urllib.parse import quote

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

    def get(self, *path: str, parameters: Mapping[str, str] | None = None) -> dict[str, Any]:
        """The JSON object at this path, whose parts may be anything a person typed."""
        try:
            answer = self._get(path, parameters).json()
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            self._fail_as_stranger()
        return answer

    def get_rows(self, name: str, *path: str, parameters: Mapping[str, str] | None = None) -> tuple[dict[str, Any], list[Any]]:
        """The JSON object, and the list in it that has this name."""
        answer = self.get(*path, parameters=parameters)
        rows = answer.get(name)
        if not isinstance(rows, list):
            self._fail_as_stranger()
        return answer, rows

    def get_text(self, *path: str, parameters: Mapping[str, str] | None = None, kind: str = "text/markdown") -> str:
        """kind: the content type that is asked for; another answer is not the service's."""
        answer = self._get(path, parameters)
        if not answer.headers.get("content-type", "").startswith(kind):
            self._fail_as_stranger()
        return str(answer.text)

    def _get(self, path: Sequence[str], parameters: Mapping[str, str] | None) -> Any:
        import httpx

        address = "/".join([self._address, "v1", *(quote(part, safe="") for part in path)])
        try:
            answer = httpx.get(address, params=dict(parameters or {}), headers=self._headers, timeout=_WITHIN, trust_env=False)
        except httpx.HTTPError as error:
            _fail(
                f"no answer from {self._address} ({type(error).__name__}); is the service running, and RESPONDER_URL its address?"
            )
        if answer.status_code != 200:
            _fail(_problem(answer, self._address))
        return answer

    def _fail_as_stranger(self) -> NoReturn:
        _fail(f"what answers at {self._address} is not Responder; is RESPONDER_URL right?")


def _problem(answer: Any, address: str) -> str:
    try:
        problem = answer.json()
        text = f"{answer.status_code} {problem['title']}: {problem['detail']}"
    except (ValueError, KeyError, TypeError):
        return f"{answer.status_code} from {address}, which does not answer as Responder does; is RESPONDER_URL right?"
    if answer.status_code in (401, 403):
        text += " (set RESPONDER_TOKEN to a token with the right to read)"
    return text


def _fail(message: str) -> NoReturn:
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
