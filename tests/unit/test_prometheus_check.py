"""`prometheus.check`: what passes, what does not, and what it waits for."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from responder.actions.prometheus import PrometheusCheck
from responder.actions.registry import PARAMETERS
from responder.domain.incident import Phase, StepRecord, StepStatus
from responder.domain.measurement import Measurement
from responder.errors import InvalidInputError, PermanentError, StoppedError, TemporaryError
from responder.rulebook.loader import load_rulebook
from responder.rulebook.review import review
from tests.unit.test_actions import NOON, Stage

EMPTY = Measurement(None, "the result is empty")
PLAIN = {"query": "sum(up)", "below": 0.05}


class Answers:
    """One after the other; the last one for ever."""

    def __init__(self, *told: Measurement | float) -> None:
        self._told = [one if isinstance(one, Measurement) else Measurement(one) for one in told]
        self.asked: list[str] = []

    async def measure(self, query: str) -> Measurement:
        self.asked.append(query)
        return self._told.pop(0) if len(self._told) > 1 else self._told[0]


async def run(stage: Stage, answers: Answers, **parameters: Any) -> str:
    given = PARAMETERS["prometheus.check"].model_validate({**PLAIN, **parameters}).model_dump(by_alias=True)
    return await PrometheusCheck(answers).run(given, stage.context)


def seconds(*counts: float) -> list[timedelta]:
    return [timedelta(seconds=count) for count in counts]


async def test_one_good_answer_is_enough() -> None:
    stage = Stage()
    assert await run(stage, Answers(0.01)) == "sum(up): 0.01 is below 0.05"
    assert stage.slept == []


async def test_asks_until_it_holds() -> None:
    stage, answers = Stage(), Answers(0.2, EMPTY, 0.01)
    assert await run(stage, answers) == "sum(up): 0.01 is below 0.05"
    assert stage.slept == seconds(15, 15)
    assert stage.shown == ["sum(up): 0.2 is not below 0.05", "sum(up): no number (the result is empty)"]


async def test_it_must_hold_without_a_break() -> None:
    stage, answers = Stage(), Answers(0.01, 0.01, EMPTY, 0.01)
    said = await run(stage, answers, **{"for": "30s"})
    assert said == "sum(up): 0.01 is below 0.05 for 30s, 3 answers"
    assert len(answers.asked) == 6, "two, one that was none, three"
    assert stage.shown[1] == "sum(up): 0.01 is below 0.05, for 15s of 30s"


NO_NUMBERS = [EMPTY, Measurement(None, "the result is NaN"), Measurement(None, "the result is 2 series instead of one")]


@pytest.mark.parametrize("told", NO_NUMBERS, ids=lambda told: told.why)
async def test_no_number_never_passes(told: Measurement) -> None:
    stage, answers = Stage(), Answers(told)
    with pytest.raises(TemporaryError, match=r"3 answers in a row"):
        await run(stage, answers, failures=3)
    assert len(answers.asked) == 3


async def test_it_gives_up_only_after_so_many_in_a_row() -> None:
    stage = Stage()
    await run(stage, Answers(0.2, 0.01, EMPTY, 0.01, 0.01), failures=2, **{"for": "15s"})


async def test_a_query_that_is_wrong_ends_it_at_once() -> None:
    told = Measurement(None, "Prometheus says bad_data: parse error", is_refused=True)
    with pytest.raises(PermanentError, match="parse error"):
        await run(Stage(), Answers(told))


BOUNDS = {
    "above": ({"above": "5%"}, 0.06, 0.05),
    "below": ({"below": "200ms"}, 0.1, 0.2),
    "between": ({"between": "1..2"}, 2.0, 2.1),
    "between as a list": ({"between": [1, 2]}, 1.0, 0.9),
    "equals": ({"equals": 0}, 0.0, 0.1),
}


@pytest.mark.parametrize(("bound", "good", "bad"), BOUNDS.values(), ids=BOUNDS)
async def test_bounds(bound: dict[str, Any], good: float, bad: float) -> None:
    parameters = PARAMETERS["prometheus.check"].model_validate({"query": "up", **bound, "failures": 1}).model_dump(by_alias=True)
    assert " is " in await PrometheusCheck(Answers(good)).run(parameters, Stage().context)
    with pytest.raises(TemporaryError, match="is not"):
        await PrometheusCheck(Answers(bad)).run(parameters, Stage().context)


WRONG = {
    "no bound": {"query": "up"},
    "two bounds": {"query": "up", "above": 1, "below": 2},
    "a bound that is none": {"query": "up", "above": "NaN"},
    "no query": {"above": 1},
    "a place in quotes": {"query": 'up{a="{{ target }}"}', "above": 1},
    "a template": {"query": "{% if target %}up{% endif %}", "above": 1},
    "swapped ends": {"query": "up", "between": [2, 1]},
    "no failures at all": {"query": "up", "above": 1, "failures": 0},
}


@pytest.mark.parametrize("parameters", WRONG.values(), ids=WRONG)
async def test_is_refused(parameters: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError):
        await PrometheusCheck(Answers(1.0)).run(parameters, Stage().context)


async def test_places_become_quoted_strings() -> None:
    stage, answers = Stage(), Answers(0.01)
    stage.context.incident = replace(stage.context.incident, trigger_labels={"pod": 'a"b'})
    await run(stage, answers, query="up{a={{ target }}, pod={{ labels.pod }}}")
    assert answers.asked == ['up{a="app", pod="a\\"b"}']
    with pytest.raises(PermanentError, match="no label node"):
        await run(stage, answers, query="up{node={{ labels.node }}}")


# --- what was before the rollback -----------------------------------------------------------------------------------------


def rolled_back(stage: Stage, *, acted: float, ended: float | None = None) -> Stage:
    steps = ()
    if ended is not None:
        end = NOON + timedelta(seconds=ended)
        steps = (StepRecord("rollback", "rollback", Phase.STEPS, StepStatus.SUCCEEDED, ended_at=end),)
    stage.context.incident = replace(stage.context.incident, acted_at=NOON + timedelta(seconds=acted), steps=steps)
    return stage


WINDOWS = {
    "nothing was changed": (lambda stage: stage, {}, []),
    "something was changed a minute ago": (lambda stage: rolled_back(stage, acted=-60), {}, [240]),
    "the rollback's step ended later": (lambda stage: rolled_back(stage, acted=-60, ended=-10), {}, [290]),
    "the window has passed": (lambda stage: rolled_back(stage, acted=-600, ended=-300), {}, []),
    "the clock was set back": (lambda stage: rolled_back(stage, acted=9000), {}, [300]),
    "it is switched off": (lambda stage: rolled_back(stage, acted=-60), {"wait_for_window": False}, []),
    "the query looks at now only": (lambda stage: rolled_back(stage, acted=-60), {"query": "errors"}, []),
    "a pause comes first": (lambda stage: rolled_back(stage, acted=-60), {"initial_delay": "40s"}, [40, 200]),
}


@pytest.mark.parametrize(("prepare", "parameters", "slept"), WINDOWS.values(), ids=WINDOWS)
async def test_waits_until_the_range_holds_nothing_from_before(prepare: Any, parameters: Any, slept: list[float]) -> None:
    stage = prepare(Stage())
    await run(stage, Answers(0.01), **{"query": "rate(errors[5m])", **parameters})
    assert stage.slept == seconds(*slept)


async def test_says_what_it_waits_for_and_can_be_stopped_meanwhile() -> None:
    stage, answers = rolled_back(Stage(), acted=-60), Answers(0.01)

    async def stop(_: timedelta) -> None:
        raise StoppedError("a person stopped the run")

    stage.context.sleep = stop
    with pytest.raises(StoppedError):
        await run(stage, answers, query="rate(errors[5m])")
    assert answers.asked == []
    assert stage.shown == [
        "waiting until 12:04:00 UTC: until then the query's range of 5m also holds what was before the rollback"
    ]


async def test_a_preview_asks_once_and_waits_for_nothing() -> None:
    stage, answers = rolled_back(Stage(), acted=-60), Answers(0.2)
    said = await PrometheusCheck(answers).preview({"query": "rate(errors[5m])", "below": 0.05}, stage.context)
    assert said == "would ask Prometheus for rate(errors[5m]); now 0.2 is not below 0.05"
    assert stage.slept == []


def test_a_timeout_that_is_too_short_for_the_range_is_warned_of(tmp_path: Any) -> None:
    text = """
version: 1
plans:
  p:
    steps: [rollback]
    verify:
      - {uses: prometheus.check, with: {query: 'rate(errors[5m])', below: 1, for: 1m}, timeout: 6m}
      - {uses: prometheus.check, name: quick, with: {query: 'rate(errors[5m])', below: 1, wait_for_window: false}}
"""
    (tmp_path / "rules.yaml").write_text(text)
    [warning] = [one for one in review(load_rulebook(tmp_path / "rules.yaml", PARAMETERS)) if "timeout" in one]
    assert warning == (
        "plan p: step prometheus.check waits for its query to look past the rollback, 6m with `for`; its timeout is 6m: "
        "give it a longer `timeout`, or `wait_for_window: false`"
    )
