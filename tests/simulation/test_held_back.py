"""Whoever waits for a rule that an alert named by `unless` holds back hears of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from responder.domain.listing import ListedAlert, Listing
from responder.domain.matcher import Matcher, parse_matcher
from responder.domain.rulebook import Rulebook
from responder.engine.held_back import TOO_LONG
from tests.simulation.world import World, a_world, rulebook, wall

LONG_AGO = TOO_LONG + timedelta(minutes=5)


def waiting_for_the_database() -> Rulebook:
    """The rule `errors` holds back while DatabaseDown fires."""
    rules = rulebook()
    errors = replace(rules.rules[0], unless=(parse_matcher('alertname="DatabaseDown"'),))
    return replace(rules, rules=(errors, *rules.rules[1:]))


class PlayedLists:
    def __init__(self, *names: str, knows_absence: bool = True) -> None:
        self.listing = Listing(tuple(ListedAlert(name, {"alertname": name}, {}, wall()) for name in names), knows_absence)

    async def alerts(self, matchers: Iterable[Matcher]) -> Listing:
        assert [str(matcher) for matcher in matchers] == ['alertname="DatabaseDown"']
        return self.listing


async def fired(world: World, *names: str, since: timedelta) -> None:
    """These alerts began then and were told at once."""
    await world.start()
    for name in names:
        await world.alert(name, ago=since.total_seconds(), heard=since)
    await world.settled()


async def test_after_an_hour_people_are_told_once_what_holds_the_rule_back(tmp_path: Path) -> None:
    async with a_world(tmp_path, waiting_for_the_database()) as world:
        await fired(world, "DatabaseDown", "Errors", since=LONG_AGO)
        await world.held_back.tell()
        [told] = await world.all_incidents()
        assert (told.rule, told.target, told.status.value) == ("errors", "app", "notified")
        assert told.reason.startswith("held back for 1h5m")
        assert ": it would have responded at " in told.reason
        assert "DatabaseDown fires since" in told.reason
        assert told.reason.endswith(
            "its `resolved` was lost: send it again, or order what is to be done (`responder rollback app`)"
        )
        [message] = await world.messages()
        assert message.startswith("notice: Held back for 1h5m")
        await world.held_back.tell()
        await world.stop()
        await world.start()
        await world.settled_start()
        await world.held_back.tell()
        assert len(await world.all_incidents()) == 1
        assert world.workload.writes == 0


@pytest.mark.parametrize(
    ("lists", "said"),
    [
        pytest.param(PlayedLists("DatabaseDown"), "Alertmanager still lists it. If", id="it is still listed"),
        pytest.param(PlayedLists("Other"), "Alertmanager does not list it any more. If", id="it is listed no more"),
        pytest.param(PlayedLists(knows_absence=False), ". If DatabaseDown", id="nobody knows"),
    ],
)
async def test_alertmanager_is_asked_whether_it_is_over(lists: PlayedLists, said: str, tmp_path: Path) -> None:
    async with a_world(tmp_path, waiting_for_the_database()) as world:
        world.lists = lists
        await fired(world, "DatabaseDown", "Errors", since=LONG_AGO)
        await world.held_back.tell()
        [told] = await world.all_incidents()
        assert said in told.reason
        assert ("Alertmanager" in told.reason) is ("Alertmanager" in said)


@pytest.mark.parametrize(
    ("names", "since"),
    [
        pytest.param(("DatabaseDown", "Errors"), TOO_LONG - timedelta(minutes=5), id="it is not held back for long"),
        pytest.param(("DatabaseDown",), LONG_AGO, id="nothing waits"),
    ],
)
async def test_else_nobody_is_told(names: tuple[str, ...], since: timedelta, tmp_path: Path) -> None:
    async with a_world(tmp_path, waiting_for_the_database()) as world:
        await fired(world, *names, since=since)
        await world.held_back.tell()
        assert await world.all_incidents() == []


async def test_when_the_alert_is_over_the_rule_responds_and_nobody_is_told_that_it_waits(tmp_path: Path) -> None:
    async with a_world(tmp_path, waiting_for_the_database()) as world:
        await fired(world, "DatabaseDown", "Errors", since=LONG_AGO)
        await world.resolve("DatabaseDown")
        answered = await world.incident("refused")
        assert "before v2 was rolled out" in answered.reason
        await world.held_back.tell()
        assert len(await world.all_incidents()) == 1
