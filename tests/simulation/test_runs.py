"""What the engine does with an alert, from the first decision to closed. Target and steps are played, the database is real."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from responder.domain.condition import ValueCondition
from responder.domain.plan import Monitor, OnStepFailure, Retry, Step
from responder.domain.target import Mode
from responder.domain.version import LedgerEntry, RolloutPhase, RolloutStatus
from responder.errors import OutcomeUnknownError, PermanentError, TemporaryError, UnreachableError
from tests.simulation.world import APP, QUIET, ROLLBACK, V1, V2, V3, World, a_world, rulebook, statuses, wall


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with a_world(tmp_path) as made:
        yield made


async def test_a_bad_deploy_is_rolled_back_once_and_resolved(world: World) -> None:
    await world.start()
    await world.alert("Errors", value="0.07", summary="7 % errors")
    await world.incident("monitoring")
    await world.resolve("Errors")
    incident = await world.incident("resolved")
    assert world.workload.current == V1
    assert world.workload.writes == 1
    assert [record.status.value for record in incident.steps] == ["succeeded"]
    assert await world.kinds(incident) == ["opened", "guards", "pinned", "acting", "step_succeeded", "recovered", "resolved"]
    assert [line.partition(":")[0] for line in await world.messages()] == ["opened", "acting", "recovered", "resolved"]
    assert incident.closed_at is not None
    assert incident.began_at is not None
    assert incident.acted_at is not None
    assert incident.recovered_at is not None
    assert incident.began_at <= incident.opened_at <= incident.acted_at <= incident.recovered_at <= incident.closed_at
    assert await world.database.ledger.bad_fingerprints(APP) == {V2.fingerprint: incident.id}


async def test_every_message_says_where_the_target_is(world: World) -> None:
    await world.start()
    await world.alert("Errors")
    incident = await world.incident("monitoring")
    assert incident.workload == APP
    told = await world.database.outbox.due(wall() + timedelta(days=1), 100)
    assert [dict(one.message.facts)["Workload"] for one in told] == [APP]


async def test_in_observe_mode_everything_is_decided_and_nothing_is_done(tmp_path: Path) -> None:
    async with a_world(tmp_path, rulebook(mode=Mode.OBSERVE)) as world:
        await world.start()
        await world.alert("Errors")
        incident = await world.incident("observed")
        assert world.workload.writes == 0
        assert incident.reason == "observe mode: would have changed app from v2 (revision 2) to v1 (revision 1)"
        assert incident.pins["app"].to_version.version == "v1"
        told = await world.messages()
        assert len(told) == 1
        assert "mode: armed" in told[0]


async def test_a_refusal_is_an_incident_that_says_why(world: World) -> None:
    world.workload.paused = True
    await world.start()
    await world.alert("Errors")
    incident = await world.incident("refused")
    assert "paused by a person" in incident.reason
    assert world.workload.writes == 0
    assert await world.kinds(incident) == ["opened", "guards", "refused"]
    assert [line.partition(":")[0] for line in await world.messages()] == ["opened", "notice"]


async def test_an_unproven_version_is_never_gone_back_to(tmp_path: Path) -> None:
    async with a_world(tmp_path, proven=False) as world:
        await world.start()
        await world.alert("Errors")
        incident = await world.incident("refused")
        assert "no earlier version is proven" in incident.reason
        assert world.workload.writes == 0


async def test_a_cluster_that_can_not_be_read_refuses(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.workload.read_faults = [PermanentError("no right to get deployments in shop")]
    await world.start()
    await world.alert("Errors")
    incident = await world.incident("refused")
    assert "no right to get deployments in shop" in incident.reason


async def test_a_blip_of_the_api_server_is_survived(world: World) -> None:
    world.workload.read_faults = [UnreachableError("connection refused")]
    await world.start()
    await world.alert("Errors")
    await world.incident("monitoring")
    assert world.workload.writes == 1


async def test_a_second_alert_for_the_target_joins(tmp_path: Path) -> None:
    async with a_world(tmp_path, rulebook(Step("wait", "played"), ROLLBACK)) as world:
        world.played.gate = asyncio.Event()
        await world.start()
        await world.alert("Errors")
        await world.played.entered.wait()
        await world.alert("Latency")
        await world.settled()
        world.played.gate.set()
        incident = await world.incident("monitoring")
        assert incident.groups == (("errors", "app"), ("latency", "app"))
        await world.resolve("Errors")
        await world.settled()
        assert (await world.incident()).status.value == "monitoring", "one of its two alerts still fires"
        await world.resolve("Latency")
        await world.incident("resolved")
        assert len(await world.all_incidents()) == 1
        assert world.workload.writes == 1


async def test_what_joined_is_not_opened_again_after_a_restart(world: World) -> None:
    world.rules = rulebook(monitor=Monitor(window=timedelta(0), settle=timedelta(seconds=0.2)))
    await world.start()
    await world.alert("Errors")
    await world.alert("Latency")
    await world.incident("failed")
    await world.stop()
    await world.start()
    await world.settled()
    assert statuses(await world.all_incidents()) == ["failed"]
    assert world.workload.writes == 1


async def test_an_alert_that_goes_on_is_told_and_never_a_second_step_back(world: World) -> None:
    world.rules = rulebook(monitor=Monitor(window=timedelta(0), settle=timedelta(seconds=0.2)))
    world.workload.history = (V3, V2, V1)
    await world.database.ledger.put(LedgerEntry(APP, V3.fingerprint, "v3", "3", wall() - timedelta(seconds=50)))
    await world.database.ledger.put(
        LedgerEntry(APP, V2.fingerprint, "v2", "2", world.workload.changed, longest=timedelta(hours=1))
    )
    await world.start()
    await world.alert("Errors")
    incident = await world.incident("failed")
    assert "has not cleared" in incident.reason
    assert world.workload.current == V2
    await world.alert("Latency")
    second = await world.incident("refused", number=2)
    assert "never a second step back" in second.reason
    assert world.workload.writes == 1


async def test_a_notify_rule_tells_and_does_nothing(world: World) -> None:
    await world.start()
    await world.alert("Note")
    incident = await world.incident("notified")
    assert incident.closed_at is not None
    assert len(await world.messages()) == 1
    assert world.workload.writes == 0


async def test_the_same_alert_twice_opens_one_incident(world: World) -> None:
    await world.start()
    for _ in range(3):
        await world.alert("Errors")
    await world.incident("monitoring")
    await world.settled()
    assert len(await world.all_incidents()) == 1


async def test_the_alert_must_still_fire_just_before_the_first_write(tmp_path: Path) -> None:
    async with a_world(tmp_path, rulebook(Step("wait", "played"), ROLLBACK)) as world:
        world.played.gate = asyncio.Event()
        await world.start()
        await world.alert("Errors")
        await world.played.entered.wait()
        await world.resolve("Errors")
        await world.settled()
        world.played.gate.set()
        incident = await world.incident("refused")
        assert "the alert cleared before anything was changed" in incident.reason
        assert world.workload.writes == 0


async def test_a_step_is_tried_again_as_often_as_it_says(tmp_path: Path) -> None:
    quick = Retry(3, timedelta(milliseconds=1), timedelta(milliseconds=2))
    async with a_world(tmp_path, rulebook(Step("shaky", "played", retry=quick), ROLLBACK)) as world:
        world.played.faults = [TemporaryError("503"), TemporaryError("503")]
        await world.start()
        await world.alert("Errors")
        incident = await world.incident("monitoring")
        assert [(record.name, record.attempts) for record in incident.steps] == [("shaky", 3), ("rollback", 1)]


FAILURES = {
    "a permanent error": (Step("bad", "played", retry=Retry(5)), [PermanentError("404")], "bad: 404", 1),
    "temporary errors, all attempts used": (
        Step("bad", "played", retry=Retry(2, timedelta(milliseconds=1), timedelta(milliseconds=1))),
        [TemporaryError("503"), TemporaryError("502")],
        "bad: 502",
        2,
    ),
    "a bug in an action": (Step("bad", "played"), [ValueError("secret details")], "bad: internal error: ValueError", 1),
}


@pytest.mark.parametrize(("step", "faults", "reason", "runs"), FAILURES.values(), ids=FAILURES.keys())
async def test_a_step_fails_by(tmp_path: Path, step: Step, faults: list[Exception], reason: str, runs: int) -> None:
    after = Step("tell", "notify", {"text": "look at {{ target }}"})
    async with a_world(tmp_path, rulebook(step, ROLLBACK, on_failure=(after,))) as world:
        world.played.faults = list(faults)
        await world.start()
        await world.alert("Errors")
        incident = await world.incident("failed")
        assert incident.reason == reason
        assert world.played.runs == runs
        assert world.workload.writes == 0
        assert [record.phase.value for record in incident.steps] == ["steps", "on_failure"]
        told = await world.messages()
        assert "Nothing was changed" in told[-2]
        assert told[-1] == "notice: look at app"


async def test_a_step_that_may_fail_does_not_stop_the_plan(tmp_path: Path) -> None:
    async with a_world(tmp_path, rulebook(Step("maybe", "played", on_failure=OnStepFailure.CONTINUE), ROLLBACK)) as world:
        world.played.faults = [PermanentError("no")]
        await world.start()
        await world.alert("Errors")
        incident = await world.incident("monitoring")
        assert [record.status.value for record in incident.steps] == ["failed", "succeeded"]


async def test_a_step_ends_at_its_time_out(tmp_path: Path) -> None:
    async with a_world(tmp_path, rulebook(Step("hangs", "played", timeout=timedelta(seconds=0.05)))) as world:
        world.played.gate = asyncio.Event()
        await world.start()
        await world.alert("Errors")
        incident = await world.incident("failed")
        assert incident.reason == "hangs: timed out after 50ms"


async def test_a_plan_ends_at_its_deadline(tmp_path: Path) -> None:
    async with a_world(tmp_path, rulebook(Step("hangs", "played"), deadline=timedelta(seconds=0.1))) as world:
        world.played.gate = asyncio.Event()
        await world.start()
        await world.alert("Errors")
        incident = await world.incident("failed")
        assert "deadline of 100ms" in incident.reason
        assert [record.status.value for record in incident.steps] == ["failed"]


async def test_a_rollout_that_fails_is_a_failed_incident_that_says_the_service_was_changed(world: World) -> None:
    world.workload.rollout_status = RolloutStatus(RolloutPhase.FAILED, "the progress deadline was exceeded (3x ImagePullBackOff)")
    await world.start()
    await world.alert("Errors")
    incident = await world.incident("failed")
    assert "ImagePullBackOff" in incident.reason
    assert "The service was changed" in (await world.messages())[-1]


async def test_verification_that_fails_is_not_recovery(tmp_path: Path) -> None:
    async with a_world(tmp_path, rulebook(ROLLBACK, verify=(Step("check", "played"),))) as world:
        world.played.faults = [PermanentError("still 500")]
        await world.start()
        await world.alert("Errors")
        incident = await world.incident("failed")
        assert incident.reason == "check: still 500"
        assert incident.recovered_at is None


async def test_monitoring_checks_may_fail_a_few_times_in_a_row_and_no_more(tmp_path: Path) -> None:
    check = Step("check", "played")
    monitor = Monitor(timedelta(seconds=60), every=timedelta(milliseconds=5), checks=(check,), failure_limit=2)
    async with a_world(tmp_path, rulebook(ROLLBACK, monitor=monitor)) as world:
        world.played.faults = [PermanentError(f"no {n}") for n in range(10)]
        await world.start()
        await world.alert("Errors")
        incident = await world.incident("failed")
        assert incident.reason == "monitoring failed: 3 rounds of checks in a row did not pass"
        assert (await world.kinds(incident)).count("check_failed") == 3


async def test_a_broken_patch_is_tried_again_and_changes_once(tmp_path: Path) -> None:
    quick = replace(ROLLBACK, retry=Retry(3, timedelta(milliseconds=1), timedelta(milliseconds=2)))
    async with a_world(tmp_path, rulebook(quick)) as world:
        world.workload.write_faults = [OutcomeUnknownError("connection reset")]
        await world.start()
        await world.alert("Errors")
        incident = await world.incident("monitoring")
        assert world.workload.writes == 1
        assert incident.steps[0].attempts == 2


async def test_half_a_hold_survives_a_restart(tmp_path: Path) -> None:
    async with a_world(tmp_path, rulebook(hold=timedelta(seconds=31))) as world:
        await world.start()
        await world.alert("Errors", ago=30)
        await world.settled()
        await world.stop()
        assert await world.all_incidents() == []
        await world.start()
        await world.incident("monitoring")
        assert world.workload.writes == 1


async def test_a_hold_that_ran_out_while_down_acts_once(tmp_path: Path) -> None:
    async with a_world(tmp_path, rulebook(hold=timedelta(seconds=30.1))) as world:
        await world.start()
        await world.alert("Errors", ago=30)
        await world.settled()
        await world.stop()
        await asyncio.sleep(0.15)
        for _ in range(2):
            await world.start()
            await world.incident("monitoring")
            await world.stop()
        assert len(await world.all_incidents()) == 1
        assert world.workload.writes == 1


async def test_an_alert_that_resolved_while_down_is_not_acted_on(tmp_path: Path) -> None:
    async with a_world(tmp_path, rulebook(hold=timedelta(seconds=30.1))) as world:
        await world.start()
        await world.alert("Errors", ago=30)
        await world.settled()
        await world.stop()
        await world.resolve("Errors")
        await asyncio.sleep(0.15)
        await world.start()
        await world.settled()
        assert await world.all_incidents() == []


async def test_a_run_cut_off_after_the_write_goes_on_without_a_second_one(world: World) -> None:
    written = asyncio.Event()

    async def cut() -> None:
        written.set()
        await asyncio.Event().wait()

    world.workload.after_write = cut
    await world.start()
    await world.alert("Errors")
    await written.wait()
    await world.stop()
    assert (await world.incident()).status.value == "running"
    world.workload.after_write = None
    await world.start()
    await world.incident("monitoring")
    assert world.workload.writes == 1
    assert world.workload.current == V1


async def test_somebody_elses_deploy_in_between_is_left_alone(tmp_path: Path) -> None:
    async with a_world(tmp_path, rulebook(Step("wait", "played"), ROLLBACK)) as world:
        world.played.gate = asyncio.Event()
        await world.start()
        await world.alert("Errors")
        await world.played.entered.wait()
        world.workload.history = (V3, V2, V1)
        world.played.gate.set()
        incident = await world.incident("refused")
        assert "runs v3" in incident.reason
        assert world.workload.current == V3


async def test_a_secret_never_reaches_a_step_s_output(tmp_path: Path) -> None:
    async with a_world(tmp_path, rulebook(Step("leaks", "played"))) as world:
        world.played.faults = [PermanentError("denied for token hunter2")]
        await world.start()
        await world.alert("Errors")
        incident = await world.incident("failed")
        assert incident.reason == "leaks: denied for token [redacted]"
        assert QUIET.window == timedelta(0)


async def test_a_number_that_goes_missing_is_no_all_clear(world: World) -> None:
    rules = rulebook(monitor=Monitor(window=timedelta(0), settle=timedelta(seconds=0.3)))
    above = replace(rules.rules[0], condition=ValueCondition(above=0.05))
    world.rules = replace(rules, rules=(above, *rules.rules[1:]))
    await world.start()
    await world.alert("Errors", value="0.07")
    await world.incident("monitoring")
    await world.alert("Errors", value="NaN")
    incident = await world.incident("resolved", "failed")
    assert incident.status.value == "failed"


async def test_a_snapshot_that_can_not_be_read_costs_only_time(tmp_path: Path) -> None:
    async with a_world(tmp_path, rulebook(hold=timedelta(seconds=30.5))) as world:
        await world.start()
        await world.alert("Errors", ago=30)
        await world.settled()
        await world.stop()
        await world.database.journal.save_snapshot(world.brain.position, world.rules.digest, b"of another version")
        await world.start()
        await world.incident("monitoring")
        assert world.workload.writes == 1


async def test_after_a_long_silence_an_old_alert_is_given_time_to_be_over(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("responder.engine.old_news.NEWS_WITHIN", timedelta(seconds=0.3))
    await world.alert("Errors", heard=timedelta(minutes=20))
    await world.alert("Latency", heard=timedelta(minutes=20))
    await world.start()
    await world.settled()
    assert await world.all_incidents() == []
    await world.resolve("Errors")
    incident = await world.incident("refused")  # it began before the deploy; what counts here is that it was taken up
    assert incident.groups == (("latency", "app"),), "what was not taken back meanwhile is acted on"
    assert len(await world.all_incidents()) == 1


async def test_after_a_long_silence_new_trouble_is_acted_on_at_once(world: World) -> None:
    await world.alert("Latency", heard=timedelta(minutes=20))
    await world.start()
    await world.settled()
    await world.alert("Errors", ago=0)
    incident = await world.incident("monitoring")
    assert incident.rule == "errors"
    assert len(await world.all_incidents()) == 1


async def test_a_run_that_changed_nothing_yet_waits_out_a_long_silence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with a_world(tmp_path, rulebook(Step("wait", "played"), ROLLBACK)) as world:
        world.played.gate = asyncio.Event()
        await world.start()
        await world.alert("Errors")
        await world.played.entered.wait()
        await world.stop()
        world.played.gate.set()
        monkeypatch.setattr("responder.engine.old_news.LONG_SILENCE", timedelta(0))
        monkeypatch.setattr("responder.engine.old_news.NEWS_WITHIN", timedelta(seconds=0.3))
        await world.start()
        await world.resolve("Errors")
        incident = await world.incident("refused")
        assert "does not fire any more" in incident.reason
        assert world.workload.writes == 0
