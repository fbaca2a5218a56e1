"""Where two things meet: people and restarts, alerts that joined and stays, plans that touch each other's targets."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from responder.domain.guard import Outcome, Verdict
from responder.domain.incident import Incident, IncidentEvent
from responder.domain.matcher import parse_matcher
from responder.domain.ordered import overridable
from responder.domain.people import Actor, Suppression
from responder.domain.plan import OnStepFailure, Plan, Step
from responder.domain.rulebook import ApprovalTerms, Freeze, Response, Rulebook, Unanswered
from responder.engine.orders import GuardsError
from responder.engine.runner import StepRunner
from responder.errors import InvalidInputError, JournalUnavailableError, PermanentError, RefusedError
from tests.simulation.deeds import Deed, Scale
from tests.simulation.people import ANN, BOB, ERRORS, LONG, SOON, asking, changed_rules, counting, happened, order, running
from tests.simulation.plans import block, deed, parallel, scale, stage
from tests.simulation.two_targets import add_database, coordinated
from tests.simulation.world import ROLLBACK, World, a_world, cut_off, rulebook, wall

# --- while it is starting --------------------------------------------------------------------------------------------


async def start_without_the_brain(world: World) -> asyncio.Task[None]:
    """As the service is while the journal is still being folded: it takes commands already."""
    await world.start()
    brain = world._brain
    assert brain is not None
    brain.cancel()  # it has not had its first turn yet
    await asyncio.gather(brain, return_exceptions=True)
    return brain


async def test_an_order_is_not_taken_before_it_is_known_what_is_held_and_led(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("responder.engine.orders.STARTS_WITHIN", timedelta(milliseconds=50))
    async with a_world(tmp_path) as world:
        await start_without_the_brain(world)
        with pytest.raises(JournalUnavailableError, match="still starting") as refusal:
            await world.orders.force(order(), ANN)
        assert refusal.value.retry_after is not None
        assert await world.all_incidents() == []


@pytest.mark.parametrize("command", ["acknowledge", "approve", "cancel"])
async def test_a_word_during_the_start_is_on_record_and_heard_when_it_is_over(tmp_path: Path, command: str) -> None:
    """Before the journal is folded nothing seems to fire: leading would call the alert cleared."""
    async with a_world(tmp_path, asking()) as world:
        await world.start()
        await world.alert("Errors")
        waiting = await world.incident("waiting_approval")
        await world.stop()
        await start_without_the_brain(world)
        await getattr(world.commands, command)(waiting.id, ANN)
        await asyncio.sleep(0.05)
        assert (await world.incident()).status.value == "waiting_approval"
        await world.stop()
        await world.start()
        ended = {"acknowledge": "waiting_approval", "approve": "monitoring", "cancel": "cancelled"}[command]
        await world.settled_start()
        await world.incident(ended)


async def test_who_has_an_old_incident_in_hand_does_not_end_the_doubt_about_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with a_world(tmp_path, counting(SOON)) as world:
        await world.start()
        await world.alert("Errors")
        counting_down = await world.incident("countdown")
        await world.stop()
        await asyncio.sleep(SOON.total_seconds())
        monkeypatch.setattr("responder.engine.old_news.LONG_SILENCE", timedelta(0))
        monkeypatch.setattr("responder.engine.old_news.NEWS_WITHIN", timedelta(seconds=1))
        await world.start()
        await world.settled_start()
        await world.commands.acknowledge(counting_down.id, ANN)
        await asyncio.sleep(0.3)  # long enough to act
        await world.resolve("Errors")  # its `resolved` comes again, late
        await world.incident("cancelled")
        assert world.workload.writes == 0


# --- requests that ran out -------------------------------------------------------------------------------------------


async def test_a_yes_to_a_request_that_ran_out_is_too_late_and_a_no_never_is(tmp_path: Path) -> None:
    async with a_world(tmp_path, asking(SOON, unanswered=Unanswered.PROCEED)) as world:
        await world.start()
        await world.alert("Errors")
        waiting = await world.incident("waiting_approval")
        await world.stop()
        await asyncio.sleep(SOON.total_seconds())
        with pytest.raises(RefusedError, match="the request ran out at"):
            await world.commands.approve(waiting.id, ANN)
        await world.commands.reject(waiting.id, ANN, "not that one")
        await world.start()
        assert (await world.incident("refused")).reason == "rejected by ann: not that one"
        assert world.workload.writes == 0


async def test_what_was_said_is_heard_though_the_audit_log_can_not_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(tmp_path, asking()) as world:
        await world.alert("Errors")
        waiting = await world.incident("waiting_approval")

        async def unavailable(_entry: object) -> None:
            raise JournalUnavailableError("disk full")

        monkeypatch.setattr(world.database.people, "note", unavailable)
        with pytest.raises(JournalUnavailableError):
            await world.commands.approve(waiting.id, ANN)
        await world.incident("monitoring")


# --- loss of data ----------------------------------------------------------------------------------------------------


async def test_silence_is_no_word_for_the_loss_of_data_whatever_the_rule_says(tmp_path: Path) -> None:
    rules = changed_rules(
        rulebook(deed("backup"), deed("drop", needs=("backup",), destroys=True)),
        response=Response.APPROVE,
        approval=ApprovalTerms(SOON, (), Unanswered.PROCEED),
    )
    async with a_world(tmp_path, rules) as world:
        done = Deed()
        world.actions = {"deed": done}
        await world.start()
        await world.alert("Errors")
        incident = await world.incident("refused", "failed", "monitoring")
        assert "nobody answered" in incident.reason
        assert done.story == ["backup"]


@pytest.mark.parametrize(
    "backup",
    [
        pytest.param(deed("dump", condition="order.create_backup"), id="skipped"),
        pytest.param(deed("dump", on_failure=OnStepFailure.CONTINUE), id="failed, and allowed to"),
    ],
)
async def test_a_group_whose_backup_was(backup: Step, tmp_path: Path) -> None:
    """... is no backup."""
    steps = (block("backup", deed("quiet"), parallel("both", backup)), deed("drop", needs=("backup",), destroys=True))
    async with stage(tmp_path, *steps) as on:
        on.deed.faults["dump"] = [PermanentError("disk full")]
        incident = await on.run_to("refused", "waiting_approval")
        assert (incident.status.value, incident.reason) == ("refused", "drop: needs backup to have succeeded first")
        assert "drop" not in on.deed.story


async def test_a_group_that_succeeded_as_a_whole_is_a_backup(tmp_path: Path) -> None:
    steps = (block("backup", deed("quiet"), deed("dump", rescue=(deed("elsewhere"),))), deed("restore", needs=("backup",)))
    async with stage(tmp_path, *steps) as on:
        await on.run_to("monitoring")
        assert on.deed.story == ["quiet", "dump", "restore"]


# --- a no is a no ----------------------------------------------------------------------------------------------------


async def test_a_no_beside_a_failure_is_not_rescued(tmp_path: Path) -> None:
    group = parallel("both", deed("refuses"), deed("fails"), rescue=(deed("heavier"),))
    async with stage(tmp_path, group) as on:
        on.deed.faults = {"refuses": [RefusedError("marked as unsafe")], "fails": [PermanentError("no answer")]}
        incident = await on.run_to("refused", "failed", "monitoring")
        assert "marked as unsafe" in incident.reason
        assert "heavier" not in on.deed.story


async def test_a_no_in_a_rescue_leads_to_no_heavier_means(tmp_path: Path) -> None:
    chain = block("chain", deed("flag", rescue=(deed("back"),)), rescue=(deed("heavier"),))
    async with stage(tmp_path, chain) as on:
        on.deed.faults = {"flag": [PermanentError("did not help")], "back": [RefusedError("marked as unsafe")]}
        incident = await on.run_to("refused", "failed", "monitoring")
        assert incident.reason == "chain: flag: did not help; then back: marked as unsafe"
        assert on.deed.story == ["flag", "back"]


# --- alerts that are over --------------------------------------------------------------------------------------------


async def test_an_alert_that_cleared_while_it_was_down_is_not_acted_on_though_the_write_was_about_to_go_out(
    tmp_path: Path,
) -> None:
    async with a_world(tmp_path) as world:
        await cut_off(world, "before_patch")
        await world.resolve("Errors")
        await world.start()
        incident = await world.incident("failed")
        assert "the alert cleared" in incident.reason
        assert world.workload.writes == 0


async def test_the_second_target_of_a_plan_follows_though_the_alert_cleared_by_the_first(tmp_path: Path) -> None:
    rules = coordinated()
    async with a_world(tmp_path, rules) as world:
        database = await add_database(world)
        world.played.gate = asyncio.Event()
        await world.start()
        await world.alert("Errors")
        await world.played.entered.wait()
        await world.resolve("Errors")
        await world.settled()
        world.played.gate.set()
        await world.incident("monitoring", "resolved")
        assert (world.workload.writes, database.writes) == (1, 1)


async def test_the_first_change_of_any_kind_needs_an_alert_that_still_fires(tmp_path: Path) -> None:
    async with stage(tmp_path, deed("wait"), scale("off", 0), on_failure=(scale("more", 5),)) as on:
        on.deed.gates["wait"] = asyncio.Event()
        await on.world.start()
        await on.world.alert("Errors")
        await on.deed.entered["wait"].wait()
        await on.world.resolve("Errors")
        await on.world.settled()
        on.deed.gates["wait"].set()
        incident = await on.world.incident("refused")
        assert incident.reason == "off: the alert cleared before anything was changed"
        assert on.scale.story == []


# --- stays and what joined -------------------------------------------------------------------------------------------


async def test_an_alert_that_nobody_suppressed_is_not_put_off_with_the_one_it_joined(tmp_path: Path) -> None:
    async with running(tmp_path, counting(timedelta(seconds=1))) as world:
        await world.alert("Errors")
        await world.incident("countdown")
        await world.alert("Latency")
        await world.settled()
        await world.commands.suppress(ANN, ERRORS, wall() + LONG, "load test")
        await world.incident("suppressed")
        other = await world.incident("monitoring", number=2)
        assert other.rule == "latency"
        assert len(await world.all_incidents()) == 2


async def test_a_suppression_by_target_covers_an_alert_that_has_a_label_of_that_name(tmp_path: Path) -> None:
    async with running(tmp_path) as world:
        await world.commands.suppress(ANN, (parse_matcher('target="app"'),), wall() + LONG, "load test")
        signal = world.signal("Errors")
        await world.deliver(replace(signal, labels={**signal.labels, "target": "https://shop.example/health"}))
        await world.incident("suppressed")
        assert world.workload.writes == 0


async def test_what_a_hold_kept_back_is_acted_on_though_the_end_of_a_suppression_can_not_be_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hold ends in the very turn in which the end of a suppression is to be told, and telling it fails at first."""
    monkeypatch.setattr("responder.engine.answers.RETRY_PAUSE", 0.01)
    async with running(tmp_path) as world:
        await world.commands.turn_hold(ANN, held=True, reason="migration")
        await world.alert("Latency")
        await world.incident("refused")
        suppression = await world.commands.suppress(ANN, ERRORS, wall() + LONG, "load test")
        await world.alert("Errors")
        await world.incident("suppressed", number=2)
        restraint, find, faults = world.commands._restraint, world.desk.find, [JournalUnavailableError("disk full")]
        pass_time = restraint.pass_time

        async def one_ends(now: datetime) -> tuple[bool, list[Suppression]]:
            lifted, _ = await pass_time(now)
            return lifted, [suppression] if lifted else []

        async def away_once(identity: str) -> Incident | None:
            if faults:
                raise faults.pop()
            return await find(identity)

        monkeypatch.setattr(restraint, "pass_time", one_ends)
        monkeypatch.setattr(world.desk, "find", away_once)
        await world.commands.turn_hold(ANN, held=False, reason="")
        await world.incident("monitoring", number=3)
        await happened(world, lambda _, __: not faults)


async def test_a_window_that_asks_and_begins_during_the_countdown_asks(tmp_path: Path) -> None:
    async with running(tmp_path, counting(timedelta(seconds=1))) as world:
        await world.alert("Errors")
        await world.incident("countdown")
        world.rules = replace(world.rules, freezes=(Freeze("0 0 * * *", timedelta(days=2), "sale", asks=True),))
        waiting = await world.incident("waiting_approval", "monitoring")
        assert waiting.status.value == "waiting_approval"
        await world.commands.approve(waiting.id, ANN)
        await world.incident("monitoring")


async def test_a_window_that_is_put_in_again_puts_off_again(tmp_path: Path) -> None:
    window = Freeze("0 0 * * *", timedelta(days=2), "Christmas sale")
    frozen = replace(counting(timedelta(seconds=1)), freezes=(window,))
    async with running(tmp_path, frozen) as world:
        await world.alert("Errors")
        await world.incident("refused")
        world.rules = replace(frozen, freezes=())
        world.commands._restraint.lift_again()
        await world.brain.look_again()
        await world.incident("countdown", number=2)
        world.rules = frozen
        again = await world.incident("refused", "failed", number=2)
        assert again.status.value == "refused"
        assert "Christmas sale" in again.reason


# --- plans that touch each other's targets ---------------------------------------------------------------------------


def neighbours() -> Rulebook:
    """`errors` on app changes db by steps no guard is asked about, `latency` is about db and rolls it back."""
    rules = coordinated()
    changes = Plan("changes", (Step("off", "scale", {"to": 0, "target": "db"}), Step("pause", "played")))
    back = replace(rules.plans["back"], steps=(ROLLBACK,))
    errors, latency, _ = rules.rules
    ours = (replace(errors, plan="changes"), replace(latency, target="db"))
    return replace(rules, plans={"back": back, "changes": changes}, rules=ours)


@pytest.mark.parametrize("restarted", [False, True], ids=["in one go", "after a restart"])
async def test_what_a_plan_changes_no_other_incident_rolls_back_meanwhile(tmp_path: Path, restarted: bool) -> None:
    async with a_world(tmp_path, neighbours()) as world:
        database = await add_database(world)
        world.actions = {"scale": Scale()}
        world.played.gate = asyncio.Event()
        await world.start()
        await world.alert("Errors")
        await world.played.entered.wait()
        first = await world.incident()
        if restarted:
            await world.stop()
            await world.start()
            await world.settled_start()
        with pytest.raises(GuardsError, match=f"incident {first.id} is acting on db"):
            await world.orders.force(order(target="db"), ANN)
        await world.alert("Latency")
        refused = await world.incident("refused", "monitoring", number=2)
        assert f"incident {first.id} is acting on db" in refused.reason
        assert database.writes == 0


async def test_what_another_incident_rolls_back_no_plan_changes_meanwhile(tmp_path: Path) -> None:
    async with a_world(tmp_path, neighbours()) as world:
        database = await add_database(world)
        one = Scale()
        world.actions = {"scale": one}
        await world.start()
        await world.alert("Latency")
        await world.incident("monitoring")
        await world.alert("Errors")
        refused = await world.incident("refused", "monitoring", number=2)
        assert "is acting on db" in refused.reason
        assert (database.writes, one.story) == (1, [])


# --- stops -----------------------------------------------------------------------------------------------------------


async def test_a_stop_that_was_heard_just_before_the_failure_was_on_record_is_a_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with stage(tmp_path, scale("off", 0), deed("bad"), on_failure=(deed("tell"),)) as on:
        on.deed.faults["bad"] = [PermanentError("no")]
        await on.world.start()
        change = on.world.desk.change

        async def stopped_first(incident_id: str, edit: Any, events: Sequence[IncidentEvent] = (), *rest: Any) -> Incident:
            if any(event.kind == "failing" for event in events):
                monkeypatch.setattr(on.world.desk, "change", change)
                await on.world.commands.cancel(incident_id, ANN, "not this one")
            return await change(incident_id, edit, events, *rest)

        monkeypatch.setattr(on.world.desk, "change", stopped_first)
        await on.world.alert("Errors")
        incident = await on.world.incident("cancelled", "failed")
        assert incident.reason == "stopped by ann: not this one; it had failed: bad: no"
        assert incident.status.value == "cancelled"
        assert on.scale.replicas == 3
        assert "tell" not in on.deed.story


async def test_after_a_stop_nobody_is_told_that_a_yes_counted(tmp_path: Path) -> None:
    async with a_world(tmp_path, asking()) as world:
        await world.start()
        await world.alert("Errors")
        waiting = await world.incident("waiting_approval")
        await world.stop()
        await start_without_the_brain(world)  # so that the stop has no effect yet
        await world.commands.cancel(waiting.id, ANN, "not now")
        with pytest.raises(RefusedError, match="it is being stopped: cancelled by ann: not now"):
            await world.commands.approve(waiting.id, Actor("carl"))
        [approval] = (await world.incident()).approvals
        assert approval.given is None


async def test_a_stop_while_it_is_verified_begins_no_further_check(tmp_path: Path) -> None:
    async with stage(tmp_path, deed("act"), verify=(deed("one"), deed("two"))) as on:
        on.deed.gates["one"] = asyncio.Event()
        await on.world.start()
        await on.world.alert("Errors")
        async with asyncio.timeout(20):
            await on.deed.entered["one"].wait()
        await on.world.commands.cancel((await on.world.incident()).id, ANN)
        on.deed.gates["one"].set()
        await on.world.incident("cancelled")
        assert on.deed.story == ["act", "one"]


async def test_what_is_done_after_a_failure_is_not_stopped_and_nobody_is_told_that_it_is(tmp_path: Path) -> None:
    async with stage(tmp_path, deed("bad"), on_failure=(deed("tell"),)) as on:
        on.deed.faults["bad"] = [PermanentError("no")]
        on.deed.gates["tell"] = asyncio.Event()
        await on.world.start()
        await on.world.alert("Errors")
        async with asyncio.timeout(20):
            await on.deed.entered["tell"].wait()
        with pytest.raises(RefusedError, match="it has failed, and what its plan does then is running: bad: no"):
            await on.world.commands.cancel((await on.world.incident()).id, ANN)
        on.deed.gates["tell"].set()
        incident = await on.world.incident("failed", "cancelled")
        assert (incident.status.value, incident.cancel) == ("failed", None)


# --- orders ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("guard", ["readable", "single_flight", "owner", "hold", "object_hold", "version"])
async def test_nobody_overrides(tmp_path: Path, guard: str) -> None:
    async with running(tmp_path) as world:
        with pytest.raises(InvalidInputError, match=f"nobody can override {guard}"):
            await world.orders.force(order(override=(guard,)), ANN)
        assert overridable([Verdict(guard, Outcome.REFUSE, "no")]) == []


async def test_a_hold_that_comes_right_after_an_order_was_taken_keeps_all_its_steps_from_beginning(tmp_path: Path) -> None:
    async with running(tmp_path, rulebook(Step("first", "played"), ROLLBACK)) as world:
        reads = 0

        async def held_at_the_second_look() -> None:
            nonlocal reads
            reads += 1
            if reads == 2:  # the first was for the answer to the order
                await world.commands.turn_hold(BOB, held=True, reason="migration")

        world.workload.before_answer = held_at_the_second_look
        await world.orders.force(order(plan="back"), ANN)
        refused = await world.incident("refused", "monitoring", "failed")
        assert "on hold by bob: migration" in refused.reason
        assert (refused.status.value, world.played.runs, world.workload.writes) == ("refused", 0, 0)


def test_the_longer_of_two_secrets_is_blanked_out_first(tmp_path: Path) -> None:
    async def secrets_of() -> str:
        async with a_world(tmp_path) as world:
            await world.start()
            runner = StepRunner(
                desk=world.desk,
                actions={},
                workloads=None,  # type: ignore[arg-type]
                ledger=world.database.ledger,
                targets=dict,
                look=None,  # type: ignore[arg-type]
                note=None,  # type: ignore[arg-type]
                clock=wall,
                secrets=("hunter2", "hunter2-and-more"),
            )
            return runner._clean("the password is hunter2-and-more")

    assert asyncio.run(secrets_of()) == "the password is [redacted]"
