"""What somebody in Slack was told will be said later: on record until it has been said, so that no kill -9 swallows it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, replace

import orjson
import structlog

from responder.domain.people import KeptAnswer
from responder.errors import JournalUnavailableError, ResponderError
from responder.ports import Clock, People
from responder.web.problems import Problem

_SAID = KeptAnswer("", 200, b"")
_OPEN = 102
_log = structlog.get_logger("responder.web")


@dataclass(frozen=True, slots=True)
class Promise:
    """key: of the request. what: was asked for, in words. url: where the answer goes. outcome: "" while nobody knows."""

    key: str
    who: str
    what: str
    url: str
    outcome: str = ""

    @property
    def text(self) -> str:
        return self.outcome or (
            f"Your `{self.what}` was cut off by a restart of Responder: it may or may not have been done."
            " `/responder status` shows how things stand. If it is not done, give it again; nothing is done twice by that."
        )


class SlackPromises:
    """tell: answer at a `response_url`. announce: durably, where everybody reads it; gets key, name and text.

    announce raises JournalUnavailableError when it could not be put on record.
    """

    def __init__(
        self,
        people: People,
        clock: Clock,
        tell: Callable[[str, str], Awaitable[None]],
        announce: Callable[[str, str, str], Awaitable[None]],
    ) -> None:
        self._people = people
        self._clock = clock
        self._tell = tell
        self._announce = announce
        self._ours: set[str] = set()  # made since the start

    async def begin(self, promise: Promise) -> None:
        """Before anything is done. A request counts once, also after a restart, which forgets what was seen.

        Raises ProblemError, or JournalUnavailableError.
        """
        if await self._people.kept_answer(promise.key) is not None:
            raise Problem(401, "this request came before").error()
        self._ours.add(promise.key)
        try:
            await self._keep(promise)
        except JournalUnavailableError:
            self._ours.discard(promise.key)  # it may have come to the disk all the same
            raise

    async def end(self, promise: Promise) -> None:
        """Nothing is left to say."""
        try:
            await self._people.keep_answer(promise.key, _SAID, self._clock())
        except JournalUnavailableError as error:
            _log.warning("slack_promise_kept_open", what=promise.what, error=str(error), consequence="it may be said twice")
        self._ours.discard(promise.key)

    async def keep(self, promise: Promise, outcome: str) -> None:
        """Say what came of it, to who asked or else to everybody."""
        known = replace(promise, outcome=outcome)
        try:
            await self._keep(known)
        except JournalUnavailableError as error:
            _log.warning("slack_outcome_not_kept", what=promise.what, error=str(error))
        await self._say(known)

    async def catch_up(self) -> None:
        """Say what an earlier life of the process has promised. Raises JournalUnavailableError; call it again then."""
        for key, answer in await self._people.open_answers(_OPEN):
            if key not in self._ours:
                promise = Promise(key=key, **orjson.loads(answer.body))
                _log.warning("slack_command_cut_off", by=promise.who, what=promise.what, outcome=promise.outcome)
                await self._say(promise)

    async def _say(self, promise: Promise) -> None:
        try:
            await self._tell(promise.url, promise.text)
        except ResponderError as error:
            _log.warning("slack_not_told", error=str(error), text=promise.text[:300], consequence="everybody is told")
            await self._announce(promise.key, promise.who, promise.text)
        await self.end(promise)

    async def _keep(self, promise: Promise) -> None:
        body = {name: text for name, text in asdict(promise).items() if name != "key"}
        await self._people.keep_answer(promise.key, KeptAnswer("", _OPEN, orjson.dumps(body)), self._clock())
