"""People who are called one after the other, over restarts. The database is real; time is, too, but its levels are short."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from responder.domain.incident import Incident, IncidentEvent
from responder.domain.notification import Delivery
from responder.domain.plan import Step
from responder.domain.report import render_report
from responder.domain.rulebook import EscalationLevel, Route, Rulebook, Severity
from responder.domain.target import Mode
from responder.errors import JournalUnavailableError, PermanentError
from tests.simulation.people import ANN, asking, running
from tests.simulation.world import World, a_world, rulebook, wall

LONG = timedelta(hours=1)
AT_ONCE, SOON = timedelta(0), timedelta(milliseconds=400)


def levels(*afters: timedelta, tell: tuple[str, ...] = ("slack",), **changes: object) -> tuple[EscalationLevel, ...]:
    return tuple(EscalationLevel(after, tell, **changes) for after in afters)  # type: ignore[arg-type]


def escalating(rules: Rulebook, *afters: timedelta, **changes: object) -> Rulebook:
    return replace(rules, escalation=levels(*afters, **changes))  # type: ignore[arg-type]


async def until(world: World, holds: Callable[[Incident], bool], number: int = 1) -> Incident:
    async with asyncio.timeout(20):
        while not holds(known := await world.incident(number=number)):  # noqa: ASYNC110 - no event tells
            await asyncio.sleep(0.01)
    return known


async def calls(world: World) -> list[str]:
    """What was told of escalation, in order; marks all messages as delivered."""
    return [text for text in await world.messages() if "Escalation level" in text]


async def test_levels_are_told_one_after_the_other_until_somebody_acknowledges(tmp_path: Path) -> None:
    async with running(tmp_path, asking()) as world:
        await world.alert("Errors")
        await world.incident("waiting_approval")
        world.rules = escalating(asking(), AT_ONCE, SOON, LONG)
        world.follow_up.look()
        known = await until(world, lambda one: len(one.escalated) == 2)
        told = await calls(world)
        assert [text.partition("Escalation ")[2][:12] for text in told] == ["level 1 of 3", "level 2 of 3"]
        assert "waits for approval" in told[0]

        await world.commands.acknowledge(known.id, ANN)
        world.rules = escalating(asking(), AT_ONCE, SOON, SOON * 1.5)
        await asyncio.sleep(0.6)
        assert await calls(world) == []


async def test_a_level_that_can_not_be_put_on_record_is_told_when_it_can(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("responder.engine.escalation._TRY_AGAIN", timedelta(milliseconds=10))
    async with running(tmp_path, escalating(asking(), AT_ONCE)) as world:
        incidents, faults = world.database.incidents, []
        save = incidents.save

        async def away(incident: Incident, events: Sequence[IncidentEvent] = (), *rest: Any) -> None:
            if len(faults) < 2 and any(event.kind == "escalated" for event in events):
                faults.append(incident.id)
                raise JournalUnavailableError("the database can't be used: disk I/O error")
            await save(incident, events, *rest)

        monkeypatch.setattr(incidents, "save", away)
        await world.alert("Errors")
        await until(world, lambda one: len(one.escalated) == 1)
        assert (len(faults), len(await calls(world))) == (2, 1)


async def test_a_restart_tells_no_level_twice_and_tells_what_came_due_meanwhile(tmp_path: Path) -> None:
    async with running(tmp_path, escalating(asking(), AT_ONCE, SOON)) as world:
        await world.alert("Errors")
        await until(world, lambda one: len(one.escalated) == 1)
        await world.stop()
        await asyncio.sleep(0.5)
        await world.start()
        known = await until(world, lambda one: len(one.escalated) == 2)
        for _ in range(2):
            await world.stop()
            await world.start()
            await world.settled_start()
        await asyncio.sleep(0.2)
        assert (await world.kinds(known)).count("escalated") == 2
        assert len(await calls(world)) == 2


async def test_a_run_that_fails_goes_on_calling_and_its_report_tells(tmp_path: Path) -> None:
    async with running(tmp_path, escalating(rulebook(Step("play", "played")), SOON)) as world:
        world.played.faults = [PermanentError("broken")]
        await world.alert("Errors")
        known = await until(world, lambda one: bool(one.escalated))
        assert known.status.value == "failed"
        report = render_report(known, await world.database.incidents.events(known.id))
        assert "level 1 of 1" in report


async def test_what_is_resolved_calls_nobody(tmp_path: Path) -> None:
    async with running(tmp_path, escalating(rulebook(), SOON)) as world:
        await world.alert("Errors")
        await world.incident("monitoring")
        await world.resolve("Errors")
        known = await world.incident("resolved")
        await asyncio.sleep(0.5)
        assert "escalated" not in await world.kinds(known)


async def test_a_refusal_stops_calling_when_its_alert_is_over(tmp_path: Path) -> None:
    async with running(tmp_path, escalating(rulebook(), AT_ONCE, SOON * 2), proven=False) as world:
        await world.alert("Errors")
        known = await until(world, lambda one: len(one.escalated) == 1)
        assert known.status.value == "refused"
        await world.resolve("Errors")
        known = await until(world, lambda one: one.calm_at is not None)
        await asyncio.sleep(1)
        kinds = await world.kinds(known)
        assert kinds.count("escalated") == 1
        assert "alert_cleared" in kinds


async def test_observe_mode_calls_nobody(tmp_path: Path) -> None:
    async with running(tmp_path, escalating(rulebook(mode=Mode.OBSERVE), AT_ONCE)) as world:
        await world.alert("Errors")
        known = await world.incident("observed")
        await asyncio.sleep(0.4)
        assert "escalated" not in await world.kinds(known)


async def test_the_end_of_an_observed_alert_is_on_record_also_when_it_came_while_nobody_ran(tmp_path: Path) -> None:
    async with running(tmp_path, rulebook(mode=Mode.OBSERVE)) as world:
        await world.alert("Errors")
        await world.incident("observed")
        await world.stop()
        await world.resolve("Errors")
        await world.start()
        known = await until(world, lambda one: one.calm_at is not None)
        assert (await world.kinds(known))[-1] == "alert_cleared"


async def test_each_level_has_its_own_mail_addresses_contacts_and_says_who_is_missing(tmp_path: Path) -> None:
    rules = replace(
        asking(),
        routes=(Route("email", addresses=("oncall@example.com",), customers=("all@example.com",)),),
        escalation=levels(
            AT_ONCE, tell=("email", "pagerduty"), addresses=("cto@example.com",), contacts=("Mara, +41 44 000 00 01",)
        ),
    )
    async with a_world(tmp_path, rules) as world:
        world.configured = {"email"}
        await world.start()
        await world.alert("Errors")
        known = await until(world, lambda one: bool(one.escalated))
        told: list[Delivery] = []
        while due := await world.database.outbox.due(wall() + LONG, 100):
            for one in due:
                told.append(one)
                await world.database.outbox.delivered(one.id, wall(), {})
        [call] = [one.message for one in told if "Escalation level" in one.message.text]
        assert (call.addresses, call.customers, call.addressed) == (("cto@example.com",), (), True)
        assert ("Contact", "Mara, +41 44 000 00 01") in call.facts
        assert told[0].message.addresses == ("oncall@example.com",)
        assert told[0].message.customers == ("all@example.com",)
        [event] = [one for one in await world.database.incidents.events(known.id) if one.kind == "escalated"]
        assert event.data["missing"] == ["pagerduty"]
        assert "not configured: pagerduty" in event.text


@pytest.mark.parametrize("severity", [Severity.P0, Severity.P2])
async def test_other_severities_have_other_levels(severity: Severity, tmp_path: Path) -> None:
    rules = escalating(asking(), AT_ONCE, severities=frozenset({severity}))
    async with running(tmp_path, rules) as world:
        await world.alert("Errors")
        await world.incident("waiting_approval")
        await asyncio.sleep(0.3)
        assert await calls(world) == []
