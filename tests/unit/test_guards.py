"""Guards and the choice of a version: tables of facts and verdicts."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from responder.domain.guard import Outcome
from responder.domain.guards import Facts, judge
from responder.domain.selection import choose_version
from responder.domain.target import RollbackLimit
from responder.domain.version import Owner
from tests.unit.version_values import NOW, at, entry, state, target, version

V1 = version("v1", 1, -600)
V2 = version("v2", 2, -300)
V3 = version("v3", 3, -10, current=True)
LEDGER = (
    entry(V1, -600, -300, observed=False),
    entry(V2, -300, -10, available_from=at(-299), available_to=at(-10)),
    entry(V3, -10),
)
FACTS = Facts(target(), NOW, state(V3, V2, V1), began_at=at(-5), still_firing=True, ledger=LEDGER)


def verdicts(facts: Facts) -> dict[str, Outcome]:
    return {verdict.guard: verdict.outcome for verdict in judge(facts)[0]}


def test_a_bad_deploy_five_minutes_before_the_alert_passes_every_guard() -> None:
    outcome, choice = judge(FACTS)
    assert {verdict.outcome for verdict in outcome} == {Outcome.PASS}
    assert choice.version == V2
    assert len(outcome) == 10


REFUSALS = {
    "the alert began before the deployment": (
        replace(FACTS, began_at=at(-11)),
        "recent_change",
        Outcome.REFUSE,
        "the alert began 1m before v3 was rolled out",
    ),
    "nothing was deployed recently": (
        replace(FACTS, target=target(deployed_within=timedelta(minutes=2))),
        "recent_change",
        Outcome.REFUSE,
        "more than 2m",
    ),
    "nobody knows when the version was rolled out": (
        replace(FACTS, ledger=(*LEDGER[:2], entry(V3, None))),
        "recent_change",
        Outcome.UNKNOWN,
        "unknown when v3 was rolled out",
    ),
    "nobody knows when the alert began": (
        replace(FACTS, began_at=None),
        "recent_change",
        Outcome.UNKNOWN,
        "unknown when the alert",
    ),
    "this version was rolled back before": (
        replace(FACTS, bad_fingerprints={V3.fingerprint: "inc_7"}),
        "once_per_version",
        Outcome.REFUSE,
        "inc_7",
    ),
    "the current version is the result of a rollback": (
        replace(FACTS, restored_by="inc_8"),
        "second_step",
        Outcome.REFUSE,
        "never a second step back",
    ),
    "Argo CD owns the object": (
        replace(FACTS, state=state(V3, V2, V1, owners=(Owner("ArgoCD", "shop"),))),
        "owner",
        Outcome.REFUSE,
        "ArgoCD shop",
    ),
    "the owner can't be determined": (
        replace(FACTS, state=state(V3, V2, V1, owner_unknown="no right to list rollouts")),
        "owner",
        Outcome.UNKNOWN,
        "no right to list rollouts",
    ),
    "another incident is acting": (replace(FACTS, acting="inc_9"), "single_flight", Outcome.REFUSE, "inc_9"),
    "the alert has cleared": (replace(FACTS, still_firing=False), "alert_firing", Outcome.REFUSE, "does not fire any more"),
    "two rollbacks were enough for today": (replace(FACTS, rollbacks=2), "max_rollbacks", Outcome.REFUSE, "limit 2"),
    "a person paused the rollout": (
        replace(FACTS, state=state(V3, V2, V1, paused=True)),
        "paused",
        Outcome.REFUSE,
        "paused by a person",
    ),
    "the migration is marked as unsafe": (
        replace(FACTS, state=state(V3, V2, V1, annotations={"rollback-safe": "False "})),
        "rollback_safe",
        Outcome.REFUSE,
        "asks for a person",
    ),
    "no earlier version is proven": (
        replace(FACTS, ledger=(entry(V3, -10),)),
        "proven",
        Outcome.REFUSE,
        "no earlier version is proven",
    ),
    "there is no earlier version": (
        replace(FACTS, state=state(V3)),
        "proven",
        Outcome.REFUSE,
        "no earlier version to go back to",
    ),
    "the target can't be read": (
        replace(FACTS, state=None, unreadable="connection refused"),
        "readable",
        Outcome.UNKNOWN,
        "connection refused",
    ),
}


@pytest.mark.parametrize(("facts", "guard", "outcome", "words"), REFUSALS.values(), ids=REFUSALS.keys())
def test_a_rollback_is_refused_when(facts: Facts, guard: str, outcome: Outcome, words: str) -> None:
    given, choice = judge(facts)
    verdict = next(one for one in given if one.guard == guard)
    assert (verdict.outcome, verdict.passes) == (outcome, False)
    assert words in verdict.reason
    assert [one.guard for one in given if not one.passes] == [guard]
    if facts.state is None:
        assert choice.version is None


def test_a_single_rollback_is_spelled_as_one() -> None:
    [seen] = [one for one in judge(replace(FACTS, rollbacks=1))[0] if one.guard == "max_rollbacks"]
    assert seen.reason == "1 rollback in the last 1d, limit 2"


def test_a_raised_limit_lets_a_third_rollback_pass() -> None:
    facts = replace(FACTS, rollbacks=2, target=target(max_rollbacks=RollbackLimit(3, timedelta(hours=24))))
    assert verdicts(facts)["max_rollbacks"] is Outcome.PASS


def test_a_restart_is_not_a_change() -> None:
    restarted = version("v3", 4, -1, current=True)
    facts = replace(FACTS, state=state(restarted, V3, V2, V1), began_at=at(-5), ledger=LEDGER)
    assert verdicts(facts)["recent_change"] is Outcome.PASS, "v3 was rolled out at -10, the restart at -1 does not count"
    assert judge(replace(facts, ledger=()))[0][0].outcome is Outcome.PASS, "and so says the history alone"


CHOICES = {
    "the newest proven one": (LEDGER, {}, "v2"),
    "a version that was rolled back is passed over": (LEDGER, {V2.fingerprint: "inc_1"}, "v1"),
    "a version that was never available for long is passed over": (
        (LEDGER[0], entry(V2, -300, -10, available_from=at(-12), available_to=at(-10)), LEDGER[2]),
        {},
        "v1",
    ),
    "a version that an incident blamed is passed over": ((LEDGER[0], replace(LEDGER[1], failed_at=at(-20)), LEDGER[2]), {}, "v1"),
    "an ended stretch counts": (
        (LEDGER[0], entry(V2, -300, -10, longest=timedelta(minutes=11)), LEDGER[2]),
        {},
        "v2",
    ),
    "none when every one was bad": (LEDGER, {V1.fingerprint: "inc_1", V2.fingerprint: "inc_2"}, None),
    "none when the ledger knows nothing": ((), {}, None),
    "a version seen by the ledger only briefly is not proven by its age": (
        (entry(V1, -600, -300), entry(V2, -300, -10), LEDGER[2]),
        {},
        None,
    ),
}


@pytest.mark.parametrize(("ledger", "bad", "chosen"), CHOICES.values(), ids=CHOICES.keys())
def test_the_version_to_go_back_to(ledger: tuple, bad: dict[str, str], chosen: str | None) -> None:
    choice = choose_version(state(V3, V2, V1), ledger, bad, timedelta(minutes=10))
    assert (choice.version.version if choice.version else None) == chosen
    for passed_over, _ in choice.passed_over:
        assert passed_over.version in choice.reason


def test_revisions_equal_to_the_current_version_are_never_chosen() -> None:
    same = version("v3", 2, -300)
    ledger = (entry(V1, -600, -300, observed=False), entry(V3, -300, available_from=at(-299), available_to=NOW))
    choice = choose_version(state(V3, same, V1), ledger, {}, timedelta(minutes=10))
    assert choice.version == V1
