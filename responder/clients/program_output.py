"""What a program prints, kept within bounds while it runs."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from responder.clients.http import redact

QUOTED_OUTPUT = 1000  # characters of the end of the output in an error
AFTER_END_SECONDS = 1.0  # how long output may trickle in after the end


@dataclass(frozen=True, slots=True)
class Finished:
    """How a program ended. code: 128 + n when signal n ended it. complete: False when a stream was cut in the middle."""

    code: int
    stdout: str = field(repr=False)
    stderr: str = field(repr=False)
    complete: bool = True

    def tail(self, limit: int = QUOTED_OUTPUT) -> str:
        """The end of what it said, errors preferred; for people."""
        text = (self.stderr.strip() or self.stdout.strip())[-limit:]
        return "\n".join(line.rstrip() for line in text.splitlines() if line.strip())


class Kept:
    """The beginning and the end of a stream."""

    def __init__(self, limit: int) -> None:
        self._half = max(limit // 2, 1024)
        self._head = bytearray()
        self._tail = bytearray()
        self._dropped = False

    def take(self, part: bytes) -> None:
        room = max(self._half - len(self._head), 0)
        self._head += part[:room]
        self._tail += part[room:]
        if len(self._tail) > self._half:
            self._dropped = True
            del self._tail[: len(self._tail) - self._half]

    def end(self, length: int) -> bytes:
        """The last bytes."""
        return bytes(self._tail[-length:]) if len(self._tail) >= length else bytes((self._head + self._tail)[-length:])

    def text(self, secrets: Sequence[str]) -> tuple[str, bool]:
        """What was kept, without secrets, and whether that is everything."""
        if not self._dropped:
            return redact(bytes(self._head + self._tail).decode("utf-8", "replace"), secrets), True
        head = redact(bytes(self._head).decode("utf-8", "replace"), secrets)
        tail = redact(bytes(self._tail).decode("utf-8", "replace"), secrets)
        for length in range(max((len(secret) for secret in secrets), default=0) - 1, 3, -1):  # a secret cut in two
            head = head[:-length] if any(head.endswith(secret[:length]) for secret in secrets if len(secret) > length) else head
            tail = tail[length:] if any(tail.startswith(secret[-length:]) for secret in secrets if len(secret) > length) else tail
        return f"{head}\n… (cut)\n{tail}", False


class Streams(asyncio.SubprocessProtocol):
    """What a program prints. ended: it has ended, or at least nobody can say any more that it has not."""

    def __init__(self, mark: str, kept: int) -> None:
        self.out, self.err = Kept(kept), Kept(kept)
        self.ended = asyncio.Event()
        self.closed = asyncio.Event()
        self.exited = asyncio.Event()
        self._ending = re.compile(rf"\n{mark} ended \d+\n".encode())
        self._open = {1, 2}

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        (self.out if fd == 1 else self.err).take(data)
        if fd == 1 and self._ending.search(self.out.end(len(data) + 100)):
            self.ended.set()

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:  # noqa: ARG002 - as asyncio calls it
        self._open.discard(fd)
        if not self._open:
            self.closed.set()
            self.ended.set()

    def process_exited(self) -> None:
        self.exited.set()
        # Whoever still holds the streams was left running; what they carry meanwhile is still read.
        asyncio.get_running_loop().call_later(AFTER_END_SECONDS, self.ended.set)
