"""Sentry's deliveries of every kind: what fires, what is over, what happened, and what must never act."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from responder.domain.signal import Signal, SignalStatus
from responder.errors import InvalidInputError
from responder.intakes import sentry_legacy
from responder.intakes.delivery import ParsedDelivery
from responder.intakes.sentry import parse
from responder.intakes.sentry_event import MAX_TAGS
from responder.intakes.sentry_fields import NAME_LIMIT, TEXT_LIMIT
from responder.intakes.sentry_prose import read_value
from tests.unit.sentry_bodies import EVENT_ID, body, envelope, event, event_alert, issue, legacy, metric_alert

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def read(resource: str, document: object, **headers: str) -> ParsedDelivery:
    given = {name.replace("_", "-").encode(): value.encode() for name, value in headers.items()}
    return parse(body(document), NOW, {b"sentry-hook-resource": resource.encode(), **given})


def one(resource: str, document: object, **headers: str) -> Signal:
    (signal,) = read(resource, document, **headers).signals
    return signal


# --- events ---------------------------------------------------------------------------------------------------------------


def test_an_issue_alert_becomes_a_point_event_with_everything_it_said() -> None:
    signal = one("event_alert", event_alert())
    assert (signal.source, signal.key, signal.status) == ("sentry", "event_alert/901/12", SignalStatus.OCCURRED)
    assert signal.labels == {
        "source": "sentry",
        "alertname": "Too many KeyErrors",
        "resource": "event_alert",
        "organization": "acme",
        "project": "shop-backend",
        "project_id": "4711",
        "environment": "production",
        "release": "shop@1.42.0",
        "level": "error",
        "tag_level": "error",
        "tag_server_name": "web-1",
        "tag_release": "shop@1.42.0",
    }
    assert signal.annotations == {
        "summary": "KeyError: 'price'",
        "description": "'price'",
        "culprit": "shop.views in checkout",
    }
    assert signal.started_at == datetime(2026, 3, 1, 11, 58, 0, 250000, tzinfo=UTC)
    assert (signal.value, signal.passed, signal.received_at) == (None, None, NOW)
    assert signal.link == f"https://sentry.example/organizations/acme/issues/901/events/{EVENT_ID}/"


def test_an_error_becomes_a_point_event_named_after_its_title() -> None:
    signal = one("error", envelope("created", {"error": event()}))
    assert (signal.key, signal.status, signal.labels["alertname"]) == ("error/901/", SignalStatus.OCCURRED, "KeyError: 'price'")


ELSEWHERE = [
    pytest.param({"environment": ..., "tags": [["environment", "staging"]]}, "environment", "staging", id="environment in tags"),
    pytest.param({"environment": None, "tags": []}, "environment", None, id="no environment"),
    pytest.param({"release": None, "tags": [["sentry:release", "r1"]]}, "release", "r1", id="release in tags"),
    pytest.param({"release": {"version": "r1"}, "tags": []}, "release", None, id="a release that is an object"),
    pytest.param({"level": ..., "tags": [["level", "fatal"]]}, "level", "fatal", id="level in tags"),
    pytest.param({"url": ...}, "project", None, id="no address, so no project's name"),
    pytest.param({"url": 7}, "project", None, id="a number as address"),
    pytest.param({"project": None}, "project_id", None, id="no project's number"),
    pytest.param({"tags": [{"key": "a b", "value": "c"}]}, "tag_a_b", "c", id="tags as objects"),
    pytest.param({"tags": [["source", "evil"], ["project", "evil"]]}, "source", "sentry", id="a tag that poses as the source"),
    pytest.param({"tags": [["project", "evil"]]}, "project", "shop-backend", id="a tag that poses as the project"),
    pytest.param({"tags": [["a"], ["b", None], 7, None, [1, 2], ["c", "d"]]}, "tag_c", "d", id="tags that are none"),
    pytest.param({"tags": {"a": "b"}}, "tag_a", None, id="an object as tags"),
    pytest.param({"tags": [["a", "x" * 5000]]}, "tag_a", "x" * NAME_LIMIT, id="a tag of 5 000 letters"),
    pytest.param({"tags": [["a", "b\0c\ud800d"]]}, "tag_a", "b\ufffdc\ufffdd", id="NUL and half a surrogate pair in a tag"),
]


@pytest.mark.parametrize(("changes", "label", "expected"), ELSEWHERE)
def test_what_is_missing_is_looked_for_elsewhere_and_hostile_tags_do_no_harm(
    changes: dict[str, object], label: str, expected: str | None
) -> None:
    assert one("event_alert", event_alert(**changes)).labels.get(label) == expected


def test_a_flood_of_tags_is_cut() -> None:
    labels = one("event_alert", event_alert(tags=[[f"t{number}", "x"] for number in range(5000)])).labels
    assert sum(name.startswith("tag_") for name in labels) == MAX_TAGS


RULES = [
    pytest.param("", {"id": None, "title": "From the settings"}, "From the settings", "From the settings", id="empty name"),
    pytest.param("Rule", None, "Rule", "Rule", id="no component"),
    pytest.param("", None, "KeyError: 'price'", "", id="no name anywhere"),
    pytest.param(None, [], "KeyError: 'price'", "", id="null and a list"),
    pytest.param("Rule", {"id": "9"}, "Rule", "9", id="an id as text"),
]


@pytest.mark.parametrize(("triggered", "issue_alert", "name", "key"), RULES)
def test_the_rule_gives_name_and_key(triggered: object, issue_alert: object, name: str, key: str) -> None:
    data = {"event": event(), "triggered_rule": triggered, "issue_alert": issue_alert}
    signal = one("event_alert", envelope("triggered", data))
    assert (signal.labels["alertname"], signal.key) == (name, f"event_alert/901/{key}")


ISSUES = [
    pytest.param({"issue_id": ...}, "901", id="in the newer address"),
    pytest.param({"issue_id": ..., "issue_url": "https://sentry.example/api/0/issues/77/"}, "77", id="in the older address"),
    pytest.param({"issue_id": 55}, "55", id="a number"),
    pytest.param({"issue_id": None, "issue_url": None}, EVENT_ID, id="nowhere: the event stands for itself"),
]


@pytest.mark.parametrize(("changes", "expected"), ISSUES)
def test_the_issue_is_found_wherever_its_id_stands(changes: dict[str, object], expected: str) -> None:
    assert one("event_alert", event_alert(**changes)).key == f"event_alert/{expected}/12"


TIMES = [
    pytest.param({"datetime": "2023-08-27T18:24:00+00:00"}, datetime(2023, 8, 27, 18, 24, tzinfo=UTC), id="an offset"),
    pytest.param({"datetime": ...}, datetime(2026, 3, 1, 11, 58, 0, 250000, tzinfo=UTC), id="seconds since 1970"),
    pytest.param({"datetime": "yesterday", "timestamp": "x"}, None, id="no time at all"),
    pytest.param({"datetime": None, "timestamp": 1e300}, None, id="seconds out of range"),
    pytest.param({"datetime": None, "timestamp": True}, None, id="a boolean"),
]


@pytest.mark.parametrize(("changes", "expected"), TIMES)
def test_the_time_of_an_event(changes: dict[str, object], expected: datetime | None) -> None:
    assert one("event_alert", event_alert(**changes)).started_at == expected


def test_the_same_event_and_rule_have_the_same_id_whatever_the_unsigned_headers_say() -> None:
    first = one("event_alert", event_alert(), idempotency_key="aa", sentry_hook_timestamp="1")
    again = one("event_alert", event_alert(), idempotency_key="bb", sentry_hook_timestamp="2")
    other_rule = one("event_alert", envelope("triggered", {"event": event(), "triggered_rule": "Other"}))
    error = one("error", envelope("created", {"error": event()}))
    assert first.id == again.id != ""
    assert len({first.id, other_rule.id, error.id}) == 3


def test_an_event_without_an_id_goes_by_its_delivery() -> None:
    assert one("event_alert", event_alert(event_id=None), idempotency_key="aa").id == "aa"
    assert one("event_alert", event_alert(event_id=None)).id == ""


@pytest.mark.parametrize("tag", [["sample_event", "yes"], ["sentry:sample_event", "yes"], ["sample_event", ""]])
@pytest.mark.parametrize("resource", ["event_alert", "error", "legacy"])
def test_a_sample_event_never_becomes_a_signal(resource: str, tag: list[str]) -> None:
    tags = [["environment", "prod"], tag]
    if resource == "legacy":
        delivery = sentry_legacy.parse(body(legacy(event_changes={"tags": tags})), NOW)
    elif resource == "error":
        delivery = read("error", envelope("created", {"error": event(tags=tags)}))
    else:
        delivery = read("event_alert", event_alert(tags=tags))
    assert (delivery.signals, delivery.ignored) == ((), 1)
    assert "sample" in delivery.notes[0]


# --- metric alerts --------------------------------------------------------------------------------------------------------


def test_a_metric_alert_fires_with_everything_it_said() -> None:
    signal = one("metric_alert", metric_alert(), idempotency_key="aa")
    assert (signal.source, signal.key, signal.status) == ("sentry", "metric_alert/7", SignalStatus.FIRING)
    assert signal.labels == {
        "source": "sentry",
        "alertname": "Error rate",
        "resource": "metric_alert",
        "project": "shop-backend",
        "environment": "production",
        "level": "critical",
    }
    assert signal.annotations == {
        "summary": "Critical: Error rate",
        "description": "1000 events in the last 10 minutes\nFilter: level:error",
        "value": "1000",
    }
    assert (signal.value, signal.started_at) == (1000.0, datetime(2026, 3, 1, 11, 55, tzinfo=UTC))
    assert signal.link == "https://sentry.example/organizations/acme/alerts/rules/details/7/?alert=5"
    assert signal.id == "aa"


@pytest.mark.parametrize(
    ("action", "status", "level"),
    [
        ("critical", SignalStatus.FIRING, "critical"),
        ("warning", SignalStatus.FIRING, "warning"),
        ("open", SignalStatus.FIRING, "open"),
        ("resolved", SignalStatus.RESOLVED, None),
    ],
)
def test_every_action_of_a_metric_alert_has_its_meaning(action: str, status: SignalStatus, level: str | None) -> None:
    signal = one("metric_alert", metric_alert(action))
    assert (signal.status, signal.labels.get("level")) == (status, level)
    assert (signal.key, signal.started_at) == ("metric_alert/7", datetime(2026, 3, 1, 11, 55, tzinfo=UTC))


@pytest.mark.parametrize(
    ("closed", "expected"),
    [
        pytest.param("2026-03-01T11:59:00Z", datetime(2026, 3, 1, 11, 59, tzinfo=UTC), id="believable"),
        pytest.param(None, None, id="null, as often"),
        pytest.param("2026-03-01T11:54:00Z", None, id="before the start"),
        pytest.param("2026-03-01T12:01:00Z", None, id="in the future"),
        pytest.param("soon", None, id="no time"),
    ],
)
def test_an_end_is_taken_when_it_is_believable(closed: object, expected: datetime | None) -> None:
    assert one("metric_alert", metric_alert("resolved", {"date_closed": closed})).ended_at == expected


METRIC_LABELS = [
    pytest.param({"projects": ["a", "b"]}, {}, "project", "a,b", id="two projects"),
    pytest.param({"projects": None}, {}, "project", None, id="no projects"),
    pytest.param({"projects": [None, 7, "a"]}, {}, "project", "a", id="projects that are none"),
    pytest.param({}, {"environment": None}, "environment", None, id="no environment"),
    pytest.param({}, {"name": ""}, "alertname", "Error rate", id="a rule without a name"),
    pytest.param({"title": None}, {"name": None}, "alertname", "Critical: Error rate", id="neither name nor title"),
]


@pytest.mark.parametrize(("alert", "rule", "label", "expected"), METRIC_LABELS)
def test_labels_of_a_metric_alert(alert: object, rule: object, label: str, expected: str | None) -> None:
    assert one("metric_alert", metric_alert(alert=alert, rule=rule)).labels.get(label) == expected


@pytest.mark.parametrize("text", ["", None, 7, "nobody knows"])
def test_without_a_readable_sentence_there_is_no_number(text: object) -> None:
    signal = one("metric_alert", metric_alert(description_text=text))
    assert (signal.value, "value" in signal.annotations) == (None, False)


PROSE = [
    pytest.param("1000 events in the last 10 minutes\nFilter: level:error", 1000.0, id="a count"),
    pytest.param("1000 events in the last 10 minutes\\nFilter: level:error", 1000.0, id="a line end escaped twice"),
    pytest.param("3 events in the last minute\nThreshold: Static", 3.0, id="a static threshold"),
    pytest.param("0 events in the last minute", 0.0, id="nothing happened"),
    pytest.param("Events 150% higher in the last hour compared to the same time one day ago", 1.5, id="a rise"),
    pytest.param("Events 40% lower in the last hour compared to the same time one week ago", -0.4, id="a fall"),
    pytest.param("95.5% sessions crash free rate in the last 60 minutes", 0.955, id="a share"),
    pytest.param("350.5 p95(transaction.duration) in the last 10 minutes", 350.5, id="a number without a unit"),
    pytest.param("350ms p95(span.duration) in the last 10 minutes", 0.35, id="milliseconds"),
    pytest.param("2.5 seconds p95(span.duration) in the last 10 minutes", 2.5, id="seconds in words"),
    pytest.param("1.5 minutes p95(x)", 90.0, id="minutes in words"),
    pytest.param("1,234,567 events in the last day", 1234567.0, id="thousands set apart"),
    pytest.param("1.2k events", 1200.0, id="thousands in short"),
    pytest.param("1.5e-05 failure_rate() in the last 10 minutes", 1.5e-05, id="an exponent"),
    pytest.param("-3 apdex()", -3.0, id="a negative number"),
    pytest.param("", None, id="nothing"),
    pytest.param("None events in the last 10 minutes", None, id="Python's None"),
    pytest.param("No sessions crash free rate in the last 60 minutes", None, id="no sessions"),
    pytest.param("nan events in the last 10 minutes", None, id="not a number"),
    pytest.param("inf events in the last 10 minutes", None, id="infinite"),
    pytest.param("Events nan% higher in the last hour", None, id="a rise of nobody knows what"),
    pytest.param("1e999 events in the last 10 minutes", None, id="beyond all numbers"),
    pytest.param("1e308% higher in the last hour", 1e306, id="nearly beyond all numbers"),
    pytest.param("1,23 events", None, id="thousands set apart wrongly"),
    pytest.param("5m p95(x)", None, id="minutes or thousandths"),
    pytest.param("12abc events", None, id="a number glued to a word"),
    pytest.param("1.2.3 events", None, id="a version"),
    pytest.param("about 5 events", None, id="a number that does not come first"),
    pytest.param("Filter: level:error\n12 events", None, id="a number in another line"),
    pytest.param("9" * 10_000, None, id="10 000 digits"),
    pytest.param("1," * 10_000, None, id="10 000 commas"),
    pytest.param("a " * 100_000 + "5% higher", None, id="a number far behind"),
]


@pytest.mark.parametrize(("text", "expected"), PROSE)
def test_the_number_in_a_sentence(text: str, expected: float | None) -> None:
    value = read_value(text)
    assert value is None if expected is None else value == pytest.approx(expected)


# --- issues ---------------------------------------------------------------------------------------------------------------


def test_an_issue_fires_with_everything_it_said() -> None:
    signal = one("issue", issue(), idempotency_key="aa")
    assert (signal.source, signal.key, signal.status) == ("sentry", "issue/901", SignalStatus.FIRING)
    assert signal.labels == {
        "source": "sentry",
        "alertname": "KeyError: 'price'",
        "resource": "issue",
        "project": "shop-backend",
        "level": "error",
        "issue": "SHOP-BACKEND-1K",
        "substatus": "new",
        "priority": "high",
    }
    assert signal.annotations == {"summary": "KeyError: 'price'", "count": "17", "user_count": "3"}
    assert signal.link == "https://sentry.example/organizations/acme/issues/901/"
    assert (signal.started_at, signal.id) == (datetime(2026, 3, 1, 11, 50, tzinfo=UTC), "aa")


@pytest.mark.parametrize(
    ("action", "status", "started_at"),
    [
        pytest.param("created", SignalStatus.FIRING, datetime(2026, 3, 1, 11, 50, tzinfo=UTC), id="created: first seen"),
        pytest.param("unresolved", SignalStatus.FIRING, datetime(2026, 3, 1, 11, 59, tzinfo=UTC), id="came back: last seen"),
        pytest.param("resolved", SignalStatus.RESOLVED, None, id="resolved ends what lasts"),
        pytest.param("ignored", SignalStatus.RESOLVED, None, id="ignored ends what lasts"),
        pytest.param("archived", SignalStatus.RESOLVED, None, id="archived ends what lasts"),
    ],
)
def test_every_action_of_an_issue_has_its_meaning(action: str, status: SignalStatus, started_at: datetime | None) -> None:
    signal = one("issue", issue(action))
    assert (signal.status, signal.started_at, signal.key) == (status, started_at, "issue/901")


def test_ids_of_different_resources_do_not_meet() -> None:
    keys = {one("issue", issue(id="7")).key, one("metric_alert", metric_alert()).key}
    assert keys == {"issue/7", "metric_alert/7"}


def test_an_issue_of_nulls_is_still_an_issue() -> None:
    names = ["title", "level", "project", "firstSeen", "lastSeen", "count", "web_url", "substatus", "shortId", "priority"]
    signal = one("issue", issue(**dict.fromkeys(names)))
    assert signal.labels == {"source": "sentry", "resource": "issue"}
    assert (signal.started_at, signal.link) == (None, "")


# --- the legacy plugin ------------------------------------------------------------------------------------------------------


def test_the_legacy_plugin_gives_a_point_event() -> None:
    (signal,) = sentry_legacy.parse(body(legacy()), NOW).signals
    assert (signal.source, signal.status) == ("sentry", SignalStatus.OCCURRED)
    assert signal.key == "legacy/901/shop-backend/Too many KeyErrors"
    assert signal.labels["resource"] == "legacy"
    assert signal.labels["project"] == "shop-backend"
    assert signal.labels["alertname"] == "Too many KeyErrors"
    assert (signal.labels["environment"], signal.labels["release"]) == ("production", "shop@1.42.0")
    assert signal.started_at == datetime(2026, 3, 1, 11, 58, 0, 250000, tzinfo=UTC)
    assert signal.link == "https://sentry.example/organizations/acme/issues/901/?referrer=webhooks_plugin"
    assert EVENT_ID in signal.id


@pytest.mark.parametrize(
    ("rules", "names"),
    [
        pytest.param(("a", "b"), ["a", "b"], id="two rules"),
        pytest.param(("a", "a", "", None, 7), ["a"], id="one rule, written oddly"),
        pytest.param((), ["KeyError: 'price'"], id="no rule: the title"),
        pytest.param(None, ["KeyError: 'price'"], id="null"),
        pytest.param("a", ["KeyError: 'price'"], id="a text"),
    ],
)
def test_each_rule_that_the_legacy_plugin_names_counts(rules: object, names: list[str]) -> None:
    signals = sentry_legacy.parse(body(legacy(rules)), NOW).signals
    assert [signal.labels["alertname"] for signal in signals] == names
    assert len({signal.id for signal in signals}) == len({signal.key for signal in signals}) == len(names)


def test_a_flood_of_rules_is_cut_and_counted() -> None:
    delivery = sentry_legacy.parse(body(legacy(tuple(f"r{number}" for number in range(500)))), NOW)
    assert (len(delivery.signals), delivery.ignored) == (20, 480)


# --- everything that Sentry is known to send -------------------------------------------------------------------------------

FIRES, OVER, HAPPENED = SignalStatus.FIRING, SignalStatus.RESOLVED, SignalStatus.OCCURRED
ISSUES = {
    "created": (issue("created"), FIRES),
    "unresolved": (issue("unresolved", substatus="regressed"), FIRES),
    "resolved": (issue("resolved", status="resolved", substatus=None, statusDetails={"inRelease": "shop@1.42.1"}), OVER),
    "ignored": (issue("ignored", status="ignored", substatus="archived_until_escalating"), OVER),
    "archived": (issue("archived", status="ignored", substatus="archived_forever"), OVER),
    "assigned": (issue("assigned", assignedTo={"type": "user", "id": "1", "name": "Ada"}), None),
}
METRICS = {
    "critical": (metric_alert("critical", {"status": 20}), FIRES),
    "warning": (metric_alert("warning", {"status": 10}, description_title="Warning: Error rate"), FIRES),
    "open": (metric_alert("open", {"status": 1}), FIRES),
    "resolved": (metric_alert("resolved", {"status": 2, "date_closed": None}), OVER),
}
ACTIVITY = {"issue": issue()["data"], "activity": {"type": "status_regression", "details": {}}, "alert": {"id": 3, "title": "x"}}
INSTALLED = {"installation": {"uuid": "a", "status": "installed", "app": {"slug": "responder"}, "code": "secret-code"}}
COMMENTED = {"comment_id": "1", "issue_id": "901", "project_slug": "shop", "timestamp": "2026-03-01T11:59:00Z", "comment": "hm"}
KNOWN = [
    ("event_alert", "triggered", event_alert(), HAPPENED),
    ("error", "created", envelope("created", {"error": event()}), HAPPENED),
    *(("issue", action, document, status) for action, (document, status) in ISSUES.items()),
    *(("metric_alert", action, document, status) for action, (document, status) in METRICS.items()),
    ("activity_alert", "triggered", envelope("triggered", ACTIVITY), None),
    ("installation", "created", envelope("created", INSTALLED), None),
    ("installation", "deleted", envelope("deleted", INSTALLED), None),
    *(("comment", action, envelope(action, COMMENTED), None) for action in ("created", "updated", "deleted")),
]


@pytest.mark.parametrize(("resource", "action", "document", "status"), KNOWN, ids=[f"{one[0]} {one[1]}" for one in KNOWN])
def test_every_resource_and_action(resource: str, action: str, document: dict[str, object], status: SignalStatus | None) -> None:
    assert document["action"] == action
    delivery = read(resource, document)
    assert [signal.status for signal in delivery.signals] == ([] if status is None else [status])
    assert delivery.ignored == (status is None)
    assert "secret-code" not in repr(delivery)


def test_what_fires_is_ended_by_what_ends_it() -> None:
    """They have one key, whatever else changed between the two."""
    assert len({one("issue", document).key for document, status in ISSUES.values() if status is not None}) == 1
    assert len({one("metric_alert", document).key for document, _ in METRICS.values()}) == 1


# --- what is not used, what is wrong ------------------------------------------------------------------------------------------


IGNORED = [
    pytest.param("installation", envelope("created", {"installation": {"uuid": "x"}}), id="an installation"),
    pytest.param("comment", envelope("created", {"comment": "hello"}), id="a comment"),
    pytest.param("seer", envelope("anything", {}), id="a resource nobody knows yet"),
    pytest.param("activity_alert", envelope("triggered", {"issue": {}}), id="an activity alert"),
    pytest.param("issue", issue("assigned"), id="an issue that was assigned"),
    pytest.param("issue", issue("merged"), id="an action of issues nobody knows yet"),
    pytest.param("metric_alert", metric_alert("paused"), id="an action of metric alerts nobody knows yet"),
    pytest.param("event_alert", envelope("muted", {"event": event()}), id="an action of issue alerts nobody knows yet"),
    pytest.param("error", envelope("deleted", {"error": event()}), id="an action of errors nobody knows yet"),
]


@pytest.mark.parametrize(("resource", "document"), IGNORED)
def test_what_is_not_used_is_acknowledged_and_noted(resource: str, document: object) -> None:
    delivery = read(resource, document)
    assert (delivery.signals, delivery.ignored) == ((), 1)
    assert "is not used" in delivery.notes[0]


def test_an_unknown_resource_is_acknowledged_whatever_its_body() -> None:
    assert parse(b"", NOW, {b"sentry-hook-resource": b"x" * 9000}).ignored == 1


BROKEN = [
    pytest.param("event_alert", envelope("triggered", None), "data", id="no data"),
    pytest.param("event_alert", envelope("triggered", []), "data", id="a list as data"),
    pytest.param("event_alert", envelope("triggered", {}), "data.event", id="no event"),
    pytest.param("event_alert", envelope("triggered", {"event": "x"}), "data.event", id="a text as event"),
    pytest.param("error", envelope("created", {"event": event()}), "data.error", id="no error"),
    pytest.param("metric_alert", envelope("critical", {}), "data.metric_alert", id="no metric alert"),
    pytest.param("metric_alert", metric_alert(rule={"id": None}), "data.metric_alert.alert_rule.id", id="a rule without an id"),
    pytest.param("metric_alert", metric_alert(alert={"alert_rule": 7}), "data.metric_alert.alert_rule.id", id="a number as rule"),
    pytest.param("issue", envelope("created", {}), "data.issue", id="no issue"),
    pytest.param("issue", issue(id=...), "data.issue.id", id="an issue without an id"),
    pytest.param("issue", issue(id=True), "data.issue.id", id="a boolean as id"),
    pytest.param("issue", [], None, id="a list"),
    pytest.param("issue", None, None, id="null"),
]


@pytest.mark.parametrize(("resource", "document", "field"), BROKEN)
def test_what_can_not_be_used_is_refused_with_the_field(resource: str, document: object, field: str | None) -> None:
    with pytest.raises(InvalidInputError) as refused:
        read(resource, document)
    assert refused.value.field == field


def test_without_the_header_nobody_knows_what_a_body_is_about() -> None:
    with pytest.raises(InvalidInputError) as refused:
        parse(body(issue()), NOW)
    assert refused.value.field == "Sentry-Hook-Resource"


@pytest.mark.parametrize("raw", [b"", b"{", b"[" * 100_000, b'{"data":' * 100_000, b'"\\ud800' + b"[" * 100_000, b"\xff"])
def test_what_is_no_json_is_refused(raw: bytes) -> None:
    with pytest.raises(InvalidInputError):
        parse(raw, NOW, {b"sentry-hook-resource": b"issue"})
    with pytest.raises(InvalidInputError):
        sentry_legacy.parse(raw, NOW)


def test_a_legacy_body_without_an_event_is_refused() -> None:
    with pytest.raises(InvalidInputError) as refused:
        sentry_legacy.parse(body(legacy(event=None)), NOW)
    assert refused.value.field == "event"


def test_a_program_that_crashed_on_broken_text_is_still_heard() -> None:
    signal = one("event_alert", event_alert(title="bad \ud83d text \0", message="half \udc00" + "x" * 5000))
    assert signal.annotations["summary"] == "bad \ufffd text \ufffd"
    assert len(signal.annotations["description"]) == TEXT_LIMIT
    assert one("event_alert", event_alert(title="whole \U0001f525")).annotations["summary"] == "whole \U0001f525"


@pytest.mark.parametrize("link", ["javascript:alert(1)", "/issues/1", 7, None])
def test_a_link_that_is_not_a_web_address_is_dropped(link: object) -> None:
    assert one("issue", issue(web_url=link)).link == ""


def test_an_event_of_a_megabyte_is_read() -> None:
    frames = [{"filename": "x" * 500, "vars": {"a": "b" * 500}} for _ in range(1000)]
    assert one("event_alert", event_alert(exception={"values": [{"stacktrace": {"frames": frames}}]})).key == "event_alert/901/12"
