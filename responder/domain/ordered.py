"""The guards for a rollback that a person ordered: what does not apply, what the person answers for, what nobody can overrule."""

from __future__ import annotations

from collections.abc import Iterable

from responder.domain.guard import Outcome, Verdict
from responder.domain.guards import Facts, judge, judge_version
from responder.domain.incident import Order
from responder.domain.selection import Choice, assess, describe
from responder.domain.version import Version, WorkloadState

EXCUSED = frozenset({"alert_firing", "recent_change", "second_look", "rollout", "settle"})
"""They judge an alert; an order needs none."""

_ABOUT_THE_VERSION = frozenset({"proven", "quota", "configuration", "image"})

NEVER_OVERRIDDEN = frozenset({"readable", "single_flight", "owner", "hold", "object_hold", "version"})
"""No order gets past these: what would happen is not known, or would be undone, or done twice."""


def judge_for(facts: Facts, order: Order | None, *, chooses: bool = True) -> tuple[list[Verdict], Choice]:
    """Ask every guard, for an alert (no order) or for an order. chooses: whether the order's version is this target's."""
    verdicts, choice = judge(facts)
    if order is None or facts.state is None:
        return verdicts, choice
    if chooses and (order.version or order.revision):
        chosen, choice = _choose(facts, facts.state, order)
        others = [one for one in verdicts if one.guard not in _ABOUT_THE_VERSION]
        verdicts = [*others, chosen, *judge_version(facts, facts.state, choice.version)]
    return [_weigh(one, order) for one in verdicts], choice


def overridable(verdicts: Iterable[Verdict]) -> list[str]:
    """Names of the guards that refuse and that an order may override."""
    return [one.guard for one in verdicts if not one.passes and one.guard not in NEVER_OVERRIDDEN]


def _weigh(verdict: Verdict, order: Order) -> Verdict:
    if verdict.passes:
        return verdict
    if verdict.guard in EXCUSED:
        return Verdict(verdict.guard, Outcome.PASS, f"does not apply: ordered by {order.by}, not by an alert")
    if verdict.guard in order.override and verdict.guard not in NEVER_OVERRIDDEN:
        return Verdict(verdict.guard, Outcome.PASS, f"overridden by {order.by}: {verdict.reason}")
    return verdict


def _choose(facts: Facts, state: WorkloadState, order: Order) -> tuple[Verdict, Choice]:
    """The version that was asked for, as far as the history has it; what speaks against it is the `proven` guard's."""
    parts = (("version", order.version), ("revision", order.revision))
    asked = " and ".join(f"{word} {given}" for word, given in parts if given)
    found = [one for one in state.history if _is_meant(one, order)]
    others = [one for one in found if one.fingerprint != state.current.fingerprint]
    if not others:
        known = ", ".join(describe(one) for one in state.history)
        reason = f"{asked} is what runs now" if found else f"{asked} is not in the history, which has {known}"
        return Verdict("version", Outcome.REFUSE, reason), Choice(None, reason, ())
    version = others[0]
    against, proof = assess(version, facts.ledger, facts.bad_fingerprints, facts.target.guards.proven_for)
    reason = f"{describe(version)} is not proven: {against}" if against else f"{describe(version)} is proven: {proof}"
    verdict = Verdict("proven", Outcome.REFUSE if against else Outcome.PASS, reason)
    return verdict, Choice(version, f"{describe(version)} was asked for by {order.by}", ())


def _is_meant(version: Version, order: Order) -> bool:
    return (not order.version or version.version == order.version) and (not order.revision or version.revision == order.revision)
