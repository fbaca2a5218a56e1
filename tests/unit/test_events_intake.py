"""Responder's own events: one or a list, of which every good one counts, and every mistake is named."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from responder.actions.registry import PARAMETERS
from responder.domain.signal import Signal, SignalStatus
from responder.errors import InvalidInputError
from responder.intakes.events import KEY_LIMIT, parse
from responder.rulebook.loader import load_rulebook

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
PAGE = (Path(__file__).parents[2] / "docs" / "senders.md").read_text(encoding="utf-8")


def event(**changes: object) -> dict[str, object]:
    return {"key": "smoke/checkout", "status": "failed", "labels": {"namespace": "shop"}, **changes}


def read(document: object) -> tuple[Signal, ...]:
    return parse(json.dumps(document).encode(), NOW).signals


def one(**changes: object) -> Signal:
    (signal,) = read(event(**changes))
    return signal


def test_an_event_becomes_a_signal_with_everything_it_said() -> None:
    signal = one(annotations={"summary": "x"}, value=0.25, started_at="2026-03-01T12:58:00+01:00", id="run-1")
    assert (signal.source, signal.key, signal.id) == ("events", "smoke/checkout", "run-1")
    assert (signal.status, signal.passed) == (SignalStatus.OCCURRED, False)
    assert signal.labels == {"namespace": "shop", "alertname": "smoke/checkout", "source": "events"}
    assert signal.annotations == {"summary": "x", "value": "0.25"}
    assert (signal.value, signal.started_at, signal.ended_at) == (0.25, datetime(2026, 3, 1, 11, 58, tzinfo=UTC), None)
    assert signal.received_at == NOW


@pytest.mark.parametrize(
    ("status", "expected", "passed"),
    [
        ("firing", SignalStatus.FIRING, None),
        ("resolved", SignalStatus.RESOLVED, None),
        ("passed", SignalStatus.OCCURRED, True),
        ("failed", SignalStatus.OCCURRED, False),
        ("occurred", SignalStatus.OCCURRED, None),
    ],
)
def test_every_status_has_its_meaning(status: str, expected: SignalStatus, passed: bool | None) -> None:
    signal = one(status=status)
    assert (signal.status, signal.passed) == (expected, passed)


def test_what_may_be_left_out_may_also_be_null() -> None:
    bare = {"key": "k", "status": "passed", "labels": {}}
    assert read(bare) == read(bare | {"annotations": None, "value": None, "started_at": None, "id": None})
    (signal,) = read(bare)
    assert (signal.value, signal.started_at, signal.id, signal.annotations) == (None, None, "", {})


def test_own_labels_and_annotations_win_but_the_source_is_ours() -> None:
    signal = one(labels={"alertname": "Smoke", "source": "ci"}, annotations={"value": "5%"}, value=3)
    assert signal.labels == {"alertname": "Smoke", "source": "events", "exported_source": "ci"}
    assert (signal.value, signal.annotations) == (3.0, {"value": "5%"})


def test_a_list_is_taken_in_its_order() -> None:
    assert [signal.key for signal in read([event(key="a"), event(key="b")])] == ["a", "b"]
    assert read([]) == ()


def test_results_of_one_check_in_one_list_are_several_in_their_order() -> None:
    """Without a time and an id they are told apart by when they arrived; the last of them is the newest."""
    signals = read([event(status="failed"), event(status="passed"), event(status="failed")])
    moments = [signal.received_at for signal in signals]
    assert moments == sorted(set(moments))
    assert moments[-1] == NOW
    assert NOW - moments[0] == timedelta(microseconds=2)


def test_a_wrong_event_costs_no_good_one_and_is_placed() -> None:
    """Who collects events for others and sends them on in lists throws a refused list away, the failed check in it too."""
    delivery = parse(json.dumps([event(key="a"), event(status="broken"), event(key="b")]).encode(), NOW)
    assert [signal.key for signal in delivery.signals] == ["a", "b"]
    assert (delivery.ignored, delivery.unreadable) == (1, delivery.notes[0])
    assert delivery.notes[0].startswith("[1].status: must be one of")


def test_a_list_without_a_good_one_is_refused() -> None:
    with pytest.raises(InvalidInputError) as refused:
        read([event(status="broken"), 7])
    assert refused.value.field == "[0].status"


def without(name: str) -> dict[str, object]:
    return {key: value for key, value in event().items() if key != name}


BROKEN = [
    pytest.param(7, None, id="a number"),
    pytest.param(None, None, id="null"),
    pytest.param([7], "[0]", id="a number in the list"),
    pytest.param([[]], "[0]", id="a list in the list"),
    pytest.param({}, "key", id="an empty object"),
    pytest.param(without("key"), "key", id="no key"),
    pytest.param(event(key=""), "key", id="an empty key"),
    pytest.param(event(key=7), "key", id="a number as key"),
    pytest.param(event(key="a\0"), "key", id="NUL in the key"),
    pytest.param(event(key="x" * (KEY_LIMIT + 1)), "key", id="a key too long"),
    pytest.param(without("status"), "status", id="no status"),
    pytest.param(event(status="FAILED"), "status", id="capital letters"),
    pytest.param(event(status=["failed"]), "status", id="a list as status"),
    pytest.param(without("labels"), "labels", id="no labels"),
    pytest.param(event(labels=["a"]), "labels", id="a list as labels"),
    pytest.param(event(labels={"build": 7}), "labels.build", id="a number as label"),
    pytest.param(event(labels={"a": "\0"}), "labels.a", id="NUL in a label"),
    pytest.param(event(labels={"a\0": "x"}), "labels.a\\u0000", id="NUL in the name of a label"),
    pytest.param(event(annotations={"a": None}), "annotations.a", id="null as annotation"),
    pytest.param(event(value="0.07"), "value", id="a text as value"),
    pytest.param(event(value=True), "value", id="a boolean as value"),
    pytest.param(event(started_at=1772366400), "started_at", id="seconds as start"),
    pytest.param(event(started_at="2026-03-01T12:00:00"), "started_at", id="a start without an offset"),
    pytest.param(event(started_at="0001-01-01T00:00:00Z"), "started_at", id="a zero time as start"),
    pytest.param(event(id=7), "id", id="a number as id"),
    pytest.param(event(id=""), "id", id="an empty id"),
    pytest.param(event(id="x" * (KEY_LIMIT + 1)), "id", id="an id too long"),
    pytest.param(event(lables={}), "lables", id="a slip of the pen"),
    pytest.param(event(**{"a\0b": 1}), "a\\u0000b", id="NUL in an unknown key"),
    pytest.param(event(**{"x" * 10_000: 1}), "x" * 100, id="an unknown key of 10 000 letters"),
]


@pytest.mark.parametrize(("document", "field"), BROKEN)
def test_a_mistake_is_refused_with_its_field(document: object, field: str | None) -> None:
    with pytest.raises(InvalidInputError) as refused:
        read(document)
    assert refused.value.field == field
    assert len(str(refused.value)) < 300


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[" * 100_000, b'{"key": "\xff"}', b'{"key": "\\ud800"}', b'{"value": NaN}', b'{"value": 1e999}']
)
def test_what_is_no_json_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidInputError):
        parse(body, NOW)


def test_the_page_about_senders_shows_an_event_that_is_taken() -> None:
    (body,) = re.findall(r"-d '(\{.*?\})'", PAGE, re.DOTALL)
    (signal,) = parse(body.encode(), NOW).signals
    assert (signal.key, signal.passed, signal.id) == ("smoke/checkout", False, "pipeline-4711")


def test_the_page_about_senders_shows_rules_that_load(tmp_path: Path) -> None:
    snippets = re.findall(r"^  ```yaml\n(.*?)^  ```$", PAGE, re.DOTALL | re.MULTILINE)
    assert snippets
    for snippet in snippets:
        path = tmp_path / "rules.yaml"
        path.write_text("\n".join(line.removeprefix("  ") for line in snippet.splitlines()))
        assert load_rulebook(path, PARAMETERS).rules
