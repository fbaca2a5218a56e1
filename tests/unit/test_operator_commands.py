"""The commands that ask a running service: what they print, and what they say when it is not the service that answers."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta

import click
import pytest
from click.testing import CliRunner

from responder.cli.main import cli
from responder.domain.incident import IncidentStatus
from responder.web.tokens import Tokens
from tests.unit.served import answering, run, served
from tests.unit.web_parts import NOW, FakeIncidents, Parts, an_incident

RULE = {
    "rule": "error_rate",
    "group": "shop",
    "target": "shop",
    "state": "pending",
    "since": NOW.isoformat(),
    "due_at": None,
    "reason": "HighErrorRate fires",
}


@pytest.mark.parametrize(
    ("arguments", "rows"),
    [
        pytest.param(["targets"], ["TARGET MODE SEEN PLACE", "shop observe yes deployment/shop in namespace shop"], id="targets"),
        pytest.param(
            ["incidents"],
            [
                "INCIDENT STATUS SEVERITY TARGET RULE OPENED (UTC) REASON",
                "inc_0001 running P1 shop error_rate 2026-03-01 12:00:00 7 % of requests fail, above 5 %",
            ],
            id="incidents",
        ),
        pytest.param(
            ["versions", "shop"],
            [
                "VERSION REVISION AGE CREATED (UTC) PROVEN IMAGES FINGERPRINT CHANGE CAUSE",
                "* v42 8 9m 2026-03-01 11:51:00 no: unknown registry.example/shop:v42 cccccccccccc",
                "v41 7 2d 2026-02-27 12:00:00 yes: it ran for 2h registry.example/shop:v41 aaaaaaaaaaaa",
            ],
            id="versions",
        ),
        pytest.param(
            ["rules"],
            [
                "RULE GROUP STATE SINCE (UTC) DUE (UTC) REASON",
                "error_rate shop pending 2026-03-01 12:00:00 - HighErrorRate fires",
            ],
            id="rules",
        ),
    ],
)
async def test_a_command_prints_what_the_service_knows(arguments: list[str], rows: list[str]) -> None:
    parts = Parts(
        incidents=FakeIncidents([an_incident()]), overrides={"rules_state": lambda: [RULE], "watched": lambda: ["shop"]}
    )
    async with served(parts) as port:
        result = await run(port, *arguments)
        as_json = await run(port, *arguments, "--json")
    assert (result.exit_code, result.stderr) == (0, "")
    assert [" ".join(line.split()) for line in result.stdout.splitlines()] == rows
    assert as_json.exit_code == 0
    assert isinstance(json.loads(as_json.stdout), dict)


@pytest.mark.parametrize(
    ("watched", "row", "hint"),
    [
        pytest.param(["shop"], "shop observe yes deployment/shop in namespace shop", "", id="one that was seen"),
        pytest.param(
            [],
            "shop observe no deployment/shop in namespace shop",
            "What was not seen yet can't be rolled back; `responder versions shop` says why.\n",
            id="one that nobody has seen: its name may be wrong",
        ),
    ],
)
async def test_targets_tell_whether_they_were_seen(watched: list[str], row: str, hint: str) -> None:
    async with served(Parts(overrides={"watched": lambda: watched})) as port:
        result = await run(port, "targets")
    assert [" ".join(line.split()) for line in result.stdout.splitlines()] == ["TARGET MODE SEEN PLACE", row]
    assert (result.exit_code, result.stderr) == (0, hint)


async def test_the_report_is_printed_as_it_is() -> None:
    async with served(Parts(incidents=FakeIncidents([an_incident()]))) as port:
        result = await run(port, "report", "inc_0001")
    assert (result.exit_code, result.stdout) == (0, "# Report\n")


@pytest.mark.parametrize(
    ("arguments", "token", "says"),
    [
        pytest.param(["versions", "nope"], "viewer", "404 Not Found: no target `nope` is declared", id="unknown target"),
        pytest.param(["report", "inc_9"], "viewer", "404 Not Found: no incident has this id", id="unknown incident"),
        pytest.param(["report", "../targets"], "viewer", "404 Not Found", id="an id that is a path"),
        pytest.param(["versions", "shop?x=1#y"], "viewer", "404 Not Found", id="a name with what means something in an address"),
        pytest.param(["incidents"], None, "401 Unauthorized: a token is needed", id="no token"),
        pytest.param(["incidents"], "wrong", "401 Unauthorized: this token is not known", id="a wrong token"),
        pytest.param(["incidents"], "hook", "403 Forbidden: this token may not do that", id="the token of senders"),
    ],
)
async def test_a_refusal_of_the_service_is_told_in_one_line(arguments: list[str], token: str | None, says: str) -> None:
    async with served(Parts(tokens=Tokens.of(webhook="hook", viewer="viewer"))) as port:
        result = await run(port, *arguments, token=token)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith(f"responder: {says}")
    assert len(result.stderr.splitlines()) == 1


def _answer(status: str, body: bytes, kind: str = "text/html") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


STRANGERS = {
    "a page to log in": _answer("200 OK", b"<html>Please log in</html>"),
    "a redirect": _answer("302 Found", b""),
    "another's error": _answer("502 Bad Gateway", b'["no"]', "application/json"),
    "no HTTP": b"SSH-2.0-OpenSSH_9.2\r\n",
    "a list": _answer("200 OK", b"[1]", "application/json"),
    "another's object": _answer("200 OK", b"{}", "application/json"),
}
COMMANDS = {"incidents": ["incidents"], "targets": ["targets"], "versions": ["versions", "shop"], "report": ["report", "inc_1"]}


@pytest.mark.parametrize("stranger", STRANGERS)
@pytest.mark.parametrize("command", COMMANDS)
async def test_what_is_not_the_service_is_named_as_such(command: str, stranger: str) -> None:
    async with answering(STRANGERS[stranger]) as port:
        result = await run(port, *COMMANDS[command])
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("responder: ")
    assert f"http://127.0.0.1:{port}" in result.stderr
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize("command", [["incidents"], ["hold", "on", "--reason", "x"]], ids=["that reads", "that orders"])
@pytest.mark.parametrize(
    ("address", "shown"),
    [
        pytest.param("http://ann:hunter2@127.0.0.1:1", "http://127.0.0.1:1 (ConnectError)", id="with a password"),
        pytest.param("http://a..b:1", "http://a..b:1 (UnicodeError)", id="of no possible host"),
    ],
)
def test_an_address_that_nobody_answers_at_is_named_without_its_password(command: list[str], address: str, shown: str) -> None:
    result = CliRunner().invoke(cli, command, env={"RESPONDER_URL": address})
    assert (result.exit_code, result.stdout) == (1, "")
    assert shown in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert "hunter2" not in result.output


OBSERVED = {
    "since": NOW.isoformat(),
    "window": "14d",
    "targets": [
        {
            "target": "shop",
            "mode": "observe",
            "observed": 2,
            "would_have_acted": 1,
            "in_vain": 0,
            "minutes_saved": 42.0,
            "estimate": {"seconds": 180.0, "basis": "assumed: no rollback was done yet"},
            "arm": "targets: {shop: {mode: armed}}",
            "incidents": [
                {
                    "incident": "inc_0001",
                    "rule": "error_rate",
                    "severity": "P1",
                    "opened_at": NOW.isoformat(),
                    "would": "from v42 to v41",
                    "acts": True,
                    "would_have_recovered_at": NOW.isoformat(),
                    "ending": "cleared",
                    "how": "cleared by itself after 45m",
                    "ended_at": NOW.isoformat(),
                    "minutes_saved": 42.0,
                }
            ],
        }
    ],
}


async def test_observed_says_what_was_lost_how_that_is_estimated_and_how_to_arm_the_target() -> None:
    body = json.dumps(OBSERVED).encode()
    head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
    async with answering(head.encode() + body) as port:
        shown = await run(port, "observed", "--since", "14d")
    assert shown.exit_code == 0, shown.output
    assert "shop (observe): 2 observed, would have acted once." in shown.output
    assert "42 min" in shown.output
    assert "cleared by itself after 45m" in shown.output
    assert "A rollback counts as 3.0 min (assumed: no rollback was done yet)" in shown.output
    assert shown.output.rstrip().endswith("targets: {shop: {mode: armed}}")


async def test_observed_asks_the_service_about_what_was_observed() -> None:
    calm = replace(an_incident(1, IncidentStatus.OBSERVED), calm_at=NOW + timedelta(minutes=45))
    async with served(Parts(incidents=FakeIncidents([calm]))) as port:
        shown = await run(port, "observed", "--json", "--since", "30d")
        wrong = await run(port, "observed", "--since", "soon")
    assert shown.exit_code == 0, shown.output
    [target] = json.loads(shown.output)["targets"]
    assert (target["target"], target["minutes_saved"], target["arm"]) == ("shop", 42.0, "targets: {shop: {mode: armed}}")
    assert wrong.exit_code != 0


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_what_the_shell_reads(shell: str) -> None:
    shown = CliRunner().invoke(cli, ["completion", shell])
    assert shown.exit_code == 0, shown.output
    assert "_RESPONDER_COMPLETE" in shown.output


def test_a_shell_is_offered_commands_and_options() -> None:
    def offered(words: str, number: str) -> str:
        environment = {"_RESPONDER_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": number}
        return CliRunner().invoke(cli, [], prog_name="responder", env=environment).output

    assert "plain,suppressions" in offered("responder sup", "1")
    assert "plain,--follow" in offered("responder rollback --fo", "2")


def test_every_command_that_asks_the_service_answers_in_json_too() -> None:
    elsewhere = {"serve", "check", "test", "demo", "replay", "completion", "token"}
    context = click.Context(cli)
    for name in set(cli.list_commands(context)) - elsewhere:
        command = cli.get_command(context, name)
        assert command is not None
        assert any("--json" in option.opts for option in command.params), name
