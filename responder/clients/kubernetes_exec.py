"""Programs run inside containers, over a websocket (`v4.channel.k8s.io`)."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from datetime import timedelta

import orjson

from responder.clients.kubernetes_connection import Connection, transport_errors
from responder.clients.kubernetes_errors import Call
from responder.errors import OutcomeUnknownError, PermanentError

_OUTPUT_LIMIT = 64 * 1024  # bytes kept, the last ones
_STDOUT, _STDERR, _STATUS = 1, 2, 3


class _Tail:
    """The last bytes of an endless stream."""

    def __init__(self) -> None:
        self._pieces: deque[bytes] = deque()
        self._size = 0

    def add(self, piece: bytes) -> None:
        self._pieces.append(piece)
        self._size += len(piece)
        while self._size - len(self._pieces[0]) >= _OUTPUT_LIMIT:
            self._size -= len(self._pieces.popleft())

    def text(self) -> str:
        return b"".join(self._pieces)[-_OUTPUT_LIMIT:].decode(errors="replace")


async def execute(
    connection: Connection, call: Call, argv: Sequence[str], *, container: str, silence: timedelta
) -> tuple[int, str]:
    """Exit code and the end of the output.

    Raises OutcomeUnknownError when the program was begun and its end was not heard of.
    """
    from aiohttp import WSMsgType

    query = [("command", argument) for argument in argv]
    query += [("container", container), ("stdout", "true"), ("stderr", "true")]
    socket = await connection.open_socket(call, query)
    tail = _Tail()
    try:
        while True:
            message = await socket.receive(timeout=silence.total_seconds())
            if message.type not in (WSMsgType.BINARY, WSMsgType.TEXT):
                raise OutcomeUnknownError(f"{call}: the connection ended before the program did")
            data: bytes = message.data if isinstance(message.data, bytes) else message.data.encode()
            if data[:1] == bytes([_STATUS]):
                return _exit_code(call, data[1:]), tail.text()
            if data[:1] in (bytes([_STDOUT]), bytes([_STDERR])) and data[1:]:
                tail.add(data[1:])
    except TimeoutError as error:
        raise OutcomeUnknownError(f"{call}: the program said nothing for {silence.total_seconds():.0f} s") from error
    except transport_errors() as error:
        raise OutcomeUnknownError(f"{call}: the connection broke while the program ran ({type(error).__name__})") from error
    finally:
        await asyncio.shield(socket.close())


def _exit_code(call: Call, body: bytes) -> int:
    try:
        status = orjson.loads(body)
        if status.get("status") == "Success":
            return 0
        causes = (status.get("details") or {}).get("causes") or []
        code = next((one.get("message") for one in causes if one.get("reason") == "ExitCode"), None)
        if code is not None:
            return int(code)
        raise PermanentError(f"{call}: the program could not be run: {str(status.get('message', ''))[:300]}")
    except (ValueError, AttributeError) as error:
        raise OutcomeUnknownError(f"{call}: the end of the program can't be read") from error
