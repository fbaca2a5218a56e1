"""Incidents: one problem on one target, from the first decision to closed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from responder.domain.plan import Plan
from responder.domain.rulebook import ApprovalTerms, Severity
from responder.domain.version import Pin

FORCED = "forced"
"""In the place of a rule's name, for what a person ordered."""


class IncidentStatus(StrEnum):
    OBSERVED = "observed"
    WAITING_APPROVAL = "waiting_approval"
    COUNTDOWN = "countdown"
    RUNNING = "running"
    VERIFYING = "verifying"
    MONITORING = "monitoring"
    RESOLVED = "resolved"
    FAILED = "failed"
    REFUSED = "refused"
    CANCELLED = "cancelled"
    SUPPRESSED = "suppressed"
    NOTIFIED = "notified"


# `observed` closes too: in observe mode everything is said and nothing is done.
OPEN_STATUSES = frozenset(
    {
        IncidentStatus.WAITING_APPROVAL,
        IncidentStatus.COUNTDOWN,
        IncidentStatus.RUNNING,
        IncidentStatus.VERIFYING,
        IncidentStatus.MONITORING,
    }
)


class StepStatus(StrEnum):
    PENDING = "pending"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    SKIPPED = "skipped"


class Phase(StrEnum):
    """Which list of the plan a step stands in."""

    STEPS = "steps"
    VERIFY = "verify"
    MONITOR = "monitor"
    ON_FAILURE = "on_failure"
    COMPENSATION = "compensation"  # what undoes a step of the same name after the plan has failed or was stopped
    CHECKPOINT = "checkpoint"  # looked at again long after the incident was resolved


@dataclass(frozen=True, slots=True)
class StepRecord:
    """One step of a run as it stands. attempts counts tries begun. output: for people, cut and redacted.

    intent: what the step wrote down before its effect; a resumed step reads it first. None before that.
    refused: it failed because it said no, and changed nothing.
    """

    name: str
    uses: str
    phase: Phase
    status: StepStatus = StepStatus.PENDING
    attempts: int = 0
    started_at: datetime | None = None
    ended_at: datetime | None = None
    output: str = ""
    intent: Mapping[str, object] | None = None
    refused: bool = False


@dataclass(frozen=True, slots=True)
class Order:
    """What a person ordered with a forced rollback. by: name of the token's owner.

    version, revision: what to go back to, "" lets the guards choose. immediate: no grace, no approval.
    skip_validation: without the plan's `verify`. create_backup: the plan's backup steps are not to be skipped.
    override: names of guards that the person answers for.
    """

    by: str
    reason: str
    version: str = ""
    revision: str = ""
    immediate: bool = False
    skip_validation: bool = False
    create_backup: bool = False
    override: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Word:
    """What a person said, and when. by: "" when nobody did and time decided."""

    by: str
    at: datetime
    reason: str = ""


def said_by(what: str, word: Word) -> str:
    """`approved by ann: the fix is on its way`"""
    return f"{what} by {word.by or 'nobody'}" + (f": {word.reason}" if word.reason else "")


@dataclass(frozen=True, slots=True)
class Approval:
    """A request for somebody's yes. step: name of the step that asks, "" for the start of the run.

    terms: who may say it (`by`), as the rule or the step asked. given, denied: the answer; both None while it is open.
    """

    step: str
    asked_at: datetime
    expires_at: datetime
    by: tuple[str, ...] = ()
    given: Word | None = None
    denied: Word | None = None


@dataclass(frozen=True, slots=True)
class IncidentEvent:
    """One line of the incident's story. kind: snake_case, stable; text: one plain sentence."""

    at: datetime
    kind: str
    text: str
    data: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Incident:
    """identity: `Decision.identity`; unique for ever. id: `inc_…`, for people and URLs.

    groups: (rule, group) pairs that this incident answers for: its own first, then those that joined.
    joined: identities of the decisions that joined; looked up like the incident's own identity.
    workload: where the target was when the incident was opened, in words; "" without one.
    failure: why the run failed, set before `on_failure` steps begin, so that a restart goes on with them; "" otherwise.
    message_count: messages told so far; numbers the next one.
    pins: by target name. plan: as it was when the incident was opened, so that a reload can't change it; None if nothing runs.
    inputs: values for the plan's inputs. order: set when a person ordered the run. approvals: oldest first.
    countdown_until: end of the grace. cancel: somebody asked to stop; the run ends at the next safe point.
    acknowledged: somebody has it in hand: escalation stops. quieted: somebody suppressed its alerts for a while from here.
    asks: the terms of the approval that the run needs before it begins, None for none. grace: the countdown before it begins.
    escalated: `after` of each escalation level that was told. calm_at: when its alerts were over after it had closed without us.
    declined: in observe mode: the guards would have refused.
    began_at: when the trouble began. acted_at: first write to the target. recovered_at: when verification passed.
    """

    id: str
    identity: str
    target: str
    rule: str
    group: str
    severity: Severity
    status: IncidentStatus
    reason: str
    opened_at: datetime
    workload: str = ""
    groups: tuple[tuple[str, str], ...] = ()
    joined: tuple[str, ...] = ()
    message_count: int = 0
    failure: str = ""
    closed_at: datetime | None = None
    plan: Plan | None = None
    pins: Mapping[str, Pin] = field(default_factory=dict)
    steps: tuple[StepRecord, ...] = ()
    trigger_labels: Mapping[str, str] = field(default_factory=dict)
    trigger_annotations: Mapping[str, str] = field(default_factory=dict)
    trigger_link: str = ""
    value: float | None = None
    began_at: datetime | None = None
    run_started_at: datetime | None = None
    acted_at: datetime | None = None
    recovered_at: datetime | None = None
    monitor_until: datetime | None = None
    inputs: Mapping[str, str] = field(default_factory=dict)
    order: Order | None = None
    approvals: tuple[Approval, ...] = ()
    countdown_until: datetime | None = None
    cancel: Word | None = None
    acknowledged: Word | None = None
    quieted: Word | None = None
    asks: ApprovalTerms | None = None
    grace: timedelta = timedelta(0)
    escalated: tuple[timedelta, ...] = ()
    calm_at: datetime | None = None
    declined: bool = False

    @property
    def is_open(self) -> bool:
        return self.status in OPEN_STATUSES
