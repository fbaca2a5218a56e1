"""A small Node application in a git checkout, run by pm2: deployed as v1, then v2; it tells over HTTP which build runs."""

from __future__ import annotations

import os
import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path

import httpx

_SERVER = """
const built = require("./dist/version.json");
require("http").createServer((_, answer) => answer.end(built.version)).listen(process.env.PORT, "127.0.0.1");
"""
_BUILD = """
const fs = require("fs");
fs.mkdirSync("dist", { recursive: true });
fs.writeFileSync("dist/version.json", JSON.stringify({ version: fs.readFileSync("version", "utf8").trim() }));
"""
# What a test holds up while the file `hold` exists; each run is noted.
_HELD = """#!/bin/sh
echo "$1" >> ran
while [ -e "hold-$1" ]; do sleep 0.05; done
shift
exec "$@"
"""
_PACKAGE = '{"name": "shop", "version": "1.0.0", "private": true, "scripts": {"build": "node build.js"}}\n'
_LOCK = '{"name": "shop", "version": "1.0.0", "lockfileVersion": 3, "requires": true, "packages": {"": {"name": "shop"}}}\n'
INSTALL = ("./held", "install", "npm", "ci", "--offline", "--no-audit", "--no-fund")
BUILD = ("./held", "build", "npm", "run", "build")


@dataclass(frozen=True, slots=True)
class Application:
    """environment: in which pm2 is its own."""

    folder: Path
    environment: dict[str, str]
    port: int

    def git(self, *arguments: str) -> str:
        return self._run("git", "-c", "user.name=Test", "-c", "user.email=test@example.com", *arguments).strip()

    def begin(self) -> None:
        """An empty checkout becomes v1, v1 is built and started."""
        self.git("init", "--quiet", "--initial-branch=main")
        for name, text in {"server.js": _SERVER, "build.js": _BUILD, "held": _HELD, "package.json": _PACKAGE}.items():
            (self.folder / name).write_text(text)
        (self.folder / "package-lock.json").write_text(_LOCK)
        (self.folder / ".gitignore").write_text("dist\nnode_modules\nran\nhold-*\nlog\n")
        (self.folder / "held").chmod(0o755)
        self.release("v1")
        self._run(*INSTALL)
        self._run(*BUILD)
        self._run("pm2", "start", "server.js", "--name", "shop", "--output", "log", "--error", "log")

    def release(self, version: str) -> None:
        """A commit with a tag, checked out."""
        (self.folder / "version").write_text(f"{version}\n")
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", f"Release {version}")
        self.git("tag", version)

    def deploy(self, version: str) -> None:
        self.release(version)
        self._run(*BUILD)
        self._run("pm2", "restart", "shop")

    def stop(self) -> None:
        self._run("pm2", "stop", "shop")

    def ran(self) -> list[str]:
        """What was installed and built since `forget`."""
        path = self.folder / "ran"
        return path.read_text().split() if path.exists() else []

    def forget(self) -> None:
        (self.folder / "ran").unlink(missing_ok=True)

    def hold(self, what: str) -> None:
        (self.folder / f"hold-{what}").touch()

    def let_go(self) -> None:
        for path in self.folder.glob("hold-*"):
            path.unlink()

    async def answers(self) -> str:
        """The version that answers, "" when none does."""
        try:
            async with httpx.AsyncClient(trust_env=False) as client:
                return (await client.get(f"http://127.0.0.1:{self.port}/")).text
        except httpx.HTTPError:
            return ""

    def _run(self, *command: str) -> str:
        done = subprocess.run(
            command, cwd=self.folder, env=self.environment, check=False, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout


def application(folder: Path, environment: dict[str, str]) -> Application:
    folder.mkdir()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    return Application(folder, {**environment, "PORT": str(port), "LANG": os.environ.get("LANG", "C.UTF-8")}, port)
