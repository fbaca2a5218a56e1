"""The evaluator against its oracle, and what must not change its decisions: restarts, repeats, the way alerts are grouped."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from responder.domain.condition import ValueCondition
from responder.domain.decision import Decision
from responder.domain.matcher import parse_matcher
from responder.domain.rulebook import Response, Rule, Rulebook
from responder.domain.signal import Signal, SignalStatus
from responder.domain.target import Target, WorkloadRef
from responder.engine.evaluator import Evaluator
from tests.unit.evaluator_oracle import Oracle, outcomes

START = datetime(2026, 11, 21, 22, 55, 50, 632000, tzinfo=UTC)


def seconds(count: float) -> timedelta:
    return timedelta(seconds=count)


def matchers(*texts: str) -> tuple:
    return tuple(parse_matcher(text) for text in texts)


TARGETS = {
    "app": Target("app", WorkloadRef("prod", "app"), matchers('deployment="app"')),
    "web": Target("web", WorkloadRef("prod", "web"), matchers('deployment=~"web|app"', 'pod!=""')),
    "mute": Target("mute", WorkloadRef("prod", "mute"), ()),
}
RULES = (
    Rule("errors", matchers('alertname="Errors"'), ValueCondition(above=0.05), seconds(120), response=Response.ROLLBACK),
    Rule("errors_by_pod", matchers('alertname="Errors"'), ValueCondition(above=0.05), seconds(60), ("pod",)),
    Rule("at_once", matchers('alertname=~"Errors|Down"'), response=Response.ROLLBACK, target="mute"),
    Rule("down", matchers('alertname="Down"'), hold=seconds(90), by=("deployment",), response=Response.ROLLBACK),
    Rule("anything", matchers('pod!="p3"'), hold=seconds(180)),
    Rule("sent", matchers('source="am"'), ValueCondition(between=(1, 2), source="value"), seconds(60), ("pod",)),
    Rule("labelled", matchers('deployment!=""'), ValueCondition(below=10, source="labels.pod"), seconds(0), ("pod", "alertname")),
)
RULEBOOK = Rulebook(targets=TARGETS, rules=RULES)
FIRING_ONLY = Rulebook(targets=TARGETS, rules=tuple(rule for rule in RULES if not isinstance(rule.condition, ValueCondition)))

starts = st.sampled_from([None, -4000, -100, -30, 0, 0, 20, 45, 100, 200]).map(
    lambda s: None if s is None else START + seconds(s)
)
label_sets = st.fixed_dictionaries(
    {
        "alertname": st.sampled_from(["Errors", "Down", "Other"]),
        "deployment": st.sampled_from(["app", "web", "nobody"]),
        "source": st.just("am"),
    },
    optional={"pod": st.sampled_from(["p1", "p2", "p3", "7", "70"])},
)
values = st.sampled_from(["0.07", "0.0731", "5%", "0.01", "7%", "NaN", "+Inf", "lots", None])


@st.composite
def signals(
    draw: st.DrawFn, fixed: dict[str, dict[str, str]], *, now: datetime, dated: bool = False, events: bool = True
) -> Signal:
    key = draw(st.sampled_from(["a", "b", "c", "d"]))
    labels = fixed[key] if draw(st.integers(0, 9)) else draw(label_sets)
    text = draw(values)
    statuses = [*[SignalStatus.FIRING] * 6, *[SignalStatus.RESOLVED] * 3, *[SignalStatus.OCCURRED] * 2]
    status = draw(st.sampled_from(statuses if events else statuses[:-2]))
    return Signal(
        source="am",
        key=key,
        status=status,
        labels=labels,
        annotations={} if text is None else {"value": text, "summary": draw(st.sampled_from(["", "down"]))},
        started_at=draw(starts.filter(bool) if dated else starts),
        ended_at=None,
        received_at=now - seconds(draw(st.sampled_from([0, 0, 0, 2]))),
        value=draw(st.sampled_from([None, 0.5, 1.5, 2.0, float("nan")])),
        passed=draw(st.sampled_from([None, None, True, False])) if status is SignalStatus.OCCURRED else None,
    )


@dataclass(frozen=True)
class Step:
    """One moment. signals None: a tick."""

    now: datetime
    signals: tuple[Signal, ...] | None
    restart: bool


@st.composite
def timelines(draw: st.DrawFn, *, dated: bool = False, distinct: bool = False, most: int = 4, events: bool = True) -> list[Step]:
    fixed = {key: draw(label_sets) for key in "abcd"}
    now = START
    steps = []
    for _ in range(draw(st.integers(1, 14))):
        now += seconds(draw(st.sampled_from([0, 1, 10, 29.5, 30, 60, 60, 120, 200, 90_000])))
        body = None
        if draw(st.integers(0, 3)):
            body = tuple(draw(st.lists(signals(fixed, now=now, dated=dated, events=events), min_size=1, max_size=most)))
            if distinct:
                body = tuple({signal.key: signal for signal in body}.values())
        steps.append(Step(now, body, draw(st.booleans())))
    return steps


def advance(evaluator: Evaluator, step: Step) -> list[Decision]:
    return evaluator.tick(step.now) if step.signals is None else evaluator.observe(step.signals, step.now)


def restarted(evaluator: Evaluator, rulebook: Rulebook = RULEBOOK) -> Evaluator:
    other = Evaluator(rulebook)
    other.restore(evaluator.snapshot())
    return other


@settings(max_examples=150, deadline=None)
@given(timelines(events=False))
def test_decides_what_reading_the_whole_history_again_would_decide(steps: list[Step]) -> None:
    evaluator, oracle = Evaluator(RULEBOOK), Oracle(RULEBOOK)
    for step in steps:
        if step.restart:
            evaluator = restarted(evaluator)
        expected = oracle.tick(step.now) if step.signals is None else oracle.observe(step.signals, step.now)
        assert outcomes(advance(evaluator, step)) == expected
        views = list(evaluator.groups())
        assert {(v.rule, v.group, v.state.value, v.since, v.members) for v in views} == oracle.views(step.now)
        assert {(d.rule, d.group) for d in evaluator.firing()} == {(v.rule, v.group) for v in views if v.state.value == "firing"}
        waiting = [view.due_at for view in views if view.due_at]
        due = evaluator.next_due()
        assert (due is None) is (not waiting)
        assert due is None or due <= min(waiting)


@settings(max_examples=60, deadline=None)
@given(timelines())
def test_a_restored_snapshot_behaves_like_the_original_in_everything(steps: list[Step]) -> None:
    original = copy = Evaluator(RULEBOOK)
    for step in steps:
        if step.restart:
            copy = restarted(copy)
        # As text: NaN is not equal to another NaN.
        found = repr(advance(original, step))
        assert copy is original or repr(advance(copy, step)) == found
        assert copy.snapshot() == original.snapshot()
        assert repr(list(copy.groups())) == repr(list(original.groups()))
        assert repr(copy.firing()) == repr(original.firing())
        assert copy.next_due() == original.next_due()
        for view in original.groups():
            assert copy.is_active(view.rule, view.group) == original.is_active(view.rule, view.group)


@settings(max_examples=60, deadline=None)
@given(timelines())
def test_ticking_at_every_deadline_changes_when_but_not_what(steps: list[Step]) -> None:
    """A journal without its ticks folds to the same decisions; only the time of a late one differs."""
    lazy, eager = Evaluator(RULEBOOK), Evaluator(RULEBOOK)
    for step in steps:
        early: list[Decision] = []
        while (due := eager.next_due()) is not None and due <= step.now:
            early += eager.tick(due)
        found = early + advance(eager, step)
        assert _what(advance(lazy, step)) == _what(found)


@settings(max_examples=60, deadline=None)
@given(timelines(dated=True, most=6))
def test_one_webhook_or_several_makes_no_difference(steps: list[Step]) -> None:
    together, apart = Evaluator(RULEBOOK), Evaluator(RULEBOOK)
    for step in steps:
        pieces = [apart.tick(step.now)] + [apart.observe([signal], step.now) for signal in step.signals or ()]
        assert outcomes(advance(together, step)) == outcomes([decision for piece in pieces for decision in piece])


@settings(max_examples=60, deadline=None)
@given(timelines(dated=True, distinct=True))
def test_every_delivery_twice_changes_nothing(steps: list[Step]) -> None:
    once, twice = Evaluator(RULEBOOK), Evaluator(RULEBOOK)
    for step in steps:
        found = advance(once, step)
        assert outcomes(advance(twice, step)) == outcomes(found)
        assert outcomes(advance(twice, step)) == []
        assert list(once.groups()) == list(twice.groups())


@settings(max_examples=60, deadline=None)
@given(timelines(dated=True, distinct=True), st.sampled_from([0.5, 15, 31, 300]))
def test_a_slower_second_alertmanager_changes_nothing(steps: list[Step], delay: float) -> None:
    """The second of a pair says the same later, in its own order in time, and is then always too late."""
    steps = [step for step in steps if step.signals]
    fixed = {signal.key: signal.labels for step in steps for signal in step.signals or ()}
    first = [
        # Without a number: the slower half may repeat an older one, which is then the latest word; these rules don't read it.
        (
            step.now,
            tuple(replace(signal, labels=fixed[signal.key], value=None) for signal in step.signals or () if _lasts(signal)),
        )
        for step in _ordered(steps)
    ]
    second = [(now + seconds(delay), body) for now, body in first]
    alone, pair = Evaluator(FIRING_ONLY), Evaluator(FIRING_ONLY)
    expected = [decision for now, body in first for decision in alone.observe(body, now)]
    both = sorted([(now, 0, body) for now, body in first] + [(now, 1, body) for now, body in second], key=lambda one: one[:2])
    found = [decision for now, _, body in both for decision in pair.observe(body, now)]
    end = START + timedelta(days=30)
    assert _what(found + pair.tick(end)) == _what(expected + alone.tick(end))


def _lasts(signal: Signal) -> bool:
    return signal.status is not SignalStatus.OCCURRED


def _ordered(steps: Iterable[Step]) -> list[Step]:
    """Close together, so that nothing is forgotten between the two."""
    return [replace(step, now=START + seconds(20 * number)) for number, step in enumerate(steps)]


def _what(decisions: list[Decision]) -> list[str]:
    return sorted(f"{o.kind} {o.identity} {o.response} {o.began_at} {o.value}" for o in outcomes(decisions))
