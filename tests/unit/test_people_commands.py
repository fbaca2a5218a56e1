"""The commands that tell a running service something: what they send, what they print, how they end."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from responder.cli import rollback as rollback_command
from responder.domain.guard import Outcome, Verdict
from responder.domain.incident import Incident, IncidentEvent, IncidentStatus
from responder.domain.people import Hold
from responder.engine.orders import BusyError, GuardsError
from responder.errors import DeniedError, InvalidInputError, NotFoundError, RefusedError
from responder.web.tokens import Tokens
from tests.unit.played_commands import Played, parts
from tests.unit.served import answering, run, served
from tests.unit.web_parts import NOW, FakeIncidents, Parts, an_incident

OPEN = Tokens.of()


def over(played: Played, *incidents: Incident) -> Parts:
    made = parts(played, OPEN)
    made.incidents = FakeIncidents(incidents, [IncidentEvent(NOW, "opened", "ann ordered it")])
    return made


SAID: dict[str, tuple[list[str], tuple[Any, ...], str]] = {
    "approve": (
        ["approve", "inc_1", "--reason", "go", "--step", "backup"],
        ("approve", "inc_1", "local", "go", "backup"),
        "inc_0001 on shop: approved; it is running",
    ),
    "reject": (["reject", "inc_1"], ("reject", "inc_1", "local", "", None), "inc_0001 on shop: rejected; it is running"),
    "cancel": (
        ["cancel", "inc_1", "--reason", "no"],
        ("cancel", "inc_1", "local", "no"),
        "inc_0001 on shop: to be cancelled; it is running",
    ),
    "acknowledge": (
        ["acknowledge", "inc_1"],
        ("acknowledge", "inc_1", "local", ""),
        "inc_0001 on shop: acknowledged; it is running",
    ),
    "end a suppression": (
        ["suppress", "--end", "sup_1", "--reason", "done"],
        ("end", "sup_1", "local", "done"),
        "sup_1 ended; what still fires is due now.",
    ),
    "hold": (
        ["hold", "on", "--reason", "migration"],
        ("hold", "local", True, "migration"),
        "On hold since 2026-03-01 12:00:00 UTC by local: migration",
    ),
    "let go": (["hold", "off"], ("hold", "local", False, ""), "Not on hold."),
}


@pytest.mark.parametrize(("arguments", "call", "printed"), SAID.values(), ids=SAID.keys())
async def test_a_command_is_sent_and_its_effect_is_said(arguments: list[str], call: tuple[Any, ...], printed: str) -> None:
    played = Played()
    async with served(over(played)) as port:
        result = await run(port, *arguments)
        as_json = await run(port, *arguments, "--json")
    assert (result.exit_code, result.stderr, result.stdout) == (0, "", printed + "\n")
    assert played.calls[0] == call
    assert isinstance(json.loads(as_json.stdout), dict)


async def test_a_suppression_is_made_and_listed() -> None:
    played = Played()
    async with served(over(played)) as port:
        made = await run(port, "suppress", 'target="app"', "alertname=~Err.*", "--for", "2h", "--reason", "load test")
        listed = await run(port, "suppress", "--list")
        nothing = await run(port, "suppress", "--for", "2h", "--reason", "x")
    assert made.stdout == "sup_1: suppressed until 2026-03-01 14:00:00 UTC.\n"
    assert played.calls[0][2] == ['target="app"', 'alertname=~"Err.*"']
    assert listed.stdout == "Nothing is suppressed.\n"
    assert (nothing.exit_code, "name at least one matcher" in nothing.stderr) == (2, True)


async def test_the_hold_is_shown_and_needs_a_reason() -> None:
    played = Played(hold=Hold(True, "migration", "ann", NOW))
    async with served(over(played)) as port:
        shown = await run(port, "hold")
        silent = await run(port, "hold", "on")
    assert shown.stdout == "On hold since 2026-03-01 12:00:00 UTC by ann: migration\n"
    assert silent.exit_code == 2
    assert played.calls == []


async def test_the_audit_log_is_a_table() -> None:
    async with served(over(Played())) as port:
        result = await run(port, "audit", "--limit", "1")
    assert [" ".join(line.split()) for line in result.stdout.splitlines()] == [
        "AT (UTC) BY ACTION ABOUT OUTCOME WHAT",
        "2026-03-01 12:00:00 ann hold hold done held by ann",
    ]


async def test_a_rollback_is_ordered() -> None:
    played = Played()
    options = ["--version", "v41", "--plan", "back", "--input", "level=2", "--input", "note=a=b", "--immediate"]
    more = ["--skip-validation", "--create-backup", "--override", "paused", "--override", "proven"]
    async with served(over(played)) as port:
        result = await run(port, "rollback", "shop", "--reason", "broken", *options, *more)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == "inc_0001 on shop: begun. Its story: responder explain inc_0001\n"
    [(_, request, by, key)] = played.calls
    assert (request.target, request.plan, request.inputs, by) == ("shop", "back", {"level": "2", "note": "a=b"}, "local")
    assert key
    order = request.order
    assert (order.version, order.override) == ("v41", ("paused", "proven"))
    assert order.immediate
    assert order.skip_validation
    assert order.create_backup


FORCE = ["rollback", "shop", "--reason", "x"]
REFUSED: dict[str, tuple[list[str], Exception, int, str]] = {
    "a guard": (
        FORCE,
        GuardsError(["paused by a person"], {"shop": [Verdict("paused", Outcome.REFUSE, "x")]}, ["paused"]),
        3,
        "responder: refused: paused by a person\nIf you answer for it: --override paused\n",
    ),
    "a hold": (FORCE, RefusedError("on hold by ann"), 3, "responder: refused: on hold by ann\n"),
    "another incident": (FORCE, BusyError(an_incident()), 3, "inc_0001 has shop in hand"),
    "an unknown target": (
        ["rollback", "nope", "--reason", "x"],
        NotFoundError("no target `nope` is declared", field="target"),
        2,
        "TARGET: no target `nope` is declared",
    ),
    "a wrong input": (
        FORCE,
        InvalidInputError("plan back needs the input `level`", field="inputs"),
        2,
        "--input: plan back needs the input `level`",
    ),
    "an input without value": ([*FORCE, "--input", "level"], RefusedError(""), 2, "is not NAME=VALUE"),
    "no reason": (["rollback", "shop"], RefusedError(""), 2, "Missing option '--reason'"),
    "who may not": (["approve", "inc_1"], DeniedError("ann may not"), 1, "403 Forbidden: ann may not"),
    "what does not apply": (["cancel", "inc_1"], RefusedError("it is closed: resolved"), 1, "it is closed: resolved"),
    "no such incident": (["cancel", "inc_9"], NotFoundError("no incident has this id"), 1, "404 Not Found: no incident"),
}  # fmt: skip


@pytest.mark.parametrize(("arguments", "error", "code", "said"), REFUSED.values(), ids=REFUSED.keys())
async def test_a_refusal_is_said_and_has_its_exit_code(arguments: list[str], error: Exception, code: int, said: str) -> None:
    async with served(over(Played(error))) as port:
        result = await run(port, *arguments)
    assert result.exit_code == code, result.output
    assert said in result.stderr
    assert "Traceback" not in result.output


async def test_a_dry_run_shows_what_would_happen_and_ends_as_it_would() -> None:
    async with served(over(Played())) as port:
        result = await run(port, "rollback", "shop", "--reason", "x", "--dry-run")
    assert result.exit_code == 3
    assert result.stdout.splitlines() == [
        "plan rollback: rollback",
        "guards on shop:",
        "  refuse   paused: paused by a person",
        "It would be refused: paused by a person",
        "If you answer for it: --override paused",
    ]


async def test_all_that_is_wrong_with_an_order_is_said_at_once() -> None:
    wrong = {
        "title": "Bad Request",
        "detail": "too long",
        "field": "reason",
        "problems": ["reason: too long", "version: too long"],
    }
    body = json.dumps(wrong).encode()
    head = f"HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    async with answering(head.encode() + body) as port:
        result = await run(port, *FORCE)
    assert result.exit_code == 2
    assert result.stderr.endswith("Error: --reason: too long\n--version: too long\n")


async def test_what_is_not_the_service_is_told_apart() -> None:
    async with answering(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi") as port:
        result = await run(port, "cancel", "inc_1")
    assert result.exit_code == 1
    assert "is not Responder" in result.stderr


ENDS = {"resolved": 0, "refused": 3, "observed": 3, "failed": 1, "cancelled": 1}


@pytest.mark.parametrize(("status", "code"), ENDS.items(), ids=ENDS.keys())
async def test_following_shows_the_story_and_ends_with_it(status: str, code: int) -> None:
    closed = replace(an_incident(1, IncidentStatus(status)), reason="that is how it ended", closed_at=NOW)
    async with served(over(Played(), closed)) as port:
        result = await run(port, "rollback", "shop", "--reason", "x", "--follow")
    assert result.exit_code == code
    assert result.stdout.splitlines() == ["12:00:00 opened: ann ordered it", f"inc_0001: {status}: that is how it ended"]


class _Interrupted:
    """Ctrl-C at the first look; from then on the incident is what `after` makes of it."""

    def __init__(self, made: Parts, after: Incident) -> None:
        self._made = made
        self._after = after
        self._done = False

    def __call__(self, _seconds: float) -> None:
        if not self._done:
            self._done = True
            raise KeyboardInterrupt
        self._made.incidents.incidents = [self._after]


@pytest.mark.parametrize(
    ("is_terminal", "typed", "calls", "code"),
    [(True, True, ["force", "cancel"], 1), (True, False, ["force"], 1), (False, True, ["force"], 1)],
    ids=["yes cancels it", "no lets it go on", "without a terminal nobody is asked"],
)
async def test_ctrl_c_asks_before_it_cancels(
    monkeypatch: pytest.MonkeyPatch, is_terminal: bool, typed: bool, calls: list[str], code: int
) -> None:
    played = Played()
    made = over(played, an_incident())
    closed = replace(an_incident(1, IncidentStatus.CANCELLED), reason="stopped by ann", closed_at=NOW)
    monkeypatch.setattr(rollback_command, "_pause", _Interrupted(made, closed))
    monkeypatch.setattr(rollback_command, "_is_terminal", lambda: is_terminal)
    monkeypatch.setattr("click.confirm", lambda *_, **__: typed)
    async with served(made) as port:
        result = await run(port, "rollback", "shop", "--reason", "x", "--follow")
    assert [call[0] for call in played.calls] == calls
    assert result.exit_code == code
    assert ("cancelled: stopped by ann" in result.stdout) is ("cancel" in calls)
