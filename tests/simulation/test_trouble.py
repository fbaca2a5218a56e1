"""What must not go wrong when something else does: lost answers, crashes at bad moments, changed rules, other hands."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from responder.domain.decision import Decision
from responder.domain.incident import Incident, IncidentEvent, IncidentStatus
from responder.domain.plan import Monitor, Retry, Step
from responder.domain.rulebook import Response
from responder.domain.signal import SignalStatus
from responder.domain.target import Mode
from responder.domain.version import LedgerEntry, RolloutPhase, RolloutStatus
from responder.engine.evaluator import Evaluator
from responder.errors import JournalUnavailableError, OutcomeUnknownError, PermanentError
from responder.ports import Entry, OpenResult
from tests.simulation.two_targets import add_database, two_targets
from tests.simulation.world import (
    APP,
    QUIET,
    ROLLBACK,
    V1,
    V2,
    V3,
    World,
    a_world,
    cut_off,
    rulebook,
    statuses,
    wall,
)


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("responder.engine.answers.RETRY_PAUSE", 0.01)
    monkeypatch.setattr("responder.engine.conductor._RETRY_PAUSE", 0.01)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with a_world(tmp_path) as made:
        yield made


def failing(times: int, then: Callable[..., Any], error: Exception | None = None) -> Callable[..., Any]:
    """A stand-in that fails as often as told and then does its work."""
    left = [error or JournalUnavailableError("the database can't be used: disk I/O error")] * times

    async def call(*args: Any, **kwargs: Any) -> Any:
        if left:
            raise left.pop()
        return await then(*args, **kwargs)

    return call


async def test_a_database_that_can_not_be_read_for_a_while_does_not_end_the_brain(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal, incidents = world.database.journal, world.database.incidents
    monkeypatch.setattr(journal, "wait", failing(2, journal.wait))
    monkeypatch.setattr(incidents, "list", failing(2, incidents.list))
    await world.start()
    await world.settled_start()
    await world.alert("Errors")
    await world.incident("monitoring")
    assert world.workload.writes == 1


async def test_a_database_that_can_not_be_written_in_the_midst_of_a_run_only_delays_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("responder.engine.conductor._RETRY_PAUSE", 0.01)
    incidents = world.database.incidents
    save, faults = incidents.save, []

    async def away_when_it_recovers(incident: Incident, events: Sequence[IncidentEvent] = (), *rest: Any) -> None:
        if len(faults) < 2 and any(event.kind in ("acting", "recovered") for event in events):
            faults.append(incident.status)
            raise JournalUnavailableError("the database can't be used: disk I/O error")
        await save(incident, events, *rest)

    monkeypatch.setattr(incidents, "save", away_when_it_recovers)
    await world.start()
    await world.alert("Errors")
    incident = await world.incident("monitoring", "failed", "refused")
    assert (incident.status.value, len(faults), world.workload.writes) == ("monitoring", 2, 1)
    assert incident.recovered_at is not None
    assert incident.monitor_until == incident.recovered_at + QUIET.window, "a restart does not watch longer"


async def test_a_snapshot_that_can_not_be_kept_does_not_end_the_brain(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("responder.engine.brain._SNAPSHOT_EVERY", 1)
    monkeypatch.setattr(world.database.journal, "save_snapshot", failing(3, world.database.journal.save_snapshot))
    await world.start()
    await world.alert("Errors")
    await world.incident("monitoring")
    await world.resolve("Errors")
    await world.incident("resolved")


async def test_a_bug_with_one_decision_is_told_and_stops_no_other(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = world.database.incidents.open

    async def breaks(incident: Incident, *rest: Any) -> Any:
        if incident.rule == "latency" and incident.is_open:
            raise KeyError("a bug")
        return await opened(incident, *rest)

    monkeypatch.setattr(world.database.incidents, "open", breaks)
    await world.start()
    await world.alert("Latency")
    told = await world.incident("notified")
    assert "internal error: KeyError" in told.reason
    await world.alert("Errors")
    await world.incident("monitoring", number=2)
    assert world.workload.writes == 1


async def test_an_incident_whose_opening_was_committed_but_never_confirmed_is_led_all_the_same(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = world.database.incidents.open

    async def unconfirmed(*args: Any) -> tuple[OpenResult, Incident]:
        monkeypatch.setattr(world.database.incidents, "open", opened)
        await opened(*args)
        raise JournalUnavailableError("the database can't be used: disk I/O error")

    monkeypatch.setattr(world.database.incidents, "open", unconfirmed)
    await world.start()
    await world.alert("Errors")
    await world.incident("monitoring")
    assert world.workload.writes == 1


async def test_an_alert_does_not_join_what_closes_in_this_moment(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    await world.start()
    await world.alert("Errors")
    first = await world.incident("monitoring")
    opened = world.desk.open

    async def closes_meanwhile(incident: Incident, *rest: Any) -> tuple[OpenResult, Incident]:
        result, recorded = await opened(incident, *rest)
        if result is OpenResult.BUSY:
            await world.desk.change(first.id, lambda known: replace(known, status=IncidentStatus.RESOLVED, reason="calm"))
        return result, recorded

    monkeypatch.setattr(world.desk, "open", closes_meanwhile)
    await world.alert("Latency")
    second = await world.incident(number=2)
    assert (second.rule, second.joined) == ("latency", ())
    assert (await world.incident()).joined == (), "or nobody would ever hear of it"


async def test_what_was_decided_but_not_yet_written_down_is_not_behind_a_snapshot(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The alert is over before the incident could be opened, and the process ends: the next one must still tell it."""
    await world.start()
    await world.settled_start()
    await world.brain.snapshot()
    monkeypatch.setattr(world.database.incidents, "open", failing(1_000_000, world.database.incidents.open))
    await world.deliver(world.signal("Errors"), world.signal("Errors", SignalStatus.RESOLVED))
    await world.settled()
    await world.stop()
    await world.brain.snapshot()  # as at the end of the service
    monkeypatch.undo()
    await world.start()
    incident = await world.incident("notified")
    assert "fired and cleared while Responder was down" in incident.reason
    assert world.workload.writes == 0


async def test_a_rule_renamed_during_the_watch_does_not_make_the_alert_look_cleared(tmp_path: Path) -> None:
    rules = rulebook()
    async with a_world(tmp_path, rules) as world:
        await world.start()
        await world.alert("Errors")
        await world.incident("monitoring")
        await world.stop()
        renamed = tuple(replace(rule, name="error_rate") if rule.name == "errors" else rule for rule in rules.rules)
        world.rules = replace(rules, rules=renamed, digest="digest-of-renamed-rules")
        await world.start()
        await world.settled_start()
        incident = await world.incident()
        assert incident.status.value == "monitoring", incident.reason
        assert ("error_rate", "app") in incident.groups
        assert len(await world.all_incidents()) == 1


async def test_an_alert_that_outlives_the_record_of_its_incident_does_not_block_the_brain(world: World) -> None:
    world.rules = rulebook(monitor=Monitor(window=timedelta(0), settle=timedelta(0)))
    await world.start()
    await world.alert("Errors")
    await world.incident("failed")
    await world.stop()
    await world.database.incidents.prune(wall() + timedelta(days=1))
    await world.start()
    await world.alert("Note")
    await world.incident("notified")
    assert len(await world.all_incidents()) == 1


async def test_an_incident_without_a_plan_closes_and_does_not_lock_its_target(world: World) -> None:
    await world.start()
    await world.alert("Errors")
    opened = await world.incident("monitoring")
    await world.stop()
    await world.database.incidents.save(replace(opened, plan=None))
    await world.start()
    await world.incident("failed")
    assert world.rules.rules[0].response is Response.ROLLBACK


# --- acting ----------------------------------------------------------------------------------------------------------


async def test_before_the_first_byte_goes_out_it_is_on_record_what_is_replaced_and_that_it_is_bad(world: World) -> None:
    await cut_off(world, "before_patch")
    incident = await world.incident()
    intent = incident.steps[0].intent
    assert intent is not None
    assert (intent["stage"], intent["from"]["fingerprint"]) == ("patch", V2.fingerprint)  # type: ignore[index]
    assert incident.acted_at is not None
    assert "acting" in await world.kinds(incident)
    assert await world.database.ledger.bad_fingerprints(APP) == {V2.fingerprint: incident.id}


async def test_a_target_put_into_observe_mode_at_a_restart_is_not_written_to(world: World) -> None:
    await cut_off(world, "before_patch")
    world.rules = rulebook(mode=Mode.OBSERVE)
    await world.start()
    incident = await world.incident("failed")
    assert "observe mode" in incident.reason
    assert world.workload.writes == 0


async def test_guards_are_asked_again_when_a_restart_lies_between_them_and_the_write(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("responder.engine.last_look.FRESH_FOR", timedelta(0))
    await cut_off(world, "before_patch")
    world.workload.annotations = {"rollback-safe": "false"}
    await world.start()
    incident = await world.incident("failed")
    assert "asks for a person" in incident.reason
    assert world.workload.writes == 0


async def test_what_was_pinned_stays_pinned_though_somebody_deployed_while_it_was_down(tmp_path: Path) -> None:
    async with a_world(tmp_path, rulebook(Step("first", "played"), ROLLBACK)) as world:
        world.played.gate = asyncio.Event()
        await world.start()
        await world.alert("Errors")
        await world.played.entered.wait()
        await world.stop()
        world.workload.history = (V3, V2, V1)
        world.workload.changed = wall() - timedelta(seconds=40)  # before the alert: the guards alone would go from v3 to v1
        world.played.gate.set()
        await world.start()
        incident = await world.incident("refused", "failed", "monitoring")
        assert "runs v3" in incident.reason
        assert (incident.pins["app"].from_version.version, world.workload.writes) == ("v2", 0)


async def test_guards_are_asked_again_when_earlier_steps_took_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("responder.engine.last_look.FRESH_FOR", timedelta(0))
    async with a_world(tmp_path, rulebook(Step("grace", "played"), ROLLBACK)) as world:
        world.played.gate = asyncio.Event()
        await world.start()
        await world.alert("Errors")
        await world.played.entered.wait()
        world.workload.annotations = {"rollback-safe": "false"}
        world.played.gate.set()
        incident = await world.incident("refused")
        assert "asks for a person" in incident.reason
        assert world.workload.writes == 0


async def test_a_bad_version_that_somebody_put_back_during_the_rollout_is_left_to_people(world: World) -> None:
    world.workload.rollout_status = RolloutStatus(RolloutPhase.PROGRESSING, "1 of 3 pods updated")
    await world.start()
    await world.alert("Errors")
    async with asyncio.timeout(20):
        while True:
            if "rollout" in [(record.intent or {}).get("stage") for record in (await world.incident()).steps]:
                break
            await asyncio.sleep(0.005)
    await world.stop()
    world.workload.history = (V2, V1)
    await world.start()
    incident = await world.incident("failed")
    assert "changed by somebody else" in incident.reason
    assert world.workload.writes == 1


async def test_a_refusal_after_a_write_of_unknown_outcome_is_a_failure_that_people_must_look_at(tmp_path: Path) -> None:
    again = replace(ROLLBACK, retry=Retry(3, timedelta(milliseconds=1), timedelta(milliseconds=2)))
    async with a_world(tmp_path, rulebook(again)) as world:

        async def somebody_deploys() -> None:
            world.workload.history = (V3, V2, V1)
            raise OutcomeUnknownError("connection reset")

        world.workload.before_patch = somebody_deploys
        await world.start()
        await world.alert("Errors")
        incident = await world.incident("failed")
        assert "runs v3" in incident.reason
        assert "may have been; check it now" in (await world.messages())[-1]


OUTSIDE_THE_STEPS: dict[str, dict[str, Any]] = {
    "a check of the watch": {
        "monitor": Monitor(timedelta(seconds=60), timedelta(milliseconds=5), (Step("again", "rollback"),), failure_limit=1)
    },
    "verification": {"verify": (Step("pause", "played"), Step("again", "rollback"))},
    "a step after a failure": {"verify": (Step("pause", "played"),), "on_failure": (Step("again", "rollback"),)},
}


@pytest.mark.parametrize("plan", OUTSIDE_THE_STEPS.values(), ids=OUTSIDE_THE_STEPS.keys())
async def test_no_second_rollback_is_made_by(tmp_path: Path, plan: dict[str, Any]) -> None:
    async with a_world(tmp_path, rulebook(ROLLBACK, **plan)) as world:
        world.played.faults = [PermanentError("no")] if "on_failure" in plan else []

        async def somebody_puts_it_back() -> None:
            world.workload.history = (V2, V1)

        world.played.gate = asyncio.Event()
        await world.start()
        await world.alert("Errors")
        await world.incident("verifying" if "verify" in plan else "monitoring")
        await somebody_puts_it_back()
        world.played.gate.set()
        await world.incident("failed")
        assert world.workload.writes == 1


async def test_a_plan_of_an_observed_target_writes_to_no_other_either(tmp_path: Path) -> None:
    async with a_world(tmp_path, two_targets(Mode.OBSERVE)) as world:
        database = await add_database(world)
        await world.start()
        await world.alert("Errors")
        await world.incident("observed")
        assert database.writes == 0


async def test_what_failed_before_a_crash_stays_failed_though_the_alert_clears_meanwhile(tmp_path: Path) -> None:
    impatient = Monitor(window=timedelta(0), settle=timedelta(seconds=0.2))
    rules = rulebook(monitor=impatient, on_failure=(Step("escalate", "played"),))
    async with a_world(tmp_path, rules) as world:
        world.played.gate = asyncio.Event()
        await world.start()
        await world.alert("Errors")
        await world.played.entered.wait()
        await world.stop()
        await world.resolve("Errors")
        world.played.gate.set()
        await world.start()
        incident = await world.incident("failed", "resolved")
        assert (incident.status.value, world.played.runs) == ("failed", 2)
        assert "has not cleared" in incident.reason
        assert world.workload.writes == 1


async def test_a_plan_with_a_target_that_is_gone_changes_none_of_the_others(tmp_path: Path) -> None:
    rules = two_targets()
    plan = replace(rules.plans["back"], steps=(ROLLBACK, *rules.plans["back"].steps))
    gone = {name: target for name, target in rules.targets.items() if name != "db"}
    async with a_world(tmp_path, replace(rules, targets=gone, plans={"back": plan})) as world:
        await world.start()
        await world.alert("Errors")
        incident = await world.incident("refused", "failed")
        assert (incident.status.value, incident.reason) == ("refused", "target db is not declared any more")
        assert world.workload.writes == 0


async def test_of_two_incidents_that_ask_the_guards_about_one_target_at_once_only_one_acts(tmp_path: Path) -> None:
    async with a_world(tmp_path, two_targets()) as world:
        database = await add_database(world)
        asking, both = [0], asyncio.Event()

        async def wait_for_both() -> None:
            asking[0] += 1
            if asking[0] == 2:
                both.set()
            await both.wait()

        database.before_answer = wait_for_both
        await world.start()
        await world.deliver(world.signal("Errors"), world.signal("Latency"))
        refused = [await world.incident("refused", "monitoring", number=number) for number in (1, 2)]
        assert sorted(statuses(refused)) == ["monitoring", "refused"]
        assert "is acting on db" in "".join(one.reason for one in refused)
        assert database.writes == 1


async def test_what_an_open_incident_has_pinned_stays_its_own_after_a_restart(tmp_path: Path) -> None:
    rules = two_targets()
    plan = replace(rules.plans["back"], steps=(Step("grace", "played"), *rules.plans["back"].steps))
    async with a_world(tmp_path, replace(rules, plans={"back": plan})) as world:
        database = await add_database(world)
        world.played.gate = asyncio.Event()
        await world.start()
        await world.alert("Errors")
        await world.played.entered.wait()
        await world.stop()
        await world.alert("Latency")
        await world.start()
        assert "is acting on db" in (await world.incident("refused", number=2)).reason
        world.played.gate.set()
        await world.incident("monitoring")
        assert database.writes == 1


async def test_a_change_that_was_cut_off_is_not_overtaken_by_the_next_one(world: World) -> None:
    """A time-out may hit while the disk is slow: what was on its way to it must be seen by whoever changes the incident next."""
    await world.start()
    await world.alert("Errors")
    incident = await world.incident("monitoring")
    released = threading.Event()
    writer = world.database._writer
    writer.submit(lambda: released.wait(10) and None)
    first = asyncio.create_task(world.desk.change(incident.id, lambda known: replace(known, value=7.0)))
    await asyncio.sleep(0.05)
    first.cancel()
    second = asyncio.create_task(world.desk.change(incident.id, lambda known: replace(known, trigger_link="http://x")))
    await asyncio.sleep(0.05)
    released.set()
    await second
    changed = await world.incident()
    assert (changed.value, changed.trigger_link) == (7.0, "http://x")


@pytest.mark.parametrize("renamed", [False, True], ids=["under its name", "under another name"])
async def test_a_version_that_was_replaced_because_of_an_alert_is_not_gone_back_to(world: World, renamed: bool) -> None:
    """v2 was refused a rollback and replaced by hand with v3, which is bad too: v2 was fully available for long, but no good."""
    ledger, changed = world.database.ledger, world.workload.changed
    began = changed - timedelta(minutes=40)
    await ledger.put(
        LedgerEntry(
            APP, V2.fingerprint, "v2", "2", began, replaced_at=changed + timedelta(seconds=10), longest=timedelta(minutes=30)
        )
    )
    await ledger.put(LedgerEntry(APP, V3.fingerprint, "v3", "3", changed + timedelta(seconds=10)))
    await world.start()
    await world.settled_start()
    world.workload.paused = True
    await world.alert("Errors", key="earlier", ago=30 * 60)
    await world.incident("refused")
    world.workload.paused = False
    world.workload.history = (V3, V2, V1)
    await world.resolve("Errors", key="earlier")
    await world.settled()
    if renamed:
        await world.stop()
        target = replace(world.rules.targets["app"], name="storefront")
        world.rules = replace(world.rules, targets={"storefront": target}, digest="renamed")
        world.others["storefront"] = world.workload
        await world.start()
    await world.alert("Errors")
    incident = await world.incident("monitoring", number=2)
    assert world.workload.current == V1
    assert "an incident blamed it" in str([event.data for event in await world.database.incidents.events(incident.id)])


@pytest.mark.parametrize("start_again", [False, True], ids=["while it runs", "at the next start"])
async def test_an_entry_that_breaks_the_evaluator_is_told_and_passed_over(
    world: World, monkeypatch: pytest.MonkeyPatch, start_again: bool
) -> None:
    fold = Evaluator.fold

    def breaking(evaluator: Evaluator, entry: Entry) -> list[Decision]:
        if any(signal.labels.get("alertname") == "Poison" for signal in entry.signals):
            raise ZeroDivisionError
        return fold(evaluator, entry)

    monkeypatch.setattr(Evaluator, "fold", breaking)
    if not start_again:
        await world.start()
    await world.alert("Poison")
    await world.alert("Errors")
    if start_again:
        await world.start()
    await world.incident("monitoring", number=2)
    await world.stop()
    await world.start()
    await world.settled_start()
    told, rolled_back = await world.all_incidents()
    assert (told.rule, told.status.value) == ("unreadable_journal_entry", "notified")
    assert "a person must look at Poison" in told.reason
    assert rolled_back.rule == "errors"
    assert world.workload.writes == 1


async def test_a_rule_that_is_gone_is_no_all_clear(world: World) -> None:
    world.rules = rulebook(monitor=Monitor(window=timedelta(0), settle=timedelta(seconds=0.3)))
    await world.start()
    await world.alert("Errors")
    await world.incident("monitoring")
    await world.stop()
    world.rules = replace(world.rules, rules=world.rules.rules[1:], digest="without the rule")
    await world.start()
    incident = await world.incident("failed", "resolved")
    assert incident.status.value == "failed"
    assert "has not cleared" in incident.reason


async def test_renaming_a_target_forgets_neither_what_was_bad_nor_what_was_restored(world: World) -> None:
    await world.start()
    await world.alert("Errors")
    await world.incident("monitoring")
    await world.resolve("Errors")
    await world.incident("resolved")
    await world.stop()
    book = world.rules
    named = replace(book.targets["app"], name="storefront")
    world.rules = replace(book, targets={"storefront": named}, digest="renamed")
    world.others["storefront"] = world.workload
    world.began.clear()
    await world.start()
    await world.alert("Errors", ago=1)
    refused = await world.incident("refused", number=2)
    assert refused.target == "storefront"
    assert "never a second step back" in refused.reason
    assert world.workload.writes == 1
