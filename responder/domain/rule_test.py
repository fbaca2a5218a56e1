"""Rule tests: what is sent to the rules, what they should make of it, and how the two differ.

Moments are offsets from the start of the test.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from responder.domain.decision import Decision, DecisionKind
from responder.domain.measurement import Measurement
from responder.domain.quantity import format_duration
from responder.domain.rule_state import GroupState, GroupView
from responder.domain.rulebook import Response, Rule
from responder.domain.signal import Signal
from responder.domain.wording import spell_number

START = datetime(2026, 1, 1, 12, tzinfo=UTC)
"""When every test begins."""

COMPLETE_KINDS = frozenset({DecisionKind.RESPOND, DecisionKind.SUPPRESS})
"""Of these every decision must be expected. Of other kinds only when the test expects one of the kind."""

Facts = Mapping[str, str]

Detail = tuple[str, str | None, str | None]
"""What, as expected, as found; None where there is none."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """What arrives together, at one moment."""

    at: timedelta
    signals: tuple[Signal, ...]


@dataclass(frozen=True, slots=True)
class Answers:
    """What Prometheus answers to one query: from each moment on, until the next."""

    query: str
    steps: tuple[tuple[timedelta, Measurement], ...]

    def at(self, moment: timedelta) -> Measurement:
        known = [told for begin, told in self.steps if begin <= moment]
        return known[-1] if known else UNANSWERED


UNANSWERED = Measurement(None, "the test gives no reading for it")


@dataclass(frozen=True, slots=True)
class Expectation:
    """A decision made at a moment, or a group's state then.

    facts: what must be so, in the spelling of `Course.facts_of` and `group_facts`; `reason` need only be part of the real one.
    location: `file:line`.
    """

    at: timedelta
    what: DecisionKind | GroupState
    facts: Facts = field(default_factory=dict)
    location: str = ""

    @property
    def is_decision(self) -> bool:
        return isinstance(self.what, DecisionKind)

    def misses(self, facts: Facts) -> list[str]:
        """Names of the facts that are not as expected."""
        return [name for name, wanted in self.facts.items() if not _agrees(name, wanted, facts.get(name, ""))]


@dataclass(frozen=True, slots=True)
class RuleTest:
    """until: how long time goes on; None until nothing waits any more."""

    name: str
    location: str
    deliveries: tuple[Delivery, ...]
    expectations: tuple[Expectation, ...]
    until: timedelta | None = None
    answers: tuple[Answers, ...] = ()


@dataclass(frozen=True, slots=True)
class Course:
    """What the rules made of a test. groups: those there were, by the moments asked for. rules: by name."""

    decisions: tuple[Decision, ...]
    groups: Mapping[timedelta, tuple[GroupView, ...]]
    rules: Mapping[str, Rule] = field(default_factory=dict)

    def facts_of(self, decision: Decision) -> dict[str, str]:
        return {**decision_facts(decision), **dict(_run_facts(decision, self.rules.get(decision.rule)))}


@dataclass(frozen=True, slots=True)
class Difference:
    """location: of what was expected, else of the test."""

    location: str
    text: str
    details: tuple[Detail, ...] = ()


def differences(test: RuleTest, course: Course) -> list[Difference]:
    """Everything that did not go as expected; [] when the test passes."""
    wanted = [each for each in test.expectations if each.is_decision]
    checked = COMPLETE_KINDS | {each.what for each in wanted}
    left = [each for each in course.decisions if each.kind in checked]
    missing: list[Expectation] = []
    for expectation in sorted(wanted, key=lambda each: (-len(each.facts), each.at)):  # the most particular choose first
        found = next((each for each in left if _is_met(expectation, each, course)), None)
        if found is None:
            missing.append(expectation)
        else:
            left.remove(found)
    found_differences = [_missing(each, left, course) for each in sorted(missing, key=lambda each: each.at)]
    states = (each for each in test.expectations if not each.is_decision)
    found_differences += [each for each in (_state_difference(one, course) for one in states) if each is not None]
    found_differences += [
        Difference(test.location, f"not expected at {offset(each.at)}: {describe_decision(each)}") for each in left
    ]
    return found_differences


def _is_met(expectation: Expectation, decision: Decision, course: Course) -> bool:
    at_that_time = decision.at - START == expectation.at
    return at_that_time and decision.kind is expectation.what and not expectation.misses(course.facts_of(decision))


def _missing(expectation: Expectation, left: list[Decision], course: Course) -> Difference:
    """The decision that comes closest is taken out of `left`: it is told about here."""
    rule = expectation.facts.get("rule")
    near = [each for each in left if each.kind is expectation.what and rule in (None, each.rule)]
    if not near:
        return Difference(expectation.location, f"did not happen: {describe_expectation(expectation)}")
    closest = min(near, key=lambda each: _closeness(expectation, each, course))
    left.remove(closest)
    facts = course.facts_of(closest)
    details: list[Detail] = [(name, expectation.facts[name], facts.get(name)) for name in expectation.misses(facts)]
    if closest.at - START != expectation.at:
        details.insert(0, ("at", format_duration(expectation.at), offset(closest.at)))
    if "reason" not in expectation.misses(facts):
        details.append(("reason", None, closest.reason))
    return Difference(expectation.location, f"not as expected: {describe_expectation(expectation)}", tuple(details))


def _closeness(expectation: Expectation, decision: Decision, course: Course) -> tuple[int, timedelta]:
    return len(expectation.misses(course.facts_of(decision))), abs(decision.at - START - expectation.at)


def _state_difference(expectation: Expectation, course: Course) -> Difference | None:
    """`inactive` means that no such group is there."""
    where = {name: value for name, value in expectation.facts.items() if name in ("rule", "group", "target")}
    place = Expectation(expectation.at, expectation.what, where)
    groups = [each for each in course.groups.get(expectation.at, ()) if not place.misses(group_facts(each))]
    if expectation.what is GroupState.INACTIVE:
        if not groups:
            return None
        found = "; ".join(describe_group(each) for each in groups)
        return Difference(
            expectation.location, f"not as expected: {describe_expectation(expectation)}", (("state", "inactive", found),)
        )
    if not groups:
        return Difference(
            expectation.location,
            f"not as expected: {describe_expectation(expectation)}",
            (("state", expectation.what.value, "inactive"),),
        )
    wanted = {"state": expectation.what.value, **expectation.facts}
    misses = [_state_misses(wanted, group) for group in groups]
    if not all(misses):
        return None
    closest: list[Detail] = min(misses, key=len)
    return Difference(
        expectation.location,
        f"not as expected: {describe_expectation(expectation)}",
        tuple(closest),
    )


def _state_misses(wanted: Facts, group: GroupView) -> list[Detail]:
    facts = {"state": group.state.value, **group_facts(group)}
    return [(name, value, facts.get(name)) for name, value in wanted.items() if not _agrees(name, value, facts.get(name, ""))]


def _agrees(name: str, wanted: str, found: str) -> bool:
    return wanted in found if name == "reason" else wanted == found


# --- facts, as test files spell them -------------------------------------------------------------------------------------


def decision_facts(decision: Decision) -> dict[str, str]:
    """What an expectation may ask of a decision."""
    facts = {
        "rule": decision.rule,
        "target": decision.target,
        "group": decision.group,
        "severity": decision.severity.value,
        "response": decision.response.value,
        "inconclusive": spell_truth(decision.inconclusive),
        "reason": decision.reason,
    }
    if decision.value is not None:
        facts["value"] = spell_number(decision.value)
    if decision.due_at is not None:
        facts["due"] = offset(decision.due_at)
    if decision.began_at is not None:
        facts["since"] = offset(decision.began_at)
    return facts


def _run_facts(decision: Decision, rule: Rule | None) -> Iterator[tuple[str, str]]:
    """What follows a response that is no mere message: the plan, the countdown before it, how long people have to say yes."""
    if rule is None or decision.kind is not DecisionKind.RESPOND or decision.response is Response.NOTIFY:
        return
    yield "plan", rule.plan or ""
    yield "grace", format_duration(rule.grace)
    if decision.response is Response.APPROVE:
        yield "within", format_duration(rule.approval.within)


def group_facts(group: GroupView) -> dict[str, str]:
    """What an expectation may ask of a group."""
    facts = {
        "rule": group.rule,
        "target": group.target,
        "group": group.group,
        "inconclusive": spell_truth(group.inconclusive),
        "since": offset(group.since),
        "reason": group.reason,
    }
    if group.due_at is not None:
        facts["due"] = offset(group.due_at)
    return facts


def spell_truth(value: bool) -> str:
    """As YAML writes it."""
    return "true" if value else "false"


def offset(moment: datetime) -> str:
    """A moment of the test, as its distance from the start: `2m`, `-30s`."""
    return format_duration(moment - START)


# --- for people ----------------------------------------------------------------------------------------------------------


def describe_expectation(expectation: Expectation) -> str:
    """`at 2m: respond, rule error_rate, target app`."""
    word = expectation.what.value if expectation.is_decision else f"state {expectation.what.value}"
    parts = [word, *(f"{name} {value}" for name, value in expectation.facts.items())]
    return f"at {format_duration(expectation.at)}: {', '.join(parts)}"


def describe_decision(decision: Decision) -> str:
    """`respond (rollback), rule error_rate, group app: <reason>`."""
    word = f"{decision.kind.value} ({decision.response.value})" if decision.kind is DecisionKind.RESPOND else decision.kind.value
    rule = f", rule {decision.rule}" if decision.rule else ""
    group = f", group {decision.group}" if decision.group else ""
    return f"{word}{rule}{group}: {decision.reason}"


def describe_group(group: GroupView) -> str:
    return f"{group.state.value}, rule {group.rule}, group {group.group}: {group.reason}"


def unanswered(rules: Iterable[str], courses: Sequence[Course]) -> list[str]:
    """Rules of which no test has seen a response: nobody knows whether they would ever act."""
    answered = {each.rule for course in courses for each in course.decisions if each.kind is DecisionKind.RESPOND}
    return [rule for rule in rules if rule not in answered]
