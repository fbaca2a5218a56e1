"""pm2 with a daemon of its own, installed once into the user's cache folder by the ordinary npm."""

from __future__ import annotations

import contextlib
import fcntl
import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.program import find_program

_PACKAGE = "pm2@6"
_INSTALL_SECONDS = 300


def pm2_folder() -> Path:
    """Where the program is; skips the test when it can't be had."""
    npm = find_program("npm", "npm")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "responder-tests"
    cache.mkdir(parents=True, exist_ok=True)
    folder = cache / _PACKAGE.replace("@", "-")
    found = folder / "node_modules" / ".bin"
    with (cache / "pm2-lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (found / "pm2").exists():
            command = [npm, "install", "--no-audit", "--no-fund", "--prefix", str(folder), _PACKAGE]
            done = subprocess.run(command, capture_output=True, text=True, timeout=_INSTALL_SECONDS, check=False)
            if done.returncode != 0:
                pytest.skip(f"pm2 can't be installed: {done.stderr[-500:]}")
    return found


@contextlib.contextmanager
def pm2_environment() -> Iterator[dict[str, str]]:
    """The environment in which pm2 is its own; afterwards its daemon and all its processes are gone."""
    folder = pm2_folder()
    with tempfile.TemporaryDirectory(prefix="pm2-") as home:
        environment = {"PATH": f"{folder}:{os.environ['PATH']}", "HOME": home, "PM2_HOME": f"{home}/.pm2"}
        try:
            yield environment
        finally:
            subprocess.run(["pm2", "kill"], env=environment, capture_output=True, timeout=60, check=False)
