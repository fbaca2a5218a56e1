"""What is written comes back equal: signals, documents, moments."""

from __future__ import annotations

import json
import math
from datetime import UTC, date, datetime, timedelta, timezone
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from responder.domain.incident import Incident, IncidentStatus, Phase, StepRecord, StepStatus
from responder.domain.notification import Message, Moment
from responder.domain.plan import Checkpoint, Input, Monitor, OnStepFailure, Plan, Retry, Step
from responder.domain.rulebook import Severity
from responder.domain.signal import Signal, SignalStatus
from responder.domain.version import Pin, Version
from responder.errors import InvalidInputError
from responder.stores.codec import (
    decode_signals,
    encode_signals,
    from_document,
    from_micros,
    mapping_from_document,
    to_document,
    to_micros,
)

NOW = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)

unicode_text = st.text(st.characters(exclude_categories=["Cs"]))
moments = st.datetimes(timezones=st.sampled_from([UTC, timezone(timedelta(hours=-7, minutes=-30))])).map(
    lambda moment: moment.replace(fold=0)
)
labels = st.dictionaries(unicode_text, unicode_text, max_size=4)
signals = st.builds(
    Signal,
    source=unicode_text,
    key=unicode_text,
    status=st.sampled_from(SignalStatus),
    labels=labels,
    annotations=labels,
    started_at=st.none() | moments,
    ended_at=st.none() | moments,
    received_at=moments,
    value=st.none() | st.floats(allow_nan=False),
    passed=st.none() | st.booleans(),
    link=unicode_text,
    id=unicode_text,
)
plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | unicode_text
    | st.datetimes().map(lambda moment: moment.replace(fold=0))
    | moments
    | st.dates()
    | st.timedeltas(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(unicode_text | st.sampled_from(["$time", "$pairs", "$"]), inner, max_size=3)
    ),
    max_leaves=10,
)


@given(moments)
def test_a_moment_keeps_its_microsecond(moment: datetime) -> None:
    assert from_micros(to_micros(moment)) == moment


def test_a_naive_datetime_is_no_moment() -> None:
    with pytest.raises(TypeError):
        to_micros(datetime(2026, 3, 1))


@given(st.lists(signals, max_size=3))
def test_signals_come_back_equal(batch: list[Signal]) -> None:
    assert decode_signals(encode_signals(batch)) == tuple(batch)


def signal(**changes: Any) -> Signal:
    return Signal(**{**BARE, **changes})


BARE: dict[str, Any] = {
    "source": "events",
    "key": "k",
    "status": SignalStatus.OCCURRED,
    "labels": {},
    "annotations": {},
    "started_at": None,
    "ended_at": None,
    "received_at": NOW,
}


def test_not_a_number_stays_not_a_number() -> None:
    (back,) = decode_signals(encode_signals([signal(value=math.nan)]))
    assert back.value is not None
    assert math.isnan(back.value)


def test_a_signal_without_an_id_is_written_as_before_there_were_ids_and_such_rows_are_still_read() -> None:
    row = b'[["events","k","occurred",{},{},null,null,%d,null,null,""]]' % to_micros(NOW)
    assert encode_signals([signal()]) == row
    assert decode_signals(row) == (signal(),)


def test_labels_may_be_any_mapping() -> None:
    (back,) = decode_signals(encode_signals([signal(labels=MappingProxyType({"a": "b"}))]))
    assert back.labels == {"a": "b"}


NOT_WRITABLE = {
    "a lone surrogate in a value": {"labels": {"a": "\ud800"}},
    "a lone surrogate in a name": {"annotations": {"\udcff": "a"}},
    "a lone surrogate in the key": {"key": "\udfff"},
    "a label that is no text": {"labels": {1: "a"}},
    "a number beyond 64 bits": {"value": 2**70},
}


@pytest.mark.parametrize("changes", NOT_WRITABLE.values(), ids=NOT_WRITABLE.keys())
def test_a_signal_that_can_not_be_written_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError):
        encode_signals([signal(), signal(**changes)])


@given(st.dictionaries(unicode_text, plain, max_size=4))
def test_a_document_comes_back_equal_with_its_types(value: dict[str, object]) -> None:
    back = mapping_from_document(to_document(value))
    assert back == value
    assert repr(back) == repr(value)


FULL = Incident(
    id="inc_1",
    identity="rule|group|key@start",
    target="app",
    workload="Deployment shop/app",
    rule="error_rate",
    group='deployment="app"',
    severity=Severity.P0,
    status=IncidentStatus.MONITORING,
    reason="error rate 7 % > 5 % für 2 min",
    opened_at=NOW,
    groups=(("error_rate", "a"), ("latency", "b")),
    closed_at=None,
    plan=Plan(
        name="roll-back-app",
        steps=(
            Step("rollback", "rollback", {"target": "app"}, timedelta(minutes=3), Retry(4, timedelta(milliseconds=1500))),
            Step(
                "check",
                "http.check",
                {
                    "url": "https://a/b",
                    "every": timedelta(seconds=5),
                    "codes": [200, 204],
                    "range": (1, 2.5),
                    "headers": {"$x": None},
                },
                on_failure=OnStepFailure.CONTINUE,
            ),
        ),
        deadline=timedelta(minutes=5, microseconds=1),
        verify=(Step("verify", "sleep", {"for": timedelta(0)}),),
        monitor=Monitor(timedelta(minutes=15), checks=(Step("watch", "http.check"),), failure_limit=0),
        on_failure=(Step("tell", "notify"),),
    ),
    pins={
        "app": Pin(
            "app", "uid", Version("v3", "7", "f3", "d3", ("a:v3", "b:v3"), NOW, "ci", True), Version("v2", "6", "f2", "d2")
        )
    },
    steps=(
        StepRecord(
            "rollback", "rollback", Phase.STEPS, StepStatus.SUCCEEDED, 2, NOW, NOW, "done", {"at": NOW, "n": 1, "list": ["a"]}
        ),
        StepRecord("check", "http.check", Phase.VERIFY),
    ),
    trigger_labels={"alertname": "HighErrorRate"},
    trigger_annotations={"value": "7"},
    trigger_link="http://prometheus",
    value=math.inf,
    began_at=NOW,
    run_started_at=NOW,
    acted_at=NOW,
    recovered_at=NOW,
    monitor_until=NOW + timedelta(minutes=15),
)


def test_an_incident_comes_back_equal_with_plan_pins_and_steps() -> None:
    back = from_document(Incident, to_document(FULL))
    assert back == FULL
    assert back.plan is not None
    assert isinstance(back.status, IncidentStatus)
    assert isinstance(back.plan.steps[1].on_failure, OnStepFailure)
    assert back.plan.steps[1].parameters == FULL.plan.steps[1].parameters  # type: ignore[union-attr]


def test_an_incident_kept_before_plans_had_nested_steps_still_loads() -> None:
    document = json.loads(to_document(FULL))
    newer_step = ("condition", "steps", "rescue", "needs", "destroys")
    plan = document["plan"]
    for step in [*plan["steps"]["$tuple"], *plan["verify"]["$tuple"], *plan["monitor"]["checks"]["$tuple"]]:
        for name in newer_step:
            step.pop(name, None)
    for name in ("inputs", "checkpoints", "updates"):
        plan.pop(name, None)
    for record in document["steps"]["$tuple"]:
        record.pop("refused", None)
    for name in ("inputs", "order", "approvals", "countdown_until", "cancel", "acknowledged", "asks", "grace"):
        document.pop(name, None)
    assert from_document(Incident, json.dumps(document)) == FULL


def test_nested_steps_come_back_equal() -> None:
    inner = Step("inner", "sleep", {"for": timedelta(seconds=3)}, rescue=(Step("r", "rollback", destroys=True),), needs=("a",))
    plan = Plan(
        "p",
        (Step("both", "parallel", steps=(inner, Step("block", "block", steps=(inner,))), condition="value > 1"),),
        inputs={"backup": Input("[0-9]+")},
        checkpoints=(Checkpoint("later", timedelta(minutes=30), (inner,)),),
        updates=timedelta(minutes=15),
    )
    assert from_document(Plan, to_document(plan)) == plan


def test_a_message_comes_back_equal() -> None:
    message = Message(
        "inc_1-2", "inc_1", Moment.ACTING, Severity.P2, "app", "title", "text", NOW, (("a", "b"),), "l", True, ("c",), {"d": "e"}
    )
    assert from_document(Message, to_document(message)) == message


def test_output_that_was_not_unicode_is_written_with_replacements() -> None:
    step = StepRecord("job", "command.run", Phase.STEPS, output="caf\udce9 \U0001f600")
    assert from_document(StepRecord, to_document(step)).output == "caf\ufffd \U0001f600"


def test_a_newer_document_is_read_without_its_new_fields() -> None:
    assert from_document(Retry, '{"attempts": 3, "jitter": true}') == Retry(attempts=3)


def test_a_value_of_an_unknown_type_is_a_mistake() -> None:
    with pytest.raises(TypeError, match="set"):
        to_document({"a": {1, 2}})


def test_dates_and_times_of_day_are_told_apart() -> None:
    value = {"day": date(2026, 3, 1), "moment": datetime(2026, 3, 1)}
    assert repr(mapping_from_document(to_document(value))) == repr(value)
