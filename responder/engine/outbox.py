"""Delivering the outbox: per incident and notifier in order, each message at least once, no notifier slowed down by another.

An attempt is counted durably before it is made, so a notifier sees by `Delivery.attempts` that an earlier one may have landed.
"""

from __future__ import annotations

import asyncio
import traceback
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from enum import StrEnum

import structlog
from tenacity import AsyncRetrying, RetryCallState
from tenacity.wait import wait_base, wait_exponential_jitter

from responder.domain.notification import Delivery
from responder.errors import NotFoundError, OutcomeUnknownError, PermanentError, ResponderError, TemporaryError
from responder.ports import Clock, Notifier, Outbox

GIVE_UP_AFTER = timedelta(hours=24)
LONGEST_PAUSE = timedelta(minutes=5)
SHORTEST_PAUSE = timedelta(seconds=1)
SEND_TIMEOUT = timedelta(minutes=1)
POLL = timedelta(seconds=30)  # behind `wake`, for what another process enqueues
UNEXPECTED_ATTEMPTS = 5  # a bug repeats itself, and the messages behind this one wait
_BATCH = 100

_log = structlog.get_logger(__name__)

Wait = Callable[[asyncio.Event | None, timedelta], Awaitable[None]]


class DeliveryOutcome(StrEnum):
    DELIVERED = "delivered"
    POSTPONED = "postponed"
    GAVE_UP = "gave_up"


async def wait_for(event: asyncio.Event | None, pause: timedelta) -> None:
    """Return when the event is set or the pause is over; without an event, when the pause is over."""
    if event is None:
        await asyncio.sleep(pause.total_seconds())
        return
    try:
        async with asyncio.timeout(pause.total_seconds()):
            await event.wait()
    except TimeoutError:
        pass


class OutboxWorker:
    """Sends what is due until cancelled.

    wait: `wait_for`, or in tests something that moves the clock. on_outcome: called with notifier and outcome, for metrics.
    concurrency: sends at a time per notifier. grace: how long sends under way may go on after `run` was cancelled.
    """

    def __init__(
        self,
        outbox: Outbox,
        notifiers: Mapping[str, Notifier],
        clock: Clock,
        *,
        wait: Wait = wait_for,
        on_outcome: Callable[[str, DeliveryOutcome], None] = lambda _notifier, _outcome: None,
        concurrency: int = 4,
        grace: timedelta = timedelta(seconds=3),
        backoff: wait_base | None = None,
    ) -> None:
        self._outbox = outbox
        self._notifiers = notifiers
        self._clock = clock
        self._wait = wait
        self._on_outcome = on_outcome
        self._concurrency = concurrency
        self._grace = grace
        self._backoff = backoff or wait_exponential_jitter(max=LONGEST_PAUSE)
        self._changed = asyncio.Event()
        self._under_way: dict[tuple[str, str], asyncio.Task[None]] = {}
        self._load: Counter[str] = Counter()

    @property
    def under_way(self) -> int:
        """How many messages are being delivered."""
        return len(self._under_way)

    def wake(self) -> None:
        """Something was enqueued. Call it on the event loop's thread."""
        self._changed.set()

    async def run(self) -> None:
        """Deliver until cancelled."""
        failures = 0
        try:
            while True:
                self._changed.clear()
                try:
                    pause = await self._round()
                    failures = 0
                except Exception as error:  # noqa: BLE001 - the store may fail in any way; delivery must go on when it is back
                    failures += 1
                    _log.error("outbox_unreadable", error=_place_of(error), failures=failures)
                    await self._wait(None, self._pause(failures))
                    continue
                await self._wait(self._changed, pause)
        finally:
            await self._finish()

    async def _round(self) -> timedelta:
        """Start what can be started; return how long nothing will be due."""
        now = self._clock()
        limit = _BATCH
        while True:
            busy = frozenset(self._under_way)  # before the read: what ends meanwhile may still be listed as due
            due = await self._outbox.due(now, limit)
            for delivery in due:
                self._start_if_free(delivery, busy)
            if len(due) < limit or all(self._load[name] >= self._concurrency for name in self._notifiers):
                break
            limit *= 2  # a slow notifier's messages fill the page: look behind them
        next_due = await self._outbox.next_due()
        if next_due is None:
            return POLL
        if next_due <= now:  # under way, or waiting for its turn; others may become due behind it, so look again soon
            return SHORTEST_PAUSE
        return min(POLL, next_due - now)

    def _start_if_free(self, delivery: Delivery, busy: frozenset[tuple[str, str]]) -> None:
        key = _key(delivery)
        if key in busy or key in self._under_way or self._load[delivery.to] >= self._concurrency:
            return
        self._load[delivery.to] += 1
        self._under_way[key] = asyncio.create_task(self._one(delivery), name=f"outbox:{delivery.to}")

    async def _one(self, delivery: Delivery) -> None:
        try:
            await self._deliver(delivery)
        except Exception as error:  # noqa: BLE001 - one delivery must never end the worker
            _log.error("outbox_failed", notifier=delivery.to, message_id=delivery.message.id, error=_place_of(error))
        finally:
            self._load[delivery.to] -= 1
            del self._under_way[_key(delivery)]
            self._changed.set()

    async def _deliver(self, delivery: Delivery) -> None:
        notifier = self._notifiers.get(delivery.to)
        if notifier is None:
            await self._give_up(delivery, f"{delivery.to} is not configured (any more)")
            return
        if not await self._durably("begin", lambda: self._outbox.begin(delivery.id)):
            return
        try:
            async with asyncio.timeout(SEND_TIMEOUT.total_seconds()):
                remote = await notifier.send(delivery)
        except PermanentError as error:
            await self._give_up(delivery, str(error))
        except TemporaryError as error:
            await self._postpone(delivery, error)
        except TimeoutError:
            await self._postpone(delivery, OutcomeUnknownError(f"no end after {SEND_TIMEOUT.total_seconds():g} s"))
        except Exception as error:  # noqa: BLE001 - a notifier with a bug must not take the others with it
            place = _place_of(error)
            if delivery.attempts + 1 >= UNEXPECTED_ATTEMPTS:
                await self._give_up(delivery, f"unexpected {place}")
            else:
                await self._postpone(delivery, TemporaryError(f"unexpected {place}"))
        else:
            await self._durably("delivered", lambda: self._outbox.delivered(delivery.id, self._clock(), dict(remote)))
            _log.info("message_delivered", **_facts(delivery))
            self._on_outcome(delivery.to, DeliveryOutcome.DELIVERED)

    async def _postpone(self, delivery: Delivery, error: TemporaryError) -> None:
        now = self._clock()
        if now - delivery.message.at >= GIVE_UP_AFTER:
            await self._give_up(delivery, f"not delivered in {GIVE_UP_AFTER.total_seconds() / 3600:g} h; the last try: {error}")
            return
        until = now + self._pause(delivery.attempts + 1, error.retry_after)
        await self._durably("postpone", lambda: self._outbox.postpone(delivery.id, until, str(error)))
        _log.warning("message_postponed", **_facts(delivery), until=until.isoformat(), error=str(error))
        self._on_outcome(delivery.to, DeliveryOutcome.POSTPONED)

    async def _give_up(self, delivery: Delivery, reason: str) -> None:
        await self._durably("give_up", lambda: self._outbox.give_up(delivery.id, self._clock(), reason))
        _log.error("message_given_up", **_facts(delivery), title=delivery.message.title[:200], error=reason)
        self._on_outcome(delivery.to, DeliveryOutcome.GAVE_UP)

    async def _durably(self, what: str, write: Callable[[], Awaitable[None]]) -> bool:
        """Write until it succeeds: forgetting that a message was sent would send it again. False when the message is gone."""
        failures = 0
        while True:
            try:
                await write()
            except NotFoundError:  # its incident was pruned meanwhile
                _log.warning("outbox_message_gone", what=what)
                return False
            except Exception as error:  # noqa: BLE001 - whatever is wrong with the store, trying later is all there is
                failures += 1
                _log.error("outbox_unwritable", what=what, error=_place_of(error), failures=failures)
                await self._wait(None, self._pause(failures))
            else:
                return True

    def _pause(self, attempt: int, asked: timedelta | None = None) -> timedelta:
        """attempt: the one that failed, counted from 1."""
        if asked is not None:
            return min(max(asked, SHORTEST_PAUSE), LONGEST_PAUSE)
        state = RetryCallState(AsyncRetrying(), None, (), {})
        state.attempt_number = attempt
        return timedelta(seconds=self._backoff(state))

    async def _finish(self) -> None:
        tasks = list(self._under_way.values())
        if not tasks:
            return
        _done, late = await asyncio.wait(tasks, timeout=self._grace.total_seconds())
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)


def _key(delivery: Delivery) -> tuple[str, str]:
    return delivery.to, delivery.message.incident_id


def _facts(delivery: Delivery) -> dict[str, object]:
    message = delivery.message
    return {
        "notifier": delivery.to,
        "incident": message.incident_id,
        "message_id": message.id,
        "moment": message.moment.value,
        "attempt": delivery.attempts + 1,
    }


def _place_of(error: Exception) -> str:
    """Our own errors in their words. Of others only what and where: a library may put a secret into its words."""
    if isinstance(error, ResponderError):
        return str(error)
    frames = traceback.extract_tb(error.__traceback__)
    where = f" at {frames[-1].filename.rpartition('/')[2]}:{frames[-1].lineno}" if frames else ""
    return f"{type(error).__name__}{where}"
