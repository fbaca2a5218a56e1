"""One server process of a test: started, waited for, ended by its own id; its log belongs to every failure."""

from __future__ import annotations

import asyncio
import ctypes
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path

import pytest

START_SECONDS = 60.0
_POLL_SECONDS = 0.02


def find_program(name: str, package: str) -> str:
    """Path of an installed server; skips the test where it is missing, naming Debian's package."""
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")
    if found is None:
        pytest.skip(f"{name} is not installed (Debian package {package})")
    return found


def clean_environment(**settings: str) -> dict[str, str]:
    """The machine's own environment without anything that a server under test would take for its settings."""
    foreign = ("RESPONDER_", "KUBE", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy")
    return {name: value for name, value in os.environ.items() if not name.startswith(foreign)} | settings


class Program:
    """log: both streams are appended to it, over restarts too."""

    def __init__(self, command: Sequence[str], log: Path, environment: Mapping[str, str] | None = None) -> None:
        self._command = list(command)
        self._environment = dict(environment) if environment is not None else clean_environment()
        self._process: subprocess.Popen[bytes] | None = None
        self.log = log

    @property
    def is_running(self) -> bool:
        return self.poll() is None

    def poll(self) -> int | None:
        """The exit code, negative for a signal; None while it runs. 0 before the first start."""
        return self._process.poll() if self._process is not None else 0

    def signal(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def launch(self) -> None:
        assert not self.is_running, f"{self._command[0]} runs already"
        library = ctypes.CDLL(None)

        def die_with_parent() -> None:
            library.prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: a killed test run leaves nothing behind

        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                env=self._environment,
                cwd=self.log.parent,
                preexec_fn=die_with_parent if hasattr(library, "prctl") else None,  # noqa: PLW1509 - calls one C function
            )

    async def exited(self, seconds: float = START_SECONDS) -> int:
        """Wait for the end of the process; its exit code."""
        deadline = time.monotonic() + seconds
        while (code := self.poll()) is None:
            if time.monotonic() > deadline:
                pytest.fail(f"{self._command} still runs after {seconds:g} s\n{self.tail()}")
            await asyncio.sleep(_POLL_SECONDS)
        return code

    async def until(self, what: str, holds: Callable[[], Awaitable[bool]], seconds: float = START_SECONDS) -> None:
        """Wait until something holds while the process lives."""
        deadline = time.monotonic() + seconds
        while not await holds():
            if not self.is_running or time.monotonic() > deadline:
                state = "still runs" if self.is_running else f"ended with {self.poll()}"
                pytest.fail(f"not {what} within {seconds:g} s: {self._command} {state}\n{self.tail()}")
            await asyncio.sleep(_POLL_SECONDS)

    async def terminate(self, seconds: float = 30) -> int:
        """SIGTERM; the exit code."""
        self.signal(signal.SIGTERM)
        return await self.exited(seconds)

    async def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        self.signal(signal.SIGKILL)
        await self.exited()

    async def end(self) -> None:
        """End it somehow; nothing to do when it has ended."""
        if not self.is_running:
            return
        self.signal(signal.SIGTERM)
        deadline = time.monotonic() + 5
        while self.is_running and time.monotonic() < deadline:  # noqa: ASYNC110 - a process sets no event
            await asyncio.sleep(_POLL_SECONDS)
        if self.is_running:
            await self.kill()

    def tail(self, characters: int = 6000) -> str:
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return f"--- {self.log.name}, the end ---\n{text[-characters:]}"
