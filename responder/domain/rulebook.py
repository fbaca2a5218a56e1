"""The rulebook as values: targets, rules, plans, notification routes.

Built by `responder.rulebook`; defaults that people rely on are declared here once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum

from responder.domain.condition import ANY_FIRING, Condition
from responder.domain.condition import ValueCondition as ValueCondition  # noqa: PLC0414 (old address)
from responder.domain.matcher import Matcher


class Mode(StrEnum):
    OBSERVE = "observe"  # everything but the effect
    ARMED = "armed"


class Severity(StrEnum):
    P0 = "P0"
    P1 = "P1"
    P2 = "P2"
    P3 = "P3"


class Response(StrEnum):
    ROLLBACK = "rollback"
    NOTIFY = "notify"


class OnStepFailure(StrEnum):
    ABORT = "abort"
    CONTINUE = "continue"


@dataclass(frozen=True, slots=True)
class WorkloadRef:
    """A Kubernetes workload. kind: `Deployment`."""

    namespace: str
    name: str
    kind: str = "Deployment"

    def __str__(self) -> str:
        return f"{self.kind.lower()}/{self.name} in namespace {self.namespace}"


@dataclass(frozen=True, slots=True)
class RollbackLimit:
    """At most `count` rollbacks `within` a sliding window."""

    count: int = 2
    within: timedelta = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class GuardSettings:
    """deployed_within: how old the suspect change may be. proven_for: how long a version must have been fully available."""

    deployed_within: timedelta = timedelta(hours=1)
    proven_for: timedelta = timedelta(minutes=10)
    max_rollbacks: RollbackLimit = RollbackLimit()


@dataclass(frozen=True, slots=True)
class Target:
    """Something that can be rolled back. A signal speaks of it when all `matchers` match its labels."""

    name: str
    workload: WorkloadRef
    matchers: tuple[Matcher, ...]
    mode: Mode = Mode.OBSERVE
    guards: GuardSettings = GuardSettings()


@dataclass(frozen=True, slots=True)
class Rule:
    """When to respond, and how.

    hold: the rule's `for`. by: labels that make the group; () is one group per target.
    target: name of a target the rule always speaks of; None finds it by the targets' own `match`.
    plan: name of the plan; None with ROLLBACK is a bare rollback.
    location: `file:line` for messages.
    unless: while an alert that matches all of these fires, the rule holds back; () for never.
    keep_firing_for: how long a group that fired goes on firing after its condition holds no more.
    cooldown: how long after it responded a group does not respond again.
    settle: how long after a rollback of its target the rule does not respond.
    active_for: how long a point event counts as going on when nothing newer says otherwise, after the rule's `for`.
    """

    name: str
    matchers: tuple[Matcher, ...]
    condition: Condition = ANY_FIRING
    hold: timedelta = timedelta(0)
    by: tuple[str, ...] = ()
    severity: Severity = Severity.P2
    response: Response = Response.NOTIFY
    plan: str | None = None
    target: str | None = None
    location: str = ""
    unless: tuple[Matcher, ...] = ()
    keep_firing_for: timedelta = timedelta(0)
    cooldown: timedelta = timedelta(0)
    settle: timedelta = timedelta(0)
    active_for: timedelta = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class Retry:
    """attempts: tries in all, the first included. Exponential backoff with jitter between the two bounds."""

    attempts: int = 1
    backoff_min: timedelta = timedelta(seconds=1)
    backoff_max: timedelta = timedelta(seconds=30)


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a plan. parameters: `with`, already validated against the action's schema, durations as timedelta.

    timeout: for the whole step, all attempts together.
    """

    name: str
    uses: str
    parameters: Mapping[str, object] = field(default_factory=dict)
    timeout: timedelta = timedelta(minutes=5)
    retry: Retry = Retry()
    on_failure: OnStepFailure = OnStepFailure.ABORT


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
class Plan:
    """deadline: for `steps` and `verify` together; what exceeds it has failed."""

    name: str
    steps: tuple[Step, ...]
    deadline: timedelta = timedelta(minutes=15)
    verify: tuple[Step, ...] = ()
    monitor: Monitor = Monitor()
    on_failure: tuple[Step, ...] = ()


BARE_ROLLBACK = Plan(name="rollback", steps=(Step(name="rollback", uses="rollback", timeout=timedelta(minutes=10)),))


@dataclass(frozen=True, slots=True)
class Route:
    """Who is told. to: name of a notifier. components: Statuspage component ids by target name."""

    to: str
    severities: frozenset[Severity] = frozenset(Severity)
    components: Mapping[str, str] = field(default_factory=dict)


_LOUD = frozenset({Severity.P0, Severity.P1})
DEFAULT_ROUTES = (Route("slack"), Route("statuspage", _LOUD), Route("pagerduty", _LOUD))


@dataclass(frozen=True, slots=True)
class MassHold:
    """When more than so many targets fall ill within the window, nothing is rolled back: it is the cluster or a dependency.

    count: number of targets, or share: of the declared ones (0.5 is half). Exactly one is given.
    """

    within: timedelta
    count: int | None = None
    share: float | None = None

    def is_exceeded(self, ill: int, declared: int) -> bool:
        if self.count is not None:
            return ill > self.count
        return self.share is not None and ill > self.share * declared


@dataclass(frozen=True, slots=True)
class Rulebook:
    """digest: SHA-256 over the source files; changes whenever any of them does. hold: None when nothing holds rollbacks back."""

    targets: Mapping[str, Target] = field(default_factory=dict)
    rules: tuple[Rule, ...] = ()
    plans: Mapping[str, Plan] = field(default_factory=dict)
    routes: tuple[Route, ...] = DEFAULT_ROUTES
    digest: str = ""
    hold: MassHold | None = None

    def plan_of(self, rule: Rule) -> Plan | None:
        """The plan to run for a rule; None when the rule only notifies."""
        if rule.response is Response.NOTIFY:
            return None
        return self.plans[rule.plan] if rule.plan else BARE_ROLLBACK
