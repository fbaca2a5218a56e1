"""The rulebook as values: targets, rules, plans, notification routes.

Built by `responder.rulebook`; defaults that people rely on are declared here once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum

from responder.domain.condition import ANY_FIRING, Condition
from responder.domain.matcher import Matcher
from responder.domain.plan import BARE_ROLLBACK, Plan
from responder.domain.target import DEFAULT_LIMITS, Limits, Target


class Severity(StrEnum):
    P0 = "P0"
    P1 = "P1"
    P2 = "P2"
    P3 = "P3"


class Response(StrEnum):
    ROLLBACK = "rollback"
    APPROVE = "approve"  # the same, once a person has said yes
    NOTIFY = "notify"


class Unanswered(StrEnum):
    """What happens when nobody answers a request for approval in time."""

    REFUSE = "refuse"
    PROCEED = "proceed"


@dataclass(frozen=True, slots=True)
class ApprovalTerms:
    """by: names of people or roles whose word counts; () for everybody who may approve. within: how long the request stands."""

    within: timedelta = timedelta(minutes=30)
    by: tuple[str, ...] = ()
    unanswered: Unanswered = Unanswered.REFUSE


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
    grace: a countdown before acting that a person, or the end of the alert, can stop. approval: the terms with APPROVE.
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
    grace: timedelta = timedelta(0)
    approval: ApprovalTerms = ApprovalTerms()


@dataclass(frozen=True, slots=True)
class Route:
    """Who is told. to: name of a notifier. components: Statuspage component ids by target name.

    addresses: for mail: our own people. customers: those who hear only what a status page would say.
    targets: of whose incidents; () for all. What is about no target goes everywhere.
    """

    to: str
    severities: frozenset[Severity] = frozenset(Severity)
    components: Mapping[str, str] = field(default_factory=dict)
    addresses: tuple[str, ...] = ()
    customers: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()


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
class Freeze:
    """A window that comes again and again, in which nothing is rolled back by itself; what people order is not concerned.

    cron: when it begins, five fields, in `timezone` (IANA name). targets: names, () for all. asks: a person may allow it.
    """

    cron: str
    duration: timedelta
    reason: str
    timezone: str = "UTC"
    targets: tuple[str, ...] = ()
    asks: bool = False


@dataclass(frozen=True, slots=True)
class EscalationLevel:
    """Who else is told when nobody has an incident in hand. after: counted from when people were first needed.

    tell: names of notifiers. addresses: for mail, () for those of its routes. contacts: names and numbers for whoever is told.
    targets: for their incidents, instead of the levels for everybody; () is a level for everybody.
    """

    after: timedelta
    tell: tuple[str, ...]
    severities: frozenset[Severity] = frozenset(Severity)
    addresses: tuple[str, ...] = ()
    contacts: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Rulebook:
    """digest: SHA-256 over the source files; changes whenever any of them does. hold: None when nothing holds rollbacks back."""

    targets: Mapping[str, Target] = field(default_factory=dict)
    rules: tuple[Rule, ...] = ()
    plans: Mapping[str, Plan] = field(default_factory=dict)
    routes: tuple[Route, ...] = DEFAULT_ROUTES
    digest: str = ""
    hold: MassHold | None = None
    limits: Limits = DEFAULT_LIMITS
    freezes: tuple[Freeze, ...] = ()
    escalation: tuple[EscalationLevel, ...] = ()

    def plan_of(self, rule: Rule) -> Plan | None:
        """The plan to run for a rule; None when the rule only notifies."""
        if rule.response is Response.NOTIFY:
            return None
        return self.plans[rule.plan] if rule.plan else BARE_ROLLBACK
