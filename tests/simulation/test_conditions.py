"""What only the whole engine shows of conditions: point events roll back, rollbacks are remembered, silence is noticed."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from responder.domain.condition import AbsentCondition, ConsecutiveCondition
from responder.domain.matcher import parse_matcher
from responder.domain.rulebook import Response, Rule, Rulebook
from responder.domain.signal import Signal, SignalStatus
from responder.ports import EntryKind
from tests.simulation.world import V1, World, a_world, rulebook, wall


def with_rules(*rules: Rule) -> Rulebook:
    return replace(rulebook(), rules=rules)


def smoke(passed: bool) -> Signal:
    labels = {"alertname": "Smoke", "deployment": "app", "source": "events"}
    return Signal("events", "smoke", SignalStatus.OCCURRED, labels, {}, wall(), None, wall(), passed=passed)


SMOKE = Rule(
    "smoke",
    (parse_matcher('alertname="Smoke"'),),
    ConsecutiveCondition(2),
    response=Response.ROLLBACK,
    plan="back",
)


async def test_smoke_tests_that_fail_roll_back_and_one_that_passes_is_the_all_clear(tmp_path: Path) -> None:
    async with a_world(tmp_path, with_rules(SMOKE)) as world:
        await world.start()
        await world.deliver(smoke(passed=False))
        await world.settled()
        assert await world.all_incidents() == []
        await world.deliver(smoke(passed=False))
        await world.incident("monitoring")
        assert world.workload.current == V1
        await world.deliver(smoke(passed=True))
        assert (await world.incident("resolved")).reason


async def acted(world: World) -> list[str]:
    return [entry.signals[0].key for entry in await world.database.journal.read(0, 100) if entry.kind is EntryKind.ACTED]


async def test_a_rollback_is_in_the_journal_so_that_rules_let_the_target_settle(tmp_path: Path) -> None:
    settling = Rule("late", (parse_matcher('alertname="Latency"'),), response=Response.NOTIFY, settle=timedelta(hours=1))
    async with a_world(tmp_path, with_rules(*rulebook().rules[:1], settling)) as world:
        await world.start()
        await world.alert("Errors")
        await world.incident("monitoring")
        assert await acted(world) == ["app"]
        await world.alert("Latency", ago=0)
        await world.settled()
        [view] = [view for view in world.brain.evaluator.groups() if view.rule == "late"]
        assert "settling after the rollback" in view.reason
        await world.stop()
        await world.start()
        await world.settled_start()
        [again] = [view for view in world.brain.evaluator.groups() if view.rule == "late"]
        assert again == view
        assert len(await world.all_incidents()) == 1


async def test_silence_from_the_start_is_noticed(tmp_path: Path) -> None:
    silence = AbsentCondition(timedelta(milliseconds=50), from_start=True)
    rule = Rule("silent", (parse_matcher('alertname="Watchdog"'),), silence, response=Response.NOTIFY)
    async with a_world(tmp_path, with_rules(rule)) as world:
        await world.start()
        incident = await world.incident("notified")
        assert "nothing was ever heard" in incident.reason


async def test_entries_that_can_not_be_read_are_told_once_and_stop_nothing(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world:
        ids = [await world.database.journal.append(EntryKind.TICK, wall()) for _ in range(2)]
        with closing(sqlite3.connect(tmp_path / "responder.db")) as raw, raw:
            raw.execute("UPDATE journal SET kind = 'of_a_newer_version'")
        for _ in range(2):
            await world.start()
            incident = await world.incident("notified")
            await world.stop()
        assert f"entries of the journal can't be read, {ids[1]} among them" in incident.reason
        await world.start()
        await world.alert("Errors")
        await world.incident("monitoring", number=2)
        assert len(await world.all_incidents()) == 2


async def test_that_nobody_listened_is_no_silence(tmp_path: Path) -> None:
    silence = AbsentCondition(timedelta(minutes=1))
    rule = Rule("silent", (parse_matcher('alertname="Smoke"'),), silence, response=Response.NOTIFY)
    async with a_world(tmp_path, with_rules(rule)) as world:
        await world.deliver(smoke(passed=True), heard=timedelta(minutes=5))
        await world.start()
        await world.settled()
        assert await world.all_incidents() == []
        assert world.brain.evaluator.next_due() > wall() + timedelta(seconds=30)  # type: ignore[operator]
