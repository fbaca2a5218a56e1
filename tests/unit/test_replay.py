"""`responder replay`: other rules on a recorded journal or a file of webhooks, held against what really happened."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from responder.cli.main import cli
from responder.domain.decision import Decision, DecisionKind
from responder.domain.hindsight import Difference, compare
from responder.domain.incident import Incident, IncidentStatus
from responder.domain.plan import BARE_ROLLBACK
from responder.domain.rulebook import Response, Severity
from responder.domain.signal import Signal, SignalStatus
from responder.engine.value_track import POINTS_LIMIT, Series
from responder.errors import SettingsError
from responder.ports import EntryKind
from responder.stores.database import Database
from responder.stores.record import open_record
from tests.harness.databases import sqlite_database

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
RULES = """\
version: 1
targets:
  app: {kubernetes: {namespace: shop, deployment: app}, match: ['deployment="app"']}
rules:
  - {name: errors, match: ['alertname="Errors"'], when: {value: {above: 5%}}, for: 2m, respond: rollback, severity: P1}
  - {name: health, match: ['alertname="Health"'], severity: P2}
"""


def minutes(count: float) -> timedelta:
    return timedelta(minutes=count)


def signal(at: float, value: str, status: SignalStatus = SignalStatus.FIRING, name: str = "Errors") -> Signal:
    labels = {"alertname": name, "deployment": "app", "source": "alertmanager"}
    return Signal("alertmanager", name, status, labels, {"value": value}, START, None, START + minutes(at))


def incident(number: int = 1, **changes: object) -> Incident:
    known = Incident(
        id=f"inc_{number}",
        identity="errors|app|Errors@2026-03-01T12:00:00+00:00",
        target="app",
        rule="errors",
        group="app",
        severity=Severity.P1,
        status=IncidentStatus.RESOLVED,
        reason="Errors: value 0.07 is above 0.05",
        opened_at=START + minutes(2),
        closed_at=START + minutes(9),
        groups=(("errors", "app"),),
        plan=BARE_ROLLBACK,
    )
    return replace(known, **changes)  # type: ignore[arg-type]


@pytest.fixture
async def recorded(tmp_path: Path) -> AsyncIterator[Database]:
    """The service has it open: an error rate of 7 %, 3 % for the last stretch, and a rollback on record."""
    async with sqlite_database(tmp_path) as database:
        for at, value in ((0, "0.07"), (1, "0.08"), (5, "0.07"), (8, "0.03")):
            await database.journal.append(EntryKind.SIGNALS, START + minutes(at), [signal(at, value)])
            await database.journal.append(EntryKind.TICK, START + minutes(at + 0.5))
        await database.incidents.open(incident())
        yield database


def run(folder: Path, *options: str, rules: str = RULES) -> Result:
    (folder / "rules.yaml").write_text(rules)
    return CliRunner().invoke(cli, ["replay", "--rules", str(folder / "rules.yaml"), *options])


def url_in(folder: Path) -> str:
    (path,) = folder.glob("*.db")
    return f"sqlite:///{path}"


def on_record(folder: Path, *options: str, rules: str = RULES) -> dict[str, object]:
    result = run(folder, "--database", url_in(folder), "--json", *options, rules=rules)
    assert result.exit_code == 0, result.output
    document: dict[str, object] = json.loads(result.output)
    return document


def kinds(document: dict[str, object]) -> list[tuple[str, str]]:
    """Kind and minute of every decision."""
    found: list[dict[str, str]] = document["decisions"]  # type: ignore[assignment]
    return [(one["kind"], f"{(datetime.fromisoformat(one['at']) - START) / minutes(1):g}") for one in found]


def differences(document: dict[str, object]) -> list[tuple[str, tuple[str, ...]]]:
    found: list[dict[str, object]] = document["differences"]  # type: ignore[assignment]
    return [(str(one["difference"]), tuple(one["notes"])) for one in found]  # type: ignore[arg-type]


async def test_the_same_rules_decide_what_happened(recorded: Database, tmp_path: Path) -> None:
    document = on_record(tmp_path)
    assert kinds(document) == [("wait", "0"), ("respond", "2"), ("clear", "8")]
    assert differences(document) == [("same", ())]
    assert (document["signals"], document["entries"]) == (4, 8)


async def test_a_longer_time_responds_later(recorded: Database, tmp_path: Path) -> None:
    document = on_record(tmp_path, rules=RULES.replace("for: 2m", "for: 7m"))
    assert kinds(document) == [("wait", "0"), ("respond", "7"), ("clear", "8")]
    assert differences(document) == [("changed", ("5m later",))]


async def test_a_higher_threshold_would_not_have_acted(recorded: Database, tmp_path: Path) -> None:
    document = on_record(tmp_path, rules=RULES.replace("5%", "10%"))
    assert kinds(document) == []
    assert differences(document) == [("gone", ())]


async def test_another_name_and_response_are_the_same_trouble(recorded: Database, tmp_path: Path) -> None:
    rules = RULES.replace("name: errors", "name: many_errors").replace("respond: rollback", "respond: notify").replace("P1", "P3")
    document = on_record(tmp_path, rules=rules)
    notes = ("by rule many_errors, not errors", "response notify, not rollback", "severity P3, not P1")
    assert differences(document) == [("changed", notes)]


async def test_a_response_that_never_was_is_new(recorded: Database, tmp_path: Path) -> None:
    await recorded.journal.append(EntryKind.SIGNALS, START + minutes(9), [signal(9, "", name="Health")])
    document = on_record(tmp_path)
    assert differences(document) == [("same", ()), ("new", ())]
    text = run(tmp_path, "--database", url_in(tmp_path)).output
    assert "against the incidents on record: 1 same, 0 changed, 1 new, 0 gone" in text
    assert "would have responded (notify)" in text


@pytest.mark.parametrize(
    ("options", "found"),
    [
        (["--from", "2026-03-01T12:02:00Z"], [("respond", "2"), ("clear", "8")]),
        (["--from", "5m"], [("clear", "8")]),
        (["--to", "2026-03-01T12:04:00Z"], [("wait", "0"), ("respond", "2")]),
        (["--to", "2026-03-01T12:01:59"], [("wait", "0")]),
        (["--from", "2026-03-01T13:01:00+01:00", "--to", "2026-03-01T13:02:00+01:00"], [("respond", "2")]),
    ],
    ids=["from a time", "from five minutes before the end", "to a time", "time runs up to the end", "both, with an offset"],
)
async def test_only_the_window_is_told_but_all_before_it_counts(
    options: list[str], found: list[tuple[str, str]], recorded: Database, tmp_path: Path
) -> None:
    assert kinds(on_record(tmp_path, *options)) == found


async def test_a_database_in_use_is_read_and_not_changed(recorded: Database, tmp_path: Path) -> None:
    record = open_record(url_in(tmp_path))
    try:
        assert record.span().entries == 8
        await recorded.journal.append(EntryKind.SIGNALS, START + minutes(9), [signal(9, "0.07")])
        assert len(list(record.entries())) == 9
        assert [each.id for each in record.incidents(START, START + minutes(60))] == ["inc_1"]
        assert record.incidents(START, START + minutes(1)) == []
    finally:
        record.close()


@pytest.mark.parametrize("content", [None, b"", b"not a database", b"SQLite format 3\x00" + bytes(100)])
def test_what_is_no_database_of_ours_is_refused(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SettingsError):
        open_record(f"sqlite:///{path}")
    assert run(tmp_path, "--database", f"sqlite:///{path}").exit_code == 1
    assert path.exists() is (content is not None)


async def test_a_closed_database_is_read(tmp_path: Path) -> None:
    async with sqlite_database(tmp_path) as database:
        await database.journal.append(EntryKind.SIGNALS, START, [signal(0, "0.07")])
    record = open_record(url_in(tmp_path))
    assert record.span().entries == 1
    record.close()


# --- files of webhooks ---------------------------------------------------------------------------------------------------


def body(value: str, status: str = "firing", end: str = "0001-01-01T00:00:00Z") -> dict[str, object]:
    alert = {
        "status": status,
        "labels": {"alertname": "Errors", "deployment": "app"},
        "annotations": {"value": value},
        "startsAt": "2026-03-01T12:00:00Z",
        "endsAt": end,
        "fingerprint": "Errors",
    }
    return {"version": "4", "alerts": [alert]}


def write(folder: Path, *lines: object) -> str:
    path = folder / "hooks.jsonl"
    path.write_text("\n".join(each if isinstance(each, str) else json.dumps(each) for each in lines))
    return str(path)


def test_a_file_of_webhooks_is_replayed(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        {"received_at": "2026-03-01T12:00:10Z", "source": "alertmanager", "body": body("0.07")},
        "",
        {"received_at": "2026-03-01T12:05:00Z", "body": json.dumps(body("0.01"))},
    )
    document = json.loads(run(tmp_path, path, "--json").output)
    assert kinds(document) == [("wait", "0.166667"), ("respond", "2"), ("clear", "5")]
    assert document["differences"] is None


def test_bare_bodies_arrive_when_their_alerts_change(tmp_path: Path) -> None:
    path = write(tmp_path, body("0.07"), body("0.09", "resolved", "2026-03-01T12:06:00Z"))
    assert kinds(json.loads(run(tmp_path, path, "--json").output)) == [("wait", "0"), ("respond", "2"), ("clear", "6")]


def test_a_line_that_can_not_be_used_is_named_and_left_out(tmp_path: Path) -> None:
    bad = ["{", "[]", {"body": {"alerts": "none"}}, {"source": "nagios", "body": {}}, {"received_at": "noon", "body": body("1")}]
    result = run(tmp_path, write(tmp_path, body("0.07"), *bad))
    assert result.exit_code == 0
    for number in range(2, 7):
        assert f"hooks.jsonl:{number}: " in result.output
    assert "source: must be one of alertmanager" in result.output
    assert run(tmp_path, write(tmp_path, *bad)).exit_code == 1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--from", "yesterday"], "neither a time"),
        (["--plot", "out.png"], "ends with .svg or .html"),
        (["--database", "sqlite:///x.db"], "either FILE or --database"),
    ],
    ids=["a time", "a plot", "two sources"],
)
def test_wrong_usage(options: list[str], said: str, tmp_path: Path) -> None:
    result = run(tmp_path, write(tmp_path, body("0.07")), *options)
    assert (result.exit_code, said in result.output) == (2, True)


def test_a_wrong_rulebook_is_told(tmp_path: Path) -> None:
    result = run(tmp_path, write(tmp_path, body("0.07")), rules="version: 1\nruls: []")
    assert result.exit_code == 1
    assert "rules.yaml:2:1: unknown key `ruls`" in result.output


# --- hindsight -----------------------------------------------------------------------------------------------------------

DECISION = Decision(
    DecisionKind.RESPOND,
    START + minutes(2),
    "",
    "errors",
    "app",
    "app",
    "Errors@2026-03-01T12:00:00+00:00",
    severity=Severity.P1,
    response=Response.ROLLBACK,
)


@pytest.mark.parametrize(
    ("decisions", "incidents", "expected"),
    [
        ([DECISION], [incident()], [Difference.SAME]),
        ([DECISION], [], [Difference.NEW]),
        ([], [incident()], [Difference.GONE]),
        ([], [incident(rule="", identity="force")], []),
        ([DECISION], [incident(identity="latency|app|other", rule="latency", joined=(DECISION.identity,))], [Difference.SAME]),
        ([DECISION, DECISION._replace(rule="b")], [incident()], [Difference.SAME, Difference.SAME]),
        ([DECISION], [incident(target="other", identity=f"x|y|{DECISION.episode}")], [Difference.NEW, Difference.GONE]),
        ([DECISION._replace(inconclusive=True)], [incident()], [Difference.SAME]),
    ],
    ids=[
        "the same",
        "an incident that never was",
        "an incident that would not have been",
        "a forced rollback is nobody's decision",
        "it joined another incident",
        "two rules about one trouble",
        "the same episode on another target is other trouble",
        "asking about the same episode",
    ],
)  # fmt: skip
def test_decisions_and_incidents_find_each_other(
    decisions: list[Decision], incidents: list[Incident], expected: list[Difference]
) -> None:
    if expected == [Difference.SAME] and incidents and incidents[0].rule == "latency":
        incidents = [replace(incidents[0], groups=(("latency", "app"), ("errors", "app")))]
    assert [one.difference for one in compare(decisions, incidents)] == expected


# --- the picture ---------------------------------------------------------------------------------------------------------


async def test_the_picture_shows_numbers_threshold_decisions_and_incidents(recorded: Database, tmp_path: Path) -> None:
    plot = tmp_path / "out.svg"
    on_record(tmp_path, "--plot", str(plot))
    root = ET.fromstring(plot.read_text())
    texts = ["".join(each.itertext()) for each in root.iter()]
    classes = [each.get("class") for each in root.iter()]
    assert "errors" in texts
    assert not {"health"} & set(texts), "a rule that saw nothing has no panel"
    assert classes.count("bound") == 1
    assert classes.count("line") == 1
    assert classes.count("response") == 1
    assert any("inc_1: resolved" in text for text in texts)
    assert any("respond app: Errors: value 0.08 is above 0.05" in text for text in texts)


def test_hostile_text_stays_text_in_the_picture(tmp_path: Path) -> None:
    hostile = body("0.07")
    hostile["alerts"][0]["labels"]["pod"] = "</title><script>alert(1)</script>"  # type: ignore[index]
    for name in ("out.svg", "out.html"):
        assert run(tmp_path, write(tmp_path, hostile), "--plot", str(tmp_path / name)).exit_code == 0
        assert "<script>" not in (tmp_path / name).read_text()
    ET.fromstring((tmp_path / "out.svg").read_text())


def test_a_long_series_is_thinned_and_keeps_its_extremes() -> None:
    series = Series("x")
    for number in range(50_000):
        series.add(START + timedelta(seconds=number), 1000.0 if number == 33_333 else -5.0 if number == 7 else number % 97)
    assert len(series.points) <= 2 * POINTS_LIMIT
    numbers = [number for _, number in series.points if number is not None]
    assert (max(numbers), min(numbers)) == (1000.0, -5.0)
    assert [at for at, _ in series.points] == sorted(at for at, _ in series.points)
