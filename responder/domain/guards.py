"""The guards: small decisions over facts read freshly, just before acting. Unknown refuses.

Every guard is asked, even after one refused, so that people see the whole picture at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from responder.domain.guard import Outcome, Verdict
from responder.domain.ledger import changed_at
from responder.domain.ownership import judge_owners
from responder.domain.selection import Choice, choose_version
from responder.domain.target import Target
from responder.domain.version import LedgerEntry, WorkloadState
from responder.domain.wording import spell_duration

ROLLBACK_SAFE_ANNOTATION = "rollback-safe"  # "false" on the object: older code can't live with the newer schema


@dataclass(frozen=True, slots=True)
class Facts:
    """What the guards see.

    state: None when it could not be read; `unreadable` says why.
    began_at: when the alert began, None for a rollback that no alert asked for.
    bad_fingerprints: fingerprint → id of the incident that rolled it back.
    rollbacks: begun on this target within the limit's window.
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
    rollbacks: int = 0
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
    return [*verdicts, _verdict("proven", outcome, choice.reason)], choice


def _verdict(guard: str, outcome: Outcome, reason: str) -> Verdict:
    return Verdict(guard, outcome, reason)


def _alert_firing(facts: Facts, _: WorkloadState) -> Verdict:
    if facts.still_firing:
        return _verdict("alert_firing", Outcome.PASS, "the alert still fires")
    return _verdict("alert_firing", Outcome.REFUSE, "the alert does not fire any more: nothing to roll back for")


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


def _limit(facts: Facts, _: WorkloadState) -> Verdict:
    limit = facts.target.guards.max_rollbacks
    rollbacks = "1 rollback" if facts.rollbacks == 1 else f"{facts.rollbacks} rollbacks"
    seen = f"{rollbacks} in the last {spell_duration(limit.within)}, limit {limit.count}"
    return _verdict("max_rollbacks", Outcome.REFUSE if facts.rollbacks >= limit.count else Outcome.PASS, seen)


_GUARDS: tuple[Callable[[Facts, WorkloadState], Verdict], ...] = (
    _recent_change,
    _bad_before,
    _second_step,
    _owner,
    _single_flight,
    _alert_firing,
    _limit,
    _paused,
    _marker,
)
