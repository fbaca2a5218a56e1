"""Grafana Alerting's webhook: Alertmanager's skeleton, version 1, with numbers in each alert.

- `values` maps the refID of each query and expression to its number. One number is the signal's value; of several nobody can say
  which one the rule means, so each is the annotation `values.<refID>`, and so is a single one. What a rulebook can't name in a
  refID becomes `_`.
- An alert that fires because there is no data or because the query failed knows no number: it carries the label `grafana_state`
  (`nodata`, `error`) and nothing that could be read as a number.
- The notification that the button "Test" sends is not taken.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime

from responder.domain.reading import GRAFANA_STATE, read_number
from responder.domain.signal import Signal, SignalStatus
from responder.errors import InvalidInputError
from responder.intakes.alertmanager import parse_group, read_alert
from responder.intakes.delivery import NO_HEADERS, ParsedDelivery
from responder.intakes.fields import kind_of, read_json
from responder.intakes.numbers import annotate, as_number, spell

SOURCE = "grafana"
MAX_VALUES = 50
"""How many of an alert's `values` are taken."""

_TEST_ALERT = "TestAlert"
_TEST_GROUP = re.compile(r"[^{]*-[0-9a-f]{16}-[0-9]+", re.ASCII)  # `webhook-<fingerprint>-<time>`; a real one begins with `{`
_NO_NAME = re.compile(r"[^A-Za-z0-9_]")
_STATES = {"DatasourceNoData": "nodata", "DatasourceError": "error"}
_REASONS = {"NoData": "nodata", "Error": "error"}  # of an alert whose rule says to fire, or to keep its state, in that case
_REASON = "grafana_state_reason"
_CUSTOM = "a custom payload can't be read: leave it out in the contact point"
_LEGACY = ("evalMatches", "ruleName", "ruleId", "ruleUrl")


def parse(body: bytes, received_at: datetime, _headers: Mapping[bytes, bytes] = NO_HEADERS, /) -> ParsedDelivery:
    """Read one webhook body. Raises InvalidInputError, with the field, when nothing can be made of it."""
    document = read_json(body)
    if type(document) is not dict:
        raise InvalidInputError(f"the body must be a JSON object, not {kind_of(document)}; {_CUSTOM}")
    if "alerts" not in document:
        raise _no_alerts(document)
    tests = _take_out_tests(document)
    delivery = parse_group(document, received_at, _read, may_hold_nul=b"\\u0000" in body)
    if not tests:
        return delivery
    notes = (*delivery.notes, f"{tests} of Grafana's test notifications left out: they never act")
    return replace(delivery, ignored=delivery.ignored + tests, notes=notes)


def _no_alerts(document: dict[str, object]) -> InvalidInputError:
    legacy = next((name for name in _LEGACY if name in document), None)
    if legacy is not None:
        return InvalidInputError("legacy dashboard alerting can't be read: move the rule to Grafana Alerting", field=legacy)
    return InvalidInputError(f"the list of alerts is missing; {_CUSTOM}", field="alerts")


def _take_out_tests(document: dict[str, object]) -> int:
    """How many alerts of the body were tests; they are no longer in it."""
    alerts = document["alerts"]
    if type(alerts) is not list:
        return 0
    group = document.get("groupKey")
    real = [] if type(group) is str and _TEST_GROUP.fullmatch(group) else [alert for alert in alerts if not _is_test(alert)]
    document["alerts"] = real
    return len(alerts) - len(real)


def _is_test(alert: object) -> bool:
    labels = alert.get("labels") if type(alert) is dict else None
    return type(labels) is dict and labels.get("alertname") == _TEST_ALERT


def _read(alert: object, received_at: datetime) -> Signal:
    signal = read_alert(alert, received_at, SOURCE)
    labels, annotations = dict(signal.labels), dict(signal.annotations)
    values = alert.get("values") if type(alert) is dict else None
    state = _state(signal)
    if state:
        labels[GRAFANA_STATE] = state
        annotations = {name: text for name, text in annotations.items() if read_number(text) is None}
        return replace(signal, labels=labels, annotations=annotations)
    numbers = _numbers(values)
    annotations |= {f"values.{name}": spell(number) for name, number in numbers.items()}
    value = next(iter(numbers.values())) if len(numbers) == 1 else None
    annotate(annotations, value)
    return replace(signal, annotations=annotations, value=value)


def _state(signal: Signal) -> str:
    """`nodata`, `error`, or "" for an alert that fires for its numbers."""
    if signal.status is not SignalStatus.FIRING:
        return ""
    named = _STATES.get(signal.labels.get("alertname", ""))
    if named:
        return named
    reasons = signal.annotations.get(_REASON, "").split(",")  # such as `Error, KeepLast`
    return next((_REASONS[reason.strip()] for reason in reasons if reason.strip() in _REASONS), "")


def _numbers(values: object) -> dict[str, float]:
    if type(values) is not dict:
        return {}
    found = {_NO_NAME.sub("_", name): number for name, value in values.items() if (number := as_number(value)) is not None}
    return dict(list(found.items())[:MAX_VALUES])
