"""How ssh is called: without questions, with host keys that are known already, to a host that can't be mistaken for an option."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta

from responder.errors import InvalidInputError

_HOST = re.compile(
    r"(?:(?P<user>[A-Za-z0-9_][A-Za-z0-9._-]*)@)?(?:\[(?P<six>[0-9A-Fa-f:]+)\]|(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*))(?::(?P<port>\d{1,5}))?"
)


@dataclass(frozen=True, slots=True)
class SshOptions:
    """Empty text: what ssh itself takes. Host keys are always checked strictly and nothing is ever asked."""

    key_file: str = ""
    known_hosts_file: str = ""
    config_file: str = ""
    connect_timeout: timedelta = timedelta(seconds=10)


def check_host(host: str) -> str:
    """Return the host. Raises InvalidInputError unless it is `host`, `user@host` or `user@host:port`."""
    if not _HOST.fullmatch(host):
        raise InvalidInputError(f"{host!r} is no host; write user@host or user@host:port")
    return host


def ssh_command(ssh: SshOptions, host: str) -> list[str]:
    found = _HOST.fullmatch(check_host(host))
    assert found is not None
    options = ["BatchMode=yes", "StrictHostKeyChecking=yes", "ClearAllForwardings=yes", "ForwardAgent=no", "RequestTTY=no"]
    options += ["ServerAliveInterval=5", "ServerAliveCountMax=3", f"ConnectTimeout={int(ssh.connect_timeout.total_seconds())}"]
    if ssh.known_hosts_file:
        options += [f"UserKnownHostsFile={ssh.known_hosts_file}", "GlobalKnownHostsFile=/dev/null"]
    if ssh.key_file:
        options.append("IdentitiesOnly=yes")
    command = ["ssh", *(["-F", ssh.config_file] if ssh.config_file else []), *(["-i", ssh.key_file] if ssh.key_file else [])]
    command += [part for option in options for part in ("-o", option)]
    command += ["-l", found["user"]] if found["user"] else []
    command += ["-p", found["port"]] if found["port"] else []
    return [*command, "--", found["six"] or found["name"]]
