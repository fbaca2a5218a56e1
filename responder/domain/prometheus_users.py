"""Who in a rulebook needs Prometheus."""

from __future__ import annotations

from collections.abc import Iterator

from responder.domain.condition import query_users
from responder.domain.plan import Plan, Step
from responder.domain.rulebook import Rulebook

CHECK = "prometheus.check"


def prometheus_users(rulebook: Rulebook) -> list[str]:
    """`rule error_rate`, `plan roll-back, step errors`."""
    found = [f"rule {rule.name}" for rule in rulebook.rules if any(query_users(rule.condition))]
    for plan in rulebook.plans.values():
        found += [f"plan {plan.name}, step {step.name}" for step in steps_of(plan) if step.uses == CHECK]
    return found


def steps_of(plan: Plan) -> Iterator[Step]:
    """All steps, those inside others too."""
    for step in (*plan.steps, *plan.verify, *plan.monitor.checks, *plan.on_failure):
        yield from step.walk()
