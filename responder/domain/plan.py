"""Plans: what to do, step by step, and how each step may fail."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum


class OnStepFailure(StrEnum):
    ABORT = "abort"
    CONTINUE = "continue"


@dataclass(frozen=True, slots=True)
class Retry:
    """attempts: tries in all, the first included. Exponential backoff with jitter between the two bounds."""

    attempts: int = 1
    backoff_min: timedelta = timedelta(seconds=1)
    backoff_max: timedelta = timedelta(seconds=30)


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a plan. parameters: `with`, already validated against the action's schema, durations as timedelta.

    name: unique in its plan, nested steps included. timeout: for the whole step, all attempts together.
    condition: `if`, an expression over the names that templates know; "" for always.
    steps: what a `parallel` step runs side by side. rescue: `on_failure` as a list: run when the step failed; when they succeed,
    the plan goes on. needs: names of earlier steps that must have succeeded in this run, or the step refuses (a backup, say).
    destroys: data is lost by it: a person is asked first, unless a person ordered the run.
    """

    name: str
    uses: str
    parameters: Mapping[str, object] = field(default_factory=dict)
    timeout: timedelta = timedelta(minutes=5)
    retry: Retry = Retry()
    on_failure: OnStepFailure = OnStepFailure.ABORT
    condition: str = ""
    steps: tuple[Step, ...] = ()
    rescue: tuple[Step, ...] = ()
    needs: tuple[str, ...] = ()
    destroys: bool = False

    def walk(self) -> Iterator[Step]:
        """The step itself, then all that are nested in it, in the order of the rulebook."""
        yield self
        for nested in (*self.steps, *self.rescue):
            yield from nested.walk()


ROLLBACKS = frozenset({"rollback", "kubernetes.undo"})
"""Words in `uses` that go back to a pinned version: their targets are judged by the guards before the run begins."""


def revisions_asked(plan: Plan | None, target: str, own: str) -> tuple[str, ...]:
    """Which revisions of a target its steps ask for, each once: () leaves it to the guards, more than one can't be met.

    own: name of the target that steps without one speak of.
    """
    steps = plan.walk() if plan is not None else ()
    asked = (
        step.parameters.get("to_revision")
        for step in steps
        if step.uses in ROLLBACKS and str(step.parameters.get("target") or own) == target
    )
    return tuple(dict.fromkeys(str(one) for one in asked if one is not None))


PARALLEL, BLOCK = "parallel", "block"
"""Words in `uses` that are no actions: the step's own `steps` run side by side, or one after another (an included plan)."""


@dataclass(frozen=True, slots=True)
class Monitor:
    """The watch after verification.

    window: `for`. settle: how long past the window the alert may still fire before the incident fails.
    failure_limit: failed rounds of `checks` in a row that are tolerated.
    """

    window: timedelta = timedelta(minutes=5)
    every: timedelta = timedelta(seconds=30)
    checks: tuple[Step, ...] = ()
    settle: timedelta = timedelta(minutes=10)
    failure_limit: int = 2


@dataclass(frozen=True, slots=True)
class Input:
    """A value that whoever starts the plan gives. pattern: regular expression that it must match as a whole.

    default: used when none is given; None makes it required: without it the run is refused before anything is touched.
    """

    pattern: str = r"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}"
    default: str | None = None
    description: str = ""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Checks long after the run. after: since the incident was resolved; survives restarts, and the target is free meanwhile."""

    name: str
    after: timedelta
    checks: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """deadline: for `steps` and `verify` together; what exceeds it has failed. updates: how often people hear how far it is.

    follow_up: what the report leaves to people, by period; {} for what every report says.
    """

    name: str
    steps: tuple[Step, ...]
    deadline: timedelta = timedelta(minutes=15)
    verify: tuple[Step, ...] = ()
    monitor: Monitor = Monitor()
    on_failure: tuple[Step, ...] = ()
    inputs: Mapping[str, Input] = field(default_factory=dict)
    checkpoints: tuple[Checkpoint, ...] = ()
    updates: timedelta | None = None
    follow_up: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def walk(self) -> Iterator[Step]:
        """Every step of `steps`, nested ones included."""
        for step in self.steps:
            yield from step.walk()


LONGEST_INPUT = 1000  # characters


def missing_inputs(plan: Plan, given: Mapping[str, str]) -> tuple[str, ...]:
    """What is wrong with the values given for the plan's inputs: one sentence each, () when the plan can run."""
    problems = [f"plan {plan.name} has no input `{name}`" for name in given if name not in plan.inputs]
    for name, one in plan.inputs.items():
        about = f" ({one.description})" if one.description else ""
        value = given.get(name, one.default)
        if value is None:
            problems.append(f"plan {plan.name} needs the input `{name}`{about}")
        elif len(value) > LONGEST_INPUT or re.fullmatch(one.pattern, value) is None:
            problems.append(f"the input `{name}`{about} does not look as it must: {one.pattern}")
    return tuple(problems)


def filled_inputs(plan: Plan, given: Mapping[str, str]) -> Mapping[str, str]:
    """The values given, with the plan's defaults where none was."""
    defaults = {name: one.default for name, one in plan.inputs.items() if one.default is not None}
    return {**defaults, **given}


BARE_ROLLBACK = Plan(name="rollback", steps=(Step(name="rollback", uses="rollback", timeout=timedelta(minutes=10)),))
