"""Numbers from queries: what the evaluator makes of them, and the reader that has them asked for."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta

import pytest

from responder.domain.condition import Baseline, ValueCondition
from responder.domain.decision import Decision, DecisionKind
from responder.domain.matcher import parse_matcher
from responder.domain.measurement import Measurement
from responder.domain.query import parse_query
from responder.domain.rulebook import Response, Rule, Rulebook
from responder.domain.signal import Signal, SignalStatus
from responder.domain.target import Target, WorkloadRef
from responder.engine.evaluator import Evaluator
from responder.engine.readings import Reader, Rounds, reading
from responder.engine.replay import Replay
from responder.engine.value_track import ValueTracks
from responder.errors import JournalUnavailableError
from responder.ports import Entry, EntryKind

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
QUERY = 'errors{app="app"}'
EMPTY = Measurement(None, "the result is empty")
SILENCE = Measurement(None, "Prometheus can't be reached", is_silence=True)


def at(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def rulebook(condition: ValueCondition | None = None, **changes: object) -> Rulebook:
    asked = condition or ValueCondition(above=0.05, query=parse_query("errors{app={{ target }}}"))
    fields = {"hold": timedelta(minutes=2), "response": Response.ROLLBACK, "active_for": timedelta(minutes=5), **changes}
    rule = Rule("errors", (parse_matcher('alertname="HighErrorRate"'),), asked, **fields)  # type: ignore[arg-type]
    target = Target("app", WorkloadRef("shop", "app"), (parse_matcher('app="app"'),))
    return Rulebook(targets={"app": target}, rules=(rule,), digest="d")


def alert(status: SignalStatus = SignalStatus.FIRING, began: float = 0, key: str = "a", **labels: str) -> Signal:
    named = {"alertname": "HighErrorRate", "app": "app", "source": "alertmanager", **labels}
    return Signal("alertmanager", key, status, named, {"value": "3"}, at(began), None, at(began))


class Course:
    """An evaluator driven by entries of a journal, which it keeps."""

    def __init__(self, rules: Rulebook | None = None) -> None:
        self.rules = rules or rulebook()
        self.evaluator = Evaluator(self.rules)
        self.entries: list[Entry] = []

    def send(self, seconds: float, *signals: Signal) -> list[str]:
        return self._fold(seconds, EntryKind.SIGNALS, signals)

    def tell(self, seconds: float, told: Measurement | float, query: str = QUERY, asked: float | None = None) -> list[str]:
        told = told if isinstance(told, Measurement) else Measurement(told)
        signal = reading(query, at(seconds if asked is None else asked), at(seconds), told)
        return self._fold(seconds, EntryKind.READING, (signal,))

    def tick(self, seconds: float) -> list[str]:
        return self._fold(seconds, EntryKind.TICK, ())

    def _fold(self, seconds: float, kind: EntryKind, signals: Sequence[Signal]) -> list[str]:
        self.entries.append(Entry(len(self.entries) + 1, at(seconds), kind, tuple(signals)))
        return [brief(each) for each in self.evaluator.fold(self.entries[-1]) if each.kind is not DecisionKind.IGNORE]

    @property
    def wanted(self) -> list[str]:
        return list(self.evaluator.wanted)

    @property
    def why(self) -> str:
        return next(self.evaluator.groups()).reason


def brief(decision: Decision) -> str:
    asked = " asking" if decision.inconclusive else ""
    return f"{decision.kind.value}{asked}{f' {decision.response.value}' if decision.kind is DecisionKind.RESPOND else ''}"


def test_nothing_is_asked_while_nothing_fires() -> None:
    course = Course()
    assert course.wanted == []
    course.send(0, alert())
    assert course.wanted == [QUERY]
    course.send(10, alert(SignalStatus.RESOLVED))
    assert course.wanted == []


def test_the_number_decides_and_the_alert_says_since_when() -> None:
    course = Course()
    assert course.send(60, alert(began=0)) == []
    assert course.tell(61, 0.07) == ["wait"]
    assert course.evaluator.next_due() == at(120)
    assert course.tick(120) == ["respond rollback"]
    assert course.evaluator.is_active("errors", "app")


def test_a_number_that_crosses_later_counts_from_when_it_was_measured() -> None:
    course = Course()
    course.send(0, alert())
    assert course.tell(1, 0.01) == []
    [view] = course.evaluator.counting()
    assert view.reason == "HighErrorRate: query 0.01 is not above 0.05"
    assert course.tell(31, 0.07, asked=30) == ["wait"]
    for seconds in (61, 91, 121):
        course.tell(seconds, 0.07)
    assert course.tick(149) == []
    assert course.tick(150) == ["respond rollback"]


def test_an_old_alert_does_not_ask_people_before_prometheus_had_its_chance() -> None:
    course = Course()
    assert course.send(600, alert(began=0)) == []
    assert course.tick(614) == []
    assert course.tell(614, 0.07) == ["respond rollback"]


def test_when_nobody_answers_it_asks() -> None:
    course = Course()
    course.send(600, alert(began=0))
    assert course.tick(615) == ["respond asking notify"]
    assert "Prometheus was not asked in time" in course.why
    assert not course.evaluator.is_active("errors", "app")
    assert not course.evaluator.is_calm("errors", "app"), "a missing number is no all-clear"


def test_no_number_asks_with_the_reason_and_never_acts() -> None:
    course = Course()
    course.send(0, alert())
    assert course.tell(1, EMPTY) == ["wait asking"]
    course.tell(31, EMPTY)
    found = [course.tell(seconds, EMPTY) for seconds in (61, 91, 121)]
    assert found[-1] == ["respond asking notify"]
    assert f"query {QUERY} has no number (the result is empty), so nobody knows whether it is above 0.05" in course.why


def test_numbers_that_are_none_are_no_numbers() -> None:
    for number in (float("nan"), float("inf"), float("-inf")):
        course = Course()
        course.send(600, alert(began=0))
        assert course.tell(601, number) == ["respond asking notify"]


def test_a_number_lasts_for_two_and_a_half_rounds() -> None:
    course = Course(rulebook(hold=timedelta(minutes=5)))
    course.send(0, alert())
    course.tell(0, 0.07)
    assert course.tick(74) == []
    assert course.evaluator.is_active("errors", "app")
    course.tick(75)
    assert not course.evaluator.is_active("errors", "app")
    assert "nothing newer than that of 12:00:00 UTC was heard" in course.why
    assert course.tell(100, 0.07) == ["wait"]
    assert course.evaluator.next_due() == at(175), "`for` counts anew, the next number lasts until then"


@pytest.mark.parametrize("number", [0.07, 0.01])
def test_while_nobody_answers_the_last_number_lasts_until_it_is_too_old(number: float) -> None:
    course = Course(rulebook(hold=timedelta(0)))
    course.send(0, alert())
    course.tell(0, number)
    assert course.tell(30, SILENCE) == []
    assert course.tell(60, SILENCE) == []
    assert course.evaluator.is_active("errors", "app") is (number > 0.05)
    course.evaluator.restore(course.evaluator.snapshot())
    assert course.tick(74) == []
    assert course.tick(75) == ([] if number > 0.05 else ["respond asking notify"])
    assert not course.evaluator.is_active("errors", "app")
    assert "nothing newer than that of 12:00:00 UTC was heard: Prometheus can't be reached" in course.why


def test_a_round_that_fails_does_not_begin_the_time_anew() -> None:
    course = Course()
    course.send(0, alert())
    for seconds, told in ((0, 0.07), (30, SILENCE), (60, 0.08), (90, SILENCE)):
        course.tell(seconds, told)
    assert course.tick(120) == ["respond rollback"]


def test_nobody_answering_is_no_first_answer_and_no_later_one() -> None:
    course = Course(rulebook(hold=timedelta(0)))
    course.send(0, alert())
    assert course.tell(1, SILENCE) == ["respond asking notify"]
    assert "Prometheus can't be reached" in course.why
    course.tell(31, 0.01)
    course.tell(61, EMPTY)
    assert "the result is empty" in course.why, "an answer without a number says that there is none"
    course.tell(91, SILENCE)
    assert not course.evaluator.is_active("errors", "app")


def test_what_fires_stays_firing_without_a_number_and_is_calm_with_a_good_one() -> None:
    course = Course(rulebook(hold=timedelta(0)))
    course.send(0, alert())
    assert course.tell(0, 0.07) == ["respond rollback"]
    course.tick(80)
    assert not course.evaluator.is_active("errors", "app")
    assert not course.evaluator.is_calm("errors", "app")
    assert course.tell(90, 0.01) == ["clear"]
    assert course.evaluator.is_calm("errors", "app")


def test_an_answer_that_is_too_old_or_unwanted_changes_nothing() -> None:
    course = Course(rulebook(hold=timedelta(0)))
    assert course.tell(0, 0.07) == []
    course.send(10, alert())
    assert course.tell(11, 0.07, query="something_else") == []
    assert course.tell(90, 0.07, asked=14) == ["respond asking notify"], "the patience was over; the answer counts for nothing"
    assert not course.evaluator.is_active("errors", "app")


def test_a_multiple_of_a_baseline_needs_both_numbers() -> None:
    both = ValueCondition(above=2, query=parse_query("now"), baseline=Baseline(query=parse_query("before")))
    course = Course(rulebook(both, hold=timedelta(0)))
    course.send(0, alert())
    assert course.wanted == ["now", "before"]
    assert course.tell(1, 3.0, "now") == []
    assert course.tell(2, 1.0, "before") == ["respond rollback"]
    assert "query / baseline 3 is above 2" in course.why
    assert course.tell(3, 2.0, "before") == ["clear"]
    assert course.tell(4, 0.0, "before") == ["respond asking notify"], "nothing is a multiple of nothing"


def test_a_baseline_for_the_number_that_the_alert_carries() -> None:
    condition = ValueCondition(above=2, baseline=Baseline(query=parse_query("before")))
    course = Course(rulebook(condition, hold=timedelta(0)))
    course.send(0, alert())
    assert course.tell(1, 1.0, "before") == ["respond rollback"]


def test_what_is_told_twice_in_one_instant_is_no_past_of_its_own() -> None:
    learned = ValueCondition(above=2, query=parse_query("now"), baseline=Baseline(history=timedelta(minutes=10)))
    course = Course(rulebook(learned, hold=timedelta(minutes=9)))
    course.send(0, alert())
    for seconds in range(0, 150, 30):
        course.tell(seconds, 1.0, "now")
    assert course.tell(120, 1.0, "now") == [], "the fifth number, again: still no baseline"
    assert course.tell(150, 1.0, "now") == ["clear asking"]
    assert course.tell(180, 3.0, "now") == ["wait"]


def test_labels_from_outside_stay_inside_their_quotes() -> None:
    condition = ValueCondition(above=0.05, query=parse_query("errors{pod={{ labels.pod }}}"))
    course = Course(rulebook(condition, by=("pod",)))
    course.send(0, alert(pod='x"} or vector(1) #'))
    assert course.wanted == ['errors{pod="x\\"} or vector(1) #"}']


def test_a_point_event_is_judged_by_numbers_for_as_long_as_it_goes_on() -> None:
    course = Course(rulebook(hold=timedelta(0)))
    course.send(0, alert(SignalStatus.OCCURRED))
    assert course.wanted == [QUERY]
    course.tell(1, 0.01)
    assert course.wanted == [QUERY]
    assert course.tell(31, 0.07) == ["respond rollback"]
    for seconds in range(61, 299, 30):
        course.tell(seconds, 0.07)
    assert course.tick(300) == ["clear"]
    assert course.wanted == []


def test_an_event_of_which_the_number_stays_calm_is_forgotten_in_time() -> None:
    course = Course()
    course.send(0, alert(SignalStatus.OCCURRED))
    course.tell(1, 0.01)
    course.tick(500)
    assert course.wanted == []
    assert course.evaluator.next_due() is None


def test_a_restart_knows_what_was_told_and_what_is_awaited() -> None:
    course = Course()
    course.send(0, alert())
    course.send(0, alert(SignalStatus.OCCURRED, key="e"))
    for step in (lambda: course.tell(1, 0.01), lambda: course.tell(31, 0.07), lambda: course.tell(61, EMPTY), lambda: None):
        restored = Evaluator(course.rules)
        restored.restore(course.evaluator.snapshot())
        assert list(restored.wanted) == course.wanted
        assert restored.next_due() == course.evaluator.next_due()
        assert restored.snapshot() == course.evaluator.snapshot()
        step()


def test_a_replay_decides_by_what_was_recorded_and_names_what_was_not() -> None:
    course = Course()
    course.send(0, alert())
    course.tell(1, 0.07)
    for seconds in (31, 61, 91, 121):
        course.tell(seconds, 0.07)
    found = Replay(course.rules).run(course.entries)
    assert [brief(each) for each in found.decisions if each.kind is DecisionKind.RESPOND] == ["respond rollback"]
    assert found.unread == []
    other = Replay(rulebook(ValueCondition(above=0.05, query=parse_query("other")))).run(course.entries)
    assert [brief(each) for each in other.decisions if each.kind is DecisionKind.RESPOND] == ["respond asking notify"]
    assert other.unread == ["other"]


def test_a_plot_shows_what_prometheus_said() -> None:
    course = Course()
    course.send(0, alert())
    course.tell(1, 0.07)
    course.tell(31, EMPTY)
    tracks = ValueTracks(course.rules)
    for entry in course.entries:
        tracks.note(entry)
    [series] = tracks.tracks["errors"].series.values()
    assert series.name == QUERY
    assert series.points == [(at(1), 0.07), (at(31), None)]


# --- rounds --------------------------------------------------------------------------------------------------------------


def test_rounds_ask_what_is_new_at_once_and_everything_each_half_minute() -> None:
    rounds = Rounds()
    assert rounds.due(["a"], at(0)) == ["a"]
    assert rounds.due(["a", "b"], at(10)) == ["b"]
    assert rounds.due(["a", "b"], at(29)) == []
    assert rounds.next(["a", "b"]) == at(30)
    assert rounds.due(["a", "b"], at(30)) == ["a"]
    assert rounds.due(["b"], at(35)) == []
    assert rounds.due(["a", "b"], at(36)) == ["a"], "it was not wanted for a while"
    assert rounds.due(["a", "b"], at(90), busy=["a"]) == ["b"]
    assert rounds.due(["a", "b"], at(-100)) == ["a", "b"], "a clock that was set back must not stop it"


# --- the reader ----------------------------------------------------------------------------------------------------------


class FakeJournal:
    def __init__(self) -> None:
        self.entries: list[tuple[EntryKind, tuple[Signal, ...]]] = []
        self.is_broken = False
        self.changed = asyncio.Event()

    async def append(self, kind: EntryKind, at: datetime, signals: Sequence[Signal] = ()) -> int:
        self.changed.set()
        if self.is_broken:
            raise JournalUnavailableError("full")
        self.entries.append((kind, tuple(signals)))
        return len(self.entries)

    @property
    def told(self) -> dict[str, float | None]:
        return {signal.key: signal.value for _, signals in self.entries for signal in signals}


class FakePrometheus:
    def __init__(self, answer: Callable[[str], Awaitable[Measurement]]) -> None:
        self._answer = answer
        self.asked: list[str] = []
        self.under_way = self.most = 0

    async def measure(self, query: str) -> Measurement:
        self.asked.append(query)
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            return await self._answer(query)
        finally:
            self.under_way -= 1


async def at_once(query: str) -> Measurement:
    return Measurement(float(len(query)))


class World:
    def __init__(self, answer: Callable[[str], Awaitable[Measurement]] = at_once) -> None:
        self.wanted: list[str] = []
        self.now = NOON
        self.journal = FakeJournal()
        self.prometheus = FakePrometheus(answer)
        self.reader = Reader(
            wanted=lambda: self.wanted,
            prometheus=self.prometheus,
            journal=self.journal,  # type: ignore[arg-type]
            clock=lambda: self.now,
        )

    async def __aenter__(self) -> World:
        self.task = asyncio.create_task(self.reader.run())
        return self

    async def __aexit__(self, *_: object) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)
        assert self.prometheus.under_way == 0

    async def until(self, is_so: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not is_so():  # noqa: ASYNC110 (several things are waited for)
                await asyncio.sleep(0)


async def test_the_reader_asks_for_what_is_newly_wanted_and_writes_it_down() -> None:
    async with World() as world:
        await asyncio.sleep(0)
        assert world.prometheus.asked == []
        world.wanted = ["a", "bb"]
        world.reader.look()
        await world.until(lambda: len(world.journal.told) == 2)
        assert world.journal.told == {"a": 1.0, "bb": 2.0}
        assert {kind for kind, _ in world.journal.entries} == {EntryKind.READING}
        world.reader.look()
        world.wanted = ["a", "bb", "ccc"]
        world.reader.look()
        await world.until(lambda: "ccc" in world.journal.told)
        assert world.prometheus.asked == ["a", "bb", "ccc"], "what was just asked is not asked again"
        world.now += timedelta(seconds=30)
        world.reader.look()
        await world.until(lambda: len(world.prometheus.asked) == 6)


async def test_the_reader_has_a_bounded_number_of_requests_under_way() -> None:
    gate = asyncio.Event()

    async def answer(_: str) -> Measurement:
        await gate.wait()
        return Measurement(1.0)

    async with World(answer) as world:
        world.wanted = [f"q{number}" for number in range(40)]
        world.reader.look()
        await world.until(lambda: world.prometheus.under_way == 8)
        gate.set()
        await world.until(lambda: len(world.journal.told) == 40)
        assert world.prometheus.most == 8
        assert len(world.journal.entries) < 40, "what comes back together is one entry"


async def test_a_slow_answer_keeps_no_other_waiting() -> None:
    gate = asyncio.Event()

    async def answer(query: str) -> Measurement:
        if query == "slow":
            await gate.wait()
        return Measurement(1.0)

    async with World(answer) as world:
        world.wanted = ["slow", "quick"]
        world.reader.look()
        await world.until(lambda: "quick" in world.journal.told)
        assert "slow" not in world.journal.told
        world.now += timedelta(seconds=31)
        world.reader.look()
        await world.until(lambda: world.prometheus.asked.count("quick") == 2)
        assert world.prometheus.asked.count("slow") == 1, "one question after the other"
        gate.set()
        await world.until(lambda: "slow" in world.journal.told)


async def test_why_there_is_no_number_is_written_down_too() -> None:
    async def answer(query: str) -> Measurement:
        if query == "broken":
            raise RuntimeError("a bug")
        return EMPTY

    async with World(answer) as world:
        world.wanted = ["broken", "empty", "x" * 10_001]
        world.reader.look()
        await world.until(lambda: len(world.journal.told) == 3)
        whys = {signal.key[:6]: signal.annotations["why"] for _, signals in world.journal.entries for signal in signals}
        assert whys["broken"] == "internal error: RuntimeError"
        assert whys["empty"] == "the result is empty"
        assert "longer than 10000" in whys["xxxxxx"]
        assert "x" * 10_001 not in world.prometheus.asked


async def test_an_answer_that_can_not_be_written_down_is_asked_for_again() -> None:
    async with World() as world:
        world.journal.is_broken = True
        world.wanted = ["a"]
        world.reader.look()
        async with asyncio.timeout(10):
            await world.journal.changed.wait()
        world.journal.is_broken = False
        world.now += timedelta(seconds=30)
        world.reader.look()
        await world.until(lambda: world.journal.told == {"a": 1.0})
