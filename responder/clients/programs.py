"""Other programs, run here or on another host over SSH: bounded, redacted, never left behind, errors of our own.

A program gets an argument list. The one shell involved runs a script that is the same for every program (`_BODY`); arguments,
environment and folder reach it quoted on its standard input, so that they stand in no process list but the program's own, and so
that no login shell on the other side ever reads them.

The standard input stays open as a lease. When it closes, because time is up, the step was cancelled, the connection broke or
Responder itself was killed with -9, the script ends the program's whole process group: TERM, and KILL after `GRACE`. A program
that has ended by itself may leave others running, as a process manager does.

What a program inherits here is only what `Programs` was given (see `settings.INHERITED`), over SSH what the other side sets up.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import secrets as chance
import shlex
import shutil
import signal
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from datetime import timedelta
from typing import cast

from responder.clients.program_output import AFTER_END_SECONDS, Finished, Streams
from responder.clients.ssh import SshOptions, ssh_command
from responder.errors import (
    ForbiddenError,
    InvalidInputError,
    NotFoundError,
    OutcomeUnknownError,
    PermanentError,
    RefusedError,
    UnreachableError,
)

TIMEOUT = timedelta(minutes=2)
GRACE = timedelta(seconds=3)  # between TERM and KILL
KEPT_OUTPUT = 1024 * 1024  # bytes of each stream: half from its beginning, half from its end
LONGEST_ARGUMENT = 128 * 1024 - 1  # Linux takes no longer one
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# The length of the script, then the script; `read` and `dd` take not one byte more, the rest of the input is the lease.
_BOOT = 'IFS= read -r responder_n && responder_s=$(dd bs=1 count="$responder_n" 2>/dev/null) && eval "$responder_s"'
# `exec` in a subshell never means a builtin. The watcher lives in the group that it ends, so it ignores TERM and goes with KILL.
_BODY = """
trap responder_over=1 TERM
exec 3<&0 </dev/null
printf '%s began\\n' {mark}
(exec 3<&-; {feed}exec "$@") & p=$!
exec 2>/dev/null
(trap '' TERM; exec >/dev/null; cat <&3; kill -TERM 0
 i=0; while [ $i -lt {tenths} ] && kill -0 $p; do sleep 0.1 || sleep 1; i=$((i+1)); done; kill -KILL 0) & w=$!
while :; do wait $p; c=$?; kill -0 $p || break; done
[ -z "$responder_over" ] || sleep 60
printf '\\n%s ended %s\\n' {mark} $c
kill -KILL $w
exit 0
"""


class Programs:
    """Runs programs.

    inherited: the environment every program here starts with. allowed: what a rulebook may have run, as it writes it.
    """

    def __init__(
        self, inherited: Mapping[str, str] | None = None, ssh: SshOptions | None = None, allowed: Collection[str] = ()
    ) -> None:
        self._allowed = frozenset(allowed)
        self._inherited = {"PATH": DEFAULT_PATH, "LANG": "C.UTF-8", **(inherited or {})}
        self._ssh = ssh or SshOptions()

    def check_allowed(self, program: str) -> None:
        """For programs that a rulebook names. Raises RefusedError."""
        if program not in self._allowed:
            names = ", ".join(sorted(self._allowed)) or "none"
            raise RefusedError(f"the program {_shown(program)} is not allowed here; RESPONDER_ALLOWED_PROGRAMS has {names}")

    async def execute(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        folder: str = "",
        stdin: str = "",
        host: str = "",
        timeout: timedelta = TIMEOUT,
        secrets: Sequence[str] = (),
        kept: int = KEPT_OUTPUT,
    ) -> Finished:
        """Run a program to its end, whatever its exit code. host: `user@host` or `user@host:port`, "" for here.

        folder: where it runs, "" for `/` here and the home folder there. secrets: blanked out of what it prints.

        Raises UnreachableError when nothing was begun, OutcomeUnknownError when it did not end in time or the connection broke
        (it has been stopped then, as far as that can be reached), InvalidInputError, NotFoundError and ForbiddenError.
        """
        env = env or {}
        check_arguments(argv, env, folder, stdin)
        name, place = _shown(argv[0]), f" on {host}" if host else ""
        command = self._command(argv[0], env, host)
        mark = f"responder-{chance.token_hex(8)}"
        script = _script(mark, argv, env, folder, stdin).encode()
        streams = Streams(mark, kept)
        try:
            async with self._running(command, script, streams), asyncio.timeout(timeout.total_seconds()):
                await streams.ended.wait()
        except TimeoutError:
            said = _quoted(_finished(mark, streams, secrets)[0])
            raise OutcomeUnknownError(
                f"{name}{place} did not end within {timeout.total_seconds():g} s and was stopped{said}"
            ) from None
        finished, began, ended = _finished(mark, streams, secrets)
        if not began:
            raise _not_begun(name, host, folder, finished)
        if not ended:
            raise OutcomeUnknownError(f"{name}{place}: the connection to it was lost while it ran{_quoted(finished)}")
        return finished

    async def run(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        folder: str = "",
        stdin: str = "",
        host: str = "",
        timeout: timedelta = TIMEOUT,
        secrets: Sequence[str] = (),
        kept: int = KEPT_OUTPUT,
    ) -> Finished:
        """Like `execute`, but an exit code other than 0 raises PermanentError with the end of the output."""
        finished = await self.execute(
            argv, env=env, folder=folder, stdin=stdin, host=host, timeout=timeout, secrets=secrets, kept=kept
        )
        if finished.code == 0:
            return finished
        raise failure(argv, finished, host)

    def _command(self, program: str, env: Mapping[str, str], host: str) -> list[str]:
        path = self._inherited["PATH"]
        if not host:
            if shutil.which(program, path=env.get("PATH", path)) is None and not program.startswith("./"):
                raise NotFoundError(f"the program {_shown(program)} is not installed here")
            return ["/bin/sh", "-c", _BOOT]
        if shutil.which("ssh", path=path) is None:
            raise NotFoundError("the program ssh is not installed here")
        return [*ssh_command(self._ssh, host), f"exec /bin/sh -c '{_BOOT}'"]

    @contextlib.asynccontextmanager
    async def _running(self, command: list[str], script: bytes, streams: Streams) -> AsyncIterator[None]:
        """While the block runs, so does the program; afterwards it has ended."""
        try:
            transport, _ = await asyncio.get_running_loop().subprocess_exec(
                lambda: streams, *command, env=self._inherited, cwd="/", start_new_session=True
            )
        except OSError as error:  # no memory, no process, no file descriptor left
            raise UnreachableError(f"no program can be started here: {error.strerror}") from None
        lease = cast("asyncio.WriteTransport", transport.get_pipe_transport(0))
        if not lease.is_closing():  # what ended at once, as ssh may, takes nothing any more, and uvloop would raise
            lease.write(b"%d\n%b" % (len(script), script))
        try:
            yield
        finally:
            lease.close()
            ending = asyncio.create_task(_end(transport, streams))
            try:
                await asyncio.shield(ending)
            except asyncio.CancelledError:
                await asyncio.wait([ending])  # cancelled or not: nothing is left running
                raise


def check_arguments(argv: Sequence[str], env: Mapping[str, str] | None = None, folder: str = "", stdin: str = "") -> None:
    """Raises InvalidInputError for what no program can be given."""
    if not argv or not argv[0] or argv[0].startswith("-"):
        raise InvalidInputError("a program needs a name")
    for text in (*argv, folder, stdin, *(env or {}).values()):
        if "\0" in text or _unencodable(text):
            raise InvalidInputError("a value for a program holds a NUL or half a character")
    if any(len(text.encode()) > LONGEST_ARGUMENT for text in (*argv, *(env or {}).values())):
        raise InvalidInputError("a value for a program is longer than 128 KiB")
    for name in env or {}:
        if not _ENV_NAME.fullmatch(name):
            raise InvalidInputError(f"{_shown(name)} is no name of an environment variable")


def failure(argv: Sequence[str], finished: Finished, host: str = "") -> PermanentError:
    """The error for a program that ended badly."""
    place = f" on {host}" if host else ""
    return PermanentError(f"{_shown(argv[0])}{place} ended with {finished.code}{_quoted(finished)}")


def shown_command(argv: Sequence[str], limit: int = 400) -> str:
    """An argument list for people, as one could type it."""
    text = shlex.join(argv)
    text = "".join(char if char.isprintable() else "�" for char in text)
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _script(mark: str, argv: Sequence[str], env: Mapping[str, str], folder: str, stdin: str) -> str:
    lines = ["unset responder_n responder_s responder_over"]
    lines += [f"export {name}={shlex.quote(value)}" for name, value in env.items()]
    if folder:
        lines.append(f"unset CDPATH; cd -- {shlex.quote(folder)} || exit 1")
    lines.append(f"set -- {shlex.join(argv)}")
    feed = f"trap : TERM; printf %s {shlex.quote(stdin)} | " if stdin else ""
    values = {"{mark}": mark, "{tenths}": str(int(GRACE / timedelta(milliseconds=100))), "{feed}": feed}
    body = _BODY
    for name, value in values.items():
        body = body.replace(name, value)
    return "\n".join(lines) + body


def _finished(mark: str, streams: Streams, secrets: Sequence[str]) -> tuple[Finished, bool, bool]:
    """What is known, whether the program began (what a login prints before is dropped), and whether it ended by itself."""
    (stdout, whole), (stderr, too) = streams.out.text(secrets), streams.err.text(secrets)
    before, began, stdout = stdout.rpartition(f"{mark} began\n")
    stdout, ended, code = stdout.rpartition(f"\n{mark} ended ")
    if not ended:
        stdout = code if began else before
        return Finished(-1, stdout, stderr, whole and too), bool(began), False
    return Finished(int(code.split()[0]), stdout, stderr, whole and too), True, True


def _not_begun(name: str, host: str, folder: str, finished: Finished) -> Exception:
    said = finished.tail()
    if not host:
        return PermanentError(f"{name} can't be run in {folder}: {said}")
    if "Permission denied (" in said or "Host key verification failed" in said or "Too many authentication failures" in said:
        return ForbiddenError(f"{host} can't be logged in to: {said}")
    if "cd:" in said:
        return PermanentError(f"{name} can't be run in {folder} on {host}: {said}")
    return UnreachableError(f"{host} can't be reached: {said}")


async def _end(transport: asyncio.SubprocessTransport, streams: Streams) -> None:
    """The lease is closed: give the script the time to end everything, then end what is left of it."""
    for event, seconds in ((streams.exited, GRACE.total_seconds() + 2), (streams.closed, AFTER_END_SECONDS)):
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await event.wait()
    if not streams.exited.is_set():
        with contextlib.suppress(ProcessLookupError):
            os.killpg(transport.get_pid(), signal.SIGKILL)
    transport.close()


def _quoted(finished: Finished) -> str:
    said = finished.tail()
    return f": {said}" if said else ""


def _shown(text: str) -> str:
    text = "".join(char if char.isprintable() else "�" for char in text)
    return text if len(text) <= 100 else text[:99] + "…"


def _unencodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False
