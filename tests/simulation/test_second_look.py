"""Alertmanager is asked again: before anything is changed, before an all-clear, and after a long silence."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from responder.domain.condition import AllOf, AnyOf, CountCondition, Firing, Part, ValueCondition
from responder.domain.listing import ListedAlert, Listing
from responder.domain.matcher import Matcher, parse_matcher
from responder.domain.ordered import EXCUSED
from responder.domain.plan import Monitor, Step
from responder.domain.rulebook import Response, Rule, Rulebook, Severity
from responder.domain.signal import SignalStatus
from responder.engine.second_look import GUARD
from tests.simulation.world import QUIET, World, a_world, rulebook, wall


@dataclass
class PlayedLists:
    """What all replicas list. asked: the matchers of every question."""

    alerts_by_name: dict[str, ListedAlert] = field(default_factory=dict)
    knows_absence: bool = True
    troubles: tuple[str, ...] = ()
    asked: list[list[str]] = field(default_factory=list)
    news: asyncio.Event = field(default_factory=asyncio.Event)

    def put(self, name: str, *, held_back_by: str = "", **annotations: str) -> None:
        labels = {"alertname": name, "deployment": "app"}
        self.alerts_by_name[name] = ListedAlert(name, labels, annotations, wall() - timedelta(seconds=30), held_back_by)

    def away(self) -> None:
        self.alerts_by_name.clear()
        self.knows_absence, self.troubles = False, ("Alertmanager at am can't be reached",)

    async def alerts(self, matchers: Iterable[Matcher]) -> Listing:
        self.asked.append([str(matcher) for matcher in matchers])
        self.news.set()
        return Listing(tuple(self.alerts_by_name.values()), self.knows_absence, self.troubles)


def rules_of(*rules: Rule, **plan: Any) -> Rulebook:
    return replace(rulebook(**plan), rules=tuple(rules))


def a_rule(condition: Any, *matchers: str, name: str = "errors", **fields: Any) -> Rule:
    found = tuple(parse_matcher(text) for text in matchers)
    return Rule(name, found, condition, severity=Severity.P1, response=Response.ROLLBACK, plan="back", **fields)


ABOVE = ValueCondition(above=0.05)
A, B = ((parse_matcher(f'alertname="{name}"'),) for name in ("Errors", "Latency"))


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with a_world(tmp_path) as made:
        yield made


@pytest.fixture
def lists(world: World) -> PlayedLists:
    world.lists = lists = PlayedLists()
    return lists


@pytest.fixture(autouse=True)
def _ask_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("responder.engine.watch.ASK_AGAIN", timedelta(milliseconds=20))


# --- before acting -------------------------------------------------------------------------------------------------------


async def test_what_is_listed_as_active_is_acted_on(world: World, lists: PlayedLists) -> None:
    lists.put("Errors")
    await world.start()
    await world.alert("Errors")
    incident = await world.incident("monitoring")
    assert world.workload.writes == 1
    assert lists.asked[0] == ['alertname="Errors"', 'deployment="app"'], "it is asked with the rule's and the target's matchers"
    events = await world.database.incidents.events(incident.id)
    rows: Any = next(event for event in events if event.kind == "guards").data["verdicts"]
    assert {"guard": "second_look", "outcome": "pass", "reason": "Alertmanager lists it as active"} in rows


@pytest.mark.parametrize(
    ("held_back_by", "is_listed", "reason"),
    [
        pytest.param("", False, "does not list it any more", id="it is over"),
        pytest.param("silence 4711", True, "holds it back: silence 4711", id="it is silenced"),
        pytest.param("an inhibition", True, "holds it back: an inhibition", id="it is inhibited"),
    ],
)
async def test_nothing_is_changed_when(world: World, lists: PlayedLists, held_back_by: str, is_listed: bool, reason: str) -> None:
    if is_listed:
        lists.put("Errors", held_back_by=held_back_by)
    lists.put("Latency")
    await world.start()
    await world.alert("Errors")
    incident = await world.incident("refused")
    assert reason in incident.reason
    assert world.workload.writes == 0


async def test_one_active_alert_of_the_group_is_enough_even_one_that_we_have_not_heard_of(tmp_path: Path) -> None:
    """The other replica's group interval is not over yet."""
    async with a_world(tmp_path) as world:
        world.lists = lists = PlayedLists()
        lists.put("Errors", held_back_by="silence 1")
        lists.alerts_by_name["other"] = replace(lists.alerts_by_name["Errors"], key="other", held_back_by="")
        await world.start()
        await world.alert("Errors")
        await world.incident("monitoring")


@pytest.mark.parametrize(
    ("told", "listed", "status", "reason"),
    [
        pytest.param("12%", {"value": "9%"}, "monitoring", "", id="its number went down and is still over the bound"),
        pytest.param("12%", {"value": "2%"}, "refused", "the rule's condition does not hold", id="its number is not over it now"),
        pytest.param("12%", {}, "refused", "no longer with a number", id="its number is gone"),
    ],
)
async def test_the_number_counts_as_it_is_now(
    tmp_path: Path, told: str, listed: dict[str, str], status: str, reason: str
) -> None:
    async with a_world(tmp_path, rules_of(a_rule(ABOVE, 'alertname="Errors"'))) as world:
        world.lists = lists = PlayedLists()
        lists.put("Errors", **listed)
        await world.start()
        await world.alert("Errors", value=told)
        assert reason in (await world.incident(status)).reason


@pytest.mark.parametrize(
    ("condition", "still_listed", "status"),
    [
        pytest.param(AllOf((Part(Firing(), A), Part(Firing(), B))), ["Errors", "Latency"], "monitoring", id="all, all listed"),
        pytest.param(AllOf((Part(Firing(), A), Part(Firing(), B))), ["Errors"], "refused", id="all, one over"),
        pytest.param(AnyOf((Part(Firing(), A), Part(Firing(), B))), ["Errors"], "monitoring", id="any, one over"),
        pytest.param(AnyOf((Part(Firing(), A), Part(Firing(), B))), [], "refused", id="any, both over"),
        pytest.param(CountCondition(1, timedelta(minutes=5)), [], "monitoring", id="what was counted is not undone by its end"),
    ],
)
async def test_conditions_of_several_alerts(tmp_path: Path, condition: Any, still_listed: list[str], status: str) -> None:
    async with a_world(tmp_path, rules_of(a_rule(condition, 'deployment="app"'))) as world:
        world.lists = lists = PlayedLists()
        for name in still_listed:
            lists.put(name)
        await world.start()
        await world.deliver(world.signal("Errors"), world.signal("Latency"))
        await world.incident(status)


async def test_what_another_sender_says_is_not_doubted(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world:
        world.lists = lists = PlayedLists()
        await world.start()
        signal = world.signal("Errors")
        await world.deliver(replace(signal, source="grafana", labels={**signal.labels, "source": "grafana"}))
        incident = await world.incident("monitoring")
        events = await world.database.incidents.events(incident.id)
        rows: Any = next(event for event in events if event.kind == "guards").data["verdicts"]
        assert next(row["reason"] for row in rows if row["guard"] == "second_look").startswith("it does not rest on")
        await lists.news.wait()
        assert (await world.all_incidents())[0].status.value == "monitoring", "that Alertmanager lacks it means nothing"


async def test_a_rule_for_another_sender_is_not_asked_about(tmp_path: Path) -> None:
    async with a_world(tmp_path, rules_of(a_rule(Firing(), 'alertname="Errors"', 'source="grafana"'))) as world:
        world.lists = lists = PlayedLists()
        await world.start()
        signal = world.signal("Errors")
        await world.deliver(replace(signal, source="grafana", labels={**signal.labels, "source": "grafana"}))
        await world.incident("monitoring")
        await world.deliver(
            replace(signal, source="grafana", labels={**signal.labels, "source": "grafana"}, status=SignalStatus.RESOLVED)
        )
        await world.incident("resolved")
        assert lists.asked == []


async def test_when_nobody_can_be_asked_what_was_just_told_is_believed(world: World, lists: PlayedLists) -> None:
    lists.away()
    await world.start()
    await world.alert("Errors")
    await world.incident("monitoring")
    await world.resolve("Errors")
    await world.incident("resolved")


async def test_when_nobody_can_be_asked_an_old_decision_is_not_carried_out(
    world: World, lists: PlayedLists, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("responder.engine.second_look.BELIEVED_FOR", timedelta(0))
    lists.away()
    await world.start()
    await world.alert("Errors")
    incident = await world.incident("refused")
    assert "can't be reached" in incident.reason
    assert world.workload.writes == 0


async def test_a_plan_that_rolls_nothing_back_is_asked_about_too(tmp_path: Path) -> None:
    async with a_world(tmp_path, rulebook(Step("work", "played"))) as world:
        world.lists = lists = PlayedLists()
        lists.put("Errors", held_back_by="silence 1")
        await world.start()
        await world.alert("Errors")
        assert "holds it back: silence 1" in (await world.incident("refused")).reason
        assert world.played.runs == 0


def test_what_a_person_orders_needs_no_alert() -> None:
    assert GUARD in EXCUSED


async def test_it_is_asked_while_the_target_is_read(world: World, lists: PlayedLists) -> None:
    """Neither waits for the other: the target answers only after the question was asked."""
    lists.put("Errors")

    async def asked() -> None:
        async with asyncio.timeout(20):
            await lists.news.wait()

    world.workload.before_answer = asked
    await world.start()
    await world.alert("Errors")
    await world.incident("monitoring")


# --- before an all-clear -------------------------------------------------------------------------------------------------


async def test_a_resolved_that_is_not_so_is_no_all_clear(world: World, lists: PlayedLists) -> None:
    lists.put("Errors")
    await world.start()
    await world.alert("Errors")
    await world.incident("monitoring")
    lists.news.clear()
    await world.resolve("Errors")
    await world.settled()
    for _ in range(3):
        lists.news.clear()
        await lists.news.wait()
    assert (await world.all_incidents())[0].status.value == "monitoring"
    lists.alerts_by_name.clear()
    assert "the alert has cleared" in (await world.incident("resolved")).reason


async def test_a_group_that_was_cut_short_is_no_all_clear(tmp_path: Path) -> None:
    """The group held two alerts; the webhook had room for one, and said `resolved` when that one was."""
    async with a_world(tmp_path, rulebook(monitor=Monitor(timedelta(0), settle=timedelta(milliseconds=300)))) as world:
        world.lists = lists = PlayedLists()
        lists.put("Errors")
        lists.alerts_by_name["cut"] = replace(lists.alerts_by_name["Errors"], key="cut")
        await world.start()
        await world.alert("Errors")
        await world.incident("monitoring")
        del lists.alerts_by_name["Errors"]
        await world.resolve("Errors")
        incident = await world.incident("failed")
        assert "not recovered" in incident.reason


async def test_a_resolved_that_never_came_does_not_keep_the_incident_open(world: World, lists: PlayedLists) -> None:
    lists.put("Errors")
    await world.start()
    await world.alert("Errors")
    await world.incident("monitoring")
    lists.alerts_by_name.clear()
    incident = await world.incident("resolved")
    assert "the sender does not list the alert any more" in incident.reason


async def test_an_alert_that_is_listed_without_its_number_is_not_over(world: World, lists: PlayedLists) -> None:
    world.rules = rules_of(a_rule(ABOVE, 'alertname="Errors"'), monitor=QUIET)
    lists.put("Errors", value="9%")
    await world.start()
    await world.alert("Errors", value="9%")
    await world.incident("monitoring")
    lists.put("Errors")
    async with asyncio.timeout(20):
        for _ in range(3):
            lists.news.clear()
            await lists.news.wait()
    assert (await world.all_incidents())[0].status.value == "monitoring"
    lists.put("Errors", value="1%")
    await world.incident("resolved")


@pytest.mark.parametrize("away", [True, False], ids=["nobody can be asked", "it is silenced"])
async def test_without_a_plain_word_the_webhooks_decide(world: World, lists: PlayedLists, *, away: bool) -> None:
    lists.put("Errors")
    await world.start()
    await world.alert("Errors")
    await world.incident("monitoring")
    if away:
        lists.away()
    else:
        lists.put("Errors", held_back_by="silence 1")
    for _ in range(3):
        lists.news.clear()
        await lists.news.wait()
    assert (await world.all_incidents())[0].status.value == "monitoring"
    await world.resolve("Errors")
    await world.incident("resolved")


# --- after a long silence ------------------------------------------------------------------------------------------------


async def test_after_a_long_silence_what_is_listed_is_acted_on_at_once_and_the_rest_is_doubted(
    world: World, lists: PlayedLists
) -> None:
    lists.put("Latency")
    await world.alert("Errors", heard=timedelta(minutes=20))
    await world.alert("Latency", heard=timedelta(minutes=20))
    await world.start()
    incident = await world.incident("refused")  # it began before the deploy; what counts here is that it was taken up
    assert incident.rule == "latency"
    await world.settled()
    assert len(await world.all_incidents()) == 1


async def test_after_a_long_silence_a_run_that_changed_nothing_yet_goes_on_when_its_alert_is_listed(
    world: World, lists: PlayedLists, monkeypatch: pytest.MonkeyPatch
) -> None:
    lists.put("Errors")
    await world.start()
    never = asyncio.Event()

    async def wait() -> None:
        lists.news.set()
        await never.wait()

    world.workload.before_answer = wait
    await world.alert("Errors")
    await lists.news.wait()
    await world.incident("running")
    await world.stop()
    world.workload.before_answer = None
    monkeypatch.setattr("responder.engine.old_news.LONG_SILENCE", timedelta(0))
    await world.start()
    await world.incident("monitoring")
    assert world.workload.writes == 1
