"""Guards and the choice of a version: tables of facts and verdicts."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from responder.domain.guard import Outcome
from responder.domain.guards import NAMES, Facts, judge
from responder.domain.incident import Order
from responder.domain.ordered import judge_for
from responder.domain.past_rollbacks import PastRollback
from responder.domain.plan import PARALLEL, Plan, Step, revisions_asked
from responder.domain.selection import choose_version
from responder.domain.surroundings import Budget, Config, Quota, Surroundings, judge_config, judge_quota
from responder.domain.target import Concern, GuardSettings, HelmRef, Limits, Place, RollbackLimit, WorkloadRef, namespace_of
from responder.domain.version import Owner, Version
from tests.unit.version_values import NOW, PROGRESSING, at, entry, state, target, version

V0 = version("v0", 4, -700)
V1 = version("v1", 1, -600)
V2 = version("v2", 2, -300)
V3 = version("v3", 3, -10, current=True)
LEDGER = (
    entry(V1, -600, -300, observed=False),
    entry(V2, -300, -10, available_from=at(-299), available_to=at(-10)),
    entry(V3, -10),
)
FACTS = Facts(target(), NOW, state(V3, V2, V1), began_at=at(-5), still_firing=True, ledger=LEDGER)


def past(name: str, began: float, *, namespace: str = "shop", **ending: bool) -> PastRollback:
    return PastRollback(str(WorkloadRef(namespace, name)), f"inc_{name}{began:+}", at(began), **ending)


def reads(*configs: Config, **around: Any) -> Surroundings:
    """What v2 meets: one that reads these."""
    names = tuple(one.name for one in configs)
    return Surroundings(references={V2.digest: names}, configs={one.name: one for one in configs}, **around)


def verdicts(facts: Facts) -> dict[str, Outcome]:
    return {verdict.guard: verdict.outcome for verdict in judge(facts)[0]}


def test_a_bad_deploy_five_minutes_before_the_alert_passes_every_guard() -> None:
    outcome, choice = judge(FACTS)
    assert {verdict.outcome for verdict in outcome} == {Outcome.PASS}
    assert choice.version == V2
    assert [verdict.guard for verdict in outcome] == [name for name in NAMES if name != "second_look"]


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
    "two rollbacks were enough for today": (
        replace(FACTS, past=(past("app", -600), past("app", -700))),
        "max_rollbacks",
        Outcome.REFUSE,
        "2 rollbacks in the last 1d, limit 2",
    ),
    "five targets were rolled back within the hour": (
        replace(FACTS, past=tuple(past(f"a{n}", -n, namespace=f"n{n}") for n in range(1, 6))),
        "blast_radius",
        Outcome.REFUSE,
        "5 rollbacks over all targets in the last 1h, limit 5",
    ),
    "three targets of its namespace were rolled back within the hour": (
        replace(FACTS, past=tuple(past(f"a{n}", -n) for n in range(1, 4))),
        "blast_radius",
        Outcome.REFUSE,
        "3 rollbacks in namespace shop in the last 1h, limit 3",
    ),
    "two rollbacks of it failed yesterday": (
        replace(
            FACTS,
            target=target(max_rollbacks=RollbackLimit(9)),
            past=(past("app", -1500, failed=True), past("app", -1600, failed=True)),
        ),
        "breaker",
        Outcome.REFUSE,
        "2 rollbacks within 1d (inc_app-1600, inc_app-1500) failed on this target; a person must close it",
    ),
    "three rollbacks of other targets failed": (
        replace(FACTS, past=tuple(past(f"a{n}", -90 - n, failed=True) for n in range(3))),
        "breaker",
        Outcome.REFUSE,
        "the breaker for all targets is open: 3 rollbacks within 6h",
    ),
    "it was rolled back a moment ago": (
        replace(FACTS, past=(past("app", -4),)),
        "settle",
        Outcome.REFUSE,
        "began 4m ago: it is given 10m to settle",
    ),
    "somebody restarts it since the alert": (
        replace(
            FACTS,
            state=state(replace(V3, revision="4", created_at=at(-1)), V3, V2, V1, rollout=PROGRESSING),
        ),
        "rollout",
        Outcome.REFUSE,
        "began 4m after the alert: it is not the suspect",
    ),
    "a rollout of unknown age is in progress": (
        replace(
            FACTS,
            state=state(replace(V3, created_at=None), V2, V1, rollout=PROGRESSING),
            ledger=(*LEDGER[:2], entry(V3, None)),
            target=replace(FACTS.target, guards=replace(FACTS.target.guards, waive=("recent_change",))),
        ),
        "rollout",
        Outcome.UNKNOWN,
        "unknown whether it began before the alert",
    ),
    "its own annotation says so": (
        replace(FACTS, state=state(V3, V2, V1, annotations={"responder.dev/hold": "migration, ask ann"})),
        "object_hold",
        Outcome.REFUSE,
        "keeps Responder away: migration, ask ann",
    ),
    "what the version reads is gone": (
        replace(FACTS, state=state(V3, V2, V1, surroundings=reads(Config("configmap/old")))),
        "configuration",
        Outcome.REFUSE,
        "configmap/old, which that version reads, is not there any more",
    ),
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
    [seen] = [one for one in judge(replace(FACTS, past=(past("app", -60),)))[0] if one.guard == "max_rollbacks"]
    assert seen.reason == "1 rollback in the last 1d, limit 2"


def test_a_raised_limit_lets_a_third_rollback_pass() -> None:
    facts = replace(
        FACTS, past=(past("app", -600), past("app", -700)), target=target(max_rollbacks=RollbackLimit(3, timedelta(hours=24)))
    )
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


# --- what only warns unless a target says otherwise ----------------------------------------------------------------------

TIGHT = Quota("team", {"requests.cpu": Decimal(4), "pods": Decimal(10)}, {"requests.cpu": Decimal("3.8"), "pods": Decimal(3)})
NEEDS = {V2.digest: {"requests.cpu": Decimal("0.5"), "pods": Decimal(1)}}
CONCERNS = {
    "a ConfigMap changed since": (
        reads(Config("configmap/app", at(-3))),
        "changed_config",
        "configuration",
        "configmap/app changed after that version last ran",
    ),
    "a ConfigMap can't be looked at": (
        reads(Config("configmap/app", unreadable="missing right: get configmaps")),
        "changed_config",
        "configuration",
        "missing right: get configmaps",
    ),
    "the rollout may leave fewer pods than a budget wants": (
        Surroundings(replicas=3, unavailable=3, budgets=(Budget("two", 2),)),
        "disruption_budget",
        "disruption_budget",
        "wants 2 healthy pods, and the rollout may leave 0 of 3",
    ),
    "budgets can't be read": (
        Surroundings(replicas=3, budgets=None, unreadable={"budgets": "missing right: list poddisruptionbudgets"}),
        "disruption_budget",
        "disruption_budget",
        "missing right: list poddisruptionbudgets",
    ),
    "a new pod does not fit into the quota": (
        Surroundings(surge=1, quotas=(TIGHT,), needs=NEEDS),
        "quota",
        "quota",
        "has 0.2 requests.cpu left, and a new pod needs 0.5",
    ),
    "quotas can't be read": (
        Surroundings(quotas=None, unreadable={"quotas": "missing right: list resourcequotas"}),
        "quota",
        "quota",
        "missing right: list resourcequotas",
    ),
}


@pytest.mark.parametrize(("around", "setting", "guard", "words"), CONCERNS.values(), ids=CONCERNS.keys())
def test_people_are_warned_and_a_target_may_want_more_or_less_when(
    around: Surroundings, setting: str, guard: str, words: str
) -> None:
    def found(concern: Concern) -> tuple[Outcome, bool, str]:
        facts = replace(FACTS, target=target(**{setting: concern}), state=state(V3, V2, V1, surroundings=around))
        [verdict] = [one for one in judge(facts)[0] if one.guard == guard]
        return verdict.outcome, verdict.passes, verdict.reason

    outcome, passes, reason = found(Concern.WARN)
    assert (outcome, passes) == (Outcome.WARN, True)
    assert words in reason
    assert found(Concern.REFUSE)[1] is False
    assert found(Concern.REFUSE)[0] is (Outcome.UNKNOWN if "right" in words else Outcome.REFUSE)
    assert found(Concern.IGNORE)[0] is Outcome.PASS


CALM = {
    "a ConfigMap that changed before the version was replaced": reads(Config("configmap/app", at(-11))),
    "a Secret nobody may look at": reads(Config("secret/app", unreadable="missing right: get secrets")),
    "a budget that the strategy respects": Surroundings(replicas=3, unavailable=1, budgets=(Budget("two", 2),)),
    "a budget that wants more than there are": Surroundings(replicas=1, budgets=(Budget("two", 2),)),
    "a tight quota where old pods go first": Surroundings(unavailable=1, surge=1, quotas=(TIGHT,), needs=NEEDS),
    "an autoscaler": Surroundings(autoscalers=("HorizontalPodAutoscaler app",)),
    "autoscalers nobody may list": Surroundings(autoscalers=None, unreadable={"autoscalers": "missing right"}),
}


@pytest.mark.parametrize("around", CALM.values(), ids=CALM.keys())
def test_no_word_of_warning_about(around: Surroundings) -> None:
    assert set(verdicts(replace(FACTS, state=state(V3, V2, V1, surroundings=around))).values()) == {Outcome.PASS}


def test_people_are_told_that_nobody_knows_when_the_version_last_ran() -> None:
    around = reads(Config("configmap/app", at(-700)))
    assert judge_config(around, V2.digest, None, Concern.REFUSE)[0] is Outcome.UNKNOWN
    assert judge_config(around, V2.digest, None, Concern.WARN)[0] is Outcome.WARN
    assert judge_config(Surroundings(), V2.digest, None, Concern.REFUSE)[0] is Outcome.PASS, "it reads nothing"


# --- to the moment -------------------------------------------------------------------------------------------------------

FULL = Quota("team", {"pods": Decimal(10)}, {"pods": Decimal(9)})
TO_THE_MOMENT = {
    "the alert began as the version was rolled out": ("recent_change", replace(FACTS, began_at=at(-10)), -0.1),
    "the window for deployments ends as the alert begins": (
        "recent_change",
        replace(FACTS, target=target(deployed_within=timedelta(minutes=5))),
        0.1,
    ),
    "the rollout in progress began with the alert": (
        "rollout",
        replace(FACTS, state=state(replace(V3, created_at=at(-5)), V2, V1, rollout=PROGRESSING)),
        -0.1,
    ),
}


@pytest.mark.parametrize(("guard", "facts", "later"), TO_THE_MOMENT.values(), ids=TO_THE_MOMENT.keys())
def test_a_guard_still_passes_when(guard: str, facts: Facts, later: float) -> None:
    assert verdicts(facts)[guard] is Outcome.PASS
    began = facts.began_at
    assert began is not None
    assert verdicts(replace(facts, began_at=began + timedelta(minutes=later)))[guard] is Outcome.REFUSE


COUNTED = {
    "of this target": ("max_rollbacks", (past("app", -1440), past("app", -600)), {}),
    "over all targets": ("blast_radius", tuple(past(f"a{n}", -60 + n, namespace=f"n{n}") for n in range(5)), {}),
    "in one namespace": ("blast_radius", tuple(past(f"a{n}", -60 + n) for n in range(3)), {}),
    "in one namespace, whose window is another than that for all": (
        "blast_radius",
        tuple(past(f"a{n}", -60 + n) for n in range(3)),
        {"limits": Limits(RollbackLimit(9, timedelta(hours=6)), RollbackLimit(3, timedelta(hours=1)))},
    ),
    "that is to settle": ("settle", (past("app", -10),), {}),
    "that failed": ("breaker", (past("app", -1540, failed=True), past("app", -100, failed=True)), {}),
}


@pytest.mark.parametrize(("guard", "history", "more"), COUNTED.values(), ids=COUNTED.keys())
def test_when_its_window_is_over_nothing_counts_any_more_of_a_rollback(
    guard: str, history: tuple[PastRollback, ...], more: dict[str, Any]
) -> None:
    facts = replace(FACTS, past=history, **more)
    assert verdicts(facts)[guard] is Outcome.PASS
    inside = replace(history[0], at=history[0].at + timedelta(seconds=1))
    assert verdicts(replace(facts, past=(inside, *history[1:])))[guard] is Outcome.REFUSE


def test_a_failure_at_the_moment_in_which_a_hold_was_lifted_was_seen_to() -> None:
    facts = replace(FACTS, past=(past("app", -1600, failed=True), past("app", -1500, failed=True)), looked_at=at(-1600))
    assert verdicts(facts)["breaker"] is Outcome.PASS, "the first no longer counts, so there is one"
    assert verdicts(replace(facts, looked_at=at(-1601)))["breaker"] is Outcome.REFUSE


def test_a_version_that_ran_exactly_as_long_as_asked_for_is_proven() -> None:
    ran = (LEDGER[0], entry(V2, -300, -10, longest=timedelta(minutes=10)), LEDGER[2])
    assert judge(replace(FACTS, ledger=ran))[1].version == V2


def test_a_pod_that_takes_all_that_is_left_of_a_quota_fits() -> None:
    needs = {V2.digest: {"pods": Decimal(1)}}
    around = Surroundings(surge=1, quotas=(FULL,), needs=needs)
    assert judge_quota(around, V2.digest, Concern.REFUSE)[0] is Outcome.PASS
    assert judge_quota(replace(around, needs={V2.digest: {"pods": Decimal(2)}}), V2.digest, Concern.REFUSE)[0] is Outcome.REFUSE


@pytest.mark.parametrize("said", ["false", "False", " FALSE ", "", " "])
def test_an_annotation_that_says_no_holds_nothing_back(said: str) -> None:
    assert (
        verdicts(replace(FACTS, state=state(V3, V2, V1, annotations={"responder.dev/hold": said})))["object_hold"] is Outcome.PASS
    )


# --- breaker, exceptions, orders -----------------------------------------------------------------------------------------

TWICE = (past("app", -1600, failed=True), past("app", -1500, failed=True))
CLOSED = {
    "a person's rollback that went well": (*TWICE, past("app", -1400, ordered=True, succeeded=True)),
    "failures further apart than its window": (past("app", -4000, failed=True), past("app", -1500, failed=True)),
    "rollbacks that went well": (past("app", -1600, succeeded=True), past("app", -1500, succeeded=True)),
}


@pytest.mark.parametrize("history", CLOSED.values(), ids=CLOSED.keys())
def test_the_breaker_is_closed_after(history: tuple[PastRollback, ...]) -> None:
    assert verdicts(replace(FACTS, past=history))["breaker"] is Outcome.PASS


OPEN = {
    "a rollback by an alert that went well later": (*TWICE, past("app", -1400, succeeded=True)),
    "a person's rollback that failed, too": (*TWICE, past("app", -1400, ordered=True, failed=True)),
    "a long time": TWICE,
}


@pytest.mark.parametrize("history", OPEN.values(), ids=OPEN.keys())
def test_the_breaker_stays_open_after(history: tuple[PastRollback, ...]) -> None:
    assert verdicts(replace(FACTS, past=history))["breaker"] is Outcome.REFUSE
    assert verdicts(replace(FACTS, past=history, looked_at=at(-1)))["breaker"] is Outcome.PASS, "a person lifted a hold since"


def test_what_a_target_waives_only_warns_and_says_so() -> None:
    facts = replace(FACTS, began_at=at(-11), target=target(waive=("recent_change",)))
    [verdict] = [one for one in judge(facts)[0] if one.guard == "recent_change"]
    assert (verdict.outcome, verdict.passes) == (Outcome.WARN, True)
    assert verdict.reason.startswith("waived by the rulebook: the alert began 1m before")


def test_a_target_names_the_guards_that_are_told_first() -> None:
    facts = replace(FACTS, target=target(order=("proven", "owner")))
    assert [one.guard for one in judge(facts)[0]][:3] == ["proven", "owner", "object_hold"]


def test_a_persons_order_is_no_answer_to_an_alert_but_does_not_get_past_the_annotation() -> None:
    held = state(V3, V2, V1, annotations={"responder.dev/hold": "true"}, rollout=PROGRESSING)
    facts = replace(FACTS, state=held, began_at=None, past=(past("app", -1),))
    order = Order("ann", "it is on fire", override=("object_hold", "settle"))
    refused = [one.guard for one in judge_for(facts, order)[0] if not one.passes]
    assert refused == ["object_hold"]


def test_what_a_person_asks_for_is_judged_by_what_that_version_meets() -> None:
    around = Surroundings(references={V1.digest: ("configmap/old",)}, configs={"configmap/old": Config("configmap/old")})
    facts = replace(FACTS, state=state(V3, V2, V1, surroundings=around))
    given, choice = judge_for(facts, Order("ann", "further back", version="v1"))
    assert choice.version == V1
    assert [one.guard for one in given if not one.passes] == ["configuration"]
    assert len([one for one in given if one.guard == "configuration"]) == 1


def asking(*revisions: int | None, target: str = "app") -> Plan:
    steps = [Step(f"undo-{at}", "kubernetes.undo", {"target": None, "to_revision": one}) for at, one in enumerate(revisions)]
    return Plan("back", (Step("all", PARALLEL, steps=tuple(steps)), Step("workers", "rollback", {"target": "workers"})))


ASKED = {
    "nothing: the guards choose": (asking(None), None, V2, []),
    "an older one than they would choose": (asking(1), None, V1, []),
    "the same by two steps": (asking(1, None, 1), None, V1, []),
    "the same as a person's order": (asking(1), Order("ann", "back", revision="1"), V1, []),
    "two at once": (asking(1, 2), None, None, ["version"]),
    "another one than a person's order": (asking(1), Order("ann", "back", version="v2"), None, ["version"]),
    "what runs now": (asking(3), None, None, ["version"]),
    "one that is gone": (asking(7), None, None, ["version"]),
    "a bad one": (asking(4), None, V0, ["proven"]),
    "a bad one, and a person answers for it": (asking(4), Order("ann", "I know", override=("proven",)), V0, []),
    "one that is gone, which nobody can answer for": (asking(7), Order("ann", "go", override=("version",)), None, ["version"]),
}


@pytest.mark.parametrize(("plan", "order", "chosen", "refusing"), ASKED.values(), ids=ASKED.keys())
def test_a_plan_that_asks_for_a_revision(plan: Plan, order: Order | None, chosen: Version | None, refusing: list[str]) -> None:
    facts = replace(FACTS, state=state(V3, V2, V1, V0), bad_fingerprints={V0.fingerprint: "inc_1"})
    verdicts, choice = judge_for(facts, order, revisions=revisions_asked(plan, "app", "app"))
    assert choice.version == chosen, choice.reason
    assert [one.guard for one in verdicts if not one.passes] == refusing
    assert len([one for one in verdicts if one.guard in ("proven", "version")]) == 1


def test_a_revision_is_asked_of_its_own_target_only() -> None:
    assert revisions_asked(asking(1), "workers", "app") == ()
    assert revisions_asked(asking(1), "app", "app") == ("1",)
    assert revisions_asked(None, "app", "app") == ()


@pytest.mark.parametrize("place", [WorkloadRef("shop", "app", "StatefulSet"), HelmRef("shop", "app")], ids=str)
def test_a_places_words_tell_its_namespace(place: Place) -> None:
    assert namespace_of(str(place)) == "shop"


def test_the_settings_have_safe_defaults() -> None:
    settings = GuardSettings()
    assert (settings.max_failures, settings.settle_for) == (RollbackLimit(2, timedelta(hours=24)), timedelta(minutes=10))
    assert settings.waive == ()


def test_every_guard_is_described() -> None:
    page = (Path(__file__).parents[2] / "docs" / "guards.md").read_text(encoding="utf-8")
    assert [name for name in NAMES if f"\n| `{name}` |" not in page] == []
