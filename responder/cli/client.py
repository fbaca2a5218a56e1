"""The connection of operator commands to a running service."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import update_wrapper
from typing import Any, NoReturn
from urllib.parse import quote, urlsplit

import click

from responder.errors import SettingsError
from responder.settings.environment import client_settings_from_environment

_WITHIN = 30.0  # seconds
_EXIT_FAILED = 1
_ATTEMPTS = 3
_OTHER_NAMES = {"window": "summary"}  # fields of requests whose option is not called like them


class ServiceClient:
    """Asks the service; an answer that is an error ends the command with its reason."""

    def __init__(self, address: str, token: str | None) -> None:
        self._address = address
        self._shown = _without_user(address)
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

    def send(self, method: str, *path: str, body: Mapping[str, Any] | None = None) -> tuple[int, dict[str, Any]]:
        """Give a command. Returns the status and the document: of what was done (2xx), or of why not (409)."""
        answer = self._send(method, path, body or {})
        try:
            document = answer.json()
        except ValueError:
            document = None
        if not isinstance(document, dict):
            self._fail_as_stranger()
        if not answer.is_success and answer.status_code != 409:
            self._refused(answer, document)
        return answer.status_code, document

    def _send(self, method: str, path: Sequence[str], body: Mapping[str, Any]) -> Any:
        """Tried again when the connection breaks: its key makes the service take it once."""
        import uuid

        import httpx

        headers = {**self._headers, "Idempotency-Key": uuid.uuid4().hex}
        with httpx.Client(headers=headers, timeout=_WITHIN, trust_env=False) as session:
            attempt = 1
            while True:
                try:
                    return session.request(method, self._address_of(path), json=dict(body))
                except httpx.HTTPError as error:
                    if attempt == _ATTEMPTS:
                        _fail(_silence(self._shown, error))
                    attempt += 1
                except (httpx.InvalidURL, UnicodeError) as error:
                    _fail(_silence(self._shown, error))

    def _refused(self, answer: Any, document: Mapping[str, Any]) -> NoReturn:
        detail = document.get("detail", "the service refused it")
        if answer.status_code == 400 or (answer.status_code == 404 and "field" in document):
            _wrong_usage(document)
        if answer.status_code in (401, 403):
            hint = " (set RESPONDER_TOKEN to an operator's token)" if answer.status_code == 401 else ""
            _fail(f"{answer.status_code} {document.get('title')}: {detail}{hint}")
        _fail(_problem(answer, self._shown))

    def _address_of(self, path: Sequence[str]) -> str:
        return "/".join([self._address, "v1", *(quote(part, safe="") for part in path)])

    def _get(self, path: Sequence[str], parameters: Mapping[str, str] | None) -> Any:
        import httpx

        try:
            answer = httpx.get(
                self._address_of(path), params=dict(parameters or {}), headers=self._headers, timeout=_WITHIN, trust_env=False
            )
        except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:
            _fail(_silence(self._shown, error))
        if answer.status_code == 400:
            _wrong_usage(_document(answer))
        if answer.status_code != 200:
            hint = " (`responder incidents` lists them)" if answer.status_code == 404 and path[0] == "incidents" else ""
            _fail(_problem(answer, self._shown) + hint)
        return answer

    def _fail_as_stranger(self) -> NoReturn:
        _fail(f"what answers at {self._shown} is not Responder; is RESPONDER_URL right?")


def _document(answer: Any) -> Mapping[str, Any]:
    try:
        document = answer.json()
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def _wrong_usage(document: Mapping[str, Any]) -> NoReturn:
    """What is wrong with a request, in the words of the command that made it."""
    detail = document.get("detail", "the service did not understand it")
    first = f"{document['field']}: {detail}" if "field" in document else str(detail)
    raise click.UsageError("\n".join(_in_our_words(str(line)) for line in document.get("problems") or [first]))


def _in_our_words(line: str) -> str:
    """`duration: …` is `--for: …` here: the field of a request by the option or argument that it came from."""
    field, separator, text = line.partition(": ")
    context = click.get_current_context(silent=True)
    for one in context.command.params if context and separator else ():
        if one.name in (field.partition("[")[0], _OTHER_NAMES.get(field)):
            return f"{one.opts[0] if isinstance(one, click.Option) else one.human_readable_name}: {text}"
    return line


def _without_user(address: str) -> str:
    """For messages: an address may hold a password."""
    parts = urlsplit(address)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def _silence(address: str, error: Exception) -> str:
    return f"no answer from {address} ({type(error).__name__}); is the service running, and RESPONDER_URL its address?"


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
