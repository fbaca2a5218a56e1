"""What people say to the engine: yes, no, stop, not now, do it anyway. Target and steps are played, the database is real."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from responder.domain.incident import Incident, Order, Word
from responder.domain.matcher import parse_matcher
from responder.domain.people import Actor
from responder.domain.plan import Monitor, Step
from responder.domain.rulebook import ApprovalTerms, Response, Rulebook, Unanswered
from responder.domain.target import Mode
from responder.domain.version import LedgerEntry, Version
from responder.engine.orders import BusyError, GuardsError, RollbackRequest
from responder.errors import DeniedError, InvalidInputError, NotFoundError, RefusedError
from tests.simulation.deeds import Scale
from tests.simulation.world import APP, ROLLBACK, V1, V2, V3, World, a_world, rulebook, statuses, wall

ANN, BOB = Actor("ann", frozenset({"operator"})), Actor("bob", frozenset({"viewer"}))
LONG = timedelta(hours=1)
SOON = timedelta(milliseconds=300)


def asking(
    within: timedelta = LONG,
    by: tuple[str, ...] = (),
    unanswered: Unanswered = Unanswered.REFUSE,
    grace: timedelta = timedelta(0),
    mode: Mode = Mode.ARMED,
) -> Rulebook:
    return changed_rules(
        rulebook(mode=mode), response=Response.APPROVE, approval=ApprovalTerms(within, by, unanswered), grace=grace
    )


def counting(grace: timedelta = LONG, mode: Mode = Mode.ARMED) -> Rulebook:
    return changed_rules(rulebook(mode=mode), grace=grace)


def changed_rules(rules: Rulebook, **changes: object) -> Rulebook:
    first, *others = rules.rules
    return replace(rules, rules=(replace(first, **changes), *others))  # type: ignore[arg-type]


@asynccontextmanager
async def running(folder: Path, rules: Rulebook | None = None, *, proven: bool = True) -> AsyncIterator[World]:
    async with a_world(folder, rules, proven=proven) as world:
        await world.start()
        yield world


def order(**changes: object) -> RollbackRequest:
    plan = str(changes.pop("plan", ""))
    target = str(changes.pop("target", "app"))
    inputs = changes.pop("inputs", {})
    return RollbackRequest(target, Order("ann", "it is broken", **changes), plan, inputs)  # type: ignore[arg-type]


async def happened(world: World, condition: Callable[[Incident, list[str]], bool]) -> None:
    """Wait until the first incident and the kinds of its events fulfil the condition."""
    async with asyncio.timeout(20):
        while not condition(first := await world.incident(), await world.kinds(first)):  # noqa: ASYNC110 - no event tells
            await asyncio.sleep(0.005)


# --- approval --------------------------------------------------------------------------------------------------------


async def test_what_needs_a_yes_waits_for_it_and_then_acts(tmp_path: Path) -> None:
    async with running(tmp_path, asking(by=("ann", "lead"))) as world:
        await world.alert("Errors")
        waiting = await world.incident("waiting_approval")
        assert world.workload.writes == 0
        assert waiting.pins["app"].to_version.version == "v1"
        told = await world.messages()
        assert [line.partition(":")[0] for line in told] == ["opened", "waiting"]
        assert "Change app from v2 (revision 2) to v1 (revision 1) now? It waits for ann or lead until" in told[1]
        assert "if nobody answers, nothing is done" in told[1]
        await world.commands.approve(waiting.id, ANN, "do it")
        await world.incident("monitoring")
        assert world.workload.current == V1
        await world.resolve("Errors")
        done = await world.incident("resolved")
        assert done.approvals[0].given is not None
        assert done.approvals[0].given.by == "ann"
        kinds = await world.kinds(done)
        assert kinds[:6] == ["opened", "guards", "approval_asked", "approved", "guards", "pinned"]


async def test_only_those_named_may_say_yes(tmp_path: Path) -> None:
    async with running(tmp_path, asking(by=("lead",))) as world:
        await world.alert("Errors")
        waiting = await world.incident("waiting_approval")
        with pytest.raises(DeniedError, match="ann may not: it waits for lead"):
            await world.commands.approve(waiting.id, ANN)
        assert (await world.incident()).approvals[0].given is None
        await world.commands.approve(waiting.id, Actor("cleo", frozenset({"lead"})))
        await world.incident("monitoring")
        log = [(entry.by, entry.action, entry.outcome) for _, entry in await world.database.people.audit()]
        assert log == [("cleo", "approve", "done"), ("ann", "approve", "denied")]


async def test_a_no_refuses_and_names_who_said_it(tmp_path: Path) -> None:
    async with running(tmp_path, asking()) as world:
        await world.alert("Errors")
        waiting = await world.incident("waiting_approval")
        await world.commands.reject(waiting.id, ANN, "the fix is on its way")
        refused = await world.incident("refused")
        assert refused.reason == "rejected by ann: the fix is on its way"
        assert world.workload.writes == 0
        with pytest.raises(RefusedError, match="it is closed: refused: rejected by ann"):
            await world.commands.approve(waiting.id, BOB)
        assert (await world.commands.reject(waiting.id, ANN, "again")).id == waiting.id  # the same by the same is no news


async def test_when_nobody_answers_nothing_is_done(tmp_path: Path) -> None:
    async with running(tmp_path, asking(SOON)) as world:
        await world.alert("Errors")
        refused = await world.incident("refused")
        assert refused.reason == "nobody answered within 300ms"
        assert world.workload.writes == 0


async def test_when_nobody_answers_and_the_rule_says_so_it_counts_down_and_acts(tmp_path: Path) -> None:
    async with running(tmp_path, asking(SOON, unanswered=Unanswered.PROCEED, grace=SOON)) as world:
        await world.alert("Errors")
        done = await world.incident("monitoring")
        kinds = await world.kinds(done)
        assert kinds.index("approval_expired") < kinds.index("countdown") < kinds.index("acting")


async def test_after_a_yes_there_is_no_countdown(tmp_path: Path) -> None:
    async with running(tmp_path, asking(grace=LONG)) as world:
        await world.alert("Errors")
        waiting = await world.incident("waiting_approval")
        await world.commands.approve(waiting.id, ANN)
        assert "countdown" not in await world.kinds(await world.incident("monitoring"))


async def test_a_refusal_of_the_guards_is_said_before_anybody_is_asked(tmp_path: Path) -> None:
    async with running(tmp_path, asking()) as world:
        world.workload.paused = True
        await world.alert("Errors")
        refused = await world.incident("refused")
        assert "paused by a person" in refused.reason
        assert not any(line.startswith("waiting") for line in await world.messages())


async def test_the_guards_are_asked_again_after_the_yes(tmp_path: Path) -> None:
    async with running(tmp_path, asking()) as world:
        await world.alert("Errors")
        waiting = await world.incident("waiting_approval")
        world.workload.paused = True
        await world.commands.approve(waiting.id, ANN)
        assert "paused by a person" in (await world.incident("refused")).reason
        assert world.workload.writes == 0


async def test_a_yes_is_for_what_people_were_told_and_nothing_else(tmp_path: Path) -> None:
    async with running(tmp_path, asking()) as world:
        await world.alert("Errors")
        waiting = await world.incident("waiting_approval")
        world.workload.history = (V3, V2, V1)
        await world.commands.approve(waiting.id, ANN)
        assert "v3 (revision 3) runs now, not v2 (revision 2) as people were told" in (await world.incident("refused")).reason
        assert world.workload.writes == 0


async def test_a_yes_is_not_for_a_version_that_went_bad_while_people_were_asked(tmp_path: Path) -> None:
    async with a_world(tmp_path, asking()) as world:
        oldest = Version("v0", "0", "material-0", "digest-0", ("shop:v0",))
        world.workload.history = (V2, V1, oldest)
        long_ago = wall() - timedelta(days=2)
        await world.database.ledger.put(
            LedgerEntry(APP, oldest.fingerprint, "v0", "0", long_ago, replaced_at=wall() - timedelta(days=1), observed=False)
        )
        await world.start()
        await world.alert("Errors")
        waiting = await world.incident("waiting_approval")
        await world.database.ledger.mark_bad(APP, V1.fingerprint, wall(), "inc_of_somebody")
        await world.commands.approve(waiting.id, ANN)
        refused = await world.incident("refused", "monitoring")
        assert "people were told of v1 (revision 1), but now v0" in refused.reason
        assert world.workload.writes == 0


async def test_an_alert_that_clears_while_it_waits_ends_the_request(tmp_path: Path) -> None:
    async with running(tmp_path, asking()) as world:
        await world.alert("Errors")
        await world.incident("waiting_approval")
        await world.resolve("Errors")
        assert (await world.incident("cancelled")).reason == "the alert cleared while it waited for approval"


async def test_a_restart_waits_on_for_the_same_answer_with_the_same_end(tmp_path: Path) -> None:
    async with running(tmp_path, asking()) as world:
        await world.alert("Errors")
        before = await world.incident("waiting_approval")
        await world.stop()
        await world.start()
        await world.settled_start()
        assert (await world.incident("waiting_approval")).approvals == before.approvals
        await world.commands.approve(before.id, ANN)
        await world.incident("monitoring")
        told = [line.partition(":")[0] for line in await world.messages()]
        assert told.count("waiting") == 1


async def test_a_time_that_ran_out_while_it_was_down_has_run_out(tmp_path: Path) -> None:
    async with running(tmp_path, asking(SOON)) as world:
        await world.alert("Errors")
        await world.incident("waiting_approval")
        await world.stop()
        await asyncio.sleep(SOON.total_seconds())
        await world.start()
        assert "nobody answered" in (await world.incident("refused")).reason


async def test_observe_mode_asks_nobody(tmp_path: Path) -> None:
    async with running(tmp_path, asking(by=("ann",), grace=LONG, mode=Mode.OBSERVE)) as world:
        await world.alert("Errors")
        observed = await world.incident("observed")
        assert observed.reason == (
            "observe mode: would have asked ann and counted down 1h and then changed app from v2 (revision 2) to v1 (revision 1)"
        )
        assert [line.partition(":")[0] for line in await world.messages()] == ["notice"]


# --- countdown -------------------------------------------------------------------------------------------------------


async def test_a_countdown_that_nobody_stops_ends_in_the_rollback(tmp_path: Path) -> None:
    async with running(tmp_path, counting(SOON)) as world:
        await world.alert("Errors")
        counting_down = await world.incident("countdown")
        assert counting_down.countdown_until is not None
        assert world.workload.writes == 0
        await world.incident("monitoring")
        assert world.workload.writes == 1
        told = await world.messages()
        assert [line.partition(":")[0] for line in told][:3] == ["opened", "waiting", "acting"]
        assert "in 300ms, at" in told[1]


async def test_a_person_stops_the_countdown(tmp_path: Path) -> None:
    async with running(tmp_path, counting()) as world:
        await world.alert("Errors")
        incident = await world.incident("countdown")
        with pytest.raises(RefusedError, match="nothing waits for approval: countdown"):
            await world.commands.approve(incident.id, ANN)
        await world.commands.cancel(incident.id, ANN, "a fix is being deployed")
        assert (await world.incident("cancelled")).reason == "cancelled by ann: a fix is being deployed"
        assert world.workload.writes == 0


async def test_an_alert_that_clears_stops_the_countdown(tmp_path: Path) -> None:
    async with running(tmp_path, counting()) as world:
        await world.alert("Errors")
        await world.incident("countdown")
        await world.resolve("Errors")
        assert (await world.incident("cancelled")).reason == "the alert cleared during the countdown"


async def test_a_restart_counts_on_to_the_same_end(tmp_path: Path) -> None:
    async with running(tmp_path, counting(timedelta(seconds=1))) as world:
        await world.alert("Errors")
        before = await world.incident("countdown")
        await world.stop()
        await world.start()
        done = await world.incident("monitoring")
        assert done.countdown_until == before.countdown_until
        assert done.acted_at is not None
        assert before.countdown_until is not None
        assert done.acted_at >= before.countdown_until
        assert world.workload.writes == 1


# --- stop ------------------------------------------------------------------------------------------------------------


async def test_a_run_is_stopped_at_its_next_safe_point(tmp_path: Path) -> None:
    steps = (Step("wait", "sleep", {"for": timedelta(minutes=4)}), ROLLBACK)
    async with running(tmp_path, rulebook(*steps)) as world:
        await world.alert("Errors")
        incident = await world.incident("running")
        await happened(world, lambda incident, _: bool(incident.steps))
        await world.commands.cancel(incident.id, ANN, "wrong service")
        cancelled = await world.incident("cancelled")
        assert cancelled.reason == "stopped by ann: wrong service"
        assert world.workload.writes == 0
        assert "Nothing was changed" in (await world.messages())[-1]


async def test_a_stop_survives_a_restart(tmp_path: Path) -> None:
    steps = (Step("wait", "sleep", {"for": timedelta(minutes=4)}), ROLLBACK)
    async with running(tmp_path, rulebook(*steps)) as world:
        await world.alert("Errors")
        incident = await world.incident("running")
        await happened(world, lambda incident, _: bool(incident.steps))
        await world.stop()
        await world.desk.change(incident.id, lambda known: replace(known, cancel=Word("ann", wall(), "no")))
        await world.start()
        stopped = await world.incident("cancelled")
        assert world.workload.writes == 0
        assert {one.status.value for one in stopped.steps} == {"failed"}, "no step looks as if it still ran"


async def test_a_stop_of_the_watch_leaves_what_was_done(tmp_path: Path) -> None:
    async with running(tmp_path, rulebook(monitor=Monitor(window=LONG))) as world:
        await world.alert("Errors")
        incident = await world.incident("monitoring")
        await world.commands.cancel(incident.id, ANN)
        cancelled = await world.incident("cancelled")
        assert cancelled.reason == "the watch was ended by ann; what was done stays"
        assert world.workload.current == V1


async def test_a_stop_of_what_is_over_says_so(tmp_path: Path) -> None:
    async with running(tmp_path) as world:
        await world.alert("Errors")
        await world.incident("monitoring")
        await world.resolve("Errors")
        done = await world.incident("resolved")
        with pytest.raises(RefusedError, match="it is closed: resolved: the alert has cleared"):
            await world.commands.cancel(done.id, ANN)
        with pytest.raises(NotFoundError):
            await world.commands.cancel("inc_none", ANN)


async def test_acknowledging_is_heard_once(tmp_path: Path) -> None:
    async with running(tmp_path, asking()) as world:
        await world.alert("Errors")
        waiting = await world.incident("waiting_approval")
        await world.commands.acknowledge(waiting.id, ANN, "looking")
        assert (await world.commands.acknowledge(waiting.id, ANN)).acknowledged is not None
        with pytest.raises(RefusedError, match="it is acknowledged by ann: looking"):
            await world.commands.acknowledge(waiting.id, BOB)
        assert (await world.kinds(waiting)).count("acknowledged") == 1


# --- suppressions ----------------------------------------------------------------------------------------------------

ERRORS = (parse_matcher('alertname="Errors"'),)


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
        await world.commands.suppress(ANN, ERRORS, wall() + timedelta(seconds=1), "short")
        await world.alert("Errors")
        await world.incident("suppressed")
        await world.stop()
        await world.start()
        await world.settled_start()
        assert len(await world.all_incidents()) == 1
        await world.incident("monitoring", number=2)
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


# --- hold ------------------------------------------------------------------------------------------------------------


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


# --- force -----------------------------------------------------------------------------------------------------------


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
