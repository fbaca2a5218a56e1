"""Putting another rulebook in force while the service runs, or leaving the one in force where it is."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from responder.domain.rulebook import Rulebook
from responder.engine.brain import Brain
from responder.engine.evaluator import Evaluator
from responder.engine.notices import Notices
from responder.errors import ResponderError, RulebookError

_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class RulebookInForce:
    """The rulebook that everybody goes by; who keeps a copy misses a reload."""

    rulebook: Rulebook


@dataclass(frozen=True, slots=True)
class Reloaded:
    """changed: False when the files are the same as before; then nothing was done."""

    rulebook: Rulebook
    changed: bool


class Reloader:
    """load: reads the rulebook's files; runs in a thread. on_changed: told of a rulebook when it comes into force.

    on_outcome: told after every attempt whether the files as they are now are in force.
    """

    def __init__(
        self,
        *,
        load: Callable[[], Rulebook],
        in_force: RulebookInForce,
        brain: Brain,
        on_changed: Callable[[Rulebook], None] = lambda _: None,
        on_outcome: Callable[[bool], None] = lambda _: None,
        notices: Notices | None = None,
    ) -> None:
        self._load = load
        self._in_force = in_force
        self._brain = brain
        self._on_changed = on_changed
        self._on_outcome = on_outcome
        self._notices = notices
        self._one_at_a_time = asyncio.Lock()
        self._asked: set[asyncio.Task[None]] = set()

    @property
    def in_force(self) -> Rulebook:
        return self._in_force.rulebook

    def reload_soon(self) -> None:
        """For signal handlers. The outcome is logged and told to on_outcome."""
        task = asyncio.create_task(self._reload_quietly(), name="reload")
        self._asked.add(task)
        task.add_done_callback(self._asked.discard)

    async def _reload_quietly(self) -> None:
        try:
            await self.reload()
        except ResponderError:
            return  # said by `reload`
        except Exception:  # noqa: BLE001 (nobody waits for it; the service goes on with the rules it has)
            _log.exception("reload_failed")

    async def reload(self) -> Reloaded:
        """Raises RulebookError with every problem, or JournalUnavailableError; the rulebook before then stays in force."""
        async with self._one_at_a_time:
            try:
                reloaded = await self._reload()
            except ResponderError as error:
                problems = list(error.problems) if isinstance(error, RulebookError) else [str(error)]
                _log.error("rulebook_refused", problems=problems, consequence="the rulebook before stays in force")
                self._on_outcome(False)
                if self._notices is not None:
                    await self._notices.rulebook_refused(problems)
                raise
            self._on_outcome(True)
            if self._notices is not None:
                self._notices.rulebook_accepted()
            return reloaded

    async def _reload(self) -> Reloaded:
        rulebook = await asyncio.to_thread(self._load)
        if rulebook.digest == self._in_force.rulebook.digest:
            _log.info("rulebook_unchanged", digest=rulebook.digest)
            return Reloaded(rulebook, changed=False)
        successor = await asyncio.to_thread(Evaluator, rulebook)
        await self._brain.adopt(successor, rulebook.digest, lambda: self._put_in_force(rulebook))
        _log.info("rulebook_reloaded", digest=rulebook.digest, rules=len(rulebook.rules), targets=len(rulebook.targets))
        return Reloaded(rulebook, changed=True)

    def _put_in_force(self, rulebook: Rulebook) -> None:
        self._in_force.rulebook = rulebook
        self._on_changed(rulebook)
