"""What the command line says by itself: help, wrong words, files that can't be written."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from responder.cli.commands import way_past
from responder.cli.main import cli
from responder.cli.table import print_table
from tests.unit.played_commands import Played
from tests.unit.served import run, served
from tests.unit.test_people_commands import over

RULES = Path(__file__).parents[2] / "rules"


def say(*arguments: str) -> str:
    return CliRunner().invoke(cli, arguments).output


def test_help_names_every_command_with_its_whole_first_sentence() -> None:
    names = cli.list_commands(click.Context(cli))
    words = " ".join(say("--help").split())
    files = {path.stem for path in Path(import_module("responder.cli").__path__[0]).glob("*.py")}
    commands = {name: cli.get_command(click.Context(cli), name) for name in names}
    assert {"serve", "check", "test", "replay", "demo"} <= files & commands.keys()
    for name, command in commands.items():
        assert command is not None, name
        assert f"{name} {command.get_short_help_str(1000)}" in words
    assert "..." not in words.replace("[ARGS]...", "")
    assert "RESPONDER_URL" in words
    assert "RESPONDER_TOKEN" in words


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        pytest.param(["serv"], "there is no command 'serv'; did you mean 'serve'?", id="a command that is nearly one"),
        pytest.param(["frobnicate"], "there is no command 'frobnicate'\n", id="a command that is none"),
        pytest.param(["suppress", "a=b", "--reason", "x"], "say how long: either --for or --until", id="no end to a suppression"),
        pytest.param(["test", str(RULES), "--only", "no such"], "no test has 'no such' in its name", id="no test of that name"),
    ],
)
def test_wrong_words_are_wrong_usage(arguments: list[str], said: str) -> None:
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == 2
    assert said in result.output


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        pytest.param(["observed", "--since", "foo"], "--since: 'foo' is not a duration", id="an option"),
        pytest.param(["incidents", "--summary", "foo"], "--summary: 'foo' is not a duration", id="an option by another name"),
        pytest.param(["suppress", "foo", "--for", "1h", "--reason", "x"], "MATCHERS: not a matcher: 'foo'", id="an argument"),
        pytest.param(["suppress", "a=b", "--for", "1y1", "--reason", "x"], "--for: ", id="--for is the request's duration"),
    ],
)
async def test_what_the_service_finds_wrong_is_said_in_the_words_of_the_command(arguments: list[str], said: str) -> None:
    async with served(over(Played())) as port:
        result = await run(port, *arguments)
    assert result.exit_code == 2, result.output
    assert f"Error: {said}" in result.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(["test", str(RULES / "tests" / "jarvis.test.yaml"), "--junit"], id="a JUnit report"),
        pytest.param(["replay", "--rules", str(RULES / "jarvis.yaml"), "{webhooks}", "--plot"], id="a plot"),
    ],
)
def test_a_file_that_cannot_be_written_is_said(arguments: list[str], tmp_path: Path) -> None:
    webhooks = tmp_path / "webhooks.jsonl"
    webhooks.write_text('{"version":"4","alerts":[{"status":"firing","labels":{"a":"b"},"startsAt":"2026-03-01T12:00:00Z"}]}\n')
    out = tmp_path / "nowhere" / "out.svg"
    result = CliRunner().invoke(cli, [each.format(webhooks=webhooks) for each in arguments] + [str(out)])
    assert result.exit_code == 1
    assert result.output.endswith(f"responder: {out} can't be written: No such file or directory\n")


@pytest.mark.parametrize(("no_color", "coloured"), [(None, True), ("", True), ("1", False)])
def test_no_color_is_heard(no_color: str | None, coloured: bool) -> None:
    """On a terminal, which is what `color` stands for."""
    arguments = ["test", str(RULES / "tests" / "jarvis.test.yaml")]
    result = CliRunner(env={"NO_COLOR": no_color}).invoke(cli, arguments, color=True)
    assert ("\x1b[32m" in result.output) is coloured


def test_a_cell_that_is_cut_shows_it(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(["A", "B"], [["x" * 81, "y" * 200]], empty="")
    _, row = capsys.readouterr().out.splitlines()
    assert row.split() == ["x" * 79 + "…", "y" * 200]


@pytest.mark.parametrize(
    ("document", "said"),
    [
        pytest.param({"may_override": []}, "", id="nothing that a person may override"),
        pytest.param({"may_override": ["paused"]}, "If you answer for it: --override paused", id="one guard"),
        pytest.param(
            {
                "may_override": ["second_step"],
                "guards": {"app": [{"guard": "version", "outcome": "refuse"}, {"guard": "second_step", "outcome": "refuse"}]},
            },
            "If you answer for it: --version VERSION --override second_step",
            id="a version that is not there is named, not overridden",
        ),
    ],
)
def test_who_is_refused_is_told_the_whole_way_past_it(document: dict[str, object], said: str) -> None:
    assert way_past(document) == said
