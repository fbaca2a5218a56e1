"""From the YAML form to domain values. Everything has been checked before; nothing here can fail."""

from __future__ import annotations

from responder.domain.plan import Plan
from responder.domain.rulebook import DEFAULT_ROUTES, EscalationLevel, Freeze, MassHold, Route, Rule
from responder.domain.target import Limits, Target
from responder.rulebook.convert_plan import plan_of
from responder.rulebook.declarations import Declarations
from responder.rulebook.form import RuleForm
from responder.rulebook.people_form import InFreeze
from responder.rulebook.step_tree import grow
from responder.rulebook.target_form import TargetForm
from responder.rulebook.told_form import RouteForm


def targets(declarations: Declarations) -> dict[str, Target]:
    return {name: _target(name, each.form) for name, each in declarations.targets.items() if each.form is not None}


def rules(declarations: Declarations) -> tuple[Rule, ...]:
    return tuple(_rule(each.form, each.location) for each in declarations.rules if each.form is not None)


def plans(declarations: Declarations) -> dict[str, Plan]:
    trees, _ = grow(declarations)
    return {name: plan_of(tree, tree.plan.form) for name, tree in trees.items() if tree.plan.form is not None}


def routes(declarations: Declarations) -> tuple[Route, ...]:
    """The default routes unless some file says otherwise, were it only `notify: []`."""
    if not declarations.told:
        return DEFAULT_ROUTES
    return tuple(_route(each.form) for each in declarations.routes if each.form is not None)


def escalation(declarations: Declarations) -> tuple[EscalationLevel, ...]:
    """In the order of time."""
    levels = [each.form.level() for each in declarations.levels if each.form is not None]
    return tuple(sorted(levels, key=lambda level: level.after))


def hold(declarations: Declarations) -> MassHold | None:
    for each in declarations.holds:
        if each.form is not None:
            many = each.form.targets
            if isinstance(many, int):
                return MassHold(each.form.within, count=many)
            return MassHold(each.form.within, share=many)
    return None


def freezes(declarations: Declarations) -> tuple[Freeze, ...]:
    return tuple(
        Freeze(
            cron=form.cron,
            duration=form.duration,
            reason=form.reason,
            timezone=form.timezone,
            targets=form.targets,
            asks=form.rollbacks is InFreeze.APPROVE,
        )
        for each in declarations.freezes
        if (form := each.form) is not None
    )


def limits(declarations: Declarations) -> Limits:
    for each in declarations.limits:
        if each.form is not None:
            return Limits(each.form.rollbacks, each.form.per_namespace, each.form.failures)
    return Limits()


def _target(name: str, form: TargetForm) -> Target:
    return Target(
        name=name,
        workload=form.place(),
        matchers=form.match,
        mode=form.mode,
        guards=form.guards.settings(),
        on_owner=form.owner,
        evict_unready=form.evict_unready,
    )


def _route(form: RouteForm) -> Route:
    return Route(
        to=form.to,
        severities=form.severity,
        components=form.components,
        addresses=form.addresses,
        customers=form.customers,
        targets=form.targets,
    )


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
        grace=form.grace,
        approval=form.approve.terms(),
    )
