"""Slack's two ways in: buttons and the slash command. Signed, from a person we know, through the same commands as the API.

Slack waits for 3 s. A command is done, and on record, before it is answered; one that takes longer is answered that it is not
done yet, and what came of it is said later in any case (see `slack_promises`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qsl

import orjson
import structlog
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from responder.domain.people import Actor
from responder.engine.audit import AuditLog
from responder.errors import JournalUnavailableError, ResponderError
from responder.notifiers.slack import escape
from responder.notifiers.slack_bot import ACTION_PREFIX, read_value
from responder.web.answers import json_answer
from responder.web.problems import Problem, ProblemError, too_large
from responder.web.services import WebServices
from responder.web.slack_deeds import SlackDeeds
from responder.web.slack_promises import Promise, SlackPromises
from responder.web.slack_signature import SlackSignature
from responder.web.slack_words import Spoken, read_words
from responder.web.tokens import OPERATORS, READERS, Holder

BODY_LIMIT = 1024 * 1024  # a press carries the message it was made on
ANSWER_WITHIN = timedelta(seconds=2)  # of Slack's 3
_TEXT_LIMIT = 2900
_READING = frozenset({"status", "held", "help"})
_READING_ON = "It takes longer than usual. What comes of it is said here."
_PROMISED = "Not done yet, it takes longer than usual. What comes of it is said here or in the channel, after a restart too."
_NOT_ON_RECORD = "Not done yet, and not even on record. What comes of it is said here; if nothing is, give it again."

_log = structlog.get_logger("responder.web")


@dataclass(frozen=True, slots=True)
class _Asked:
    """What somebody wants. key: of the request, so that it counts once. url: where an answer can go later, "" for nowhere."""

    user: str
    action: str
    subject: str
    key: str
    url: str
    do: Callable[[Holder, str], Awaitable[str]]


@dataclass(slots=True)
class _Course:
    """How far it is. promise: on record, unless what is asked for changes nothing. is_late: who asked was told to wait."""

    promise: Promise | None = None
    is_late: bool = False


def slack_routes(services: WebServices) -> list[Route]:
    """None when the service takes no commands."""
    if services.people is None:
        return []
    ear = _SlackEar(services)
    return [
        Route("/webhooks/slack/interactions", ear.interactions, methods=["POST"]),
        Route("/webhooks/slack/commands", ear.commands, methods=["POST"]),
    ]


class _SlackEar:
    def __init__(self, services: WebServices) -> None:
        if services.people is None:
            raise ValueError("Slack gives commands, and this service takes none")
        self._services = services
        self._audit = AuditLog(services.people.people, services.clock)
        self._promises = services.slack.promises or SlackPromises(
            services.people.people, services.clock, services.slack.tell, _announce_nowhere
        )
        self._signature = SlackSignature(services.slack.signing_secret)
        self._deeds = SlackDeeds(services.people, services.incidents, services.clock)
        self._tasks: set[asyncio.Task[None]] = set()

    async def interactions(self, request: Request) -> Response:
        """Empty in any case; what went wrong is told apart."""
        form, key = await self._admit(request)
        try:
            payload = orjson.loads(form.get("payload", ""))
        except orjson.JSONDecodeError:
            raise Problem(400, "`payload` is not JSON", "payload").error() from None
        asked = self._pressed(payload, key) if isinstance(payload, dict) else None
        if asked is not None:
            text = await self._in_time(asked)
            if text:
                self._beside(self._tell(asked.url, text))
        return Response()

    async def commands(self, request: Request) -> Response:
        """What came of it, for the eyes of who gave it."""
        form, key = await self._admit(request)
        if form.get("ssl_check") == "1":
            return Response()
        try:
            spoken = read_words(form.get("text", ""))
        except ProblemError as error:
            return _shown(error.problem.detail)
        return _shown(await self._in_time(self._spoken(spoken, form, key)))

    async def _admit(self, request: Request) -> tuple[Mapping[str, str], str]:
        """The form and the key of a request that is signed. Raises ProblemError."""
        raw = bytearray()
        async for chunk in request.stream():
            raw += chunk
            if len(raw) > BODY_LIMIT:
                raise too_large(BODY_LIMIT).error()
        body = bytes(raw)
        key = self._signature.check(dict(request.scope["headers"]), body, self._services.clock())
        return dict(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=200)), f"slack {key}"

    def _pressed(self, payload: Mapping[str, Any], key: str) -> _Asked | None:
        """None for what is no button of ours, such as a link."""
        actions, user = payload.get("actions"), payload.get("user")
        if payload.get("type") != "block_actions" or not isinstance(actions, list) or not isinstance(user, dict):
            return None
        for one in actions:
            name, value = (one.get("action_id"), one.get("value")) if isinstance(one, dict) else (None, None)
            if isinstance(name, str) and name.startswith(ACTION_PREFIX) and isinstance(value, str):
                kind = name.removeprefix(ACTION_PREFIX)
                incident_id, step = read_value(value)
                press = self._deeds.press(kind, incident_id, step)
                if press is not None:
                    return _Asked(str(user.get("id")), kind, incident_id, key, str(payload.get("response_url") or ""), press)
        return None

    def _spoken(self, spoken: Spoken, form: Mapping[str, str], key: str) -> _Asked:
        user, url = form.get("user_id", ""), form.get("response_url", "")
        return _Asked(user, spoken.name, spoken.subject, key, url, self._deeds.say(spoken))

    async def _in_time(self, asked: _Asked) -> str:
        """What came of it, or that it is not done yet; the rest is told when it is there."""
        course = _Course()
        task = asyncio.create_task(self._done(asked, course), name=f"slack:{asked.action}")
        finished, _ = await asyncio.wait({task}, timeout=ANSWER_WITHIN.total_seconds())
        if finished:
            return task.result()
        course.is_late = True

        async def tell_later() -> None:
            text = await task or f"{asked.action}: done."
            if course.promise is None:
                await self._tell(asked.url, text)
            else:
                await self._promises.keep(course.promise, escape(text, _TEXT_LIMIT))

        self._beside(tell_later())
        if asked.action in _READING:
            return _READING_ON
        return _PROMISED if course.promise is not None else _NOT_ON_RECORD

    async def _done(self, asked: _Asked, course: _Course) -> str:
        """What there is to say when it is done or refused; never raises."""
        text = await self._outcome(asked, course)
        if course.promise is not None and not course.is_late:
            await self._promises.end(course.promise)
        return text

    async def _outcome(self, asked: _Asked, course: _Course) -> str:
        try:
            holder = await self._who(asked)
            if asked.action not in _READING:
                promise = Promise(asked.key, holder.name, f"{asked.action} {asked.subject[:200]}".strip(), asked.url)
                await self._promises.begin(promise)
                course.promise = promise
            return await asked.do(holder, asked.key)
        except ProblemError as error:
            return f"Not done: {error.problem.detail}"
        except JournalUnavailableError:
            return "Not done: it could not be put on record. Try again."
        except ResponderError as error:
            return f"Not done: {error}"
        except Exception:  # noqa: BLE001 - the web boundary; Slack is answered in any case
            _log.exception("slack_command_failed", action=asked.action)
            return "Not done: an unexpected error; the service's log has the details."

    async def _who(self, asked: _Asked) -> Holder:
        """Raises ProblemError for whoever may not do this."""
        now = self._services.clock()
        holder = self._services.tokens.by_slack(asked.user)
        self._services.command_rate.check(holder.name if holder else f"slack:{asked.user}", now)
        if holder is None:
            actor, why = Actor(f"slack:{asked.user}"[:100]), "nobody has named this user of Slack to Responder"
        else:
            actor, why = holder.actor, f"a {holder.role} may not do that"
        if holder is None or holder.role not in (READERS if asked.action in _READING else OPERATORS):
            await self._audit.note(actor, asked.action, asked.subject[:300], "denied", why)
            raise Problem(403, f"{why}. Ask for an entry in RESPONDER_TOKENS_FILE; your user id is {asked.user}").error()
        return holder

    async def _tell(self, url: str, text: str) -> None:
        try:
            await self._services.slack.tell(url, escape(text, _TEXT_LIMIT))
        except ResponderError as error:
            _log.warning("slack_not_told", error=str(error), text=text[:300])

    def _beside(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def _announce_nowhere(_key: str, _who: str, _text: str) -> None:
    return


def _shown(text: str) -> Response:
    return json_answer({"response_type": "ephemeral", "text": escape(text, _TEXT_LIMIT)}) if text else Response()
