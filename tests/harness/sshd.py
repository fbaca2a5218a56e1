"""An SSH server of our own on a free port of this machine, with its own keys, for whoever runs the tests."""

from __future__ import annotations

import contextlib
import getpass
import shutil
import socket
import subprocess
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from responder.clients.ssh import SshOptions
from tests.harness.program import Program, find_program

_CONFIG = """
ListenAddress 127.0.0.1
Port {port}
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/client_key.pub
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
LogLevel VERBOSE
{environment}"""


@dataclass(frozen=True, slots=True)
class SshServer:
    """host: as a rulebook would name it. options: with the key that is let in, and the host's key on record."""

    host: str
    port: int
    options: SshOptions
    folder: Path
    program: Program


@contextlib.asynccontextmanager
async def ssh_server(folder: Path, **environment: str) -> AsyncIterator[SshServer]:
    """folder: nobody else's. environment: what whoever logs in finds set. Skips the test where there is no sshd."""
    sshd = find_program("sshd", "openssh-server")
    find_program("ssh", "openssh-client")
    port = _prepare(folder, environment)
    program = Program([sshd, "-D", "-e", "-f", str(folder / "config")], folder / "log")
    program.launch()

    async def listens() -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
        return False

    try:
        await program.until("listening", listens)
        options = SshOptions(str(folder / "client_key"), str(folder / "known_hosts"), config_file="/dev/null")
        yield SshServer(f"{getpass.getuser()}@127.0.0.1:{port}", port, options, folder, program)
    finally:
        await program.end()


def _prepare(folder: Path, environment: Mapping[str, str]) -> int:
    """Keys, configuration and the host's record; returns the port."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("host_key", "client_key", "other_key"):
        make_key(folder / name)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (folder / "config").write_text(_CONFIG.format(port=port, folder=folder, environment=_set(environment)))
    known = (folder / "host_key.pub").read_text().rsplit(" ", 1)[0]
    (folder / "known_hosts").write_text(f"[127.0.0.1]:{port} {known}\n")
    if Path("/run").exists():
        with contextlib.suppress(PermissionError):
            Path("/run/sshd").mkdir(exist_ok=True)  # where it drops its privileges to; a service would make it
    return int(port)


def _set(environment: Mapping[str, str]) -> str:
    return f"SetEnv {' '.join(f'{name}={value}' for name, value in environment.items())}\n" if environment else ""


def make_key(path: Path) -> None:
    keygen = shutil.which("ssh-keygen")
    assert keygen is not None
    subprocess.run([keygen, "-q", "-t", "ed25519", "-N", "", "-C", "test", "-f", str(path)], check=True, capture_output=True)
