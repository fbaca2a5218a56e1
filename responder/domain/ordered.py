"""The guards for a version that is named beforehand, by a person's order or by the plan.

For an order: what does not apply, what the person answers for, what nobody can overrule.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

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


def judge_for(
    facts: Facts, order: Order | None, *, chooses: bool = True, revisions: Sequence[str] = ()
) -> tuple[list[Verdict], Choice]:
    """Ask every guard, for an alert (no order) or for an order.

    chooses: whether the order's version is this target's. revisions: those that the plan asks for.
    """
    verdicts, choice = judge(facts)
    if facts.state is None:
        return verdicts, choice
    wishes = _wishes(order if chooses else None, revisions)
    if wishes:
        chosen, choice = _choose(facts, facts.state, wishes)
        others = [one for one in verdicts if one.guard not in _ABOUT_THE_VERSION]
        verdicts = [*others, chosen, *judge_version(facts, facts.state, choice.version)]
    if order is None:
        return verdicts, choice
    if choice.version is None:
        verdicts = [_nowhere(one, choice) for one in verdicts]
    if not chooses and (order.version or order.revision):
        verdicts = [_elsewhere(one, order, facts.target.name) for one in verdicts]
    return [_weigh(one, order) for one in verdicts], choice


def overridable(verdicts: Iterable[Verdict]) -> list[str]:
    """Names of the guards that refuse and that an order may override."""
    return [one.guard for one in verdicts if not one.passes and one.guard not in NEVER_OVERRIDDEN]


def _nowhere(verdict: Verdict, choice: Choice) -> Verdict:
    """Without a version to go back to there is nothing that a person could answer for; one that they name is judged by itself."""
    if verdict.guard != "proven" or verdict.passes:
        return verdict
    hint = "; name the version to go back to" if choice.passed_over else ""
    return Verdict("version", Outcome.REFUSE, f"{verdict.reason}{hint}")


def _elsewhere(verdict: Verdict, order: Order, target: str) -> Verdict:
    """Where a plan rolls back several targets, nobody may believe that they all go to the version that was ordered."""
    if verdict.guard not in ("proven", "version"):
        return verdict
    what = f"version {order.version}" if order.version else f"revision {order.revision}"
    return Verdict(verdict.guard, verdict.outcome, f"{verdict.reason}; {what} was ordered for another target, not for {target}")


def _weigh(verdict: Verdict, order: Order) -> Verdict:
    if verdict.passes:
        return verdict
    if verdict.guard in EXCUSED:
        return Verdict(verdict.guard, Outcome.PASS, f"does not apply: ordered by {order.by}, not by an alert")
    if verdict.guard in order.override and verdict.guard not in NEVER_OVERRIDDEN:
        return Verdict(verdict.guard, Outcome.PASS, f"overridden by {order.by}: {verdict.reason}")
    return verdict


_THE_PLAN = "the plan"


class _Wish(NamedTuple):
    """One thing that the version must be. by: who asks for it."""

    version: str
    revision: str
    by: str

    def __str__(self) -> str:
        what = f"version {self.version}" if self.version else f"revision {self.revision}"
        return f"{what} ({_THE_PLAN}'s wish)" if self.by == _THE_PLAN else what

    def is_met_by(self, version: Version) -> bool:
        return version.version == self.version if self.version else version.revision == self.revision


def _wishes(order: Order | None, revisions: Sequence[str]) -> list[_Wish]:
    wishes = [_Wish("", one, _THE_PLAN) for one in revisions]
    if order is not None and order.revision:
        wishes.insert(0, _Wish("", order.revision, order.by))
    if order is not None and order.version:
        wishes.insert(0, _Wish(order.version, "", order.by))
    return wishes


def _choose(facts: Facts, state: WorkloadState, wishes: Sequence[_Wish]) -> tuple[Verdict, Choice]:
    """The version that was asked for, as far as the history has it; what speaks against it is the `proven` guard's."""
    found = [one for one in state.history if all(wish.is_met_by(one) for wish in wishes)]
    others = [one for one in found if one.fingerprint != state.current.fingerprint]
    people = list(dict.fromkeys(wish.by for wish in wishes))
    if not others:
        asked = " and ".join(str(wish) for wish in wishes)
        known = ", ".join(describe(one) for one in state.history)
        reason = f"{asked} is what runs now" if found else f"{asked} is not in the history, which has {known}"
        return Verdict("version", Outcome.REFUSE, reason), Choice(None, reason, ())
    version = others[0]
    against, proof = assess(version, facts.ledger, facts.bad_fingerprints, facts.target.guards.proven_for)
    reason = f"{describe(version)} is not proven: {against}" if against else f"{describe(version)} is proven: {proof}"
    verdict = Verdict("proven", Outcome.REFUSE if against else Outcome.PASS, reason)
    return verdict, Choice(version, f"{describe(version)} was asked for by {' and '.join(people)}", ())
