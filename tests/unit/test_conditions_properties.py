"""Conditions, brakes and point events against their oracle, and what must not change their decisions."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from responder.domain.condition import (
    AbsentCondition,
    AllOf,
    AnyOf,
    Baseline,
    ConsecutiveCondition,
    CountCondition,
    Firing,
    Part,
    RatioCondition,
    ValueCondition,
)
from responder.domain.decision import Decision, DecisionKind
from responder.domain.matcher import parse_matcher
from responder.domain.measurement import Measurement
from responder.domain.query import parse_query
from responder.domain.rulebook import MassHold, Response, Rule, Rulebook
from responder.domain.signal import Signal, SignalStatus
from responder.domain.target import Target, WorkloadRef
from responder.engine.evaluator import Evaluator
from responder.engine.readings import reading
from responder.engine.rule_table import RuleTable
from responder.ports import Entry, EntryKind
from tests.unit.conditions_oracle import SILENCE, Oracle, outcomes

START = datetime(2026, 11, 21, 22, 55, 50, tzinfo=UTC)


def seconds(count: float) -> timedelta:
    return timedelta(seconds=count)


def matchers(*texts: str) -> tuple:
    return tuple(parse_matcher(text) for text in texts)


def rule(name: str, condition: object, *texts: str, hold: float = 0, **fields: object) -> Rule:
    fields = {"response": Response.ROLLBACK, "active_for": seconds(97.3), **fields}
    return Rule(name, matchers(*(texts or ('kind="x"',))), condition, hold=seconds(hold), **fields)  # type: ignore[arg-type]


# No two of these durations, nor their sums, are ever over at the same instant.
X, Y = 'kind="x"', 'kind="y"'
ABOVE = ValueCondition(above=0.05)
SLOW_AND_FAILING = AllOf((Part(Firing(), matchers(X)), Part(ABOVE, matchers(Y))))
RULES = (
    rule("count", CountCondition(2, seconds(60.1))),
    rule("count_pods", CountCondition(1, seconds(41.7), "pod"), 'kind=~"x|y"', hold=7.9),
    rule("row", ConsecutiveCondition(2), hold=3.7, by=("pod",)),
    rule("ratio", RatioCondition(0.5, seconds(73.3), 2), 'kind=~"x|y"'),
    rule("absent", AbsentCondition(seconds(53.9)), Y, response=Response.NOTIFY, keep_firing_for=seconds(11.3)),
    rule("all", SLOW_AND_FAILING, 'pod!=""', hold=13.1),
    rule("all_counted", AllOf((Part(ABOVE, matchers(X)), Part(CountCondition(1, seconds(91.9)), matchers(Y)))), 'pod!=""'),
    rule("any", AnyOf((Part(ABOVE, matchers(X)), Part(ConsecutiveCondition(2), matchers(Y)))), 'pod!=""', hold=5.3),
    rule("unless", Firing(), hold=9.7, unless=matchers(Y, 'pod="p1"'), by=("pod",)),
    rule("value", ABOVE, hold=17.9, cooldown=seconds(103.3), keep_firing_for=seconds(23.3)),
    rule("settling", Firing(), Y, settle=seconds(61.9)),
    rule("no_data", Firing(), X, 'grafana_state="nodata"', hold=2.3),
)
# Prometheus' answers: to queries that are shared, narrowed by target, narrowed by label; for the number, the baseline, a part.
ERRORS, PER_POD, SHARED = parse_query("q{t={{ target }}}"), parse_query("b{pod!={{ labels.pod }}}"), parse_query("s")
OF_ALERTS = ('what="alert"', 'grafana_state=""')
ASKING = (
    rule("asks", ValueCondition(above=0.05, query=ERRORS), *OF_ALERTS, hold=8.3, keep_firing_for=seconds(19.1)),
    rule("asks_at_once", ValueCondition(above=0.05, query=SHARED), *OF_ALERTS, X, by=("pod",)),
    rule("twice_as_much", ValueCondition(above=2, baseline=Baseline(query=PER_POD)), *OF_ALERTS, hold=21.7, by=("pod",)),
    rule("both", ValueCondition(above=2, query=ERRORS, baseline=Baseline(query=SHARED)), *OF_ALERTS, hold=4.1),
    rule(
        "any_asks",
        AnyOf((Part(ValueCondition(above=0.05, query=ERRORS), matchers(X)), Part(ABOVE, matchers(Y)))),
        *OF_ALERTS,
        hold=6.1,
    ),
    rule(
        "all_ask",
        AllOf((Part(ValueCondition(above=0.05, query=SHARED), matchers(X)), Part(Firing(), matchers(Y)))),
        *OF_ALERTS,
        hold=2.9,
    ),
)
OF_EVENTS = rule("asks_for_events", ValueCondition(above=0.05, query=SHARED), 'what="event"', hold=3.1)
QUERIES = ('q{t="app"}', 'q{t="web"}', 'b{pod!="p1"}', 'b{pod!="p2"}', "s", "s", "never_asked")
TARGETS = {name: Target(name, WorkloadRef("prod", name), matchers(f'deployment="{name}"')) for name in ("app", "web")}
RULEBOOK = Rulebook(targets=TARGETS, rules=RULES)
LEARNING = ValueCondition(above=2, baseline=Baseline(history=seconds(60)))
LEARNING_BY_QUERY = replace(LEARNING, query=SHARED)
EVERYTHING = Rulebook(
    targets=TARGETS,
    rules=(*RULES, *ASKING, OF_EVENTS, rule("learns", LEARNING), rule("learns_by_query", LEARNING_BY_QUERY)),
    hold=MassHold(seconds(30.7), share=0.5),
)

label_sets = st.fixed_dictionaries(
    {
        "kind": st.sampled_from(["x", "y"]),
        "deployment": st.sampled_from(["app", "app", "web"]),
        "pod": st.sampled_from(["p1", "p2"]),
        "source": st.just("s"),
        "grafana_state": st.sampled_from(["", "", "", "", "nodata"]),
    }
)
ALERTS, EVENTS = ("a", "b", "c"), ("e", "f", "g")


@st.composite
def signals(draw: st.DrawFn, fixed: dict[str, dict[str, str]], now: datetime) -> Signal:
    is_event = draw(st.integers(0, 2)) > 0
    key = draw(st.sampled_from(EVENTS if is_event else ALERTS))
    late = draw(st.sampled_from([0, 0, 0, 1, 5, 20, 60]))
    status = draw(st.sampled_from([SignalStatus.FIRING, SignalStatus.FIRING, SignalStatus.RESOLVED]))
    if is_event and draw(st.integers(0, 9)):
        status = SignalStatus.OCCURRED
    elif is_event:
        status = SignalStatus.RESOLVED
    text = draw(st.sampled_from(["0.07", "0.2", "0.01", None]))
    return Signal(
        source="s",
        key=key,
        status=status,
        labels=fixed[key],
        annotations={} if text is None else {"value": text},
        started_at=now - seconds(late),
        ended_at=None,
        received_at=now,
        passed=draw(st.sampled_from([False, False, False, True, None])) if status is SignalStatus.OCCURRED else None,
        id=draw(st.sampled_from(["", "", "1", "2", "3", "4", "5"])) if status is SignalStatus.OCCURRED else "",
    )


@dataclass(frozen=True)
class Step:
    now: datetime
    signals: tuple[Signal, ...]
    restart: bool
    acted: bool
    readings: tuple[tuple[str, float | str | None], ...] = ()


@st.composite
def timelines(draw: st.DrawFn, *, distinct: bool = False) -> list[Step]:
    fixed = {key: {**draw(label_sets), "what": "alert" if key in ALERTS else "event"} for key in (*ALERTS, *EVENTS)}
    now = START
    steps = []
    for _ in range(draw(st.integers(1, 14))):
        now += seconds(draw(st.sampled_from([1, 1, 2, 5, 10, 20, 30, 60, 200])))
        body = draw(st.lists(signals(fixed, now), max_size=3))
        answers = draw(
            st.lists(st.tuples(st.sampled_from(QUERIES), st.sampled_from([0.01, 0.07, 0.2, None, SILENCE])), max_size=4)
        )
        if distinct:
            body = list({signal.key: signal for signal in body}.values())
            answers = list(dict(answers).items())
        steps.append(Step(now, tuple(body), draw(st.booleans()), not draw(st.integers(0, 9)), tuple(answers)))
    return steps


def until(evaluator: Evaluator, now: datetime) -> list[Decision]:
    """Everything that is due by then, each at its own time."""
    found: list[Decision] = []
    while (due := evaluator.next_due()) is not None and due <= now:
        found += evaluator.tick(due)
    return found


def advance(evaluator: Evaluator, step: Step, *, eager: bool = True) -> list[Decision]:
    found = until(evaluator, step.now) if eager else []
    found += evaluator.observe(step.signals, step.now)
    found += evaluator.fold(answered(step))
    if step.acted:
        evaluator.acted("app", step.now)
    return found


def answered(step: Step) -> Entry:
    told = [reading(query, step.now, step.now, _told(number)) for query, number in step.readings]
    return Entry(0, step.now, EntryKind.READING, tuple(told))


def _told(number: float | str | None) -> Measurement:
    if isinstance(number, str):
        return Measurement(None, "nobody answered", is_silence=True)
    return Measurement(number, "" if number is not None else "empty")


def restarted(evaluator: Evaluator, rulebook: Rulebook) -> Evaluator:
    other = Evaluator(rulebook)
    other.restore(evaluator.snapshot())
    assert other.snapshot() == evaluator.snapshot()
    return other


def check(rulebook: Rulebook, steps: list[Step]) -> None:
    evaluator, oracle = Evaluator(rulebook), Oracle(rulebook)
    for step in [*steps, Step(steps[-1].now + seconds(900), (), restart=True, acted=False)]:
        if step.restart:
            evaluator = restarted(evaluator, rulebook)
        expected = oracle.observe(step.signals, step.now)
        for query, number in step.readings:
            expected = sorted(expected + oracle.read(query, number, step.now), key=repr)
        if step.acted:
            oracle.act("app", step.now)
        assert outcomes(advance(evaluator, step)) == expected
        if all(rule.name != OF_EVENTS.name for rule in rulebook.rules):
            assert sorted(evaluator.wanted) == sorted(oracle.answers)
        active = {(view.rule, view.group) for view in evaluator.groups() if evaluator.is_active(view.rule, view.group)}
        holding = {key for key, one in oracle.standings.items() if one.onset is not None or one.ghost_until is not None}
        assert active == holding


some_rules = st.lists(st.sampled_from(RULES), min_size=1, max_size=2, unique=True)
some_asking = st.lists(st.sampled_from(ASKING), min_size=1, max_size=2, unique=True)


@settings(max_examples=120, deadline=None)
@given(some_rules, timelines())
def test_decides_what_reading_the_whole_history_again_would_decide(rules: list[Rule], steps: list[Step]) -> None:
    check(Rulebook(targets=TARGETS, rules=tuple(rules)), steps)


@settings(max_examples=200, deadline=None)
@given(some_asking, st.lists(st.sampled_from(RULES), max_size=1), timelines())
def test_decides_by_queries_as_reading_everything_again_would(asking: list[Rule], rules: list[Rule], steps: list[Step]) -> None:
    check(Rulebook(targets=TARGETS, rules=(*asking, *rules)), steps)


@settings(max_examples=40, deadline=None)
@given(some_rules, timelines())
def test_holds_back_when_reading_the_whole_history_again_would_do_so(rules: list[Rule], steps: list[Step]) -> None:
    check(Rulebook(targets=TARGETS, rules=tuple(rules), hold=MassHold(seconds(30.7), count=1)), steps)


@settings(max_examples=50, deadline=None)
@given(timelines())
def test_a_restored_snapshot_behaves_like_the_original_in_everything(steps: list[Step]) -> None:
    original = copy = Evaluator(EVERYTHING)
    for step in steps:
        if step.restart:
            copy = restarted(copy, EVERYTHING)
        found = advance(original, step)
        if copy is not original:
            assert advance(copy, step) == found
        assert copy.snapshot() == original.snapshot()
        assert list(copy.groups()) == list(original.groups())
        assert copy.firing() == original.firing()
        assert copy.next_due() == original.next_due()


@settings(max_examples=50, deadline=None)
@given(timelines())
def test_ticking_at_every_deadline_changes_when_but_not_what(steps: list[Step]) -> None:
    """But for a cool-down: it counts from when it was decided."""
    rulebook = Rulebook(targets=TARGETS, rules=tuple(replace(rule, cooldown=timedelta(0)) for rule in RULES))
    lazy, eager = Evaluator(rulebook), Evaluator(rulebook)
    for step in steps:
        expected = advance(eager, step)
        assert what(advance(lazy, step, eager=False)) == what(expected)


@settings(max_examples=50, deadline=None)
@given(timelines(distinct=True))
def test_every_delivery_twice_changes_nothing(steps: list[Step]) -> None:
    once, twice = Evaluator(EVERYTHING), Evaluator(EVERYTHING)
    for step in steps:
        found = advance(once, step)
        assert outcomes(advance(twice, step)) == outcomes(found)
        assert outcomes(advance(twice, step)) == []
        assert list(once.groups()) == list(twice.groups())


@settings(max_examples=50, deadline=None)
@given(timelines())
def test_one_webhook_or_several_makes_no_difference(steps: list[Step]) -> None:
    together, apart = Evaluator(EVERYTHING), Evaluator(EVERYTHING)
    for step in steps:
        found = until(apart, step.now)
        for one in RuleTable(EVERYTHING).gates_first(step.signals):
            found += apart.observe([one], step.now)
        for answer in answered(step).signals:
            found += apart.fold(Entry(0, step.now, EntryKind.READING, (answer,)))
        if step.acted:
            apart.acted("app", step.now)
        assert outcomes(advance(together, step)) == outcomes(found)


@settings(max_examples=50, deadline=None)
@given(timelines(distinct=True), st.randoms(use_true_random=False))
def test_the_order_within_a_webhook_only_matters_for_who_comes_first(steps: list[Step], random: Random) -> None:
    """Unless it says of some that they are over and of others that they begin, or that one began before another: what has no
    `for` responds in between, and a window that was known to be full since then is so since then.
    """
    one, other = Evaluator(RULEBOOK), Evaluator(RULEBOOK)
    seen: set[str] = set()
    for number, step in enumerate(steps):
        wanted = _begins if number % 3 else _ends
        prompt = [replace(signal, started_at=step.now) for signal in step.signals]
        alike = tuple(signal for signal in prompt if wanted(signal) and signal.key not in seen)
        seen |= {signal.key for signal in alike if signal.status is SignalStatus.FIRING}  # a newer episode ends the older one
        found = advance(one, replace(step, signals=alike))
        assert _net(advance(other, replace(step, signals=_shuffled(alike, random)))) == _net(found)
        assert {(v.rule, v.group, v.state) for v in one.groups()} == {(v.rule, v.group, v.state) for v in other.groups()}


def _begins(signal: Signal) -> bool:
    """And says so: what asks first and then responds does the two in the order of the webhook."""
    if signal.status is SignalStatus.RESOLVED or signal.passed or signal.labels["grafana_state"]:
        return False
    return signal.annotations.get("value") in ("0.07", "0.2")


def _ends(signal: Signal) -> bool:
    return signal.status is SignalStatus.RESOLVED or signal.passed is True


def _shuffled(signals: tuple[Signal, ...], random: Random) -> tuple[Signal, ...]:
    return tuple(random.sample(signals, len(signals)))


def what(decisions: list[Decision]) -> list[str]:
    return sorted(f"{one[0]} {one[1]} {one[2]} {one[3]} {one[4]}" for one in outcomes(decisions))


def _net(decisions: list[Decision]) -> list[str]:
    return sorted(f"{d.kind.value} {d.rule} {d.group} {d.response.value}" for d in decisions if d.kind is DecisionKind.RESPOND)
