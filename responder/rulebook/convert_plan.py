"""From the YAML form of a plan to the domain's. Everything has been checked before; nothing here can fail."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from pydantic import BaseModel

from responder.domain.plan import BLOCK, PARALLEL, Checkpoint, Input, Monitor, OnStepFailure, Plan, Retry, Step
from responder.rulebook.plan_form import INCLUDE, PlanForm
from responder.rulebook.step_tree import Node, Tree


def plan_of(tree: Tree, form: PlanForm) -> Plan:
    def steps(*section: str | int) -> tuple[Step, ...]:
        return _steps(tree.sections.get(section, ()), form)

    def checks(*section: str | int) -> tuple[Step, ...]:
        return tuple(flat for step in steps(*section) for flat in _flat(step))

    monitor = form.monitor
    return Plan(
        name=tree.plan.name,
        steps=steps("steps"),
        deadline=form.deadline,
        verify=steps("verify"),
        monitor=Monitor(monitor.window, monitor.every, checks("monitor", "checks"), monitor.settle, monitor.failure_limit),
        on_failure=steps("on_failure"),
        inputs={name: Input(one.pattern, one.default, one.description) for name, one in tree.inputs.items()},
        checkpoints=tuple(
            Checkpoint(one.name, one.after, checks("checkpoints", index, "checks")) for index, one in enumerate(form.checkpoints)
        ),
        updates=form.updates,
        follow_up=dict(form.follow_up),
    )


def destroys(parameters: BaseModel | None) -> bool:
    """Whether an action with these parameters says that it destroys data."""
    asked = getattr(parameters, "destroys", None)
    return bool(asked()) if callable(asked) else bool(asked)


def only_looks(parameters: BaseModel | None) -> bool:
    """Whether an action with these parameters says that it changes nothing; what has none of its own says nothing."""
    asked = getattr(parameters, "only_looks", None)
    return asked is None or bool(asked())


def _steps(nodes: Sequence[Node], plan: PlanForm) -> tuple[Step, ...]:
    return tuple(_step(node, plan) for node in nodes)


def _step(node: Node, plan: PlanForm) -> Step:
    form, parameters = node.step.form, node.step.parameters
    shortest, longest = form.retry.backoff
    is_group = form.uses in (PARALLEL, INCLUDE)
    return Step(
        name=node.name,
        uses=BLOCK if form.uses == INCLUDE else form.uses,
        parameters={} if parameters is None or is_group else parameters.model_dump(by_alias=True),
        timeout=plan.deadline if is_group and "timeout" not in form.model_fields_set else form.timeout,
        retry=Retry(form.retry.attempts, shortest, longest),
        on_failure=form.on_failure if isinstance(form.on_failure, OnStepFailure) else OnStepFailure.ABORT,
        condition=form.condition,
        steps=_steps(node.inner, plan),
        rescue=_steps(node.rescue, plan),
        needs=form.needs,
        destroys=destroys(parameters),
    )


def _flat(step: Step) -> Iterator[Step]:
    """Checks run one by one and leave no records: what is included stands among them."""
    if not step.steps:
        yield step
    for inner in step.steps:
        conditions = [condition for condition in (step.condition, inner.condition) if condition]
        joined = " and ".join(f"({condition})" for condition in conditions) if len(conditions) > 1 else "".join(conditions)
        yield from _flat(replace(inner, condition=joined))
