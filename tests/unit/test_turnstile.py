"""Who gets through the turnstile when. Nothing here waits for a clock but the one test about patience."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from responder.engine.turnstile import Turnstile

LONG = timedelta(hours=1)


class Queue:
    """Enters several, and writes down in which order they got in."""

    def __init__(self, turnstile: Turnstile) -> None:
        self.turnstile = turnstile
        self.entered: list[str] = []
        self.tasks: dict[str, asyncio.Task[bool]] = {}
        self.stops: dict[str, asyncio.Event] = {}

    async def come(self, name: str, *urgency: object) -> None:
        stop = self.stops[name] = asyncio.Event()

        async def enter() -> bool:
            waited = await self.turnstile.enter(name, urgency, stop)
            self.entered.append(name)
            return waited

        self.tasks[name] = asyncio.create_task(enter())
        await self.settle()

    async def settle(self) -> None:
        for _ in range(10):
            await asyncio.sleep(0)


@pytest.fixture
def queue() -> Queue:
    return Queue(Turnstile(2, LONG))


async def test_as_many_as_it_is_wide_enter_at_once(queue: Queue) -> None:
    for name in ("a", "b", "c"):
        await queue.come(name)
    assert queue.entered == ["a", "b"]
    assert [queue.tasks["a"].result(), queue.tasks["b"].result()] == [False, False]


async def test_who_leaves_lets_the_next_one_in(queue: Queue) -> None:
    for name in ("a", "b", "c"):
        await queue.come(name)
    queue.turnstile.leave("a")
    await queue.settle()
    assert queue.entered == ["a", "b", "c"]
    assert queue.tasks["c"].result() is True


async def test_the_most_urgent_goes_first_and_equals_in_the_order_they_came(queue: Queue) -> None:
    for name in ("a", "b"):
        await queue.come(name, "P0")
    for name, severity in (("late", "P3"), ("first", "P1"), ("second", "P1"), ("best", "P0")):
        await queue.come(name, severity)
    for name in ("a", "b", "best", "first"):
        queue.turnstile.leave(name)
        await queue.settle()
    assert queue.entered == ["a", "b", "best", "first", "second", "late"]


async def test_entering_twice_and_leaving_twice_take_and_give_one_place(queue: Queue) -> None:
    await queue.come("a")
    await queue.come("a")
    await queue.come("b")
    await queue.come("c")
    assert queue.entered == ["a", "a", "b"]
    queue.turnstile.leave("a")
    queue.turnstile.leave("a")
    await queue.come("d")
    assert queue.entered == ["a", "a", "b", "c"]


async def test_a_stop_ends_the_wait_and_takes_no_place(queue: Queue) -> None:
    for name in ("a", "b", "stopped", "next"):
        await queue.come(name)
    queue.stops["stopped"].set()
    await queue.settle()
    assert queue.entered == ["a", "b", "stopped"]
    assert queue.tasks["stopped"].result() is True
    queue.turnstile.leave("a")
    await queue.settle()
    assert queue.entered[-1] == "next"


async def test_who_is_to_stop_already_does_not_wait(queue: Queue) -> None:
    stop = asyncio.Event()
    stop.set()
    for name in ("a", "b"):
        await queue.come(name)
    assert await queue.turnstile.enter("c", (), stop) is True


async def test_one_that_is_cut_off_while_it_waits_keeps_nobody_out(queue: Queue) -> None:
    for name in ("a", "b", "cut", "next"):
        await queue.come(name)
    queue.tasks["cut"].cancel()
    await queue.settle()
    queue.turnstile.leave("a")
    await queue.settle()
    assert queue.entered[-1] == "next"


async def test_one_that_is_cut_off_as_its_turn_comes_keeps_nobody_out(queue: Queue) -> None:
    for name in ("a", "b", "cut", "next"):
        await queue.come(name)
    queue.turnstile.leave("a")  # it is the turn of "cut", which does not know yet
    queue.tasks["cut"].cancel()
    await queue.settle()
    assert queue.entered[-1] == "next"


async def test_who_stays_too_long_keeps_nobody_out() -> None:
    queue = Queue(Turnstile(1, timedelta(milliseconds=10)))
    for name in ("stuck", "b", "c"):
        await queue.come(name)
    async with asyncio.timeout(20):
        await asyncio.gather(*queue.tasks.values())
    assert queue.entered == ["stuck", "b", "c"]


async def test_who_gets_on_may_stay_on() -> None:
    queue = Queue(Turnstile(1, timedelta(milliseconds=10)))
    await queue.come("a")
    queue.turnstile._patience = LONG
    queue.turnstile.renew("a")
    await queue.come("b")
    await asyncio.sleep(0.03)
    assert queue.entered == ["a"]


async def test_who_is_not_inside_renews_nothing(queue: Queue) -> None:
    queue.turnstile.renew("a")
    for name in ("b", "c"):
        await queue.come(name)
    assert queue.entered == ["b", "c"]
