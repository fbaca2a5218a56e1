"""npm packages pinned by a lock file beside their users, installed once into the user's cache folder by the ordinary npm."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.harness.program import find_program

_INSTALL_SECONDS = 300


def cache_folder() -> Path:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "responder-tests"
    cache.mkdir(parents=True, exist_ok=True)
    return cache


def node_modules(project: Path) -> Path:
    """Folder of the packages that `project` locks; skips the test when they can't be had. No script of a package is run."""
    npm = find_program("npm", "npm")
    find_program("node", "nodejs")
    lock_text = (project / "package-lock.json").read_bytes()
    folder = cache_folder() / f"npm-{project.name}-{hashlib.sha256(lock_text).hexdigest()[:12]}"
    with (cache_folder() / "npm-lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            unfinished = folder.with_suffix(".unfinished")
            shutil.rmtree(unfinished, ignore_errors=True)
            unfinished.mkdir()
            for name in ("package.json", "package-lock.json"):
                shutil.copy(project / name, unfinished)
            command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--cache", str(cache_folder() / "npm")]
            done = subprocess.run(command, cwd=unfinished, capture_output=True, text=True, timeout=_INSTALL_SECONDS, check=False)
            if done.returncode != 0:
                pytest.skip(f"the packages of {project.name} can't be installed: {done.stderr[-500:]}")
            unfinished.rename(folder)
    return folder / "node_modules"
