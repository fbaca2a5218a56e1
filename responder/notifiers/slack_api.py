"""Slack's Web API: failures come as HTTP 200 with `ok: false` and become errors of ours here."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

import httpx

from responder.clients.http import Answer, request, retry_after
from responder.errors import ForbiddenError, NotFoundError, PermanentError, TemporaryError

ADDRESS = "https://slack.com/api"

_LATER = frozenset({"ratelimited", "rate_limited", "message_limit_exceeded"})
_BROKEN = frozenset({"internal_error", "fatal_error", "service_unavailable", "request_timeout", "team_added_to_org"})
_GONE = frozenset({"message_not_found", "cant_update_message", "edit_window_closed", "thread_not_found"})
_FORBIDDEN: Mapping[str, str] = {
    "invalid_auth": "the bot token is wrong",
    "not_authed": "the bot token is missing",
    "account_inactive": "the bot or its workspace was switched off",
    "token_revoked": "the bot token was revoked; install the app again",
    "token_expired": "the bot token has expired",
    "missing_scope": "the app lacks a scope; install it again with the shipped manifest",
    "no_permission": "the bot may not do that in this workspace",
    "not_in_channel": "invite the bot to the channel",
    "restricted_action": "the workspace's administrators forbid this post",
    "ekm_access_denied": "the workspace's administrators have locked posting",
}
_ADVICE: Mapping[str, str] = {
    "channel_not_found": "there is no such channel, or the bot does not see it: give its id, and invite the bot",
    "is_archived": "the channel is archived",
}


class SlackApi:
    """One app in one workspace. token is a secret."""

    def __init__(self, client: httpx.AsyncClient, token: str, address: str = ADDRESS) -> None:
        self._client = client
        self._token = token
        self._address = address.rstrip("/")

    async def call(self, method: str, body: Mapping[str, object]) -> Mapping[str, object]:
        """The answer of a method that went well.

        Raises TemporaryError, NotFoundError when the message it is about can't be changed any more, ForbiddenError or
        PermanentError; never with the token in it.
        """
        answer = await request(
            self._client,
            "POST",
            f"{self._address}/{method}",
            service="Slack",
            json=body,
            headers={"Authorization": f"Bearer {self._token}", "Content-Type": "application/json; charset=utf-8"},
            secrets=(self._token,),
        )
        return _checked(method, answer)


def _checked(method: str, answer: Answer) -> Mapping[str, object]:
    try:
        document = answer.json()
    except ValueError:
        document = None
    if not isinstance(document, dict):
        raise TemporaryError(f"Slack answered {method} with something that is no JSON object")
    if document.get("ok") is True:
        return document
    code = str(document.get("error") or "no error code")[:100]
    said = f"Slack refused {method}: {code}"
    if code in _LATER:
        raise TemporaryError(said, retry_after=retry_after(answer.headers))
    if code in _BROKEN:
        raise TemporaryError(said)
    if code in _GONE:
        raise NotFoundError(said)
    if code in _FORBIDDEN:
        raise ForbiddenError(f"{said} ({_FORBIDDEN[code]})")
    raise PermanentError(f"{said} ({_ADVICE[code]})" if code in _ADVICE else f"{said}{_details(document)}")


def _details(document: Mapping[str, object]) -> str:
    """What is wrong with blocks is told apart from the code."""
    metadata = document.get("response_metadata")
    messages = metadata.get("messages") if isinstance(metadata, dict) else None
    return f": {'; '.join(map(str, messages))[:300]}" if isinstance(messages, list) and messages else ""


class ResponseUrls:
    """Where Slack lets us answer a press or a command later: for the eyes of who gave it only.

    address: base of the Web API; besides Slack's own hosts only its host is answered, whatever a request says.
    """

    def __init__(self, client: httpx.AsyncClient, address: str = ADDRESS) -> None:
        self._client = client
        self._own = _origin(address)

    async def tell(self, url: str, text: str) -> None:
        """text: escaped. Raises TemporaryError or PermanentError."""
        if not self._is_slacks(url):
            raise PermanentError("the response_url leads elsewhere than to Slack")
        body = {"response_type": "ephemeral", "replace_original": False, "text": text}
        await request(self._client, "POST", url, service="Slack", json=body)

    def _is_slacks(self, url: str) -> bool:
        try:
            parts = urlsplit(url)
            if _origin(url) == self._own:
                return True
        except ValueError:
            return False
        host = parts.hostname or ""
        return parts.scheme == "https" and host.endswith((".slack.com", ".slack-gov.com")) and parts.username is None


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port
