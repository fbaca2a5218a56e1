"""A second target beside `app`, its database, and rulebooks that speak of both."""

from __future__ import annotations

from dataclasses import replace

from responder.domain.plan import Step
from responder.domain.rulebook import Rulebook
from responder.domain.target import Mode, WorkloadRef
from tests.simulation.world import APP, ROLLBACK, V1, V2, PlayedWorkload, World, rulebook


def coordinated() -> Rulebook:
    """`errors` on app rolls app back, then waits, then rolls db back."""
    rules = rulebook(replace(ROLLBACK, name="app"), Step("pause", "played"), Step("db", "rollback", {"target": "db"}))
    database = replace(rules.targets["app"], name="db", workload=WorkloadRef("shop", "db"), matchers=())
    return replace(rules, targets={**rules.targets, "db": database})


def two_targets(mode: Mode = Mode.ARMED) -> Rulebook:
    """`errors` on app rolls db back, `latency` on db does, too. mode: of app."""
    rules = rulebook(Step("other", "rollback", {"target": "db"}), mode=mode)
    database = replace(rules.targets["app"], name="db", workload=WorkloadRef("shop", "db"), matchers=(), mode=Mode.ARMED)
    of_database = replace(rules.rules[1], target="db")
    return replace(rules, targets={**rules.targets, "db": database}, rules=(rules.rules[0], of_database))


async def add_database(world: World) -> PlayedWorkload:
    workload = world.others["db"] = PlayedWorkload(V2, V1, changed=world.workload.changed)
    for entry in await world.database.ledger.entries(APP):
        await world.database.ledger.put(replace(entry, target=str(WorkloadRef("shop", "db"))))
    return workload
