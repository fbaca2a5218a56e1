"""Bodies that real senders sent, or that their documentation shows, where somebody keeps them beside this checkout.

They are other people's and stay where they are; without them these tests are skipped, and our own fixtures say the same.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from responder.domain.decision import DecisionKind
from responder.domain.matcher import parse_matcher
from responder.domain.rulebook import Rule, Rulebook
from responder.domain.signal import Signal
from responder.engine.evaluator import Evaluator
from responder.intakes import INTAKES
from responder.intakes.delivery import ParsedDelivery

SAMPLES = Path(__file__).parents[3] / "shared" / "payloads"
NOW = datetime(2027, 1, 1, tzinfo=UTC)
BEGAN = datetime(2026, 11, 21, 22, 53, 37, 669177, tzinfo=UTC)

pytestmark = pytest.mark.skipif(not SAMPLES.is_dir(), reason="no samples beside this checkout")

# The others are answers of services, or what is sent to them: no intake reads those.
SENDERS = {"alertmanager": "alertmanager", "grafana": "grafana", "sentry": "sentry"}
OTHERS = ("pagerduty", "prometheus", "slack", "statuspage")

# File → alerts as (alertname, status, value), ignored, beginning of the only note ("" for none).
Said = tuple[list[tuple[str, str, float | None]], int, str]
CUT = "truncatedAlerts: 1 alerts were left out"
FIRES, OVER = ("HighErrorRate", "firing", None), ("HighErrorRate", "resolved", None)
READ: Mapping[str, Said] = {
    "alertmanager-captured-v0.25-all-resolved.json": ([OVER], 0, ""),
    "alertmanager-captured-v0.25-firing-1-resolved-1.json": ([FIRES, OVER], 0, ""),
    "alertmanager-captured-v0.25-firing-2alerts.json": ([FIRES, FIRES], 0, ""),
    "alertmanager-captured-v0.25-group_by-all.json": ([("NoRes", "firing", None)], 0, ""),
    "alertmanager-captured-v0.25-repeat-interval.json": ([FIRES], 0, ""),
    "alertmanager-captured-v0.25-truncated-max_alerts-2.json": ([("Many", "firing", None)] * 2, 0, CUT),
    "alertmanager-captured-v0.25-truncated-status-resolved-but-one-still-firing.json": (
        [("Many", "resolved", None)] * 2,
        0,
        CUT,
    ),
    "alertmanager-0.25-ha-pair/hook-001.json": ([FIRES], 0, ""),
    "alertmanager-0.25-ha-pair/hook-002.json": ([FIRES], 0, ""),
    "alertmanager-0.25-ha-pair/hook-003.json": ([FIRES], 0, ""),
    "alertmanager-0.25-ha-pair/hook-004.json": ([OVER], 0, ""),
    "alertmanager-0.25-ha-pair/hook-005.json": ([FIRES], 0, ""),
    "alertmanager-0.25-ha-pair/hook-006.json": ([OVER], 0, ""),
    "grafana-two-firing-docs.json": ([("High memory usage", "firing", None), ("High CPU usage", "firing", None)], 0, ""),
    "sentry-error-created-docs.json": ([("ReferenceError: blooopy is not defined", "occurred", None)], 0, ""),
    "sentry-event_alert-triggered-docs.json": ([("Very Important Alert Rule!", "occurred", None)], 0, ""),
    "sentry-installation-created-docs.json": ([], 1, "resource 'installation' is not used"),
    "sentry-issue-created-docs.json": ([("ReferenceError: blooopy is not defined", "firing", None)], 0, ""),
    "sentry-metric_alert-resolved-docs.json": ([("Too many errors", "resolved", 1000.0)], 0, ""),
}
# File → action, and what is read when Sentry's envelope is put around the data.
DATA_ONLY = {
    "sentry-event_alert-triggered-DATA-ONLY-sentrytests.json": ("triggered", "occurred"),
    "sentry-metric_alert-critical-DATA-ONLY-sentrytests.json": ("critical", "firing"),
}


def read(name: str, body: bytes | None = None) -> ParsedDelivery:
    sender = SENDERS[name.split("-", maxsplit=1)[0]]
    headers = {b"sentry-hook-resource": name.split("-")[1].encode()} if sender == "sentry" else {}
    return INTAKES[sender]((SAMPLES / name).read_bytes() if body is None else body, NOW, headers)


def said(signals: tuple[Signal, ...]) -> list[tuple[str, str, float | None]]:
    return [(signal.labels["alertname"], signal.status.value, signal.value) for signal in signals]


def test_every_sample_is_read_by_some_test() -> None:
    found = {str(path.relative_to(SAMPLES)) for path in SAMPLES.rglob("*.json")}
    assert {name for name in found if not name.startswith(OTHERS)} == READ.keys() | DATA_ONLY.keys()


@pytest.mark.parametrize("name", READ)
def test_what_a_sample_says(name: str) -> None:
    delivery = read(name)
    signals, ignored, note = READ[name]
    assert (said(delivery.signals), delivery.ignored) == (signals, ignored)
    assert len(delivery.notes) == bool(note)
    assert all(text.startswith(note) for text in delivery.notes)


@pytest.mark.parametrize("name", DATA_ONLY)
def test_what_is_only_the_data_of_an_envelope(name: str) -> None:
    action, status = DATA_ONLY[name]
    data = json.loads((SAMPLES / name).read_bytes())
    (signal,) = read(name, json.dumps({"action": action, "data": data}).encode()).signals
    assert signal.status.value == status
    assert signal.labels["alertname"]


def test_a_receiver_s_name_is_not_left_quoted() -> None:
    assert read("alertmanager-captured-v0.25-firing-2alerts.json").receiver == "pay.team+oncall"


def evaluator() -> Evaluator:
    rules = (Rule("errors", (parse_matcher('alertname=~"HighErrorRate|Many"'),), hold=timedelta(milliseconds=500)),)
    return Evaluator(Rulebook(rules=rules, digest="samples"))


def decided(subject: Evaluator, name: str, at: datetime) -> list[str]:
    """What is decided once this sample has come, and all that was due before, but for what is ignored."""
    found: list[Any] = []
    while (due := subject.next_due()) is not None and due <= at:
        found += subject.tick(due)
    found += subject.observe(read(name).signals, at)
    return [decision.kind.value for decision in found if decision.kind is not DecisionKind.IGNORE]


def test_the_pair_s_slower_half_changes_nothing() -> None:
    """The fifth body is a firing of the episode that the fourth has ended."""
    subject, at = evaluator(), datetime(2026, 11, 21, 22, 55, 51, tzinfo=UTC)
    found = [
        decided(subject, f"alertmanager-0.25-ha-pair/hook-00{number}.json", at + timedelta(seconds=number))
        for number in range(1, 7)
    ]
    assert found == [["respond"], [], [], ["clear"], [], []]
    assert not list(subject.groups())


def test_a_body_that_was_cut_and_says_resolved_ends_what_it_names_and_nothing_else() -> None:
    subject = evaluator()
    other = json.loads((SAMPLES / "alertmanager-captured-v0.25-truncated-max_alerts-2.json").read_bytes())
    third = dict(other["alerts"][0], labels={"alertname": "Many", "n": "cut"}, fingerprint="0123456789abcdef")
    signals = read("alertmanager-x", json.dumps(other | {"alerts": [*other["alerts"], third]}).encode()).signals
    subject.observe(signals, BEGAN + timedelta(minutes=1))
    name = "alertmanager-captured-v0.25-truncated-status-resolved-but-one-still-firing.json"
    subject.observe(read(name).signals, BEGAN + timedelta(minutes=3))
    [view] = subject.groups()
    assert view.members == ("0123456789abcdef",)
