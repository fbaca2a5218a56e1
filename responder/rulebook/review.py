"""Warnings: what a rulebook may say, but its author may not have meant."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta

from responder.domain.matcher import Matcher, MatchOperator
from responder.domain.plan import ROLLBACKS, Plan, Step
from responder.domain.prometheus_users import CHECK
from responder.domain.quantity import format_duration
from responder.domain.query import window_of
from responder.domain.rulebook import Response, Rule, Rulebook
from responder.domain.target import Mode, Target
from responder.domain.wording import listed

_DEFAULT_TIMEOUT = next(each.default for each in dataclasses.fields(Step) if each.name == "timeout")


def review(rulebook: Rulebook) -> tuple[str, ...]:
    """One line per warning: where, what, and what to do about it."""
    return tuple(_warnings(rulebook))


def _warnings(rulebook: Rulebook) -> Iterator[str]:
    observed = [target.name for target in rulebook.targets.values() if target.mode is Mode.OBSERVE]
    if observed:
        word = "target" if len(observed) == 1 else "targets"
        yield f"{word} {', '.join(observed)}: will not act: mode is observe (write `mode: armed` when you trust it)"
    for rule in rulebook.rules:
        yield from (f"{rule.location}: rule {rule.name}: {text}" for text in _about_rule(rule, rulebook))
    for plan in rulebook.plans.values():
        yield from (f"plan {plan.name}: {text}" for text in _about_plan(plan))
    if not rulebook.rules:
        yield "no rules: nothing will ever be done by itself"
    if not rulebook.routes:
        yield "notify is empty: nobody will be told"
    elif all(route.targets for route in rulebook.routes):
        named = {target for route in rulebook.routes for target in route.targets}
        for target in rulebook.targets:
            if target not in named:
                yield f"target {target}: nobody will be told: no route of `notify` is for it"


def _about_rule(rule: Rule, rulebook: Rulebook) -> Iterator[str]:
    if rule.target is None and not any(may_meet(rule, target) for target in rulebook.targets.values()):
        if rulebook.targets:
            yield f"no target can match the same alert as this rule (targets: {listed(list(rulebook.targets))})"
        else:
            yield "no target is declared"
    if rule.response is Response.NOTIFY:
        if rule.plan is not None:
            yield f"plan {rule.plan} will never run: respond is notify"
        return
    plan = rulebook.plan_of(rule)
    if rule.plan is None:
        yield "nothing is verified but the rollout itself: it has no plan"
    elif plan is not None and not any(step.uses in ROLLBACKS for step in plan.walk()):
        yield f"respond is {rule.response.value}, but plan {plan.name} has no rollback step"
    required = [name for name, one in plan.inputs.items() if one.default is None] if plan is not None else []
    if plan is not None and required:
        needs = f"needs {listed(required)}, which no alert gives"
        yield f"plan {plan.name} {needs}: it will be refused, and a person must start it (or give `default`s)"


def may_meet(rule: Rule, target: Target) -> bool:
    """False when no alert can match both. True when one can, as far as single labels tell."""
    return not (_contradicts(rule.matchers, target.matchers) or _contradicts(target.matchers, rule.matchers))


def _contradicts(some: Iterable[Matcher], others: Iterable[Matcher]) -> bool:
    fixed = {matcher.name: matcher.value for matcher in some if matcher.operator is MatchOperator.EQUAL}
    return any(matcher.name in fixed and not matcher.matches(fixed) for matcher in others)


def _about_plan(plan: Plan) -> Iterator[str]:
    if any(step.uses in ROLLBACKS for step in plan.walk()) and not plan.verify:
        yield "nothing is verified but the rollout itself (add `verify`)"
    for step in (nested for top in (*plan.steps, *plan.verify) for nested in top.walk()):
        if step.timeout > plan.deadline and step.timeout != _DEFAULT_TIMEOUT:
            yield f"step {step.name} may take longer than the plan's deadline"
    later = (check for checkpoint in plan.checkpoints for check in checkpoint.checks)
    tops = (*plan.steps, *plan.verify, *plan.monitor.checks, *plan.on_failure, *later)
    for step in (nested for top in tops for nested in top.walk()):
        if step.uses == CHECK and step.parameters.get("wait_for_window") is not False:
            yield from _about_window(step)
        for name in _unfilled(step.parameters):
            yield f"step {step.name}: with.{name}: `${{…}}` is taken as it stands; the environment is not filled in"


def _about_window(step: Step) -> Iterator[str]:
    held = step.parameters.get("for")
    needed = window_of(str(step.parameters.get("query", ""))) + (held if isinstance(held, timedelta) else timedelta(0))
    if needed >= step.timeout:
        yield (
            f"step {step.name} waits for its query to look past the rollback, {format_duration(needed)} with `for`; "
            f"its timeout is {format_duration(step.timeout)}: give it a longer `timeout`, or `wait_for_window: false`"
        )


def _unfilled(parameters: Mapping[str, object]) -> Iterator[str]:
    for name, value in parameters.items():
        texts = value.values() if isinstance(value, Mapping) else (value,)
        if any(isinstance(text, str) and "${" in text for text in texts):
            yield name
