"""Commands of people whose word counts for some targets only; presses that silence; messages that are kept up to date."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from responder.domain.matcher import parse_matcher
from responder.domain.notification import Message, Moment
from responder.domain.offer import OfferKind
from responder.domain.people import Actor, Hold
from responder.domain.rulebook import ApprovalTerms, Response
from responder.engine.announcer import Announcer, Tell
from responder.engine.desk import IncidentDesk
from responder.errors import DeniedError, RefusedError
from tests.simulation.people import ANN, BOB, asking, order, running
from tests.simulation.two_targets import add_database, coordinated
from tests.simulation.world import World, a_world, wall

CI = Actor("ci", frozenset({"responder"}), frozenset({"app"}))
ELSEWHERE = Actor("eve", frozenset({"responder"}), frozenset({"shop"}))


async def test_a_word_counts_only_for_the_targets_it_was_given_for(tmp_path: Path) -> None:
    async with running(tmp_path, asking()) as world:
        await world.alert("Errors")
        waiting = await world.incident("waiting_approval")
        for say in (world.commands.approve, world.commands.reject, world.commands.cancel, world.commands.acknowledge):
            with pytest.raises(DeniedError, match="it concerns app, and eve's word counts for shop only"):
                await say(waiting.id, ELSEWHERE)
        with pytest.raises(DeniedError):
            await world.orders.force(order(), ELSEWHERE)
        assert (await world.incident()).approvals[0].given is None
        await world.commands.approve(waiting.id, CI)
        await world.incident("monitoring")
        log = {(entry.by, entry.action, entry.outcome) for _, entry in await world.database.people.audit()}
        assert {("eve", "approve", "denied"), ("eve", "rollback", "denied"), ("ci", "approve", "done")} <= log


async def test_a_yes_and_an_order_have_everything_done_so_they_take_a_word_for_every_target_of_the_plan(tmp_path: Path) -> None:
    rules = coordinated()
    errors, *others = rules.rules
    asks = replace(errors, response=Response.APPROVE, approval=ApprovalTerms(within=timedelta(hours=1)))
    async with a_world(tmp_path, replace(rules, rules=(asks, *others))) as world:
        database = await add_database(world)
        await world.start()
        with pytest.raises(DeniedError, match="it concerns db"):
            await world.orders.force(order(plan="back"), CI)
        await world.alert("Errors")
        waiting = await world.incident("waiting_approval")
        with pytest.raises(DeniedError, match="it concerns db"):
            await world.commands.approve(waiting.id, CI)
        await world.commands.reject(waiting.id, CI)
        await world.incident("refused")
        assert (world.workload.writes, database.writes) == (0, 0)


async def test_what_concerns_everything_takes_a_word_without_limits(tmp_path: Path) -> None:
    until = wall() + timedelta(hours=1)
    async with running(tmp_path) as world:
        with pytest.raises(DeniedError, match="more than single targets"):
            await world.commands.turn_hold(CI, held=True, reason="x")
        for matcher in ('alertname="Errors"', 'target=~"app"', 'target="shop"', 'target!="app"'):
            with pytest.raises(DeniedError):
                await world.commands.suppress(CI, [parse_matcher(matcher)], until, "x")
        mine = await world.commands.suppress(CI, [parse_matcher('target="app"')], until, "x")
        theirs = await world.commands.suppress(ANN, [parse_matcher('alertname="Errors"')], until, "x")
        with pytest.raises(DeniedError):
            await world.commands.end_suppression(theirs.id, CI)
        assert (await world.commands.end_suppression(mine.id, CI)).ended is not None
        assert not world.commands.hold.held


async def test_the_alerts_of_an_incident_are_silenced_once_and_its_story_says_by_whom(tmp_path: Path) -> None:
    async with running(tmp_path, asking()) as world:
        await world.alert("Errors")
        waiting = await world.incident("waiting_approval")
        made = await world.commands.quieten(waiting.id, ANN, timedelta(hours=1), "pressed")
        assert sorted(map(str, made.matchers)) == [f'rule="{waiting.rule}"', 'target="app"']
        done = await world.incident()
        assert done.quieted is not None
        assert done.quieted.by == "ann"
        assert "quieted" in await world.kinds(done)
        with pytest.raises(RefusedError, match="suppressed by ann"):
            await world.commands.quieten(waiting.id, BOB, timedelta(hours=1), "pressed")
        await world.commands.approve(waiting.id, ANN)
        await world.incident("suppressed")  # a yes does not go past what people silenced
        assert world.workload.writes == 0


def a_desk(world: World, hold: Hold) -> IncidentDesk:
    """With a notifier that keeps its message up to date."""
    announcer = Announcer(
        rulebook=lambda: world.rules,
        clock=wall,
        configured={"slack", "pagerduty"},
        link_to=lambda _: "",
        live={"slack"},
        hold=lambda: hold,
    )
    return IncidentDesk(
        incidents=world.database.incidents,
        rulebook=lambda: world.rules,
        clock=wall,
        new_id=lambda _: "inc_x",
        announcer=announcer,
        on_outbox=lambda: None,
    )


async def told(world: World) -> list[tuple[str, Message]]:
    return [(one.to, one.message) for one in await world.database.outbox.due(wall(), 100)]


async def drained(world: World) -> None:
    while due := await world.database.outbox.due(wall(), 100):
        for one in due:
            await world.database.outbox.delivered(one.id, wall(), {})


async def test_a_change_that_nobody_speaks_of_is_shown_silently_and_only_where_a_message_is_kept_up_to_date(
    tmp_path: Path,
) -> None:
    async with running(tmp_path, asking()) as world:
        await world.alert("Errors")
        waiting = await world.incident("waiting_approval")
        await drained(world)
        desk = a_desk(world, Hold())
        await desk.change(waiting.id, lambda known: replace(known, inputs={"a": "b"}))
        assert await told(world) == []  # nothing that is shown has changed

        await desk.change(waiting.id, lambda known: replace(known, approvals=()))
        [(to, message)] = await told(world)
        assert (to, message.silent, message.text) == ("slack", True, "")
        assert OfferKind.APPROVE not in {one.kind for one in message.offers}
        await drained(world)

        await desk.change(waiting.id, lambda known: replace(known, approvals=waiting.approvals), tell=[Tell(Moment.NOTICE, "x")])
        assert [message.silent for to, message in await told(world) if to == "slack"] == [False]


async def test_a_hold_is_shown_on_every_open_incident(tmp_path: Path) -> None:
    async with running(tmp_path, asking()) as world:
        await world.alert("Errors")
        await world.incident("waiting_approval")
        await drained(world)
        await a_desk(world, Hold(True, "release day", "ann", wall())).refresh()
        [(_, message)] = await told(world)
        assert "everything is on hold by ann: release day" in message.standing
        assert OfferKind.HOLD not in {one.kind for one in message.offers}
