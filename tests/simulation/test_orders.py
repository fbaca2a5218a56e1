"""What people order: do it, whatever the alerts say. Target and steps are played, the database is real."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from responder.domain.plan import Step
from responder.domain.target import Mode
from responder.engine.orders import BusyError, GuardsError
from responder.errors import InvalidInputError, NotFoundError, RefusedError
from tests.simulation.deeds import Scale
from tests.simulation.people import ANN, asking, order, running
from tests.simulation.world import ROLLBACK, V1, World, a_world, rulebook


async def test_an_order_needs_no_alert(tmp_path: Path) -> None:
    async with running(tmp_path) as world:
        incident = await world.orders.force(order(), ANN)
        done = await world.incident("monitoring")
        assert done.id == incident.id
        assert world.workload.current == V1
        assert done.order is not None
        assert (done.rule, done.order.by, done.order.reason) == ("forced", "ann", "it is broken")
        event = next(one for one in await world.database.incidents.events(done.id) if one.kind == "guards")
        rows = {str(row["guard"]): row for row in event.data["verdicts"]}  # type: ignore[attr-defined]
        assert rows["alert_firing"]["reason"] == "does not apply: ordered by ann, not by an alert"
        assert rows["recent_change"]["outcome"] == "pass"


async def test_an_order_without_alert_is_resolved_when_its_window_is_over(tmp_path: Path) -> None:
    async with running(tmp_path) as world:
        await world.orders.force(order(plan="back"), ANN)
        done = await world.incident("resolved")
        assert done.reason.startswith("nothing went wrong for")


async def test_an_order_watches_the_alerts_that_join_it(tmp_path: Path) -> None:
    async with running(tmp_path, rulebook(Step("played", "played"), ROLLBACK)) as world:
        world.played.gate = asyncio.Event()
        await world.orders.force(order(plan="back"), ANN)
        await world.played.entered.wait()
        await world.alert("Errors")
        await world.settled()
        world.played.gate.set()
        joined = await world.incident("monitoring")
        assert joined.groups
        await world.resolve("Errors")
        await world.incident("resolved")


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"target": "nope"}, "target"),
        ({"plan": "nope"}, "plan"),
        ({"inputs": {"x": "y"}}, "inputs"),
        ({"override": ("single_flight",)}, "override"),
        ({"override": ("no_such_guard",)}, "override"),
    ],
    ids=["a target that is not declared", "a plan", "an input the plan has not", "what nobody may override", "no guard"],
)
async def test_an_order_that_can_not_be_meant_names_the_field(tmp_path: Path, changes: dict[str, object], field: str) -> None:
    async with running(tmp_path) as world:
        with pytest.raises((InvalidInputError, NotFoundError)) as wrong:
            await world.orders.force(order(**changes), ANN)
        assert wrong.value.field == field
        assert await world.all_incidents() == []


async def test_guards_speak_and_say_what_may_be_overridden(tmp_path: Path) -> None:
    async with running(tmp_path) as world:
        world.workload.paused = True
        with pytest.raises(GuardsError, match="paused by a person") as refusal:
            await world.orders.force(order(), ANN)
        assert refusal.value.may_override == ("paused",)
        assert await world.all_incidents() == []
        await world.orders.force(order(override=("paused",)), ANN)
        done = await world.incident("monitoring")
        event = next(one for one in await world.database.incidents.events(done.id) if one.kind == "guards")
        assert any("overridden by ann" in str(row["reason"]) for row in event.data["verdicts"])  # type: ignore[attr-defined]
        log = [(entry.action, entry.outcome) for _, entry in await world.database.people.audit()]
        assert log == [("rollback", "done"), ("rollback", "refused")]


async def test_a_version_is_chosen_and_an_unproven_one_needs_an_override(tmp_path: Path) -> None:
    async with running(tmp_path, proven=False) as world:
        with pytest.raises(GuardsError, match=r"v1 \(revision 1\) is not proven") as refusal:
            await world.orders.force(order(version="v1"), ANN)
        assert refusal.value.may_override == ("proven",)
        with pytest.raises(GuardsError, match="version v9 is not in the history") as unknown:
            await world.orders.force(order(version="v9"), ANN)
        assert unknown.value.may_override == ()
        with pytest.raises(GuardsError, match="version v2 is what runs now"):
            await world.orders.force(order(version="v2"), ANN)
        await world.orders.force(order(revision="1", override=("proven",)), ANN)
        await world.incident("monitoring")
        assert world.workload.current == V1


async def test_where_there_is_nothing_to_go_back_to_nobody_can_answer_for_it(tmp_path: Path) -> None:
    async with running(tmp_path, proven=False) as world:
        blind = order(override=("proven",))
        with pytest.raises(GuardsError, match=r"no earlier version is proven.*; name the version to go back to") as refusal:
            await world.orders.force(blind, ANN)
        assert refusal.value.may_override == ()
        assert (await world.orders.preview(blind)).refusals == (str(refusal.value),)
        assert await world.all_incidents() == []
        world.workload.history = world.workload.history[:1]
        with pytest.raises(GuardsError, match=r"there is no earlier version to go back to$"):
            await world.orders.force(blind, ANN)


async def test_what_runs_already_is_named(tmp_path: Path) -> None:
    async with running(tmp_path, asking()) as world:
        await world.alert("Errors")
        waiting = await world.incident("waiting_approval")
        with pytest.raises(BusyError, match=waiting.id):
            await world.orders.force(order(), ANN)


async def test_an_order_under_a_hold_is_refused(tmp_path: Path) -> None:
    async with running(tmp_path) as world:
        await world.commands.turn_hold(ANN, held=True, reason="migration")
        with pytest.raises(RefusedError, match="on hold by ann: migration"):
            await world.orders.force(order(), ANN)
        assert (await world.orders.preview(order())).refusals == ("on hold by ann: migration",)


async def test_an_order_with_a_key_is_given_once(tmp_path: Path) -> None:
    async with running(tmp_path) as world:
        first = await world.orders.force(order(), ANN, "key-1")
        await world.incident("resolved", "monitoring")
        assert (await world.orders.force(order(), ANN, "key-1")).id == first.id
        assert world.workload.writes == 1


async def test_a_preview_changes_nothing(tmp_path: Path) -> None:
    async with running(tmp_path) as world:
        seen = await world.orders.preview(order())
        assert seen.refusals == ()
        assert seen.pins["app"].to_version.version == "v1"
        assert await world.all_incidents() == []
        assert world.workload.writes == 0
        await world.alert("Errors")  # and it claims nothing
        await world.incident("monitoring")


async def test_an_order_in_observe_mode_does_nothing(tmp_path: Path) -> None:
    async with running(tmp_path, rulebook(mode=Mode.OBSERVE)) as world:
        await world.orders.force(order(), ANN)
        await world.incident("observed")
        assert world.workload.writes == 0


async def test_an_order_that_guards_refuse_is_recorded_in_observe_mode_like_any_other(tmp_path: Path) -> None:
    async with running(tmp_path, rulebook(mode=Mode.OBSERVE)) as world:
        world.workload.paused = True
        await world.orders.force(order(), ANN)
        observed = await world.incident("observed")
        assert "paused by a person" in observed.reason
        assert observed.declined


async def test_a_hold_stops_a_first_change_of_any_kind(tmp_path: Path) -> None:
    scale = Scale()
    steps = (Step("played", "played"), Step("change", "scale", {"to": 0}))
    async with a_world(tmp_path, rulebook(*steps)) as world:
        world.actions = {"scale": scale}
        await world.start()
        world.played.gate = asyncio.Event()
        await world.orders.force(order(plan="back"), ANN)
        await world.played.entered.wait()
        await world.commands.turn_hold(ANN, held=True, reason="stop everything")
        world.played.gate.set()
        refused = await world.incident("refused")
        assert "on hold by ann: stop everything" in refused.reason
        assert refused.acted_at is None
        assert scale.replicas == 3


async def test_when_an_incident_is_over_its_target_is_free_again(tmp_path: Path) -> None:
    async with running(tmp_path) as world:
        await world.alert("Errors")
        await world.incident("monitoring")
        assert "single_flight" in await refusing(world)
        await world.resolve("Errors")
        await world.incident("resolved")
        async with asyncio.timeout(20):
            while "single_flight" in await refusing(world):  # noqa: ASYNC110 - no event tells
                await asyncio.sleep(0.01)


async def refusing(world: World) -> list[str]:
    preview = await world.orders.preview(order())
    return [verdict.guard for verdict in preview.verdicts["app"] if not verdict.passes]
