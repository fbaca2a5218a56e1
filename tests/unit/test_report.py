"""Reports: one held against a golden file, any other against what must never happen to a table."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from responder.domain.incident import Incident, IncidentEvent, IncidentStatus, Phase, StepRecord, StepStatus
from responder.domain.markdown import escape, link
from responder.domain.plan import BARE_ROLLBACK
from responder.domain.report import render_report, report_document
from responder.domain.rulebook import Severity
from responder.domain.version import Pin, Version

GOLDEN = Path(__file__).parent / "golden" / "rollback_report.md"
BEGAN = datetime(2026, 11, 21, 22, 55, 50, 632000, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return BEGAN + timedelta(seconds=seconds)


def pin(target: str = "app") -> Pin:
    return Pin(
        target,
        "8b6c",
        from_version=Version("v1.2.3", "5", "f" * 64, "d" * 64, current=True),
        to_version=Version("v1.2.2", "4", "e" * 64, "c" * 64),
    )


def incident(**changes: Any) -> Incident:
    full = Incident(
        id="inc_01J9",
        identity="error_rate_spike|app|1f836df589b12b7a@2026-11-21T22:55:50.632000+00:00",
        target="app",
        workload="Deployment paperless/paperless-maverick",
        rule="error_rate_spike",
        group="app",
        severity=Severity.P1,
        status=IncidentStatus.RESOLVED,
        reason="the alert cleared and the window has passed",
        opened_at=at(120),
        groups=(("error_rate_spike", "app"), ("health_check_failure", "app")),
        closed_at=at(480),
        plan=BARE_ROLLBACK,
        pins={"app": pin()},
        steps=(
            StepRecord("rollback", "rollback", Phase.STEPS, StepStatus.SUCCEEDED, 2, at(121), at(150), "revision 4 is available"),
            StepRecord("ready", "http.check", Phase.VERIFY, StepStatus.SUCCEEDED, 1, at(150), at(165), "3 answers with 200"),
        ),
        trigger_labels={"alertname": "HighErrorRate", "deployment": "paperless-maverick", "environment": "production"},
        trigger_annotations={"summary": "Error rate 7.31% on paperless-maverick", "value": "0.0731"},
        trigger_link="http://prometheus:9090/graph?g0.expr=job%3Ahttp_error_ratio%3Arate1m+%3E+0.05&g0.tab=1",
        value=0.0731,
        began_at=BEGAN,
        run_started_at=at(120.2),
        acted_at=at(121),
        recovered_at=at(165),
        monitor_until=at(465),
    )
    return replace(full, **changes)


EVENTS = (
    IncidentEvent(at(120), "opened", "HighErrorRate: value 0.0731 is above 0.05 since 22:55:50 UTC for 2m", {"value": 0.0731}),
    IncidentEvent(
        at(120.2),
        "guards",
        "guards on app: none of 2 refuses",
        {
            "target": "app",
            "verdicts": [
                {"guard": "recent_change", "outcome": "pass", "reason": "v1.2.3 was rolled out 9m before it began"},
                {"guard": "proven", "outcome": "pass", "reason": "v1.2.2 was fully available for 3d"},
            ],
        },
    ),
    IncidentEvent(at(120.3), "pinned", "app: from v1.2.3 (revision 5) to v1.2.2 (revision 4)"),
    IncidentEvent(at(121), "acting", "changing app from v1.2.3 to v1.2.2"),
    IncidentEvent(at(150), "step_succeeded", "rollback: revision 4 is available", {"phase": "steps"}),
    IncidentEvent(at(165), "recovered", "all steps done and verified; watching for 5m"),
    IncidentEvent(at(480), "resolved", "the alert cleared and the window has passed"),
)


def test_the_report_of_a_rollback_reads_like_the_golden_file() -> None:
    """After a change on purpose: write render_report(incident(), EVENTS) into the file and read the difference."""
    assert render_report(incident(), EVENTS) == GOLDEN.read_text(encoding="utf-8")


def text_of(**changes: Any) -> str:
    return render_report(incident(**changes), EVENTS)


PARTS = {
    "the time from the beginning to the incident is the time to detect": ({}, "| Time to detect | 2m |"),
    "the time from the incident to the first write is the time to act": ({}, "| Time to act | 1s |"),
    "recovery is counted from the beginning": ({}, "| Time to recover | 2m45s |"),
    "an open incident has no duration": ({"closed_at": None, "status": IncidentStatus.RUNNING}, "| **Duration** | still open |"),
    "without a write it is no rollback report": ({"acted_at": None}, "# Incident report: app"),
    "without a write the present version stays": ({"acted_at": None}, "| **Stays at** | v1.2.3 (revision 5) |"),
    "two targets are told apart": ({"pins": {"app": pin(), "web": pin("web")}}, "| **Target version of web** |"),
    "no steps": ({"steps": ()}, "No step was run."),
    "a rule without a target is in the title": ({"target": "", "acted_at": None}, "# Incident report: error_rate_spike"),
    "nothing verified": ({"steps": (), "recovered_at": None, "monitor_until": None}, "Nothing was verified"),
    "still watching": ({"status": IncidentStatus.MONITORING, "closed_at": None}, "still watching"),
    "a failed incident closes without being resolved": ({"status": IncidentStatus.FAILED}, "| Closed | 2026-11-21 23:03:50 |"),
    "without a write nobody is told of a rollback": (
        {"acted_at": None},
        "- [ ] Notify stakeholders that nothing was rolled back",
    ),
    "after a failure nobody is told that all is done": (
        {"status": IncidentStatus.FAILED},
        "- [ ] Notify stakeholders that the rollback did not help",
    ),
    "who joined": ({}, "- Joined by: health_check_failure, group app"),
}


@pytest.mark.parametrize(("changes", "expected"), PARTS.values(), ids=PARTS)
def test_part(changes: dict[str, Any], expected: str) -> None:
    assert expected in text_of(**changes)


def test_a_refusal_shows_the_guard_that_refused() -> None:
    refused = {"guard": "paused", "outcome": "refuse", "reason": "app is paused | by hand"}
    events = [IncidentEvent(at(1), "guards", "refused", {"target": "app", "verdicts": [refused]})]
    text = render_report(incident(status=IncidentStatus.REFUSED, acted_at=None, steps=()), events)
    assert "| paused | refuse | app is paused \\| by hand |" in text


@pytest.mark.parametrize(
    ("later", "tables"),
    [pytest.param("not paused", 1, id="the same is not shown twice"), pytest.param("paused by ann", 2, id="what is new is")],
)
def test_guards_that_are_asked_again(later: str, tables: int) -> None:
    def asked(second: float, reason: str) -> IncidentEvent:
        verdicts = [{"guard": "paused", "outcome": "pass", "reason": reason}]
        return IncidentEvent(at(second), "guards", "…", {"target": "app", "verdicts": verdicts})

    report = render_report(incident(), [asked(120, "not paused"), asked(180, later)])
    assert report.count("| Guard | Outcome | Why |") == tables
    assert ("Guards on app at 2026-11-21 22:58:50: the same, asked again." in report) is (tables == 1)


def test_a_long_story_is_cut_in_the_middle() -> None:
    events = [IncidentEvent(at(n), "told", f"line {n}") for n in range(2000)]
    text = render_report(incident(), events)
    assert "1500 more are on record" in text
    assert "line 0 " in text
    assert "line 1999 " in text
    assert "line 1000 " not in text


def test_the_document_has_the_same_facts_as_values() -> None:
    document = report_document(incident(), EVENTS)
    assert json.loads(json.dumps(document)) == document
    assert document["workload"] == "Deployment paperless/paperless-maverick"
    impact: Any = document["impact"]
    assert impact["began_at"] == "2026-11-21T22:55:50.632000Z"
    assert (impact["time_to_detect_seconds"], impact["time_to_act_seconds"], impact["time_to_recover_seconds"]) == (120, 1, 165)
    assert document["guards"][0]["verdicts"][1]["guard"] == "proven"  # type: ignore[index]
    assert [step["attempts"] for step in document["steps"]] == [2, 1]  # type: ignore[attr-defined]


ESCAPES = {
    "a pipe": ("a|b", "a\\|b"),
    "a backslash before a pipe": ("a\\|b", "a\\\\\\|b"),
    "code": ("`rm`", "\\`rm\\`"),
    "HTML": ("<script>", "\\<script>"),
    "an image": ("![x](http://y)", "!\\[x\\](http://y)"),
    "line breaks": ("a\r\n\n# b\u2028c", "a # b c"),
    "text that is turned round": ("a\u202eb", "a b"),
    "a name with underscores stays readable": ("error_rate_spike", "error_rate_spike"),
    "emphasis": ("__x__ *y*", "\\_\\_x\\_\\_ \\*y\\*"),
    "an entity": ("&lt;", "\\&lt;"),
    "text too long": ("x" * 10**6, "x" * 299 + "…"),
}


@pytest.mark.parametrize(("text", "expected"), ESCAPES.values(), ids=ESCAPES)
def test_escape(text: str, expected: str) -> None:
    assert escape(text) == expected


LINKS = {
    "a web address": ("https://p.example/graph?a=b&c=%3E", "<https://p.example/graph?a=b&c=%3E>"),
    "what would break out is encoded": ("http://p/|a> <b>`", "<http://p/%7Ca%3E%20%3Cb%3E%60>"),
    "another scheme is text": ("javascript:alert(1)", "javascript:alert(1)"),
    "no host is text": ("http://", "http://"),
    "a name in front of the host is text": ("https://good.example@evil.example/", "https://good.example@evil.example/"),
}


@pytest.mark.parametrize(("address", "expected"), LINKS.values(), ids=LINKS)
def test_link(address: str, expected: str) -> None:
    assert link(address) == expected


hostile = st.one_of(
    st.text(st.sampled_from("|`\\<>[]()!*_#&~$-=+1.: \n\r\t\u2028\u202eax"), max_size=30),
    st.text(max_size=20),
    st.sampled_from(["<script>alert(1)</script>", "| a |\n|---|", "```\n", "\n\n# x\n", "[x](http://y)", "http://evil", "\\"]),
)


@settings(max_examples=80, deadline=None)
@given(st.lists(hostile, min_size=6, max_size=6))
@example(["|" * 10**6] * 6)
def test_no_text_leaves_its_cell(texts: list[str]) -> None:
    a, b, c, d, e, f = texts
    subject = incident(
        reason=a,
        rule=b,
        group=c,
        target=d,
        groups=(("r", "g"), (e, f)),
        trigger_labels={a: b, c: d},
        trigger_annotations={"summary": e, f: a},
        trigger_link=b,
        steps=(StepRecord(c, d, Phase.STEPS, output=e), StepRecord(f, a, Phase.VERIFY, StepStatus.FAILED, 1, at(1), at(2), b)),
    )
    verdict = {"guard": c, "outcome": d, "reason": e}
    events = [
        IncidentEvent(at(0), "opened", a),
        IncidentEvent(at(1), "guards", b, {"target": c, "verdicts": [verdict, "not a mapping"]}),
        IncidentEvent(at(2), "failed", f),
    ]
    text = render_report(subject, events)
    assert len(text) < 40_000
    assert _shape(text) == _shape(render_report(_harmless(subject), _harmless_events(events))), text
    json.dumps(report_document(subject, events))


def _harmless(subject: Incident) -> Incident:
    """The same incident with a letter wherever there was hostile text."""
    labels = {f"x{n}": "x" for n in range(len(subject.trigger_labels))}
    annotations = {f"x{n}": "x" for n in range(len(subject.trigger_annotations))}
    steps = tuple(replace(step, name="x", uses="x", output="x") for step in subject.steps)
    groups = (("r", "g"), ("x", "x"))
    return replace(
        subject,
        reason="x",
        rule="x",
        group="x",
        target="x",
        groups=groups,
        trigger_labels=labels,
        trigger_annotations=annotations,
        trigger_link="x" if subject.trigger_link else "",
        steps=steps,
    )


def _harmless_events(events: list[IncidentEvent]) -> list[IncidentEvent]:
    verdict = {"guard": "x", "outcome": "x", "reason": "x"}
    return [
        replace(event, text="x" if event.text else "", data={"target": "x", "verdicts": [verdict]} if event.data else {})
        for event in events
    ]


def _shape(text: str) -> list[str]:
    """The structure a reader's Markdown sees: blocks and what is inline, texts and the one allowed link left out."""
    shape = []
    for token in MarkdownIt("js-default").parse(text):
        shape.append(f"{token.level} {token.type} {token.tag}")
        shape += [child.type for child in token.children or () if child.type not in ("text", "text_special", "softbreak")]
    return [line for line in shape if line not in ("link_open", "link_close")]
