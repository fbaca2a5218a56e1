"""Delivering the outbox: a real SQLite outbox, a clock that moves when there is nothing to do, notifiers that do as told."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs
from tenacity import wait_fixed

from responder.clients.http import new_client
from responder.domain.notification import Delivery, Moment
from responder.engine.outbox import DeliveryOutcome, OutboxWorker
from responder.errors import JournalUnavailableError, OutcomeUnknownError, PermanentError, TemporaryError
from responder.notifiers.slack import Slack
from responder.notifiers.statuspage import Statuspage
from responder.ports import Notifier, Outbox, OutboxEntry
from responder.sandbox.catchers import Fault, SlackCatcher, StatuspageCatcher
from responder.stores.database import Database
from tests.harness.databases import NOW, incident, sqlite_database
from tests.unit.message_values import message

PATIENCE = 20  # seconds until a test that hangs fails


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    async with sqlite_database(tmp_path) as opened:
        yield opened


class Scripted:
    """Takes one word of its script for every attempt: an error to raise, something to wait for, or None.

    At the end of the script it always delivers.
    """

    def __init__(self, *script: Exception | asyncio.Event | None, remote: Mapping[str, str] | None = None) -> None:
        self._script = list(script)
        self._remote = remote or {}
        self.attempts: list[Delivery] = []
        self.delivered: list[str] = []

    async def send(self, delivery: Delivery) -> Mapping[str, str]:
        self.attempts.append(delivery)
        word = self._script.pop(0) if self._script else None
        if isinstance(word, Exception):
            raise word
        if word is not None:
            await word.wait()
        self.delivered.append(delivery.message.id)
        return {**delivery.remote, **self._remote}


class Harness:
    """Runs a worker until the outbox is empty or something holds. Time jumps whenever the worker has nothing under way."""

    def __init__(
        self, database: Database, notifiers: Mapping[str, Notifier], outbox: Outbox | None = None, **options: Any
    ) -> None:
        self.database = database
        self.now = NOW
        self.outcomes: list[tuple[str, DeliveryOutcome]] = []
        self._reached: Callable[[], bool] = lambda: False
        self._done = asyncio.Event()
        self.worker = OutboxWorker(
            outbox or database.outbox,
            notifiers,
            lambda: self.now,
            wait=self._wait,
            on_outcome=lambda notifier, outcome: self.outcomes.append((notifier, outcome)),
            grace=timedelta(0),
            **options,
        )

    async def _wait(self, event: asyncio.Event | None, pause: timedelta) -> None:
        assert pause > timedelta(0), "a pause of nothing is a busy loop"
        if event is None:
            await asyncio.sleep(0)
            self.now += pause
            return
        while not event.is_set():
            if self._reached():
                self._done.set()
            if not self.worker.under_way and await self.database.outbox.next_due() is not None:
                self.now += pause
                return
            try:
                async with asyncio.timeout(0.005):
                    await event.wait()
            except TimeoutError:
                continue

    async def until(self, reached: Callable[[], bool]) -> None:
        self._reached = reached
        async with self.running(), asyncio.timeout(PATIENCE):
            await self._done.wait()

    async def until_empty(self) -> None:
        async with self.running(), asyncio.timeout(PATIENCE):
            while await self.database.outbox.pending():  # noqa: ASYNC110 - only the database knows
                await asyncio.sleep(0.002)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.worker.run())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def eventually(holds: Callable[[], bool]) -> None:
    while not holds():  # noqa: ASYNC110 - the deadline is the caller's
        await asyncio.sleep(0.002)


async def told(database: Database, to: Iterable[str], numbers: Iterable[int] = (1,), of: int = 7, at: datetime = NOW) -> None:
    messages = [message(number, incident=f"inc_{of}", at=at) for number in numbers]
    entries = [OutboxEntry(one, item) for item in messages for one in to]
    await database.incidents.open(incident(of, target=f"target-{of}"), (), entries)


async def test_messages_of_an_incident_arrive_in_order(database: Database) -> None:
    slack = Scripted(TemporaryError("busy"), TemporaryError("busy"), None, TemporaryError("busy"))
    await told(database, ["slack"], range(1, 6))
    await Harness(database, {"slack": slack}).until_empty()
    assert slack.delivered == [f"inc_7-{number}" for number in range(1, 6)]


async def test_every_attempt_is_counted_before_it_is_made_and_carries_the_same_id(database: Database) -> None:
    slack = Scripted(TemporaryError("busy"), OutcomeUnknownError("no answer"))
    await told(database, ["slack"])
    await Harness(database, {"slack": slack}).until_empty()
    assert [(one.message.id, one.attempts) for one in slack.attempts] == [("inc_7-1", 0), ("inc_7-1", 1), ("inc_7-1", 2)]


async def test_a_worker_killed_while_sending_leaves_a_counted_attempt(database: Database) -> None:
    stuck = Scripted(asyncio.Event())
    await told(database, ["slack"])
    await Harness(database, {"slack": stuck}).until(lambda: bool(stuck.attempts))
    slack = Scripted()
    await Harness(database, {"slack": slack}).until_empty()
    assert [one.attempts for one in slack.attempts] == [1]


async def test_a_hanging_notifier_delays_nobody_else(database: Database) -> None:
    never = asyncio.Event()
    slack, statuspage = Scripted(*[never] * 50), Scripted()
    for number in range(1, 21):
        await told(database, ["slack", "statuspage"], [1, 2], of=number)
    await Harness(database, {"slack": slack, "statuspage": statuspage}).until(lambda: len(statuspage.delivered) == 40)
    assert slack.delivered == []
    assert len(slack.attempts) == 4


async def test_a_page_full_of_one_notifiers_messages_does_not_hide_anothers(database: Database) -> None:
    never = asyncio.Event()
    slack, statuspage = Scripted(*[never] * 500), Scripted()
    for number in range(1, 131):
        await told(database, ["slack"], of=number, at=NOW - timedelta(minutes=1))
    await told(database, ["statuspage"], of=999)
    await Harness(database, {"slack": slack, "statuspage": statuspage}).until(lambda: bool(statuspage.delivered))
    assert slack.delivered == []


async def test_a_postponed_message_is_sent_while_another_notifier_hangs(database: Database) -> None:
    never = asyncio.Event()
    slack, statuspage = Scripted(never), Scripted(TemporaryError("busy", retry_after=timedelta(seconds=1)))
    await told(database, ["slack", "statuspage"])
    harness = Harness(database, {"slack": slack, "statuspage": statuspage})
    async with harness.running(), asyncio.timeout(PATIENCE):
        await eventually(lambda: len(statuspage.attempts) == 1 and harness.worker.under_way == 1)
        harness.now += timedelta(seconds=2)
        harness.worker.wake()
        await eventually(lambda: bool(statuspage.delivered))


async def test_what_was_remembered_comes_with_the_next_message(database: Database) -> None:
    statuspage = Scripted(remote={"incident": "p1"})
    await told(database, ["statuspage"], [1, 2])
    await Harness(database, {"statuspage": statuspage}).until_empty()
    assert [dict(one.remote) for one in statuspage.attempts] == [{}, {"incident": "p1"}]


PAUSES = [
    pytest.param(timedelta(seconds=7), timedelta(seconds=7), id="what the service asks for"),
    pytest.param(timedelta(0), timedelta(seconds=1), id="never no pause at all"),
    pytest.param(timedelta(days=9), timedelta(minutes=5), id="never more than five minutes"),
]


@pytest.mark.parametrize(("asked", "expected"), PAUSES)
async def test_pause_after_a_failure(asked: timedelta, expected: timedelta, database: Database) -> None:
    slack = Scripted(TemporaryError("slow down", retry_after=asked))
    await told(database, ["slack"])
    harness = Harness(database, {"slack": slack})
    await harness.until_empty()
    assert expected <= harness.now - NOW < expected + timedelta(seconds=31)  # it looks again at least every 30 s
    assert slack.delivered == ["inc_7-1"]


async def test_without_advice_pauses_grow_up_to_five_minutes(database: Database) -> None:
    times: list[datetime] = []

    class Refusing(Scripted):
        async def send(self, delivery: Delivery) -> Mapping[str, str]:
            times.append(harness.now)
            return await super().send(delivery)

    await told(database, ["slack"])
    harness = Harness(database, {"slack": Refusing(*[TemporaryError("down")] * 14)})
    await harness.until_empty()
    pauses = [(later - earlier).total_seconds() for earlier, later in pairwise(times)]
    assert 1 <= pauses[0] <= 3
    assert all(later >= earlier for earlier, later in pairwise(pauses[:8]))
    assert all(299 <= pause <= 331 for pause in pauses[9:])


async def test_after_a_day_a_message_is_given_up_loudly_and_the_next_goes_out(database: Database) -> None:
    slack = Scripted(TemporaryError("down"), TemporaryError("still down"))
    await told(database, ["slack"], [1, 2], at=NOW - timedelta(hours=23, minutes=59))
    harness = Harness(database, {"slack": slack}, backoff=wait_fixed(timedelta(minutes=2)))
    with capture_logs() as logs:
        await harness.until_empty()
    assert [outcome for _, outcome in harness.outcomes] == [
        DeliveryOutcome.POSTPONED,
        DeliveryOutcome.GAVE_UP,
        DeliveryOutcome.DELIVERED,
    ]
    (given_up,) = [line for line in logs if line["event"] == "message_given_up"]
    assert given_up["log_level"] == "error"
    assert "24 h" in given_up["error"]


async def test_a_refusal_for_good_is_given_up_at_once_and_the_next_message_goes_out(database: Database) -> None:
    slack = Scripted(PermanentError("no_service"))
    await told(database, ["slack"], [1, 2])
    harness = Harness(database, {"slack": slack})
    await harness.until_empty()
    assert slack.delivered == ["inc_7-2"]
    assert harness.outcomes == [("slack", DeliveryOutcome.GAVE_UP), ("slack", DeliveryOutcome.DELIVERED)]


async def test_a_bug_in_a_notifier_is_given_up_after_five_attempts_without_its_words(database: Database) -> None:
    slack = Scripted(*[KeyError("https://hooks.example/secret")] * 5)
    await told(database, ["slack"], [1, 2])
    harness = Harness(database, {"slack": slack})
    with capture_logs() as logs:
        await harness.until_empty()
    assert len(slack.attempts) == 6
    assert slack.delivered == ["inc_7-2"]
    assert "secret" not in str(logs)


async def test_a_notifier_that_is_not_configured_any_more_blocks_nothing(database: Database) -> None:
    await told(database, ["pagerduty", "slack"])
    slack = Scripted()
    harness = Harness(database, {"slack": slack})
    with capture_logs() as logs:
        await harness.until_empty()
    assert ("pagerduty", DeliveryOutcome.GAVE_UP) in harness.outcomes
    assert slack.delivered == ["inc_7-1"]
    assert "not configured" in str(logs)


class Flaky:
    """An outbox whose calls are counted and fail as often as was ordered."""

    error: Exception = OSError("disk full")

    def __init__(self, inner: Outbox, **failures: int) -> None:
        self._inner = inner
        self.failures = failures
        self.calls: Counter[str] = Counter()

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._inner, name)

        async def flaky(*args: Any) -> Any:
            self.calls[name] += 1
            if self.failures.get(name, 0) > 0:
                self.failures[name] -= 1
                raise self.error
            return await call(*args)

        return flaky


@pytest.mark.parametrize("call", ["due", "next_due", "begin", "delivered", "postpone", "give_up"])
async def test_a_database_that_fails_for_a_while_loses_and_doubles_nothing(call: str, database: Database) -> None:
    script = {"postpone": TemporaryError("busy"), "give_up": PermanentError("no")}.get(call)
    slack = Scripted(script)
    await told(database, ["slack"], [1, 2])
    flaky: Any = Flaky(database.outbox, **{call: 4})
    await Harness(database, {"slack": slack}, outbox=flaky).until_empty()
    assert slack.delivered == (["inc_7-2"] if call == "give_up" else ["inc_7-1", "inc_7-2"])
    assert flaky.failures[call] == 0


async def test_the_log_says_in_our_words_why_the_database_fails(database: Database) -> None:
    flaky: Any = Flaky(database.outbox, begin=1)
    flaky.error = JournalUnavailableError("the database can't be used: disk is full")
    await told(database, ["slack"])
    with capture_logs() as logs:
        await Harness(database, {"slack": Scripted()}, outbox=flaky).until_empty()
    assert [line["error"] for line in logs if line["log_level"] == "error"] == ["the database can't be used: disk is full"]


async def test_with_nothing_to_do_the_worker_rests_until_it_is_woken(database: Database) -> None:
    slack = Scripted()
    counting: Any = Flaky(database.outbox)
    worker = OutboxWorker(counting, {"slack": slack}, lambda: NOW)  # real waiting: a poll would come after this test's patience
    task = asyncio.create_task(worker.run())
    async with asyncio.timeout(PATIENCE):
        await eventually(lambda: counting.calls["next_due"] == 1)
        await told(database, ["slack"])
        assert counting.calls["due"] == 1
        worker.wake()
        await eventually(lambda: bool(slack.delivered))
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert counting.calls["due"] <= 3


async def test_a_message_delivered_while_the_outbox_was_being_read_is_not_sent_again(database: Database) -> None:
    release, hold = asyncio.Event(), asyncio.Event()

    class SlowRead(Flaky):
        async def due(self, now: datetime, limit: int) -> list[Delivery]:
            found: list[Delivery] = await database.outbox.due(now, limit)
            self.calls["due"] += 1
            if self.calls["due"] > 1:
                await hold.wait()
            return found

    outbox: Any = SlowRead(database.outbox)
    slack = Scripted(release)
    await told(database, ["slack"])
    worker = OutboxWorker(outbox, {"slack": slack}, lambda: NOW)
    task = asyncio.create_task(worker.run())
    async with asyncio.timeout(PATIENCE):
        await eventually(lambda: bool(slack.attempts))
        worker.wake()
        await eventually(lambda: outbox.calls["due"] == 2)  # it has read that the message is due, and does not know it yet
        release.set()
        await eventually(lambda: worker.under_way == 0)
        hold.set()
        await eventually(lambda: outbox.calls["due"] == 3)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert len(slack.attempts) == 1


async def test_cancelling_lets_a_send_end_within_its_grace(database: Database) -> None:
    release = asyncio.Event()
    slack = Scripted(release)
    await told(database, ["slack"])
    worker = OutboxWorker(database.outbox, {"slack": slack}, lambda: NOW, grace=timedelta(seconds=PATIENCE))
    task = asyncio.create_task(worker.run())
    async with asyncio.timeout(PATIENCE):
        await eventually(lambda: bool(slack.attempts))
        task.cancel()
        await asyncio.sleep(0)
        release.set()
        await asyncio.gather(task, return_exceptions=True)
    assert await database.outbox.pending() == 0


async def test_end_to_end_a_crash_after_landing_doubles_nothing_on_the_status_page(database: Database) -> None:
    story = (Moment.OPENED, Moment.ACTING, Moment.RECOVERED, Moment.RESOLVED)
    messages = [replace(message(number, moment=moment), at=NOW) for number, moment in enumerate(story, 1)]
    entries = [OutboxEntry(to, one) for one in messages for to in ("slack", "statuspage")]
    await database.incidents.open(incident(7), (), entries)
    async with SlackCatcher() as slack, StatuspageCatcher() as page, new_client(total_timeout=timedelta(seconds=5)) as client:
        slack.fail(Fault(503, times=2))
        page.fail(Fault(502, after_accepting=True, method="POST"))
        page.fail(Fault(502, after_accepting=True, method="PATCH", times=2))
        statuspage = Statuspage(client, api_key=page.api_key, page_id=page.page_id, address=page.url, spacing=timedelta(0))
        await Harness(database, {"slack": Slack(client, slack.url), "statuspage": statuspage}).until_empty()
        (on_page,) = page.incidents
        assert [update["status"] for update in reversed(on_page["incident_updates"])] == [
            "investigating",
            "identified",
            "monitoring",
            "resolved",
        ]
        assert [f"inc_7-{number}" in one.shown for number, one in enumerate(slack.messages, 1)] == [True] * 4
