"""Plans with nested steps, conditions, rescues, needs, inputs, compensation and stops."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from responder.domain.incident import Incident, Phase, Word
from responder.domain.people import Actor
from responder.domain.plan import Checkpoint, Input, Monitor, OnStepFailure, Retry, Step
from responder.domain.target import WorkloadRef
from responder.domain.version import LedgerEntry, Version
from responder.errors import PermanentError, RefusedError, UnreachableError
from tests.simulation.plans import Stage, block, deed, ends, parallel, scale, stage
from tests.simulation.world import QUIET, ROLLBACK, V1, V2, PlayedWorkload, rulebook, wall

# --- conditions, needs -------------------------------------------------------------------------------------------------


async def test_a_step_whose_condition_is_false_is_skipped_with_the_reason(tmp_path: Path) -> None:
    steps = (deed("eu", condition="labels.region == 'eu'"), deed("shop", condition="labels.deployment == 'app'"))
    async with stage(tmp_path, *steps) as on:
        incident = await on.run_to("failed", "monitoring")
        # strict: there is no label `region`, and a name that is missing is no false
        assert incident.status.value == "failed"
        assert "there is no 'region'" in incident.reason
    steps = (deed("eu", condition="labels.region | default('us') == 'eu'"), deed("shop", condition="labels.deployment == 'app'"))
    (tmp_path / "two").mkdir()
    async with stage(tmp_path / "two", *steps) as on:
        incident = await on.run_to("monitoring")
        assert ends(incident) == {"eu": "skipped", "shop": "succeeded"}
        assert incident.steps[0].output == "not needed: `labels.region | default('us') == 'eu'` is false"
        assert on.deed.story == ["shop"]


async def test_a_condition_that_is_neither_true_nor_false_fails_its_step(tmp_path: Path) -> None:
    async with stage(tmp_path, deed("one", condition="labels.deployment")) as on:
        incident = await on.run_to("failed")
        assert "must come out true or false, not str" in incident.reason
        assert on.deed.story == []


@pytest.mark.parametrize(
    ("backup", "said"),
    [
        pytest.param(deed("backup", on_failure=OnStepFailure.CONTINUE), "needs backup to have succeeded", id="it failed"),
        pytest.param(deed("backup", condition="value is defined and value > 5"), "needs backup to have succeeded", id="skipped"),
    ],
)
async def test_a_step_refuses_when_what_it_needs_has_not_succeeded(backup: Step, said: str, tmp_path: Path) -> None:
    async with stage(tmp_path, backup, deed("restore", needs=("backup",), rescue=(deed("force"),))) as on:
        on.deed.faults["backup"] = [PermanentError("disk full")]
        incident = await on.run_to("refused")
        assert said in incident.reason
        assert "restore" not in on.deed.story
        assert "force" not in on.deed.story, "no is not a failed try: it is never rescued"


# --- nested steps ------------------------------------------------------------------------------------------------------


async def test_parallel_steps_run_side_by_side_and_all_end_before_the_next(tmp_path: Path) -> None:
    steps = (parallel("both", deed("one"), deed("two")), deed("after"))
    async with stage(tmp_path, *steps) as on:
        on.deed.gates = {"one": asyncio.Event(), "two": asyncio.Event()}
        await on.world.start()
        await on.world.alert("Errors")
        async with asyncio.timeout(20):
            await on.deed.entered["one"].wait()
            await on.deed.entered["two"].wait()
        on.deed.gates["two"].set()
        incident = await on.world.incident("running")
        assert ends(incident)["both"] == "running"
        assert "after" not in on.deed.story
        on.deed.gates["one"].set()
        incident = await on.world.incident("monitoring")
        assert ends(incident) == {"both": "succeeded", "one": "succeeded", "two": "succeeded", "after": "succeeded"}


async def test_a_parallel_step_fails_when_one_of_them_does_but_the_others_end_first(tmp_path: Path) -> None:
    steps = (parallel("both", deed("bad"), block("good", deed("slow"), deed("slower"))), deed("after"))
    async with stage(tmp_path, *steps) as on:
        on.deed.faults["bad"] = [PermanentError("no")]
        on.deed.gates["slow"] = asyncio.Event()
        await on.world.start()
        await on.world.alert("Errors")
        async with asyncio.timeout(20):
            await on.deed.entered["slow"].wait()
        on.deed.gates["slow"].set()
        incident = await on.world.incident("failed")
        assert incident.reason == "both: bad: no"
        assert ends(incident) == {
            "both": "failed", "bad": "failed", "good": "succeeded", "slow": "succeeded", "slower": "succeeded",
        }  # fmt: skip
        assert "after" not in on.deed.story


async def test_a_group_that_takes_too_long_leaves_no_step_running(tmp_path: Path) -> None:
    group = block("group", deed("slow"), timeout=timedelta(milliseconds=200))
    async with stage(tmp_path, group) as on:
        on.deed.gates["slow"] = asyncio.Event()
        incident = await on.run_to("failed")
        assert incident.reason == "group: timed out after 200ms"
        assert ends(incident) == {"group": "failed", "slow": "failed"}


async def test_rollbacks_may_stand_nested_and_are_all_judged_before_anything_runs(tmp_path: Path) -> None:
    steps = (deed("first"), parallel("both", block("inner", replace(ROLLBACK, name="back")), deed("beside")))
    async with stage(tmp_path, *steps) as on:
        on.world.workload.paused = True
        incident = await on.run_to("refused")
        assert "paused by a person" in incident.reason
        assert on.deed.story == []
        on.world.workload.paused = False
        await on.world.alert("Latency", key="other")
        incident = await on.world.incident("monitoring", number=2)
        assert on.world.workload.current == V1
        assert on.world.workload.writes == 1


OLDER = Version("v0", "7", "material-0", "digest-0")


async def with_older(on: Stage, **known: Any) -> None:
    """v0, revision 7, ran before v1; the guards alone would choose v1."""
    on.world.workload.history = (*on.world.workload.history, OLDER)
    since, until = wall() - timedelta(hours=9), wall() - timedelta(hours=6)
    key = str(on.world.rules.targets["app"].workload)
    await on.world.database.ledger.put(LedgerEntry(key, OLDER.fingerprint, "v0", "7", since, replaced_at=until, **known))


async def test_an_undo_to_a_revision_goes_back_to_that_one(tmp_path: Path) -> None:
    async with stage(tmp_path, Step("undo", "kubernetes.undo", {"to_revision": 7})) as on:
        await with_older(on, longest=timedelta(hours=3))
        incident = await on.run_to("monitoring")
        assert (on.world.workload.current, on.world.workload.writes) == (OLDER, 1)
        assert incident.pins["app"].to_version.version == "v0"


async def test_an_undo_to_a_revision_that_is_not_proven_is_refused(tmp_path: Path) -> None:
    async with stage(tmp_path, Step("undo", "kubernetes.undo", {"to_revision": 7})) as on:
        await with_older(on)
        incident = await on.run_to("refused")
        assert incident.reason == "v0 (revision 7) is not proven: not known to have been fully available"
        assert on.world.workload.writes == 0


async def test_of_targets_rolled_back_together_none_is_left_behind_when_the_alert_clears_by_the_first(tmp_path: Path) -> None:
    async with stage(tmp_path) as on:
        world = on.world
        steps = (ROLLBACK, deed("between"), Step("other", "rollback", {"target": "db"}))
        rules = rulebook(*steps)
        database = replace(rules.targets["app"], name="db", workload=WorkloadRef("shop", "db"), matchers=())
        world.rules = replace(rules, targets={**rules.targets, "db": database})
        world.others["db"] = PlayedWorkload(V2, V1, changed=world.workload.changed)
        for entry in await world.database.ledger.entries(str(world.rules.targets["app"].workload)):
            await world.database.ledger.put(replace(entry, target=str(WorkloadRef("shop", "db"))))
        on.deed.gates["between"] = asyncio.Event()
        await world.start()
        await world.alert("Errors")
        async with asyncio.timeout(20):
            await on.deed.entered["between"].wait()
        await world.resolve("Errors")
        await world.settled()
        on.deed.gates["between"].set()
        incident = await world.incident("resolved", "failed")
        assert incident.status.value == "resolved", incident.reason
        assert (world.workload.writes, world.others["db"].writes) == (1, 1)


# --- fallback chains ---------------------------------------------------------------------------------------------------

CHAIN = (deed("flag-off"), deed("helped", rescue=(replace(ROLLBACK, name="back"), deed("check-again"))), deed("after"))


async def test_what_rescues_a_step_runs_only_when_it_failed_and_then_the_plan_goes_on(tmp_path: Path) -> None:
    async with stage(tmp_path, *CHAIN) as on:
        on.deed.faults["helped"] = [PermanentError("still 7 %")]
        incident = await on.run_to("monitoring")
        assert on.world.workload.current == V1
        assert on.deed.story == ["flag-off", "helped", "check-again", "after"]
        assert ends(incident)["helped"] == "failed"


async def test_a_first_means_that_helped_rolls_nothing_back(tmp_path: Path) -> None:
    async with stage(tmp_path, *CHAIN) as on:
        await on.run_to("monitoring")
        assert on.world.workload.current == V2
        assert on.deed.story == ["flag-off", "helped", "after"]


async def test_when_the_rescue_fails_too_the_plan_has_failed_and_both_are_named(tmp_path: Path) -> None:
    async with stage(tmp_path, *CHAIN) as on:
        on.deed.faults = {"helped": [PermanentError("still 7 %")], "check-again": [PermanentError("still 6 %")]}
        incident = await on.run_to("failed")
        assert incident.reason == "helped: still 7 %; then check-again: still 6 %"
        assert on.deed.story == ["flag-off", "helped", "check-again"]


# --- compensation ------------------------------------------------------------------------------------------------------


async def test_a_failed_plan_puts_back_what_it_began_last_first_and_before_on_failure(tmp_path: Path) -> None:
    steps = (scale("down", 1), scale("off", 0), deed("restore"))
    async with stage(tmp_path, *steps, on_failure=(deed("tell"),)) as on:
        on.scale.story = on.deed.story  # one story
        on.deed.faults["restore"] = [PermanentError("no such backup")]
        incident = await on.run_to("failed")
        assert on.deed.story == ["down: 1", "off: 0", "restore", "undo off: 1", "undo down: 3", "tell"]
        assert ends(incident, Phase.COMPENSATION) == {"off": "succeeded", "down": "succeeded"}
        assert incident.reason == "restore: no such backup"
        told = await on.world.messages()
        assert any("Now what was begun is put back: off, down." in line for line in told)
        assert any("Put back: off: scaled back to 1; down: scaled back to 3." in line for line in told)


async def test_what_the_plan_put_back_itself_is_left_alone(tmp_path: Path) -> None:
    steps = (scale("off", 0), scale("on", 3), deed("check"))
    async with stage(tmp_path, *steps) as on:
        on.deed.faults["check"] = [PermanentError("no answer")]
        incident = await on.run_to("failed")
        assert on.scale.story == ["off: 0", "on: 3"]
        assert ends(incident, Phase.COMPENSATION) == {"on": "succeeded", "off": "succeeded"}
        assert not any("Put back" in line for line in await on.world.messages())


async def test_a_compensation_that_fails_is_told_loudly_and_the_others_go_on(tmp_path: Path) -> None:
    steps = (scale("down", 1), scale("off", 0), deed("restore"))
    async with stage(tmp_path, *steps) as on:
        on.deed.faults["restore"] = [PermanentError("no such backup")]
        on.scale.undo_faults = [PermanentError("forbidden")]  # type: ignore[list-item]
        incident = await on.run_to("failed")
        assert ends(incident, Phase.COMPENSATION) == {"off": "failed", "down": "succeeded"}
        told = await on.world.messages()
        assert any("off (scale) could not be undone: forbidden. The service may be stopped: check it now." in one for one in told)
        assert "compensation_failed" in await on.world.kinds(incident)


async def test_a_refusal_after_something_was_changed_is_a_failure_that_puts_back(tmp_path: Path) -> None:
    async with stage(tmp_path, scale("off", 0), deed("no")) as on:
        on.deed.faults["no"] = [RefusedError("not now")]
        incident = await on.run_to("failed")
        assert on.scale.replicas == 3
        assert "Nothing was changed" not in " ".join(await on.world.messages())
        assert incident.reason == "no: not now"


async def test_a_plan_that_went_well_keeps_what_it_did_when_the_watch_fails(tmp_path: Path) -> None:
    watch = Monitor(window=timedelta(seconds=5), every=timedelta(milliseconds=20), failure_limit=1, checks=(deed("look"),))
    async with stage(tmp_path, scale("off", 0), monitor=watch) as on:
        on.deed.faults["look"] = [PermanentError("worse")] * 10
        incident = await on.run_to("failed")
        assert "monitoring failed" in incident.reason
        assert on.scale.replicas == 0


# --- stop --------------------------------------------------------------------------------------------------------------


async def stop(on: Stage, incident: Incident) -> None:
    await on.world.desk.change(incident.id, lambda known: replace(known, cancel=Word("ann", wall(), "wrong service")))


async def test_a_stop_ends_a_step_where_it_sleeps_puts_back_and_cancels(tmp_path: Path) -> None:
    steps = (scale("off", 0), Step("wait", "sleep", {"for": timedelta(hours=1)}, timeout=timedelta(hours=2)), deed("after"))
    async with stage(tmp_path, *steps, deadline=timedelta(hours=3), on_failure=(deed("tell"),)) as on:
        incident = await on.run_to("running")
        await _until(lambda: on.scale.replicas == 0)
        await stop(on, incident)
        incident = await on.world.incident("cancelled")
        assert incident.reason == "stopped by ann: wrong service"
        assert on.scale.replicas == 3
        assert on.deed.story == [], "what comes after a failure is not for a stop"
        assert any("Put back: off: scaled back to 3." in line for line in await on.world.messages())


async def test_a_stop_is_heard_between_two_tries(tmp_path: Path) -> None:
    again = deed("try", retry=Retry(50, timedelta(minutes=5), timedelta(minutes=10)), timeout=timedelta(hours=1))
    async with stage(tmp_path, again, deadline=timedelta(hours=3)) as on:
        on.deed.faults["try"] = [UnreachableError("away")] * 50
        incident = await on.run_to("running")
        async with asyncio.timeout(20):
            await on.deed.entered["try"].wait()
        await stop(on, incident)
        incident = await on.world.incident("cancelled")
        assert on.deed.story == ["try"]


async def test_a_step_that_never_sleeps_is_cut_off_after_a_while(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("responder.engine.plan_run.LEASH", timedelta(milliseconds=50))
    async with stage(tmp_path, parallel("both", deed("deaf"), deed("quick"))) as on:
        on.deed.gates["deaf"] = asyncio.Event()
        incident = await on.run_to("running")
        async with asyncio.timeout(20):
            await on.deed.entered["deaf"].wait()
        await stop(on, incident)
        incident = await on.world.incident("cancelled")
        assert ends(incident)["deaf"] == "failed"


async def test_a_stop_survives_a_crash(tmp_path: Path) -> None:
    async with stage(tmp_path, scale("off", 0), deed("deaf")) as on:
        on.deed.gates["deaf"] = asyncio.Event()
        incident = await on.run_to("running")
        async with asyncio.timeout(20):
            await on.deed.entered["deaf"].wait()
        await stop(on, incident)
        await on.world.stop()
        assert on.scale.replicas == 0
        await on.world.start()
        await on.world.incident("cancelled")
        assert on.scale.replicas == 3


# --- inputs, loss of data ----------------------------------------------------------------------------------------------


async def test_a_missing_input_is_refused_before_anything_is_touched(tmp_path: Path) -> None:
    inputs = {"backup": Input(r"\d{8}", None, "day of the backup")}
    async with stage(tmp_path, deed("restore"), inputs=inputs) as on:
        incident = await on.run_to("refused")
        assert "plan back needs the input `backup` (day of the backup)" in incident.reason
        assert on.deed.story == []


async def test_inputs_have_defaults_that_conditions_and_texts_know(tmp_path: Path) -> None:
    inputs = {"region": Input(default="eu")}
    steps = (deed("eu", condition="inputs.region == 'eu'"), Step("tell", "notify", {"text": "going back in {{ inputs.region }}"}))
    async with stage(tmp_path, *steps, inputs=inputs) as on:
        await on.run_to("monitoring")
        assert on.deed.story == ["eu"]
        assert any("going back in eu" in line for line in await on.world.messages())


async def test_a_step_that_destroys_data_asks_a_person(tmp_path: Path) -> None:
    async with stage(tmp_path, deed("backup"), deed("drop", needs=("backup",), destroys=True)) as on:
        incident = await on.run_to("waiting_approval")
        assert on.deed.story == ["backup"]
        assert incident.approvals[0].step == "drop"
        await on.world.stop()  # a restart asks nobody twice
        await on.world.start()
        await on.world.commands.approve(incident.id, Actor("ann"))
        incident = await on.world.incident("monitoring")
        assert on.deed.story == ["backup", "drop"]
        assert len(incident.approvals) == 1


async def test_the_deadline_stands_still_while_a_person_is_asked(tmp_path: Path) -> None:
    ask = Step("ask", "approve", {"text": "Drop the table"}, timeout=timedelta(milliseconds=300))
    async with stage(tmp_path, ask, deed("drop"), deadline=timedelta(milliseconds=400)) as on:
        incident = await on.run_to("waiting_approval")
        await asyncio.sleep(0.5)  # longer than both limits
        await on.world.commands.approve(incident.id, Actor("ann"), "go")
        incident = await on.world.incident("monitoring", "failed")
        assert incident.status.value == "monitoring", incident.reason
        assert incident.steps[0].output == "approved by ann: go"


async def test_a_no_in_the_midst_of_a_plan_puts_back(tmp_path: Path) -> None:
    async with stage(tmp_path, scale("off", 0), Step("ask", "approve", {})) as on:
        incident = await on.run_to("waiting_approval")
        await on.world.commands.reject(incident.id, Actor("ann"), "too late")
        incident = await on.world.incident("failed")
        assert "rejected by ann: too late" in incident.reason
        assert on.scale.replicas == 3


async def test_a_stop_while_a_step_asks_puts_back_and_cancels(tmp_path: Path) -> None:
    async with stage(tmp_path, scale("off", 0), Step("ask", "approve", {})) as on:
        incident = await on.run_to("waiting_approval")
        await on.world.commands.cancel(incident.id, Actor("ann"), "not this one")
        incident = await on.world.incident("cancelled", "failed", "refused")
        assert (incident.status.value, incident.reason) == ("cancelled", "stopped by ann: not this one")
        assert on.scale.replicas == 3


# --- how far it is -----------------------------------------------------------------------------------------------------


async def test_people_hear_how_far_a_long_plan_is(tmp_path: Path) -> None:
    async with stage(tmp_path, deed("one"), deed("two"), deed("three"), updates=timedelta(milliseconds=100)) as on:
        on.deed.gates["two"] = asyncio.Event()
        incident = await on.run_to("running")
        async with asyncio.timeout(20):
            while "progress" not in await on.world.kinds(incident):  # noqa: ASYNC110 - the database has no event
                await asyncio.sleep(0.01)
        on.deed.gates["two"].set()
        await on.world.incident("monitoring")
        assert any("1 of 3 steps done (33 %), now: two; running for " in line for line in await on.world.messages())


async def _until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not holds():  # noqa: ASYNC110 - what is played has no event
            await asyncio.sleep(0.005)


# --- checkpoints -------------------------------------------------------------------------------------------------------


async def test_checkpoints_are_looked_at_after_the_incident_and_failures_are_told(tmp_path: Path) -> None:
    soon = Checkpoint("soon", timedelta(milliseconds=20), (deed("look"),))
    bad = Checkpoint("bad", timedelta(milliseconds=40), (deed("look"), deed("look-closer")))
    async with stage(tmp_path, deed("one"), checkpoints=(soon, bad), monitor=QUIET) as on:
        on.deed.faults["look-closer"] = [PermanentError("queue of 70")]
        await on.run_to("monitoring")
        await on.world.resolve("Errors")
        incident = await on.world.incident("resolved")
        await _until_kind(on, incident, "checkpoint_failed")
        incident = await on.world.incident("resolved")
        assert ends(incident, Phase.CHECKPOINT) == {"soon": "succeeded", "bad": "failed"}
        kinds = await on.world.kinds(incident)
        assert kinds[-2:] == ["checkpoint_passed", "checkpoint_failed"]
        assert any(
            "Checkpoint bad, 40ms after app was healthy again: look-closer: queue of 70." in line
            for line in await on.world.messages()
        )


async def test_a_checkpoint_that_came_due_while_nobody_ran_is_looked_at_once_and_says_so(tmp_path: Path) -> None:
    later = Checkpoint("later", timedelta(hours=24), (deed("look"),))
    async with stage(tmp_path, deed("one"), checkpoints=(later,), monitor=QUIET) as on:
        await on.run_to("monitoring")
        await on.world.resolve("Errors")
        incident = await on.world.incident("resolved")
        for _ in range(2):
            await on.world.stop()
            on.world.clock = lambda: wall() + timedelta(hours=25)
            await on.world.start()
            await _until_kind(on, incident, "checkpoint_passed")
        assert on.deed.story == ["one", "look"]
        record = (await on.world.incident("resolved")).steps[-1]
        assert "1 check passed (looked at 1h late: Responder was not running)" in record.output.replace("59m59s", "1h")


async def _until_kind(on: Stage, incident: Incident, kind: str) -> None:
    async with asyncio.timeout(20):
        while kind not in await on.world.kinds(incident):  # noqa: ASYNC110 - the database has no event
            await asyncio.sleep(0.01)
