"""Other rules while the service runs: decided as after a restart with them, and nothing past is done twice."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from responder.domain.matcher import parse_matcher
from responder.domain.plan import Step
from responder.domain.rulebook import Rulebook
from responder.domain.signal import SignalStatus
from responder.engine.evaluator import Evaluator
from responder.engine.reload import Reloader, RulebookInForce
from responder.errors import JournalUnavailableError, RulebookError
from responder.ports import EntryKind
from tests.simulation.people import ANN, counting
from tests.simulation.world import ROLLBACK, World, a_world, rulebook, wall


async def reload(world: World, rules: Rulebook) -> None:
    await world.brain.adopt(Evaluator(rules), rules.digest, lambda: setattr(world, "rules", rules))


def renamed(rules: Rulebook, old: str, new: str) -> Rulebook:
    changed = tuple(replace(rule, name=new) if rule.name == old else rule for rule in rules.rules)
    return replace(rules, rules=changed, digest=rules.digest + new)


async def test_equal_rules_change_nothing(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world:
        await world.start()
        await world.alert("Errors")
        await world.incident("monitoring")
        told = len(await world.messages())
        before = list(world.brain.evaluator.groups())
        await reload(world, replace(world.rules, digest="another"))
        await world.settled()
        assert list(world.brain.evaluator.groups()) == before
        assert (len(await world.all_incidents()), world.workload.writes) == (1, 1)
        assert await world.messages() == []
        assert told == 3
        await world.resolve("Errors")
        await world.incident("resolved")


async def test_a_rule_that_is_new_answers_an_alert_that_fires_already(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world:
        rules = world.rules
        world.rules = replace(rules, rules=rules.rules[1:], digest="without errors")
        await world.start()
        await world.alert("Errors")
        await world.settled()
        assert await world.all_incidents() == []
        await reload(world, rules)
        await world.incident("monitoring")
        assert world.workload.writes == 1


async def test_a_shorter_time_is_due_without_another_webhook(tmp_path: Path) -> None:
    async with a_world(tmp_path, rulebook(hold=timedelta(hours=1))) as world:
        await world.start()
        await world.alert("Errors", ago=30)
        await world.settled()
        assert await world.all_incidents() == []
        await reload(world, replace(rulebook(hold=timedelta(seconds=30.2)), digest="shorter"))
        await world.incident("monitoring")


async def test_a_longer_time_takes_back_nothing_that_was_done(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world:
        await world.start()
        await world.alert("Errors")
        await world.incident("monitoring")
        await reload(world, replace(rulebook(hold=timedelta(hours=1)), digest="longer"))
        await world.settled()
        assert (len(await world.all_incidents()), world.workload.writes) == (1, 1)


async def test_an_open_run_keeps_its_plan_and_a_renamed_rule_joins_it(tmp_path: Path) -> None:
    async with a_world(tmp_path, rulebook(Step("wait", "played"), ROLLBACK)) as world:
        world.played.gate = asyncio.Event()
        await world.start()
        await world.alert("Errors")
        await world.played.entered.wait()
        other = replace(renamed(rulebook(), "errors", "many_errors"), digest="renamed")  # its plan has no first step
        await reload(world, other)
        world.played.gate.set()
        incident = await world.incident("monitoring")
        assert [record.name for record in incident.steps] == ["wait", "rollback"]
        assert incident.groups == (("errors", "app"), ("many_errors", "app"))
        assert (len(await world.all_incidents()), world.workload.writes) == (1, 1)
        await world.resolve("Errors")
        await world.incident("resolved")


async def test_a_rule_that_is_taken_out_during_the_countdown_ends_it_and_nobody_is_told_that_the_alert_is_over(
    tmp_path: Path,
) -> None:
    rules = counting(timedelta(milliseconds=500))
    async with a_world(tmp_path, rules) as world:
        await world.start()
        await world.alert("Errors")
        await world.incident("countdown")
        await reload(world, replace(rules, rules=rules.rules[1:], plans={}, digest="without it"))
        incident = await world.incident("refused")
        assert "the alert does not fire any more, as far as the rules in force see" in incident.reason
        assert world.workload.writes == 0


def target_renamed(rules: Rulebook) -> Rulebook:
    return replace(rules, targets={"shop": replace(rules.targets["app"], name="shop")}, digest="target renamed")


RENAMED = {"its rule": lambda rules: renamed(rules, "errors", "many_errors"), "its target": target_renamed}


@pytest.mark.parametrize("restarted", [False, True], ids=["by a reload", "by a restart"])
@pytest.mark.parametrize("rename", RENAMED.values(), ids=RENAMED)
async def test_a_no_to_an_alert_stays_one_though_it_is_renamed(
    rename: Callable[[Rulebook], Rulebook], restarted: bool, tmp_path: Path
) -> None:
    async with a_world(tmp_path, counting()) as world:
        world.others["shop"] = world.workload
        await world.start()
        await world.alert("Errors")
        said_no = await world.incident("countdown")
        await world.commands.cancel(said_no.id, ANN)
        await world.incident("cancelled")
        if restarted:
            await world.stop()
            world.rules = rename(rulebook())
            await world.start()
            await world.settled_start()
        else:
            await reload(world, rename(rulebook()))
        await world.settled()
        (incident,) = await world.all_incidents()
        assert len(incident.joined) == 1
        assert world.workload.writes == 0
        await world.resolve("Errors")
        world.began.clear()
        await world.alert("Errors", ago=1)  # another episode: nobody has said no to that
        await world.incident("monitoring", number=2)


async def test_a_target_that_is_not_declared_any_more_is_not_touched(tmp_path: Path) -> None:
    async with a_world(tmp_path, rulebook(Step("wait", "played"), ROLLBACK)) as world:
        world.played.gate = asyncio.Event()
        await world.start()
        await world.alert("Errors")
        await world.played.entered.wait()
        await reload(world, Rulebook(digest="nothing"))
        world.played.gate.set()
        incident = await world.incident("refused", "failed")
        assert "not declared any more" in incident.reason
        assert world.workload.writes == 0


async def test_what_the_old_rules_did_is_known_after_a_restart_with_the_new(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world:
        await world.start()
        await world.alert("Errors")
        await world.incident("monitoring")
        await reload(world, replace(world.rules, digest="another"))
        await world.alert("Note")
        await world.incident("notified", number=2)
        await world.stop()
        await world.start()
        await world.settled_start()
        assert (len(await world.all_incidents()), world.workload.writes) == (2, 1)
        assert await world.database.journal.load_snapshot("another") is not None


async def test_no_reload_while_the_journal_is_still_being_folded(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world:
        await world.start()
        world.brain._is_folded = False
        with pytest.raises(JournalUnavailableError):
            await reload(world, replace(world.rules, digest="another"))
        assert world.rules.digest == "digest-of-rules"


@pytest.mark.parametrize("seed", range(8))
async def test_reloads_at_random_moments_of_a_storm_change_nothing(seed: int, tmp_path: Path) -> None:
    """Alerts come and go while equal rules are put in force again and again; every one is decided once, as without them."""
    chance = random.Random(seed)
    rules = rulebook()
    rules = replace(
        rules,
        rules=(*rules.rules, replace(rules.rules[2], name="notes", matchers=(parse_matcher('alertname=~"N.*"'),), by=("n",))),
    )
    async with a_world(tmp_path, rules) as world:
        await world.start()
        expected: set[str] = set()

        async def storm() -> None:
            firing: list[str] = []
            for number in range(60):
                if firing and chance.random() < 0.4:
                    await world.resolve("Note", firing.pop(chance.randrange(len(firing))))
                else:
                    key = f"note-{number}"
                    firing.append(key)
                    expected.add(key)
                    signal = world.signal("Note", key=key)
                    await world.deliver(replace(signal, labels={**signal.labels, "alertname": f"N{number}", "n": str(number)}))
                if chance.random() < 0.3:
                    await asyncio.sleep(0)

        storming = asyncio.create_task(storm())
        for number in range(6):
            await reload(world, replace(rules, digest=f"copy {number}"))
            await asyncio.sleep(chance.random() / 50)
        await storming
        await world.settled()
        await world.settled_start()  # the position is ahead of what has been acted on
        found = [incident.identity for incident in await world.database.incidents.list(limit=1000)]
        assert len(found) == len(set(found))
        assert {identity.split("|")[2].split("@")[0] for identity in found} == expected
        fresh = Evaluator(world.rules)
        for entry in await world.database.journal.read(0, 100_000):
            fresh.tick(entry.at) if entry.kind is EntryKind.TICK else fresh.observe(entry.signals, entry.at)
        assert list(world.brain.evaluator.groups()) == list(fresh.groups())
        assert world.brain.evaluator.snapshot() == fresh.snapshot()


# --- the files -----------------------------------------------------------------------------------------------------------


async def test_a_bad_rulebook_leaves_the_old_one_in_force(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world:
        await world.start()
        in_force, outcomes = RulebookInForce(world.rules), []

        def load() -> Rulebook:
            raise RulebookError(["rules.yaml:3:1: unknown key `ruls`"])

        reloader = Reloader(load=load, in_force=in_force, brain=world.brain, on_outcome=outcomes.append)
        before = world.brain.evaluator
        with pytest.raises(RulebookError):
            await reloader.reload()
        assert (in_force.rulebook, world.brain.evaluator, outcomes) == (world.rules, before, [False])
        await world.alert("Errors")
        await world.incident("monitoring")


async def test_the_same_files_are_not_folded_again(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world:
        await world.start()
        outcomes: list[bool] = []
        reloader = Reloader(
            load=lambda: world.rules, in_force=RulebookInForce(world.rules), brain=world.brain, on_outcome=outcomes.append
        )
        before = world.brain.evaluator
        assert not (await reloader.reload()).changed
        assert (world.brain.evaluator, outcomes) == (before, [True])


async def test_two_reloads_at_once_end_with_the_newer_files(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world:
        await world.start()
        await world.alert("Errors", SignalStatus.FIRING)
        await world.incident("monitoring")
        versions = [replace(world.rules, digest=f"version {number}") for number in (1, 2)]
        in_force = RulebookInForce(world.rules)
        reloader = Reloader(load=lambda: versions.pop(0), in_force=in_force, brain=world.brain)
        await asyncio.gather(reloader.reload(), reloader.reload())
        assert in_force.rulebook.digest == "version 2"
        await world.brain.snapshot()
        assert await world.database.journal.load_snapshot("version 2") is not None
        assert wall() >= (await world.incident()).opened_at
