"""Has Prometheus asked for the numbers that the evaluator wants, and writes the answers into the journal.

The evaluator decides by what the journal says, so a restart, a reload and a replay see the same numbers. An answer that can't be
written down is lost: the next round asks again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from datetime import datetime

import structlog

from responder.domain.measurement import Measurement
from responder.domain.signal import Signal, SignalStatus
from responder.engine.measurements import QUERY_LIMIT, ROUND, SILENCE
from responder.errors import JournalUnavailableError
from responder.ports import Clock, EntryKind, Journal, Prometheus

_log = structlog.get_logger(__name__)
OURSELVES = "responder"
AT_ONCE = 8
"""How many requests are under way at most."""
_TOO_LONG = Measurement(None, f"the query is longer than {QUERY_LIMIT} characters with its labels filled in")


def reading(query: str, asked: datetime, answered: datetime, told: Measurement) -> Signal:
    """An answer as an entry of the journal holds it; see `ports.Entry`."""
    why = {} if told.number is not None else {"why": told.why}
    if told.is_silence:
        why[SILENCE] = "true"
    labels = {"source": OURSELVES}
    return Signal(OURSELVES, query, SignalStatus.OCCURRED, labels, why, asked, answered, asked, value=told.number)


class Rounds:
    """When to ask what: a query that is newly wanted at once, and everything wanted again after `ROUND`."""

    def __init__(self) -> None:
        self._asked: dict[str, datetime] = {}

    def due(self, wanted: Collection[str], now: datetime, busy: Collection[str] = ()) -> list[str]:
        """What to ask now; it counts as asked. busy: what is being asked already."""
        self._asked = {query: at for query, at in self._asked.items() if query in wanted}
        found = [query for query in wanted if query not in busy and self._is_due(query, now)]
        self._asked |= dict.fromkeys(found, now)
        return found

    def next(self, wanted: Collection[str], busy: Collection[str] = ()) -> datetime | None:
        """When something that was asked is due again; None when nothing is."""
        asked = (query for query in wanted if query in self._asked and query not in busy)
        return min((self._asked[query] + ROUND for query in asked), default=None)

    def _is_due(self, query: str, now: datetime) -> bool:
        asked = self._asked.get(query)
        return asked is None or not asked <= now < asked + ROUND  # a clock that was set back must not stop it


class Reader:
    """wanted: the evaluator's, of the rulebook that is in force. on_read: called with every answer, for metrics."""

    def __init__(
        self,
        *,
        wanted: Callable[[], Collection[str]],
        prometheus: Prometheus,
        journal: Journal,
        clock: Clock,
        on_read: Callable[[Measurement], None] = lambda _: None,
    ) -> None:
        self._wanted = wanted
        self._prometheus = prometheus
        self._journal = journal
        self._clock = clock
        self._on_read = on_read
        self._rounds = Rounds()
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._under_way: dict[asyncio.Task[Signal], str] = {}
        self._woken = asyncio.Event()
        self._troubles: dict[str, str] = {}

    def look(self) -> None:
        """The evaluator may want something else now. Cheap: called after every turn of the brain."""
        if self._wanted() or self._under_way:
            self._woken.set()

    async def run(self) -> None:
        """Ask until cancelled."""
        try:
            while True:
                self._woken.clear()
                await self._write_down()
                self._ask()
                await self._wait()
        finally:
            for task in self._under_way:
                task.cancel()
            await asyncio.gather(*self._under_way, return_exceptions=True)

    def _ask(self) -> None:
        for query in self._rounds.due(self._wanted(), self._clock(), set(self._under_way.values())):
            task = asyncio.create_task(self._measure(query), name="reading")
            self._under_way[task] = query
            task.add_done_callback(lambda _: self._woken.set())

    async def _measure(self, query: str) -> Signal:
        async with self._slots:
            asked = self._clock()
            told = await self._measured(query)
        self._on_read(told)
        self._tell(query, told)
        return reading(query, asked, self._clock(), told)

    async def _measured(self, query: str) -> Measurement:
        if len(query) > QUERY_LIMIT:
            return _TOO_LONG
        try:
            return await self._prometheus.measure(query)
        except Exception as error:  # noqa: BLE001 (the boundary of side work: the brain must go on, and a missing number asks)
            _log.exception("measuring_failed", query=query[:200])
            return Measurement(None, f"internal error: {type(error).__name__}")

    async def _wait(self) -> None:
        """For an answer, for something new to be wanted, or for the next round."""
        due = self._rounds.next(self._wanted(), set(self._under_way.values()))
        timeout = None if due is None else max(0.05, (due - self._clock()).total_seconds())
        try:
            async with asyncio.timeout(min(timeout, ROUND.total_seconds()) if timeout is not None else None):
                await self._woken.wait()
        except TimeoutError:
            return

    async def _write_down(self) -> None:
        """Everything that has come back, as one entry."""
        done = [task for task in self._under_way if task.done()]
        if not done:
            return
        for task in done:
            del self._under_way[task]
        try:
            await self._journal.append(EntryKind.READING, self._clock(), [task.result() for task in done])
        except JournalUnavailableError as error:
            _log.error("reading_not_kept", error=str(error), consequence="asked again in the next round")

    def _tell(self, query: str, told: Measurement) -> None:
        """A line when a query stops or begins to have a number; not one each round."""
        if told.number is None and self._troubles.get(query) != told.why:
            _log.warning("no_number", query=query[:200], reason=told.why)
        elif told.number is not None and query in self._troubles:
            _log.info("number_again", query=query[:200])
        wanted = self._wanted()
        self._troubles = {known: why for known, why in self._troubles.items() if known in wanted and known != query}
        if told.number is None:
            self._troubles[query] = told.why
