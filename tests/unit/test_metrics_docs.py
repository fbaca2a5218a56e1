"""The page for operations, the alert rules and the dashboard know the metrics that exist, and no others."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from responder.telemetry import build_metrics

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "operations.md").read_text()
ROW = re.compile(r"^\| `(responder_\w+)` \| (.*?) \|", re.MULTILINE)


def labelled() -> dict[str, set[str]]:
    """Every metric by the name that a query uses, with its labels."""
    metrics = build_metrics()
    metrics.accepted("alertmanager", 1, 1, 0.001)
    metrics.rejected("alertmanager", 401)
    metrics.readings.labels("number")
    metrics.decisions.labels("respond")
    metrics.incidents.labels("running")
    metrics.outbox_delivered.labels("slack")
    metrics.outbox_failed.labels("slack")
    found: dict[str, set[str]] = {}
    for family in metrics.registry.collect():
        name = f"{family.name}_total" if family.type == "counter" else family.name
        found[name] = {label for sample in family.samples for label in sample.labels} - {"le"}
    return found


def test_the_page_lists_every_metric_with_its_labels_and_no_other() -> None:
    assert {name: set(re.findall(r"`(\w+)`", labels)) for name, labels in ROW.findall(PAGE)} == labelled()


@pytest.mark.parametrize("file", ["prometheus/responder.rules.yml", "prometheus/responder.test.yml", "grafana/responder.json"])
def test_what_is_shipped_asks_for_metrics_that_exist(file: str) -> None:
    text = (ROOT / "deploy" / file).read_text()
    if file.endswith(".json"):
        text = " ".join(target["expr"] for panel in json.loads(text)["panels"] for target in panel["targets"])
    names = set(re.findall(r"\b(responder_(?!rules\b)\w+?)(?:_bucket)?\b(?=[`{\[,) ])", text))
    assert names
    assert names <= labelled().keys()


def test_the_first_rollback_that_fails_is_an_increase() -> None:
    """Prometheus sees none where a series begins with 1."""
    assert 'responder_rollback_runs_total{outcome="failed"} 0.0' in build_metrics().exposition().decode()
