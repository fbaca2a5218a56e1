"""From the YAML form to domain values. Everything has been checked before; nothing here can fail."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from responder.domain.plan import Monitor, Plan, Retry, Step
from responder.domain.rulebook import DEFAULT_ROUTES, MassHold, Route, Rule
from responder.domain.target import GuardSettings, Target
from responder.rulebook.declarations import Declarations, Declared, DeclaredStep
from responder.rulebook.form import PlanForm, RouteForm, RuleForm
from responder.rulebook.target_form import TargetForm


def targets(declarations: Declarations) -> dict[str, Target]:
    return {name: _target(name, each.form) for name, each in declarations.targets.items() if each.form is not None}


def rules(declarations: Declarations) -> tuple[Rule, ...]:
    return tuple(_rule(each.form, each.location) for each in declarations.rules if each.form is not None)


def plans(declarations: Declarations) -> dict[str, Plan]:
    own: dict[int, list[DeclaredStep]] = defaultdict(list)
    for step in declarations.steps:
        own[id(step.plan)].append(step)
    return {name: _plan(each, each.form, own[id(each)]) for name, each in declarations.plans.items() if each.form is not None}


def routes(declarations: Declarations) -> tuple[Route, ...]:
    """The default routes unless some file says otherwise, were it only `notify: []`."""
    if not declarations.told:
        return DEFAULT_ROUTES
    return tuple(_route(each.form) for each in declarations.routes if each.form is not None)


def hold(declarations: Declarations) -> MassHold | None:
    for each in declarations.holds:
        if each.form is not None:
            many = each.form.targets
            if isinstance(many, int):
                return MassHold(each.form.within, count=many)
            return MassHold(each.form.within, share=many)
    return None


def _target(name: str, form: TargetForm) -> Target:
    guards = form.guards
    return Target(
        name=name,
        workload=form.place(),
        matchers=form.match,
        mode=form.mode,
        guards=GuardSettings(guards.deployed_within, guards.proven_for, guards.max_rollbacks),
        on_owner=form.owner,
        evict_unready=form.evict_unready,
    )


def _route(form: RouteForm) -> Route:
    return Route(to=form.to, severities=form.severity, components=form.components)


def _rule(form: RuleForm, location: str) -> Rule:
    return Rule(
        name=form.name,
        matchers=form.match,
        condition=form.when.condition(),
        hold=form.hold,
        by=form.by,
        severity=form.severity,
        response=form.respond,
        plan=form.plan,
        target=form.target,
        location=location,
        unless=form.unless or form.when.unless or (),
        keep_firing_for=form.keep_firing_for,
        cooldown=form.cooldown,
        settle=form.settle,
        active_for=form.active_for,
    )


def _plan(declared: Declared[PlanForm], form: PlanForm, own: Sequence[DeclaredStep]) -> Plan:
    names = _step_names(own)

    def steps(*section: str) -> tuple[Step, ...]:
        return tuple(_step(name, step) for name, step in zip(names, own, strict=True) if step.path[:-1] == section)

    monitor = form.monitor
    return Plan(
        name=declared.name,
        steps=steps("steps"),
        deadline=form.deadline,
        verify=steps("verify"),
        monitor=Monitor(monitor.window, monitor.every, steps("monitor", "checks"), monitor.settle, monitor.failure_limit),
        on_failure=steps("on_failure"),
    )


def _step_names(steps: Sequence[DeclaredStep]) -> list[str]:
    """Given names as they are; the others are named after their action: `http.check`, `http.check-2`, …"""
    taken = {step.form.name for step in steps}
    names = []
    for step in steps:
        name, number = step.form.name or step.form.uses, 2
        while step.form.name is None and name in taken:
            name, number = f"{step.form.uses}-{number}", number + 1
        taken.add(name)
        names.append(name)
    return names


def _step(name: str, declared: DeclaredStep) -> Step:
    form = declared.form
    shortest, longest = form.retry.backoff
    return Step(
        name=name,
        uses=form.uses,
        parameters={} if declared.parameters is None else declared.parameters.model_dump(by_alias=True),
        timeout=form.timeout,
        retry=Retry(form.retry.attempts, shortest, longest),
        on_failure=form.on_failure,
    )
