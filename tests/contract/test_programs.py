"""Programs here and over SSH: the same promises, held against real processes and a real sshd."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shlex
import signal
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path

import psutil
import pytest
import uvloop

from responder.clients.programs import Programs
from responder.clients.ssh import SshOptions
from responder.errors import (
    ForbiddenError,
    InvalidInputError,
    NotFoundError,
    OutcomeUnknownError,
    PermanentError,
    UnreachableError,
)
from tests.harness.sshd import SshServer, ssh_server

HOSTILE = [
    "a b",
    "$(id)",
    "`id`",
    "'; echo pwned; '",
    '"',
    "\\",
    "\\n",
    "line\nline",
    "--option",
    "*",
    "~",
    "!x",
    "{{ labels.x }}",
    "../../etc/passwd",
    "",
    "ünïcödé ☂",
    "x" * 100_000,
]
IGNORES_TERM = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(600)"


@dataclass(frozen=True)
class Place:
    programs: Programs
    host: str = ""
    ssh: SshOptions = field(default_factory=SshOptions)


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[SshServer]:
    async with ssh_server(tmp_path / "sshd") as running:
        yield running


@pytest.fixture(params=["here", "over ssh"])
async def place(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Place]:
    if request.param == "here":
        yield Place(Programs())
        return
    async with ssh_server(tmp_path / "sshd") as server:
        yield Place(Programs(ssh=server.options), server.host, server.options)


async def until(holds: Callable[[], bool], what: str) -> None:
    try:
        async with asyncio.timeout(20):
            while not holds():  # noqa: ASYNC110 - a process sets no event
                await asyncio.sleep(0.02)
    except TimeoutError:
        pytest.fail(f"never came to be: {what}")


def is_running(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


async def family(folder: Path) -> list[int]:
    """The pids that `a_family` wrote down."""
    await until(lambda: (folder / "pids").exists() and len((folder / "pids").read_text().split()) == 2, "both processes")
    return [int(pid) for pid in (folder / "pids").read_text().split()]


async def ended(pids: list[int]) -> None:
    await until(lambda: not [pid for pid in pids if is_running(pid)], f"the end of {pids}")


def a_family(folder: Path, *, deaf: bool = False) -> list[str]:
    """A program with a child of its own; both run for long."""
    child = f"exec {shlex.join([sys.executable, '-c', IGNORES_TERM])}" if deaf else "exec sleep 600"
    return ["sh", "-c", f"echo begun; ({child}) & echo $$ $! > {folder}/pids; wait; wait"]


def another_responder(place: Place, argv: list[str]) -> subprocess.Popen[bytes]:
    """A process that does nothing but run a program, to be killed."""
    script = textwrap.dedent("""
        import asyncio, json, sys
        from responder.clients.programs import Programs
        from responder.clients.ssh import SshOptions
        argv, host, ssh = json.loads(sys.argv[1])
        asyncio.run(Programs(ssh=SshOptions(*ssh)).run(argv, host=host))
    """)
    ssh = place.ssh
    what = [argv, place.host, [ssh.key_file, ssh.known_hosts_file, ssh.config_file]]
    return subprocess.Popen([sys.executable, "-c", script, json.dumps(what)])


class TestWhatItIsGiven:
    async def test_hostile_arguments_arrive_as_they_are(self, place: Place) -> None:
        show = "import sys, json; json.dump(sys.argv[1:], sys.stdout)"
        finished = await place.programs.run([sys.executable, "-c", show, *HOSTILE], host=place.host)
        assert json.loads(finished.stdout) == HOSTILE

    async def test_environment_folder_and_input_arrive_as_they_are(self, place: Place, tmp_path: Path) -> None:
        folder = tmp_path / "it's a $(folder)"
        folder.mkdir()
        finished = await place.programs.run(
            ["sh", "-c", 'pwd; printf "%s|" "$A" "$B"; cat'],
            env={"A": "it's $HOME", "B": "two\nlines"},
            folder=str(folder),
            stdin="some $(input)\nand 'more'",
            host=place.host,
        )
        assert finished.stdout == f"{folder}\nit's $HOME|two\nlines|some $(input)\nand 'more'"

    async def test_without_input_it_reads_an_empty_one(self, place: Place) -> None:
        assert (await place.programs.run(["cat"], host=place.host)).stdout == ""

    async def test_nothing_of_our_own_environment_is_inherited(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("RESPONDER_OPERATOR_TOKEN", "secret-token")
        finished = await Programs({"HOME": "/home/x"}).run(["env"])
        names = {line.partition("=")[0] for line in finished.stdout.splitlines()}
        assert names <= {"PATH", "LANG", "HOME", "PWD", "OLDPWD", "_", "SHLVL"}

    @pytest.mark.parametrize(
        ("argv", "more"),
        [
            pytest.param([], {}, id="no program"),
            pytest.param(["-x"], {}, id="a program that looks like an option"),
            pytest.param(["echo", "a\0b"], {}, id="a NUL in an argument"),
            pytest.param(["echo"], {"env": {"A": "\0"}}, id="a NUL in the environment"),
            pytest.param(["echo"], {"env": {"A B": "x"}}, id="a name that no variable has"),
            pytest.param(["echo"], {"env": {"A=$(id);B": "x"}}, id="a name with a command in it"),
            pytest.param(["echo", "x" * 1_000_000], {}, id="an argument of 1 MB"),
            pytest.param(["echo", "\ud800"], {}, id="half a character"),
            pytest.param(["echo"], {"host": "-oProxyCommand=id"}, id="a host that looks like an option"),
            pytest.param(["echo"], {"host": "a b"}, id="a host with a blank"),
        ],
    )
    async def test_what_no_program_can_be_given_is_refused(self, argv: list[str], more: dict[str, object]) -> None:
        with pytest.raises(InvalidInputError):
            await Programs().execute(argv, **more)  # type: ignore[arg-type]


class TestHowItEnds:
    async def test_the_exit_code_and_the_end_of_the_output_are_in_the_error(self, place: Place) -> None:
        with pytest.raises(PermanentError, match="ended with 7: no such table"):
            await place.programs.run(["sh", "-c", "echo working; echo no such table >&2; exit 7"], host=place.host)

    @pytest.mark.parametrize("code", [0, 1, 126, 255])
    async def test_any_exit_code_is_told(self, place: Place, code: int) -> None:
        finished = await place.programs.execute(["sh", "-c", f"echo out; echo err >&2; exit {code}"], host=place.host)
        assert (finished.code, finished.stdout, finished.stderr) == (code, "out\n", "err\n")

    async def test_a_program_ended_by_a_signal_tells_which(self, place: Place) -> None:
        finished = await place.programs.execute(["sh", "-c", "kill -KILL $$"], host=place.host)
        assert finished.code == 128 + signal.SIGKILL

    async def test_a_shell_builtin_is_no_program(self, place: Place) -> None:
        if place.host:
            assert (await place.programs.execute(["eval", "echo pwned"], host=place.host)).code == 127
            return
        with pytest.raises(NotFoundError, match="eval is not installed"):
            await place.programs.execute(["eval", "echo pwned"])

    async def test_a_missing_folder_is_named(self, place: Place) -> None:
        with pytest.raises(PermanentError, match="/no/such"):
            await place.programs.run(["true"], folder="/no/such", host=place.host)

    async def test_of_much_output_the_beginning_and_the_end_are_kept(self, place: Place) -> None:
        finished = await place.programs.run(
            ["sh", "-c", "echo first; head -c 3000000 /dev/zero | tr '\\0' x; echo; echo last"], host=place.host
        )
        assert finished.stdout.startswith("first\n")
        assert finished.stdout.endswith("xxx\nlast\n")
        assert not finished.complete
        assert 900_000 < len(finished.stdout) < 1_100_000

    async def test_secrets_never_come_out_even_when_the_cut_goes_through_one(self, place: Place) -> None:
        flood = "import sys; sys.stdout.write('hunter2;is;it;' * 100_000)"
        finished = await place.programs.run(
            [sys.executable, "-c", flood], secrets=["hunter2;is;it;"], host=place.host, kept=100_001
        )
        assert "hunter2;is;it;" not in finished.stdout
        assert "unter" not in finished.stdout.replace("[secret]", "")
        with pytest.raises(PermanentError) as failed:
            await place.programs.run(["sh", "-c", "echo pw=$PW >&2; exit 1"], env={"PW": "hunter2"}, secrets=["hunter2"])
        assert str(failed.value).endswith("pw=[secret]")

    async def test_what_it_left_running_on_purpose_goes_on(self, place: Place, tmp_path: Path) -> None:
        daemon = f"setsid sh -c 'echo $$ > {tmp_path}/daemon; exec sleep 600' </dev/null >/dev/null 2>&1 &"
        await place.programs.run(["sh", "-c", daemon], host=place.host)
        await until(lambda: (tmp_path / "daemon").exists() and bool((tmp_path / "daemon").read_text()), "the daemon")
        pid = int((tmp_path / "daemon").read_text())
        try:
            assert is_running(pid)
        finally:
            os.kill(pid, signal.SIGKILL)


class TestNothingIsLeftBehind:
    async def test_when_time_is_up_the_whole_group_ends(self, place: Place, tmp_path: Path) -> None:
        with pytest.raises(OutcomeUnknownError, match="did not end within 1 s and was stopped: begun"):
            await place.programs.run(a_family(tmp_path), host=place.host, timeout=timedelta(seconds=1))
        await ended(await family(tmp_path))

    async def test_a_child_that_ignores_the_request_is_killed(self, place: Place, tmp_path: Path) -> None:
        with pytest.raises(OutcomeUnknownError, match="did not end within 1 s"):
            await place.programs.run(a_family(tmp_path, deaf=True), host=place.host, timeout=timedelta(seconds=1))
        await ended(await family(tmp_path))

    async def test_a_cancelled_step_leaves_nothing_running(self, place: Place, tmp_path: Path) -> None:
        step = asyncio.create_task(place.programs.run(a_family(tmp_path), host=place.host))
        pids = await family(tmp_path)
        step.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await step
        assert step.cancelled()
        await ended(pids)

    @pytest.mark.parametrize("deaf", [False, True], ids=["that listens", "that ignores TERM"])
    async def test_killed_with_9_responder_leaves_no_program_running(self, place: Place, tmp_path: Path, deaf: bool) -> None:
        responder = another_responder(place, a_family(tmp_path, deaf=deaf))
        pids = await family(tmp_path)
        assert [is_running(pid) for pid in pids] == [True, True]
        responder.kill()
        responder.wait()
        await ended(pids)

    async def test_secrets_stand_in_no_process_list(self, place: Place, tmp_path: Path) -> None:
        step = asyncio.create_task(
            place.programs.run(a_family(tmp_path), host=place.host, env={"PW": "hunter2-in-env"}, stdin="hunter2-in-stdin")
        )
        await family(tmp_path)
        try:
            lines = [" ".join(process.info["cmdline"] or []) for process in psutil.process_iter(["cmdline"])]
            assert not [line for line in lines if "hunter2-in" in line]
        finally:
            step.cancel()
            await asyncio.gather(step, return_exceptions=True)


class TestSshItself:
    async def test_a_host_that_does_not_listen_is_unreachable(self, server: SshServer) -> None:
        await server.program.kill()
        with pytest.raises(UnreachableError, match="can't be reached"):
            await Programs(ssh=server.options).run(["true"], host=server.host)

    async def test_an_unknown_host_key_is_refused(self, server: SshServer) -> None:
        (server.folder / "known_hosts").write_text("")
        with pytest.raises(ForbiddenError, match="Host key verification failed"):
            await Programs(ssh=server.options).run(["true"], host=server.host)

    async def test_a_key_that_is_not_let_in_is_said(self, server: SshServer) -> None:
        wrong = replace(server.options, key_file=str(server.folder / "other_key"))
        with pytest.raises(ForbiddenError, match="Permission denied"):
            await Programs(ssh=wrong).run(["true"], host=server.host)

    async def test_a_connection_that_breaks_leaves_the_outcome_unknown_and_nothing_running(
        self, server: SshServer, tmp_path: Path
    ) -> None:
        step = asyncio.create_task(Programs(ssh=server.options).run(a_family(tmp_path), host=server.host))
        pids = await family(tmp_path)
        for session in psutil.Process(server.program.pid).children():
            session.kill()
        with pytest.raises(OutcomeUnknownError, match="connection to it was lost"):
            await step
        await ended(pids)


def test_an_ssh_that_ends_at_once_is_a_host_that_cannot_be_reached(tmp_path: Path) -> None:
    """In the loop that the service runs in, which raises for a pipe that is closed already."""
    ssh = tmp_path / "ssh"
    ssh.write_text("#!/bin/sh\nexit 255\n")
    ssh.chmod(0o755)
    programs = Programs({"PATH": f"{tmp_path}:/usr/bin:/bin"})

    async def reach() -> None:
        for _ in range(20):
            with pytest.raises(UnreachableError):
                await programs.run(["true"], host="nobody@127.0.0.1")

    uvloop.run(reach())
