"""The machine's clock is set while something waits: the time that really passes counts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from responder.domain.rulebook import Unanswered
from responder.engine import steady
from tests.simulation.people import ANN, LONG, SOON, asking, counting
from tests.simulation.world import World, a_world, rulebook, wall

HOUR = timedelta(hours=1)


@dataclass
class Clock:
    """The wall clock, and by how much somebody has set it."""

    set_by: timedelta = timedelta(0)

    def __call__(self) -> datetime:
        return wall() + self.set_by


@pytest.fixture(autouse=True)
def looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steady, "LOOK_AGAIN", timedelta(milliseconds=20))


async def fires(world: World) -> Clock:
    clock = Clock()
    world.clock = clock
    await world.start()
    await world.alert("Errors", ago=0)
    await world.settled()
    return clock


async def test_a_clock_set_back_does_not_make_the_wait_of_a_rule_longer(tmp_path: Path) -> None:
    async with a_world(tmp_path, rulebook(hold=SOON)) as world:
        clock = await fires(world)
        clock.set_by = -HOUR
        await world.incident("monitoring")
        assert world.workload.writes == 1


async def test_a_clock_set_forward_ends_the_wait_of_a_rule_without_another_webhook(tmp_path: Path) -> None:
    """As after a machine was suspended: its own time stood still."""
    async with a_world(tmp_path, rulebook(hold=HOUR)) as world:
        clock = await fires(world)
        clock.set_by = 2 * HOUR
        await world.incident()


async def test_a_clock_set_back_does_not_make_a_countdown_longer(tmp_path: Path) -> None:
    async with a_world(tmp_path, counting(SOON)) as world:
        clock = await fires(world)
        await world.incident("countdown")
        clock.set_by = -HOUR
        await world.incident("monitoring")


async def test_a_clock_set_forward_leaves_people_the_time_they_were_told(tmp_path: Path) -> None:
    async with a_world(tmp_path, counting(LONG)) as world:
        clock = await fires(world)
        incident = await world.incident("countdown")
        clock.set_by = 100 * LONG
        await world.alert("Latency")  # wakes it
        await world.settled()
        await world.commands.cancel(incident.id, ANN)
        assert (await world.incident("cancelled")).reason == "cancelled by ann"
        assert world.workload.writes == 0


async def test_a_clock_set_back_does_not_make_a_request_stand_longer(tmp_path: Path) -> None:
    async with a_world(tmp_path, asking(SOON)) as world:
        clock = await fires(world)
        await world.incident("waiting_approval")
        clock.set_by = -HOUR
        assert "nobody answered" in (await world.incident("refused")).reason


async def test_nobody_s_silence_is_taken_for_a_yes_because_a_clock_was_set_forward(tmp_path: Path) -> None:
    async with a_world(tmp_path, asking(LONG, unanswered=Unanswered.PROCEED)) as world:
        clock = await fires(world)
        incident = await world.incident("waiting_approval")
        clock.set_by = 100 * LONG
        await world.alert("Latency")  # wakes it
        await world.settled()
        await world.commands.reject(incident.id, ANN)
        assert (await world.incident("refused")).reason == "rejected by ann"
        assert world.workload.writes == 0


async def test_a_clock_set_back_ends_no_watch_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    watching = asyncio.Event()

    def measured(clock: Callable[[], datetime]) -> Callable[[], datetime]:
        watching.set()
        return steady.steady(clock)

    monkeypatch.setattr("responder.engine.watch.steady", measured)
    async with a_world(tmp_path) as world:
        clock = await fires(world)
        async with asyncio.timeout(20):
            await watching.wait()
        clock.set_by = -HOUR
        await world.resolve("Errors")
        await world.incident("resolved")
