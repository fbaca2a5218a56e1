"""Templates and conditions: what may stand where, and hostile values that stay values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from responder.actions.templates import check_argument, check_template, render, render_argument
from responder.clients.templates import check_condition, holds, named_inputs
from responder.domain.incident import Incident, IncidentStatus, Order
from responder.domain.plan import Input, Plan, filled_inputs, missing_inputs
from responder.domain.rulebook import Severity
from responder.domain.version import Pin, Version
from responder.errors import PermanentError

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOSTILE = "{{ 7 * 7 }}'; rm -rf /; $(id) ../../etc/passwd {% for x in range(9) %}"
PLAN = Plan("restore", (), inputs={"backup": Input(r"\d{8}"), "region": Input(default="eu", description="where")})
INCIDENT = Incident(
    "inc_1", "id", "app", "errors", "", Severity.P1, IncidentStatus.RUNNING, "7 % errors", NOW,
    plan=PLAN,
    pins={"app": Pin("app", "uid", Version("v2", "2", "f2", "d2"), Version("v1", "1", "f1", "d1"))},
    trigger_labels={"pod": HOSTILE, "items": "a label", "tier": "db"},
    trigger_annotations={"summary": HOSTILE},
    inputs={"backup": "20260301"},
    value=0.07,
)  # fmt: skip


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        pytest.param("{{ labels.pod }}", HOSTILE, id="what an alert says is not read as a template"),
        pytest.param("{{ labels.items }} {{ inputs.region }}", "a label eu", id="labels by name, inputs with defaults"),
        pytest.param("{{ version.from }} → {{ version.to }} in {{ incident.id }}", "v2 → v1 in inc_1", id="versions"),
        pytest.param("{{ order.by or 'an alert' }}", "an alert", id="nobody ordered it"),
        pytest.param("no template {# at all", "no template {# at all", id="plain text"),
    ],
)
def test_texts_know_everything(text: str, shown: str) -> None:
    assert render(check_template(text), INCIDENT, "app") == shown


@pytest.mark.parametrize(
    ("text", "filled"),
    [
        pytest.param("/backups/{{ inputs.backup }}.dump", "/backups/20260301.dump", id="an input"),
        pytest.param("{{ target }}:{{ version.to }}:{{ incident.id }}", "app:v1:inc_1", id="target, version, id"),
        pytest.param("${#array}", "${#array}", id="not everything with a brace is a template"),
    ],
)
def test_arguments_know_what_the_author_has_in_hand(text: str, filled: str) -> None:
    assert render_argument(check_argument(text), INCIDENT, "app") == filled


@pytest.mark.parametrize(
    "text",
    [
        "{{ labels.pod }}",
        "{{ annotations.summary }}",
        "{{ value }}",
        "{{ incident.reason }}",
        "{{ incident['rule'] }}",
        "{% set i = incident %}{{ i.reason }}",
        "{{ order.reason }}",
        "{{ inputs.backup if labels.pod else 1 }}",
    ],
)
def test_nothing_an_alert_says_reaches_an_argument(text: str) -> None:
    with pytest.raises(ValueError, match="here"):
        check_argument(text)
    with pytest.raises(PermanentError):  # nor when a rulebook of an earlier version is still in flight
        render_argument(text, INCIDENT, "app")


@pytest.mark.parametrize(
    "text", ["{{ ''.__class__.__mro__ }}", "{{ labels.__class__ }}", "{{ labels._values }}", "{{ range(10**9) | list }}"]
)
def test_the_sandbox_holds(text: str) -> None:
    with pytest.raises((PermanentError, ValueError)):
        render(check_template(text), INCIDENT, "app")


def test_an_argument_is_never_cut_in_silence() -> None:
    with pytest.raises(PermanentError, match="longer than"):
        render_argument("{{ inputs.backup * 5000 }}", INCIDENT, "app")


@pytest.mark.parametrize(
    ("expression", "outcome"),
    [
        ("inputs.backup == '20260301'", True),
        ("labels.tier in ('db', 'cache') and not value > 0.5", True),
        ("labels.nope is defined", False),
        ("labels.nope | default('x') == 'y'", False),
        ("order.create_backup", False),
        ("value > 5", False),
    ],
)
def test_conditions(expression: str, outcome: bool) -> None:
    assert holds(check_condition(expression), INCIDENT, "app") is outcome


def test_an_order_is_known_to_conditions() -> None:
    ordered = replace(INCIDENT, order=Order("ann", "broken", create_backup=True))
    assert holds("order.create_backup and order.by == 'ann'", ordered, "app")


@pytest.mark.parametrize("expression", ["labels.nope == 'x'", "labels.tier or false", "7", "value / 0 == 1", "labels.tier > 5"])
def test_what_is_neither_true_nor_false_is_never_guessed(expression: str) -> None:
    with pytest.raises(PermanentError, match="`if`"):
        holds(expression, INCIDENT, "app")


@pytest.mark.parametrize(
    "expression", ["", "inputs.backup", "'yes'", "a ==", "{{ true }}", "1 == 1 }} {{ 2", "[1]", "value >> 2"]
)
def test_what_can_not_be_a_condition_is_refused_when_loaded(expression: str) -> None:
    with pytest.raises(ValueError, match=r"must come out|expression|unknown name"):
        check_condition(expression)


def test_names_of_inputs_are_found_wherever_they_stand() -> None:
    assert named_inputs("{{ inputs.a }}{% if inputs['b'] %}{{ target }}{% endif %}") == {"a", "b"}
    assert named_inputs("inputs.a == 'x' or inputs['b'] == target", condition=True) == {"a", "b"}
    assert named_inputs("inputs.a") == frozenset()


@pytest.mark.parametrize(
    ("given", "problems"),
    [
        pytest.param({"backup": "20260301"}, (), id="all there, one by its default"),
        pytest.param({}, ("plan restore needs the input `backup`",), id="missing"),
        pytest.param(
            {"backup": "latest; drop table"},
            (r"the input `backup` does not look as it must: \d{8}",),
            id="hostile",
        ),
        pytest.param({"backup": "20260301\n"}, (r"the input `backup` does not look as it must: \d{8}",), id="a line break"),
        pytest.param(
            {"backup": "20260301", "region": "e" * 2000},
            ("the input `region` (where) does not look as it must: [A-Za-z0-9][A-Za-z0-9._:-]{0,127}",),
            id="too long",
        ),
        pytest.param({"backup": "20260301", "x": "1"}, ("plan restore has no input `x`",), id="one too many"),
    ],
)
def test_inputs_are_held_against_the_plan(given: Mapping[str, str], problems: tuple[str, ...]) -> None:
    assert missing_inputs(PLAN, given) == problems


def test_defaults_fill_what_was_not_given() -> None:
    assert filled_inputs(PLAN, {"backup": "20260301"}) == {"backup": "20260301", "region": "eu"}
