"""Freeze windows: when they are, and what becomes of alerts in them."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from responder.domain.rulebook import Freeze, Rulebook
from responder.engine.freezes import Freezes, window_at
from tests.simulation.people import ANN, order, running
from tests.simulation.two_targets import add_database, coordinated
from tests.simulation.world import a_world, rulebook, statuses, wall

WEEKEND = Freeze("0 17 * * FRI", timedelta(hours=62), "weekend", "Europe/Zurich")
NIGHT = Freeze("30 2 * * *", timedelta(hours=1), "night", "Europe/Zurich")


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("freeze", "now", "until"),
    [
        pytest.param(WEEKEND, "2026-01-09 15:59:59", None, id="a second before it begins"),
        pytest.param(WEEKEND, "2026-01-09 16:00:00", "2026-01-12 06:00", id="in the very second in which it begins"),
        pytest.param(WEEKEND, "2026-01-12 05:59:59", "2026-01-12 06:00", id="in its last second"),
        pytest.param(WEEKEND, "2026-01-12 06:00:00", None, id="when it is over"),
        pytest.param(WEEKEND, "2026-07-10 15:00:00", "2026-07-13 05:00", id="in summer it is an hour earlier by UTC"),
        pytest.param(WEEKEND, "2026-03-29 12:00:00", "2026-03-30 06:00", id="across the change to summer time it is as long"),
        pytest.param(NIGHT, "2026-03-29 01:00:00", "2026-03-29 02:00", id="a time that the change leaves out comes right after"),
        pytest.param(NIGHT, "2026-10-25 00:30:00", "2026-10-25 01:30", id="of two half past twos the first counts"),
        pytest.param(NIGHT, "2026-10-25 01:45:00", None, id="and not the second"),
        pytest.param(
            replace(NIGHT, cron="0 * * * *", duration=timedelta(minutes=90)),
            "2026-01-01 12:30:00",
            "2026-01-01 13:30",
            id="windows that overlap go on",
        ),
    ],
)
def test_a_window_is_when_it_is_in_its_zone(freeze: Freeze, now: str, until: str | None) -> None:
    found = window_at(freeze, moment(now))
    assert (found.until if found else None) == (moment(until) if until else None)


def test_a_window_may_be_about_some_targets_only() -> None:
    freezes = Freezes(lambda: Rulebook(freezes=(replace(WEEKEND, targets=("app",)), replace(WEEKEND, asks=True))))
    now = moment("2026-01-10 12:00:00")
    assert freezes.over(["app", "web"], now, asks=False) is not None
    assert freezes.over(["web"], now, asks=False) is None
    assert freezes.over(["web"], now, asks=True) is not None


def test_of_windows_that_overlap_the_one_that_ends_last_is_told() -> None:
    longer = replace(WEEKEND, duration=timedelta(hours=80), reason="sale")
    for freezes in ((WEEKEND, longer), (longer, WEEKEND)):
        found = Freezes(lambda freezes=freezes: Rulebook(freezes=freezes)).over(
            ["app"], moment("2026-01-10 12:00:00"), asks=False
        )
        assert found is not None
        assert found.freeze.reason == "sale"


def frozen(**changes: object) -> Rulebook:
    """A window that began within the last day."""
    window = Freeze("0 0 * * *", timedelta(days=2), "Christmas sale")
    return replace(rulebook(), freezes=(replace(window, **changes),))  # type: ignore[arg-type]


async def test_in_a_window_alerts_are_refused_and_orders_are_not(tmp_path: Path) -> None:
    async with running(tmp_path, frozen()) as world:
        await world.alert("Errors")
        refused = await world.incident("refused")
        assert "frozen until" in refused.reason
        assert "Christmas sale" in refused.reason
        assert len(await world.messages()) == 1
        await world.orders.force(order(), ANN)
        await world.incident("monitoring", number=2)


async def test_what_still_fires_when_the_window_is_over_is_due_also_after_a_restart(tmp_path: Path) -> None:
    now = wall()
    begun = now.replace(second=0, microsecond=0)
    length = now - begun + timedelta(seconds=3)  # over in three seconds
    async with running(tmp_path, frozen(cron=f"{begun.minute} {begun.hour} * * *", duration=length)) as world:
        await world.alert("Errors")
        await world.incident("refused")
        await world.stop()
        await world.start()
        await world.settled_start()
        await world.incident("monitoring", number=2)
        assert statuses(await world.all_incidents()) == ["refused", "monitoring"]


async def test_a_window_can_ask_instead(tmp_path: Path) -> None:
    async with running(tmp_path, frozen(asks=True)) as world:
        await world.alert("Errors")
        waiting = await world.incident("waiting_approval")
        assert "frozen" in await world.kinds(waiting)
        await world.commands.approve(waiting.id, ANN)
        await world.incident("monitoring")


@pytest.mark.parametrize(
    ("asks", "becomes"), [(False, "refused"), (True, "waiting_approval")], ids=["that refuses", "that asks a person"]
)
async def test_a_window_over_another_target_that_the_plan_rolls_back_counts_too(tmp_path: Path, asks: bool, becomes: str) -> None:
    rules = coordinated()
    window = Freeze("0 0 * * *", timedelta(days=2), "Christmas sale", targets=("db",), asks=asks)
    async with a_world(tmp_path, replace(rules, freezes=(window,))) as world:
        database = await add_database(world)
        await world.start()
        await world.alert("Errors")
        incident = await world.incident(becomes, "monitoring")
        assert incident.status.value == becomes
        assert (world.workload.writes, database.writes) == (0, 0)
