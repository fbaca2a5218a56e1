"""The guards: small decisions over facts read freshly, just before acting. Unknown refuses.

Every guard is asked, even after one refused, so that people see the whole picture at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from responder.domain.guard import Outcome, Verdict
from responder.domain.ledger import changed_at, last_ran
from responder.domain.ownership import judge_owners
from responder.domain.past_rollbacks import (
    PastRollback,
    judge_blast_radius,
    judge_breaker,
    judge_own_limit,
    judge_settle,
)
from responder.domain.selection import Choice, choose_version
from responder.domain.surroundings import judge_autoscaler, judge_budget, judge_config, judge_images, judge_quota
from responder.domain.target import DEFAULT_LIMITS, Limits, Target
from responder.domain.version import LedgerEntry, RolloutPhase, Version, WorkloadState
from responder.domain.wording import one_line, spell_duration

ROLLBACK_SAFE_ANNOTATION = "rollback-safe"  # "false" on the object: older code can't live with the newer schema
HOLD_ANNOTATION = "responder.dev/hold"
"""On the object: whatever it says but "false" keeps Responder away from it; a text is taken as the reason."""

WAIVABLE = ("recent_change", "settle", "rollout")
"""Guards that a target may declare to only warn: what they know of, a team may know better."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What the guards see.

    state: None when it could not be read; `unreadable` says why.
    began_at: when the alert began, None for a rollback that no alert asked for.
    bad_fingerprints: fingerprint → id of the incident that rolled it back.
    past: rollbacks of all targets that others began. looked_at: when a person last lifted a hold.
    restored_by: incident whose rollback put the current version there; "" if none.
    acting: another incident that is acting on this target; "" if none.
    second_look: what the sender says when asked again; None when it was not asked.
    """

    target: Target
    now: datetime
    state: WorkloadState | None = None
    unreadable: str = ""
    began_at: datetime | None = None
    still_firing: bool = False
    ledger: tuple[LedgerEntry, ...] = ()
    bad_fingerprints: Mapping[str, str] = field(default_factory=dict)
    past: tuple[PastRollback, ...] = ()
    limits: Limits = DEFAULT_LIMITS
    looked_at: datetime | None = None
    restored_by: str = ""
    acting: str = ""
    second_look: Verdict | None = None


def judge(facts: Facts) -> tuple[list[Verdict], Choice]:
    """Ask every guard. The choice names the version to go back to when the `proven` guard passes."""
    if facts.state is None:
        return [_verdict("readable", Outcome.UNKNOWN, facts.unreadable or "the target could not be read")], Choice(None, "", ())
    choice = choose_version(facts.state, facts.ledger, facts.bad_fingerprints, facts.target.guards.proven_for)
    verdicts = [guard(facts, facts.state) for guard in _GUARDS]
    if facts.second_look is not None:
        verdicts.append(facts.second_look)
    outcome = Outcome.PASS if choice.version else Outcome.REFUSE
    verdicts += [_verdict("proven", outcome, choice.reason), *judge_version(facts, facts.state, choice.version)]
    return _as_declared(verdicts, facts.target), choice


def judge_version(facts: Facts, state: WorkloadState, version: Version | None) -> list[Verdict]:
    """The guards about what the chosen version meets there; none when none was chosen."""
    if version is None:
        return []
    settings, around = facts.target.guards, state.surroundings
    since = last_ran(facts.ledger, version.fingerprint)
    return [
        _verdict("quota", *judge_quota(around, version.digest, settings.quota)),
        _verdict("configuration", *judge_config(around, version.digest, since, settings.changed_config)),
        _verdict("image", *judge_images(version.images)),
    ]


def _as_declared(verdicts: list[Verdict], target: Target) -> list[Verdict]:
    """With the target's own exceptions, in its own order."""
    first = target.guards.order
    waived = [_waived(one) if one.guard in target.guards.waive and not one.passes else one for one in verdicts]
    return sorted(waived, key=lambda one: first.index(one.guard) if one.guard in first else len(first))


def _waived(verdict: Verdict) -> Verdict:
    return _verdict(verdict.guard, Outcome.WARN, f"waived by the rulebook: {verdict.reason}")


def _verdict(guard: str, outcome: Outcome, reason: str) -> Verdict:
    return Verdict(guard, outcome, reason)


def _alert_firing(facts: Facts, _: WorkloadState) -> Verdict:
    if facts.still_firing:
        return _verdict("alert_firing", Outcome.PASS, "the alert still fires")
    reason = "the alert does not fire any more, as far as the rules in force see: nothing to roll back for"
    return _verdict("alert_firing", Outcome.REFUSE, reason)


def _single_flight(facts: Facts, _: WorkloadState) -> Verdict:
    if facts.acting:
        return _verdict("single_flight", Outcome.REFUSE, f"incident {facts.acting} is acting on {facts.target.name}")
    return _verdict("single_flight", Outcome.PASS, "no other incident is acting on this target")


def _owner(facts: Facts, state: WorkloadState) -> Verdict:
    return _verdict("owner", *judge_owners(facts.target, state))


def _paused(_: Facts, state: WorkloadState) -> Verdict:
    if state.paused:
        return _verdict("paused", Outcome.REFUSE, "the rollout was paused by a person")
    return _verdict("paused", Outcome.PASS, "the rollout is not paused")


def _marker(_: Facts, state: WorkloadState) -> Verdict:
    if state.annotations.get(ROLLBACK_SAFE_ANNOTATION, "").strip().lower() == "false":
        reason = f'the annotation {ROLLBACK_SAFE_ANNOTATION}: "false" asks for a person (unsafe migration)'
        return _verdict("rollback_safe", Outcome.REFUSE, reason)
    return _verdict("rollback_safe", Outcome.PASS, "not marked as unsafe to roll back")


def _recent_change(facts: Facts, state: WorkloadState) -> Verdict:
    window = facts.target.guards.deployed_within
    changed = changed_at(state, facts.ledger)
    if changed is None:
        return _verdict("recent_change", Outcome.UNKNOWN, f"unknown when {state.current.version} was rolled out")
    if facts.began_at is None:
        return _verdict("recent_change", Outcome.UNKNOWN, "unknown when the alert began")
    since = spell_duration(abs(facts.began_at - changed))
    if facts.began_at < changed:
        reason = f"the alert began {since} before {state.current.version} was rolled out: rolling back can't help"
        return _verdict("recent_change", Outcome.REFUSE, reason)
    if facts.began_at - changed > window:
        reason = f"the last material change was {since} before the alert, more than {spell_duration(window)}: not the suspect"
        return _verdict("recent_change", Outcome.REFUSE, reason)
    return _verdict("recent_change", Outcome.PASS, f"{state.current.version} was rolled out {since} before the alert began")


def _bad_before(facts: Facts, state: WorkloadState) -> Verdict:
    incident = facts.bad_fingerprints.get(state.current.fingerprint)
    if incident is not None:
        reason = f"{state.current.version} was rolled back before by incident {incident}: a second time needs a person"
        return _verdict("once_per_version", Outcome.REFUSE, reason)
    return _verdict("once_per_version", Outcome.PASS, f"{state.current.version} was never rolled back")


def _second_step(facts: Facts, state: WorkloadState) -> Verdict:
    if facts.restored_by:
        reason = f"{state.current.version} was restored by incident {facts.restored_by}: never a second step back"
        return _verdict("second_step", Outcome.REFUSE, reason)
    return _verdict("second_step", Outcome.PASS, "the current version is not the result of a rollback")


def _own_limit(facts: Facts, _: WorkloadState) -> Verdict:
    limit = facts.target.guards.max_rollbacks
    return _verdict("max_rollbacks", *judge_own_limit(facts.past, facts.target.key, limit, facts.now))


def _blast_radius(facts: Facts, _: WorkloadState) -> Verdict:
    return _verdict("blast_radius", *judge_blast_radius(facts.past, facts.target.key, facts.limits, facts.now))


def _breaker(facts: Facts, _: WorkloadState) -> Verdict:
    target = facts.target
    judged = judge_breaker(facts.past, target.key, target.guards.max_failures, facts.limits, facts.looked_at)
    return _verdict("breaker", *judged)


def _settle(facts: Facts, _: WorkloadState) -> Verdict:
    return _verdict("settle", *judge_settle(facts.past, facts.target.key, facts.target.guards.settle_for, facts.now))


def kept_away(annotations: Mapping[str, str]) -> str:
    """Why the object itself is not to be changed, "" if it may be."""
    said = annotations.get(HOLD_ANNOTATION, "").strip()
    if not said or said.lower() == "false":
        return ""
    why = "" if said.lower() == "true" else f": {one_line(said, 200)}"
    return f"the annotation {HOLD_ANNOTATION} on the object keeps Responder away{why}"


def _held(_: Facts, state: WorkloadState) -> Verdict:
    reason = kept_away(state.annotations)
    if reason:
        return _verdict("object_hold", Outcome.REFUSE, reason)
    return _verdict("object_hold", Outcome.PASS, "no annotation on the object keeps Responder away")


def _rollout(facts: Facts, state: WorkloadState) -> Verdict:
    """A rollout in progress may be the suspect. One that somebody began after the alert is their answer to it."""
    if state.rollout.phase is not RolloutPhase.PROGRESSING:
        return _verdict("rollout", Outcome.PASS, "no rollout is in progress")
    began = state.current.created_at or changed_at(state, facts.ledger)
    if began is None or facts.began_at is None:
        return _verdict("rollout", Outcome.UNKNOWN, "a rollout is in progress, and unknown whether it began before the alert")
    if began > facts.began_at:
        after = spell_duration(began - facts.began_at)
        reason = f"a rollout is in progress that began {after} after the alert: it is not the suspect, and somebody is at work"
        return _verdict("rollout", Outcome.REFUSE, reason)
    return _verdict("rollout", Outcome.PASS, f"the rollout in progress ({state.rollout.reason}) is the suspect")


def _autoscaler(_: Facts, state: WorkloadState) -> Verdict:
    return _verdict("autoscaler", *judge_autoscaler(state.surroundings))


def _budget(facts: Facts, state: WorkloadState) -> Verdict:
    return _verdict("disruption_budget", *judge_budget(state.surroundings, facts.target.guards.disruption_budget))


_GUARDS: tuple[Callable[[Facts, WorkloadState], Verdict], ...] = (
    _held,
    _recent_change,
    _bad_before,
    _second_step,
    _owner,
    _single_flight,
    _alert_firing,
    _breaker,
    _own_limit,
    _blast_radius,
    _settle,
    _rollout,
    _paused,
    _marker,
    _autoscaler,
    _budget,
)
NAMES = (
    "object_hold",
    "recent_change",
    "once_per_version",
    "second_step",
    "owner",
    "single_flight",
    "alert_firing",
    "breaker",
    "max_rollbacks",
    "blast_radius",
    "settle",
    "rollout",
    "paused",
    "rollback_safe",
    "autoscaler",
    "disruption_budget",
    "second_look",
    "proven",
    "quota",
    "configuration",
    "image",
)
"""All of them, in the order in which they are told unless a target says otherwise."""
