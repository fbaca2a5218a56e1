"""`command.run` and `command.check`: what may run, what it is given, and that it runs once."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from responder.actions.command import CommandCheck, CommandRun
from responder.actions.command_parameters import CommandParameters, CommandRunParameters
from responder.clients.programs import Programs
from responder.errors import InvalidInputError, OutcomeUnknownError, PermanentError, RefusedError, ResponderError, TemporaryError
from responder.ports import Compensating, Previewing
from tests.unit.test_actions import Stage

SHOW = [sys.executable, "-c", "import sys, json; json.dump(sys.argv[1:], sys.stdout)"]
ALLOWED = ("sh", "false", "true", "sleep", "no-such-program", sys.executable)


def action(kind: type[CommandCheck] = CommandRun, **secrets: str) -> Any:
    return kind(Programs(allowed=ALLOWED), secrets)


def append(path: Path, word: str, code: int = 0) -> list[str]:
    return ["sh", "-c", f"echo {word} >> {path}; exit {code}"]


async def run(parameters: Mapping[str, object], stage: Stage | None = None, **secrets: str) -> str:
    output = await action(**secrets).run(parameters, (stage or Stage()).context)
    assert isinstance(output, str)
    return output


class TestWhatMayRun:
    async def test_nothing_may_unless_it_is_allowed(self) -> None:
        stage = Stage()
        with pytest.raises(RefusedError, match="the program echo is not allowed here; RESPONDER_ALLOWED_PROGRAMS has none"):
            await CommandRun(Programs(), {}).run({"run": ["echo"]}, stage.context)
        assert stage.story == []

    @pytest.mark.parametrize("where", ["check", "undo"])
    async def test_nor_may_what_checks_or_undoes_it(self, where: str) -> None:
        stage = Stage()
        with pytest.raises(RefusedError, match="the program rm is not allowed"):
            await run({"run": ["true"], where: ["rm", "-rf", "/"]}, stage)
        assert stage.story == []

    async def test_another_path_to_an_allowed_program_is_another_program(self) -> None:
        with pytest.raises(RefusedError, match="/tmp/sh is not allowed"):
            await run({"run": ["/tmp/sh"]})

    @pytest.mark.parametrize(
        ("parameters", "what"),
        [
            pytest.param({"run": "pg_dump --file x"}, "must be a list of arguments", id="a command line"),
            pytest.param({"run": []}, "at least 1", id="nothing"),
            pytest.param({"run": ["{{ inputs.program }}"]}, "must be written out", id="a program by template"),
            pytest.param({"run": ["echo", "{{ labels.pod }}"]}, "labels", id="a label in an argument"),
            pytest.param(
                {"run": ["echo"], "env": {"A": "{{ annotations.x }}"}}, "annotations", id="an annotation in the environment"
            ),
            pytest.param({"run": ["echo"], "stdin": "{{ labels.pod }}"}, "labels", id="a label in the input"),
            pytest.param({"run": ["echo"], "folder": "{{ inputs.folder }}"}, "no template", id="a folder by template"),
            pytest.param({"run": ["echo"], "folder": "app"}, "from the root on", id="a folder from nowhere"),
            pytest.param({"run": ["echo"], "host": "-oProxyCommand=id"}, "is no host", id="a host that is an option"),
            pytest.param({"run": ["echo"], "host": "{{ inputs.host }}"}, "is no host", id="a host by template"),
            pytest.param({"run": ["echo", "a\0b"]}, "NUL", id="a NUL"),
            pytest.param({"run": ["echo"], "env": {"A B": "x"}}, "no name of an environment variable", id="a bad name"),
            pytest.param({"run": ["echo"], "shell": True}, "Extra inputs", id="a shell"),
        ],
    )
    def test_what_can_never_be_right_is_refused_when_it_is_loaded(self, parameters: Mapping[str, object], what: str) -> None:
        with pytest.raises(ValidationError, match=what):
            CommandRunParameters.model_validate(parameters)


class TestWhatItIsGiven:
    async def test_the_last_line_break_of_its_input_arrives(self) -> None:
        stage = Stage(inputs={"backup": "a"})
        assert (await run({"run": ["sh", "-c", "wc -l"], "stdin": "{{ inputs.backup }}\n"}, stage)).endswith("1")

    @pytest.mark.parametrize(
        "hostile",
        ["$(id)", "`id`", "; rm -rf /", "a b", "'", '"', "\n", "--force", "{{ labels.pod }}", "../../etc", "*", "x" * 9000],
    )
    async def test_an_input_arrives_as_one_argument(self, hostile: str) -> None:
        stage = Stage(inputs={"backup": hostile})
        output = await run({"run": [*SHOW, "--file={{ inputs.backup }}", "{{ version.to }}"], "expect": {}}, stage)
        if len(hostile) < 1000:
            assert json.loads(output.rpartition("\n")[2]) == [f"--file={hostile}", "1.4.2"]
        assert stage.intents[0]["run"][-2] == f"--file={hostile}"  # type: ignore[index]

    async def test_an_input_of_a_megabyte_is_refused_before_anything_is_begun(self) -> None:
        stage = Stage(inputs={"backup": "x" * 1_000_000})
        with pytest.raises(PermanentError, match="longer than"):
            await run({"run": ["sh", "-c", "true", "{{ inputs.backup }}"]}, stage)
        assert stage.story == []

    async def test_secrets_reach_the_environment_and_nothing_that_is_kept_or_shown(self) -> None:
        stage = Stage()
        command = {
            "run": ["sh", "-c", 'echo "$PGPASSWORD"; test ${#PGPASSWORD} = 15'],
            "env": {"PGPASSWORD": {"from_secret": "DB"}},
        }
        output = await run(command, stage, db="hunter2-in-full")
        assert output.endswith("[secret]")
        assert "hunter2" not in f"{stage.intents}{stage.shown}{output}"
        preview = await action(db="hunter2-in-full").preview(command, stage.context)
        assert "hunter2" not in preview
        assert preview.endswith("with PGPASSWORD set")

    async def test_a_secret_that_is_not_set_is_named(self) -> None:
        stage = Stage()
        with pytest.raises(RefusedError, match="set RESPONDER_SECRET_DB "):
            await run({"run": ["true"], "env": {"A": {"from_secret": "db"}}}, stage)
        assert stage.story == []


class TestHowItEnds:
    async def test_it_is_on_record_before_it_begins_and_when_it_has_ended(self, tmp_path: Path) -> None:
        stage = Stage()
        assert await run({"run": append(tmp_path / "out", "done")}, stage)
        assert stage.story == ["mark changed", "record begun", "record ended"]

    @pytest.mark.parametrize(
        ("expect", "problem"),
        [
            pytest.param({}, "", id="exit code 0 by default"),
            pytest.param({"exit": [3]}, "ended with 0", id="another exit code"),
            pytest.param({"exit": [0, 3]}, "", id="one of several exit codes"),
            pytest.param({"stdout_contains": "rows"}, "", id="text"),
            pytest.param({"stdout_contains": "tables"}, "without the expected text", id="other text"),
            pytest.param({"stdout_lacks": "(?i)error|exception"}, "", id="no such line"),
            pytest.param({"stdout_lacks": "ROWS"}, "", id="as it is written"),
            pytest.param({"stdout_lacks": "(?i)ROWS"}, 'with an unwanted line: {"rows": ', id="an unwanted line"),
            pytest.param({"json": {"rows.0": 7}}, "", id="a value"),
            pytest.param({"json": {"rows.0": 8}}, "with rows.0 = 7, not 8", id="another value"),
            pytest.param({"json": {"rows.1": 8}}, "without rows.1", id="a missing value"),
        ],
    )
    async def test_what_a_good_end_is(self, expect: Mapping[str, object], problem: str) -> None:
        command = {"run": ["sh", "-c", "echo '{\"rows\": [7]}'"], "expect": expect}
        if not problem:
            assert "rows" in await run(command)
            return
        with pytest.raises(PermanentError, match=problem):
            await run(command)

    async def test_what_was_cut_out_may_hold_an_unwanted_line_as_well(self) -> None:
        command = {"run": ["sh", "-c", "yes | head -c 3000000"], "expect": {"stdout_lacks": "ERROR"}}
        with pytest.raises(PermanentError, match="more output than can be looked through"):
            await run(command)

    async def test_a_bad_end_is_tried_again_only_where_that_is_safe(self) -> None:
        with pytest.raises(PermanentError, match="false ended with 1"):
            await run({"run": ["false"]})
        with pytest.raises(TemporaryError, match="false ended with 1"):
            await run({"run": ["false"], "idempotent": True})

    async def test_of_long_output_the_beginning_and_the_end_are_shown(self) -> None:
        output = await run({"run": ["sh", "-c", "echo first; head -c 1000000 /dev/zero | tr '\\0' x; echo last"]})
        assert len(output) < 2500
        assert "first" in output
        assert output.endswith("last")


class TestAfterABreak:
    """What an earlier attempt left: it was begun, and nobody saw its end."""

    BEGUN: Mapping[str, object] = {"stage": "begun"}

    async def test_it_does_not_run_twice_unasked(self, tmp_path: Path) -> None:
        stage = Stage(intent=self.BEGUN)
        with pytest.raises(PermanentError, match="a person has to look"):
            await run({"run": append(tmp_path / "out", "again")}, stage)
        assert not (tmp_path / "out").exists()

    async def test_what_is_idempotent_runs_again_after_the_first_has_surely_ended(self, tmp_path: Path) -> None:
        stage = Stage(intent=self.BEGUN)
        await run({"run": append(tmp_path / "out", "again"), "idempotent": True}, stage)
        assert (tmp_path / "out").read_text() == "again\n"
        assert stage.slept == [timedelta(seconds=3.5)]

    @pytest.mark.parametrize(("code", "ran"), [(0, False), (1, True)], ids=["done already", "not done yet"])
    async def test_its_check_is_asked(self, code: int, ran: bool, tmp_path: Path) -> None:
        stage = Stage(intent=self.BEGUN)
        output = await run({"run": append(tmp_path / "out", "again"), "check": ["sh", "-c", f"exit {code}"]}, stage)
        assert (tmp_path / "out").exists() is ran
        assert ("was done already" in output) is not ran

    async def test_what_had_ended_is_told_again_and_not_done_again(self, tmp_path: Path) -> None:
        first = Stage()
        output = await run({"run": append(tmp_path / "out", "once")}, first)
        assert await run({"run": append(tmp_path / "out", "once")}, Stage(intent=first.intents[-1])) == output
        assert (tmp_path / "out").read_text() == "once\n"

    async def test_a_try_that_never_began_may_be_made_again(self, tmp_path: Path) -> None:
        first = Stage()
        with pytest.raises(ResponderError, match="not installed"):
            await run({"run": ["no-such-program"]}, first)
        await run({"run": append(tmp_path / "out", "now")}, Stage(intent=first.intents[-1]))
        assert (tmp_path / "out").read_text() == "now\n"

    async def test_a_try_that_did_not_end_in_time_counts_as_begun(self) -> None:
        first = Stage()
        with pytest.raises(OutcomeUnknownError, match="did not end within"):
            await run({"run": ["sleep", "60"], "timeout": timedelta(seconds=0.2)}, first)
        with pytest.raises(PermanentError, match="a person has to look"):
            await run({"run": ["sleep", "60"]}, Stage(intent=first.intents[-1]))


class TestUndoing:
    @pytest.mark.parametrize(
        ("intent", "undone"),
        [
            pytest.param({"stage": "begun"}, True, id="begun"),
            pytest.param({"stage": "ended", "output": "x"}, True, id="ended"),
            pytest.param({"stage": "unbegun"}, False, id="never begun"),
            pytest.param(None, False, id="never tried"),
        ],
    )
    async def test_what_may_have_been_done_is_undone(
        self, intent: Mapping[str, object] | None, undone: bool, tmp_path: Path
    ) -> None:
        command = {"run": ["true"], "undo": append(tmp_path / "out", "resumed")}
        told = await action().compensate(command, Stage(intent=intent).context)
        assert ((tmp_path / "out").exists(), bool(told)) == (undone, undone)

    async def test_an_undo_that_fails_is_said(self) -> None:
        with pytest.raises(PermanentError, match="false ended with 1"):
            await action().compensate({"run": ["true"], "undo": ["false"]}, Stage(intent={"stage": "begun"}).context)

    async def test_without_an_undo_there_is_nothing_to_undo(self) -> None:
        assert await action().compensate({"run": ["true"]}, Stage(intent={"stage": "begun"}).context) == ""


class TestChecking:
    async def test_a_check_leaves_no_trace_and_runs_every_time(self, tmp_path: Path) -> None:
        stage = Stage(intent={"stage": "ended", "output": "old"})
        for _ in range(2):
            await action(CommandCheck).run({"run": append(tmp_path / "out", "looked")}, stage.context)
        assert (tmp_path / "out").read_text() == "looked\nlooked\n"
        assert stage.story == []

    async def test_a_bad_end_may_be_tried_again(self) -> None:
        with pytest.raises(TemporaryError, match="false ended with 1"):
            await action(CommandCheck).run({"run": ["false"]}, Stage().context)

    def test_it_knows_nothing_of_undoing(self) -> None:
        with pytest.raises(InvalidInputError, match="undo"):
            CommandParameters.read({"run": ["true"], "undo": ["true"]})


class TestPreviewing:
    async def test_it_shows_what_would_run_and_runs_nothing(self, tmp_path: Path) -> None:
        stage = Stage(inputs={"backup": "20260301 & co"})
        command = {
            "run": ["sh", str(tmp_path / "out"), "{{ inputs.backup }}"],
            "host": "deploy@db-1",
            "undo": ["true", "back"],
        }
        assert await action().preview(command, stage.context) == (
            f"would run sh {tmp_path}/out '20260301 & co' on deploy@db-1\n"
            "undone, should the plan fail later, by true back on deploy@db-1"
        )
        assert stage.story == []

    def test_both_kinds_can(self) -> None:
        assert isinstance(action(), Previewing)
        assert isinstance(action(), Compensating)
        assert isinstance(action(CommandCheck), Previewing)
        assert not isinstance(action(CommandCheck), Compensating)
