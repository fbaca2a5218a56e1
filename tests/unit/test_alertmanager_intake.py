"""Alertmanager bodies as senders really write them, and what is made of broken ones."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import pytest

from responder.domain.signal import SignalStatus
from responder.errors import InvalidInputError
from responder.intakes import INTAKES
from responder.intakes.alertmanager import parse
from responder.intakes.delivery import ParsedDelivery

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
STARTED = "2026-03-01T11:58:00.123456789Z"


def alert(**changes: object) -> dict[str, object]:
    """One firing alert; `None` as a change takes the field away."""
    whole: dict[str, object] = {
        "status": "firing",
        "labels": {"alertname": "HighErrorRate", "service": "shop"},
        "annotations": {"value": "0.07"},
        "startsAt": STARTED,
        "endsAt": "0001-01-01T00:00:00Z",
        "generatorURL": "http://prometheus.example:9090/graph?g0.expr=up",
        "fingerprint": "00c0ffee00c0ffee",
    }
    return {name: value for name, value in (whole | changes).items() if value is not None}


def body(*alerts: object, **changes: object) -> bytes:
    whole = {"version": "4", "status": "firing", "receiver": "responder", "groupKey": "{}:{}", "alerts": list(alerts)}
    return json.dumps(whole | changes).encode()


def read(*alerts: object, **changes: object) -> ParsedDelivery:
    return parse(body(*alerts, **changes), NOW)


def test_a_firing_alert_becomes_a_signal_with_everything_it_said() -> None:
    (signal,) = read(alert()).signals
    assert signal.source == "alertmanager"
    assert signal.key == "00c0ffee00c0ffee"
    assert signal.status is SignalStatus.FIRING
    assert signal.labels == {"alertname": "HighErrorRate", "service": "shop", "source": "alertmanager"}
    assert signal.annotations == {"value": "0.07"}
    assert signal.started_at == datetime(2026, 3, 1, 11, 58, 0, 123456, tzinfo=UTC)
    assert signal.ended_at is None
    assert signal.received_at == NOW
    assert signal.value is None
    assert signal.link == "http://prometheus.example:9090/graph?g0.expr=up"


def test_the_intake_is_registered_under_the_word_in_its_address() -> None:
    assert INTAKES["alertmanager"] is parse


def test_each_alert_is_judged_by_its_own_status_not_by_the_groups() -> None:
    delivery = read(
        alert(status="resolved", fingerprint="a", endsAt="2026-03-01T11:59:00Z"),
        alert(status="firing", fingerprint="b"),
        status="resolved",
    )
    assert [(signal.key, signal.status) for signal in delivery.signals] == [
        ("a", SignalStatus.RESOLVED),
        ("b", SignalStatus.FIRING),
    ]
    assert delivery.signals[0].ended_at == datetime(2026, 3, 1, 11, 59, tzinfo=UTC)


@pytest.mark.parametrize(
    "ends_at",
    [
        pytest.param("0001-01-01T00:00:00Z", id="the zero time of Go"),
        pytest.param("1970-01-01T00:00:00Z", id="the zero time of imitators"),
        pytest.param("2026-03-01T11:57:59Z", id="before the start"),
        pytest.param("2026-03-01T12:00:01Z", id="in the future"),
        pytest.param("soon", id="no time at all"),
        pytest.param(None, id="missing"),
        pytest.param(7, id="a number"),
    ],
)
def test_an_end_that_is_not_believable_does_not_cost_the_resolved_alert(ends_at: object) -> None:
    (signal,) = read(alert(status="resolved", endsAt=ends_at)).signals
    assert (signal.status, signal.ended_at) == (SignalStatus.RESOLVED, None)


def test_a_firing_alert_has_no_end_whatever_the_sender_wrote() -> None:
    (signal,) = read(alert(endsAt="2026-03-01T11:59:00Z")).signals
    assert (signal.status, signal.ended_at) == (SignalStatus.FIRING, None)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("2026-03-01T11:58:00Z", datetime(2026, 3, 1, 11, 58, tzinfo=UTC), id="no fractional digits"),
        pytest.param("2026-03-01T11:58:00.5Z", datetime(2026, 3, 1, 11, 58, 0, 500000, tzinfo=UTC), id="one fractional digit"),
        pytest.param(
            "2026-03-01T11:58:00.123456789Z", datetime(2026, 3, 1, 11, 58, 0, 123456, tzinfo=UTC), id="nine fractional digits"
        ),
        pytest.param("2026-03-01T17:28:00+05:30", datetime(2026, 3, 1, 11, 58, tzinfo=UTC), id="an offset east"),
        pytest.param("2026-03-01T03:58:00.25-08:00", datetime(2026, 3, 1, 11, 58, 0, 250000, tzinfo=UTC), id="an offset west"),
        pytest.param("2026-03-01t11:58:00z", datetime(2026, 3, 1, 11, 58, tzinfo=UTC), id="small letters"),
    ],
)
def test_every_spelling_of_a_start_is_read_as_utc(text: str, expected: datetime) -> None:
    (signal,) = read(alert(startsAt=text)).signals
    assert signal.started_at == expected
    assert signal.started_at is not None
    assert signal.started_at.utcoffset() == timedelta(0)


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"version": "1"}, id="the version of imitators"),
        pytest.param({"version": "3", "groupKey": 1234567890123}, id="version 3 with a number as group key"),
        pytest.param({"version": None, "groupKey": None}, id="no version"),
        pytest.param({"routeLabels": {"a": "b"}, "notification_reason": "first notification", "new": [1]}, id="unknown keys"),
        pytest.param({"receiver": None, "truncatedAlerts": None}, id="nulls where nothing is needed"),
    ],
)
def test_what_surrounds_the_alerts_may_be_anything(changes: Mapping[str, object]) -> None:
    delivery = read(alert(), **changes)
    assert (len(delivery.signals), delivery.ignored, delivery.notes) == (1, 0, ())


def test_unknown_keys_of_an_alert_are_passed_over() -> None:
    assert len(read(alert(enrichments={"x": [1]}, imageURL=None)).signals) == 1


@pytest.mark.parametrize("alerts", [pytest.param([], id="an empty list"), pytest.param(None, id="null, as Go writes it")])
def test_a_body_without_alerts_is_accepted_and_says_nothing(alerts: object) -> None:
    assert read(alerts=alerts).signals == ()


def test_labels_and_annotations_may_be_null_or_missing() -> None:
    (signal,) = read({**alert(annotations=None), "labels": None}).signals
    assert (signal.labels, signal.annotations) == ({"source": "alertmanager"}, {})


def test_a_source_label_of_the_senders_own_is_kept_under_prometheus_name_for_it() -> None:
    (signal,) = read(alert(labels={"alertname": "A", "source": "eu-1"})).signals
    assert signal.labels == {"alertname": "A", "source": "alertmanager", "exported_source": "eu-1"}


@pytest.mark.parametrize("fingerprint", [pytest.param(None, id="missing"), pytest.param("", id="empty")])
def test_without_a_fingerprint_the_labels_identify_the_alert_in_any_order(fingerprint: object) -> None:
    one, same, other = (
        read(alert(fingerprint=fingerprint, labels=labels)).signals[0].key
        for labels in ({"a": "1", "b": "2"}, {"b": "2", "a": "1"}, {"a": "1", "b": "3"})
    )
    assert one == same != other
    assert len(one) == 16
    assert int(one, 16) >= 0


def test_the_stand_in_for_a_fingerprint_keeps_names_and_values_apart() -> None:
    keys = {
        read(alert(fingerprint=None, labels=labels)).signals[0].key
        for labels in ({"a": "b1:c"}, {"ab": "1:c"}, {"a": "b", "1": "c"})
    }
    assert len(keys) == 3


def test_the_receivers_name_is_given_back_as_its_owner_wrote_it() -> None:
    assert read(alert(), receiver=r"pay\.team\+on\-call").receiver == "pay.team+on-call"


def test_a_truncated_group_is_noted_and_only_what_it_lists_counts() -> None:
    delivery = read(alert(status="resolved"), status="resolved", truncatedAlerts=1)
    assert len(delivery.signals) == 1
    (note,) = delivery.notes
    assert "no all-clear" in note


@pytest.mark.parametrize("link", ["javascript:alert(1)", "/graph", "", 7])
def test_a_link_that_is_not_a_web_address_is_dropped(link: object) -> None:
    assert read(alert(generatorURL=link)).signals[0].link == ""


def test_text_outside_ascii_arrives_unharmed() -> None:
    (signal,) = parse(body(alert(annotations={"summary": "5xx > 5 % — ünïcode 🔥"})), NOW).signals
    assert signal.annotations["summary"] == "5xx > 5 % — ünïcode 🔥"


def test_a_body_of_several_megabytes_is_read_whole() -> None:
    delivery = read(*[alert(fingerprint=f"{number:016x}", annotations={"text": "x" * 400}) for number in range(8000)])
    assert len(delivery.signals) == 8000


BROKEN_ALERTS = [
    pytest.param(7, "alerts[0]", id="an alert that is a number"),
    pytest.param(alert(status="burning"), "alerts[0].status", id="an unknown status"),
    pytest.param(alert(status=None), "alerts[0].status", id="no status"),
    pytest.param(alert(status=["firing"]), "alerts[0].status", id="a list as status"),
    pytest.param(alert(labels=["a"]), "alerts[0].labels", id="a list as labels"),
    pytest.param(alert(labels={"a": 1}), "alerts[0].labels.a", id="a number as label"),
    pytest.param(alert(labels={"a": None}), "alerts[0].labels.a", id="null as label"),
    pytest.param(alert(annotations={"value": 0.07}), "alerts[0].annotations.value", id="a number as annotation"),
    pytest.param(alert(annotations={"value": {}}), "alerts[0].annotations.value", id="an object as annotation"),
    pytest.param(alert(fingerprint=12), "alerts[0].fingerprint", id="a number as fingerprint"),
    pytest.param(alert(startsAt=None), "alerts[0].startsAt", id="no start"),
    pytest.param(alert(startsAt=1772366280), "alerts[0].startsAt", id="a number as start"),
    pytest.param(alert(startsAt="2026-03-01T11:58:00"), "alerts[0].startsAt", id="a start without an offset"),
    pytest.param(alert(startsAt="2026-03-01"), "alerts[0].startsAt", id="a date as start"),
    pytest.param(alert(startsAt="2026-02-30T11:58:00Z"), "alerts[0].startsAt", id="a day that does not exist"),
    pytest.param(alert(startsAt="0001-01-01T00:00:00+05:00"), "alerts[0].startsAt", id="a start before the first year"),
    pytest.param(alert(labels={"a": "x\0y"}), "alerts[0].labels.a", id="NUL in a label"),
    pytest.param(alert(labels={"a\0": "x"}), "alerts[0].labels.a\\u0000", id="NUL in the name of a label"),
    pytest.param(alert(annotations={"a": "\0"}), "alerts[0].annotations.a", id="NUL in an annotation"),
    pytest.param(alert(fingerprint="\0"), "alerts[0].fingerprint", id="NUL in the fingerprint"),
]


@pytest.mark.parametrize("zero", ["0001-01-01T00:00:00Z", "1970-01-01T00:00:00Z"])
@pytest.mark.parametrize("status", [SignalStatus.FIRING, SignalStatus.RESOLVED])
def test_a_zero_start_is_no_start_and_costs_no_alert(zero: str, status: SignalStatus) -> None:
    (signal,) = read(alert(status=status.value, startsAt=zero, endsAt="2026-03-01T11:59:00Z")).signals
    assert (signal.status, signal.started_at, signal.received_at) == (status, None, NOW)
    assert signal.ended_at == (datetime(2026, 3, 1, 11, 59, tzinfo=UTC) if status is SignalStatus.RESOLVED else None)


@pytest.mark.parametrize(("broken", "field"), BROKEN_ALERTS)
def test_a_body_of_which_nothing_can_be_used_is_refused_with_the_field(broken: object, field: str) -> None:
    with pytest.raises(InvalidInputError) as refused:
        read(broken)
    assert refused.value.field == field


@pytest.mark.parametrize(("broken", "field"), BROKEN_ALERTS)
def test_a_broken_alert_is_counted_and_noted_and_the_good_one_beside_it_taken(broken: object, field: str) -> None:
    delivery = read(broken, alert())
    assert (len(delivery.signals), delivery.ignored) == (1, 1)
    (note,) = delivery.notes
    assert note.startswith(f"{field}: ")
    assert delivery.unreadable == note


def test_the_notes_about_a_body_full_of_broken_alerts_stay_few() -> None:
    delivery = read(*[alert(status="burning")] * 500, alert())
    assert delivery.ignored == 500
    assert len(delivery.notes) == 21
    assert "480 more" in delivery.notes[-1]


@pytest.mark.parametrize(
    ("text", "field"),
    [
        pytest.param(b"", None, id="nothing"),
        pytest.param(body(alert())[:-20], None, id="truncated JSON"),
        pytest.param(b"[" * 100_000, None, id="deep nesting"),
        pytest.param(b'{"a":' * 100_000, None, id="deep nesting of objects"),
        pytest.param(b'{"alerts": "\xff\xfe"}', None, id="invalid UTF-8"),
        pytest.param(b'{"alerts": ["\\ud800"]}', None, id="a lone surrogate"),
        pytest.param(b'{"alerts": ["\x00"]}', None, id="a bare NUL"),
        pytest.param(b'{"alerts": [NaN]}', None, id="NaN"),
        pytest.param(b"\xef\xbb\xbf{}", None, id="a byte order mark"),
        pytest.param(b"null", None, id="null"),
        pytest.param(b"[]", None, id="a list"),
        pytest.param(b"{}", "alerts", id="no alerts"),
        pytest.param(b'{"alerts": {}}', "alerts", id="an object as alerts"),
        pytest.param(b'{"alerts": "x"}', "alerts", id="a string as alerts"),
    ],
)
def test_a_body_that_is_no_alertmanager_body_is_refused(text: bytes, field: str | None) -> None:
    with pytest.raises(InvalidInputError) as refused:
        parse(text, NOW)
    assert refused.value.field == field
    assert len(str(refused.value)) < 300
