"""What people hold back: suppressions, and the hold over everything. Target and steps are played, the database is real."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

from responder.domain.matcher import parse_matcher
from responder.domain.plan import Step
from tests.simulation.people import ANN, BOB, ERRORS, LONG, counting, happened, running
from tests.simulation.world import ROLLBACK, rulebook, statuses, wall

# --- suppressions ------------------------------------------------------------------------------------------------------


async def test_a_suppressed_alert_is_recorded_and_nobody_is_told(tmp_path: Path) -> None:
    async with running(tmp_path) as world:
        made = await world.commands.suppress(ANN, ERRORS, wall() + LONG, "load test")
        await world.alert("Errors")
        record = await world.incident("suppressed")
        assert "by ann: load test" in record.reason
        assert record.closed_at is not None
        assert world.workload.writes == 0
        assert await world.messages() == []
        await world.alert("Latency")  # another alert is no business of the suppression
        await world.incident("monitoring", number=2)
        assert [one.id for one in world.commands.suppressions()] == [made.id]


async def test_what_still_fires_when_a_suppression_is_ended_is_due(tmp_path: Path) -> None:
    async with running(tmp_path) as world:
        made = await world.commands.suppress(ANN, ERRORS, wall() + LONG, "load test")
        await world.alert("Errors")
        await world.incident("suppressed")
        await world.commands.end_suppression(made.id, ANN, "done")
        await world.incident("monitoring", number=2)
        assert world.workload.writes == 1
        assert statuses(await world.all_incidents()) == ["suppressed", "monitoring"]


async def test_what_still_fires_when_the_time_is_over_is_due_also_after_a_restart(tmp_path: Path) -> None:
    async with running(tmp_path) as world:
        made = await world.commands.suppress(ANN, ERRORS, wall() + timedelta(seconds=2), "short")
        await world.alert("Errors")
        await world.incident("suppressed")
        await world.stop()
        await world.start()
        acted = await world.incident("monitoring", number=2)
        assert acted.opened_at >= made.until
        assert world.commands.suppressions() == []
        ended = (await world.database.people.suppressions(ended=True))[0].ended
        assert ended is not None
        assert (ended.by, ended.reason) == ("", "its time ran out")


async def test_what_cleared_under_a_suppression_is_over(tmp_path: Path) -> None:
    async with running(tmp_path) as world:
        made = await world.commands.suppress(ANN, ERRORS, wall() + LONG, "load test")
        await world.alert("Errors")
        await world.incident("suppressed")
        await world.resolve("Errors")
        await world.settled()
        await world.commands.end_suppression(made.id, ANN)
        await world.settled()
        assert statuses(await world.all_incidents()) == ["suppressed"]


async def test_people_are_warned_before_a_suppression_that_hides_something_ends(tmp_path: Path) -> None:
    async with running(tmp_path) as world:
        await world.commands.suppress(ANN, ERRORS, wall() + timedelta(seconds=2), "short")
        await world.commands.suppress(ANN, (parse_matcher('target="elsewhere"'),), wall() + timedelta(seconds=2), "idle")
        await world.alert("Errors")
        await world.incident("suppressed")
        await happened(world, lambda _, kinds: "suppression_ends" in kinds)
        [told] = await world.messages()
        assert "The suppression by ann (short) ends at" in told
        assert "Still going on: errors on app" in told


async def test_a_suppression_during_the_countdown_puts_it_off(tmp_path: Path) -> None:
    async with running(tmp_path, counting(timedelta(seconds=1))) as world:
        await world.alert("Errors")
        await world.incident("countdown")
        made = await world.commands.suppress(ANN, (parse_matcher('target="app"'),), wall() + LONG, "let me look")
        await world.incident("suppressed")
        assert world.workload.writes == 0
        await world.commands.end_suppression(made.id, ANN)
        await world.incident("countdown", number=2)


# --- hold --------------------------------------------------------------------------------------------------------------


async def test_under_a_hold_nothing_is_begun_and_afterwards_what_still_fires_is_due(tmp_path: Path) -> None:
    async with running(tmp_path) as world:
        await world.commands.turn_hold(ANN, held=True, reason="migration")
        await world.alert("Errors")
        refused = await world.incident("refused")
        assert refused.reason.startswith("on hold by ann: migration")
        told = await world.messages()
        assert sum("on hold by ann: migration" in line for line in told) == 1
        await world.stop()
        await world.start()
        await world.settled_start()
        assert world.commands.hold.held
        assert statuses(await world.all_incidents()) == ["refused"]
        await world.commands.turn_hold(BOB, held=False, reason="")
        await world.incident("monitoring", number=2)
        assert world.workload.writes == 1


async def test_a_hold_that_comes_before_the_first_byte_stops_it(tmp_path: Path) -> None:
    async with running(tmp_path, rulebook(Step("played", "played"), ROLLBACK)) as world:
        world.played.gate = asyncio.Event()
        await world.alert("Errors")
        await world.played.entered.wait()
        await world.commands.turn_hold(ANN, held=True, reason="stop everything")
        world.played.gate.set()
        refused = await world.incident("refused", "failed")
        assert "on hold by ann: stop everything" in refused.reason
        assert world.workload.writes == 0


async def test_a_hold_during_the_countdown_puts_it_off_with_what_joined(tmp_path: Path) -> None:
    async with running(tmp_path, counting(timedelta(seconds=1))) as world:
        await world.alert("Errors")
        await world.incident("countdown")
        await world.alert("Latency")
        await world.settled()
        await world.commands.turn_hold(ANN, held=True, reason="wait")
        refused = await world.incident("refused")
        assert refused.reason == "on hold by ann: wait"
        await world.settled()
        assert len(await world.all_incidents()) == 1
        await world.commands.turn_hold(ANN, held=False, reason="")
        await world.incident("countdown", "running", "monitoring", number=2)


async def test_an_alert_under_a_hold_joins_what_is_under_way(tmp_path: Path) -> None:
    async with running(tmp_path) as world:
        await world.alert("Errors")
        await world.incident("monitoring")
        await world.commands.turn_hold(ANN, held=True, reason="wait")
        await world.alert("Latency")
        await world.settled()
        assert statuses(await world.all_incidents()) == ["monitoring"]


async def test_the_first_word_about_a_hold_stands(tmp_path: Path) -> None:
    async with running(tmp_path) as world:
        await world.commands.turn_hold(ANN, held=True, reason="migration")
        again = await world.commands.turn_hold(BOB, held=True, reason="me too")
        assert (again.by, again.reason) == ("ann", "migration")
