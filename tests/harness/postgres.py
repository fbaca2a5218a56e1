"""A real PostgreSQL server of the test's own on a free port, and its databases; asks for a password over TCP."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pwd
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.harness.control_plane import free_ports
from tests.harness.program import Program, clean_environment, find_program

PASSWORD = "password-of-the-test-database"
USER = "owner"


@dataclass(frozen=True)
class Postgres:
    port: int
    program: Program

    @property
    def environment(self) -> dict[str, str]:
        """What libpq needs to get in."""
        return {"PGHOST": "127.0.0.1", "PGPORT": str(self.port), "PGUSER": USER, "PGPASSWORD": PASSWORD}

    async def new_database(self, prefix: str, statements: str = "") -> str:
        """Create one with a name of its own and fill it by these statements."""
        name = f"{prefix}_{secrets.token_hex(4)}"
        await self.query("postgres", f"create database {name}")
        if statements:
            await self.query(name, statements)
        return name

    async def query(self, database: str, statement: str) -> str:
        """What psql prints, values only."""
        command = ["psql", "--no-psqlrc", "-v", "ON_ERROR_STOP=1", "-qAt", "-c", statement, database]
        return await self.run(*command)

    async def run(self, *command: str) -> str:
        process = await asyncio.create_subprocess_exec(
            *command,
            env={**clean_environment(), **self.environment},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await process.communicate()
        assert process.returncode == 0, f"{command}: {err.decode()}"
        return out.decode().strip()


@contextlib.asynccontextmanager
async def postgres_server(**settings: str) -> AsyncIterator[Postgres]:
    """Skips the test where PostgreSQL is not installed. settings: of its configuration."""
    initdb, server = _program("initdb"), _program("postgres")
    find_program("psql", "postgresql-client")
    folder = Path(tempfile.mkdtemp(prefix="responder-postgres-"))  # pytest's own folders are closed to other users
    try:
        [port] = free_ports(1)
        data, password = folder / "data", folder / "password"
        password.write_text(PASSWORD)
        as_other = _as_other_user(folder)
        make = [
            initdb,
            "--no-sync",
            f"--username={USER}",
            "--auth=scram-sha-256",
            f"--pwfile={password}",
            "--encoding=UTF8",
            "-D",
        ]
        await asyncio.to_thread(subprocess.run, [*as_other, *make, data], check=True, stdout=subprocess.DEVNULL, cwd=folder)
        quick = [f"-c{name}=off" for name in ("fsync", "synchronous_commit", "full_page_writes", "autovacuum")]
        command = [*as_other, server, "-D", str(data), "-p", str(port), "-k", str(folder), "-c", "listen_addresses=127.0.0.1"]
        program = Program([*command, *quick, *(f"-c{name}={value}" for name, value in settings.items())], folder / "log")
        program.launch()
        found = Postgres(port, program)
        try:
            await program.until("accepting connections", lambda: _accepts(found))
            yield found
        finally:
            if program.is_running:
                program.signal(2)  # SIGINT: fast shutdown, whoever is connected
                await program.exited(20)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


async def _accepts(server: Postgres) -> bool:
    process = await asyncio.create_subprocess_exec(
        "psql", "-qAt", "-c", "select 1", "postgres",
        env={**clean_environment(), **server.environment},
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    return await process.wait() == 0


def _as_other_user(folder: Path) -> list[str]:
    """PostgreSQL refuses to run as root: then it runs as the user that Debian's package makes."""
    if os.geteuid() != 0:
        return []
    try:
        other = pwd.getpwnam("postgres")
    except KeyError:
        pytest.skip("PostgreSQL does not run as root, and there is no user postgres")
    for path in (folder, *folder.iterdir()):
        os.chown(path, other.pw_uid, other.pw_gid)
    return [find_program("setpriv", "util-linux"), f"--reuid={other.pw_uid}", f"--regid={other.pw_gid}", "--clear-groups"]


def _program(name: str) -> str:
    """Debian keeps the server's own programs apart, by version."""
    installed = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda path: int(path.parts[4]))
    found = str(installed[-1]) if installed else shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed (Debian package postgresql)")
    return found
