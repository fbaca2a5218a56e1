"""Fast restarts: `responder serve` forked off a process that has imported everything it needs.

What runs is the same command in a process of its own, with its own environment, log and death; only the two seconds of CPU
that importing costs are spent once instead of forty times. `python -m tests.harness.warm_start` is the process to fork off: it
reads one JSON object a line (environment, log, cwd) and answers each with the new process's id.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from tests.harness.program import Program, clean_environment

_ROOT = Path(__file__).parents[2]


class WarmStart:
    """Programs made by `program` fork; they die with this."""

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", "tests.harness.warm_start"]
        pipe = subprocess.PIPE
        self._parent = subprocess.Popen(command, stdin=pipe, stdout=pipe, cwd=_ROOT, env=clean_environment(), text=True)
        self._answers = self._parent.stdout
        self._answer()  # it has imported everything
        return self

    def __exit__(self, *_: object) -> None:
        assert self._parent.stdin is not None
        assert self._parent.stdout is not None
        self._parent.stdin.close()
        self._parent.wait()
        self._parent.stdout.close()

    def program(self, log: Path, environment: Mapping[str, str]) -> Program:
        return _Forked(self, log, environment)

    def fork(self, log: Path, environment: Mapping[str, str]) -> int:
        assert self._parent.stdin is not None
        request = {"environment": dict(environment), "log": str(log), "cwd": str(log.parent)}
        self._parent.stdin.write(json.dumps(request) + "\n")
        self._parent.stdin.flush()
        return int(self._answer())

    def _answer(self) -> str:
        assert self._answers is not None
        line = self._answers.readline()
        assert line, "the process to fork off has ended"
        return line


class _Forked(Program):
    """Its exit code is not known here: it is somebody else's child."""

    def __init__(self, warm: WarmStart, log: Path, environment: Mapping[str, str]) -> None:
        super().__init__(["responder", "serve"], log, environment)
        self._warm = warm
        self._pid = 0

    @property
    def pid(self) -> int:
        return self._pid

    def launch(self) -> None:
        assert not self.is_running
        self._pid = self._warm.fork(self.log, self._environment)

    def poll(self) -> int | None:
        if self._pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._pid, 0)
                return None
        return 0

    def signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._pid, number)


def main() -> None:
    library = ctypes.CDLL(None)
    import kubernetes.aio.client  # noqa: F401

    import responder.cli.serve
    import responder.wiring.serving  # noqa: F401

    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody asks how they ended
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    for line in iter(sys.stdin.readline, ""):
        child = os.fork()
        if child == 0:
            library.prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
            _become(json.loads(line))
        sys.stdout.write(f"{child}\n")
        sys.stdout.flush()


def _become(request: dict[str, Any]) -> None:
    """Be `responder serve` from here on."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    log = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for descriptor, number in ((nothing, 0), (log, 1), (log, 2)):
        os.dup2(descriptor, number)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["environment"])
    for name in [name for name in sys.modules if name.startswith("kubernetes.aio.config")]:
        del sys.modules[name]  # it reads KUBECONFIG as it is imported
    from responder.cli.main import cli

    code = 1
    try:
        cli(["serve"], prog_name="responder")
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    finally:
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    main()
