"""What must not go wrong when something else does: lost answers, crashes at bad moments, changed rules, other hands."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from responder.domain.incident import Incident
from responder.domain.rulebook import Monitor, Response
from responder.domain.signal import SignalStatus
from responder.errors import JournalUnavailableError
from responder.ports import OpenResult
from tests.simulation.world import World, a_world, rulebook, wall


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("responder.engine.brain._RETRY_PAUSE", 0.01)
    monkeypatch.setattr("responder.engine.conductor._RETRY_PAUSE", 0.01)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with a_world(tmp_path) as made:
        yield made


def failing(times: int, then: Callable[..., Any], error: Exception | None = None) -> Callable[..., Any]:
    """A stand-in that fails as often as told and then does its work."""
    left = [error or JournalUnavailableError("the database can't be used: disk I/O error")] * times

    async def call(*args: Any, **kwargs: Any) -> Any:
        if left:
            raise left.pop()
        return await then(*args, **kwargs)

    return call


async def test_a_database_that_can_not_be_read_for_a_while_does_not_end_the_brain(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal, incidents = world.database.journal, world.database.incidents
    monkeypatch.setattr(journal, "wait", failing(2, journal.wait))
    monkeypatch.setattr(incidents, "list", failing(2, incidents.list))
    await world.start()
    await world.settled_start()
    await world.alert("Errors")
    await world.incident("monitoring")
    assert world.workload.writes == 1


async def test_a_snapshot_that_can_not_be_kept_does_not_end_the_brain(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("responder.engine.brain._SNAPSHOT_EVERY", 1)
    monkeypatch.setattr(world.database.journal, "save_snapshot", failing(3, world.database.journal.save_snapshot))
    await world.start()
    await world.alert("Errors")
    await world.incident("monitoring")
    await world.resolve("Errors")
    await world.incident("resolved")


async def test_a_bug_with_one_decision_is_told_and_stops_no_other(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = world.database.incidents.open

    async def breaks(incident: Incident, *rest: Any) -> Any:
        if incident.rule == "latency" and incident.is_open:
            raise KeyError("a bug")
        return await opened(incident, *rest)

    monkeypatch.setattr(world.database.incidents, "open", breaks)
    await world.start()
    await world.alert("Latency")
    told = await world.incident("notified")
    assert "internal error: KeyError" in told.reason
    await world.alert("Errors")
    await world.incident("monitoring", number=2)
    assert world.workload.writes == 1


async def test_an_incident_whose_opening_was_committed_but_never_confirmed_is_led_all_the_same(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = world.database.incidents.open

    async def unconfirmed(*args: Any) -> tuple[OpenResult, Incident]:
        monkeypatch.setattr(world.database.incidents, "open", opened)
        await opened(*args)
        raise JournalUnavailableError("the database can't be used: disk I/O error")

    monkeypatch.setattr(world.database.incidents, "open", unconfirmed)
    await world.start()
    await world.alert("Errors")
    await world.incident("monitoring")
    assert world.workload.writes == 1


async def test_what_was_decided_but_not_yet_written_down_is_not_behind_a_snapshot(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The alert is over before the incident could be opened, and the process ends: the next one must still tell it."""
    await world.start()
    await world.settled_start()
    await world.brain.snapshot()
    monkeypatch.setattr(world.database.incidents, "open", failing(1_000_000, world.database.incidents.open))
    await world.deliver(world.signal("Errors"), world.signal("Errors", SignalStatus.RESOLVED))
    await world.settled()
    await world.stop()
    await world.brain.snapshot()  # as at the end of the service
    monkeypatch.undo()
    await world.start()
    incident = await world.incident("notified")
    assert "fired and cleared while Responder was down" in incident.reason
    assert world.workload.writes == 0


async def test_a_rule_renamed_during_the_watch_does_not_make_the_alert_look_cleared(tmp_path: Path) -> None:
    rules = rulebook()
    async with a_world(tmp_path, rules) as world:
        await world.start()
        await world.alert("Errors")
        await world.incident("monitoring")
        await world.stop()
        renamed = tuple(replace(rule, name="error_rate") if rule.name == "errors" else rule for rule in rules.rules)
        world.rules = replace(rules, rules=renamed, digest="digest-of-renamed-rules")
        await world.start()
        await world.settled()
        incident = await world.incident()
        assert incident.status.value == "monitoring", incident.reason
        assert ("error_rate", "app") in incident.groups
        assert len(await world.all_incidents()) == 1


async def test_an_alert_that_outlives_the_record_of_its_incident_does_not_block_the_brain(world: World) -> None:
    world.rules = rulebook(monitor=Monitor(window=timedelta(0), settle=timedelta(0)))
    await world.start()
    await world.alert("Errors")
    await world.incident("failed")
    await world.stop()
    await world.database.incidents.prune(wall() + timedelta(days=1))
    await world.start()
    await world.alert("Note")
    await world.incident("notified")
    assert len(await world.all_incidents()) == 1


async def test_an_incident_without_a_plan_closes_and_does_not_lock_its_target(world: World) -> None:
    await world.start()
    await world.alert("Errors")
    opened = await world.incident("monitoring")
    await world.stop()
    await world.database.incidents.save(replace(opened, plan=None))
    await world.start()
    await world.incident("failed")
    assert world.rules.rules[0].response is Response.ROLLBACK
