"""What people say to an incident: yes, no, stop. Target and steps are played, the database is real."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from responder.domain.incident import Word
from responder.domain.people import Actor
from responder.domain.plan import Monitor, Step
from responder.domain.rulebook import Unanswered
from responder.domain.target import Mode
from responder.domain.version import LedgerEntry, Version
from responder.errors import DeniedError, NotFoundError, RefusedError
from tests.simulation.people import ANN, BOB, LONG, SOON, asking, counting, happened, running
from tests.simulation.world import APP, ROLLBACK, V1, V2, V3, a_world, rulebook, wall

# --- approval ----------------------------------------------------------------------------------------------------------


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


# --- countdown ---------------------------------------------------------------------------------------------------------


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


# --- stop --------------------------------------------------------------------------------------------------------------


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
