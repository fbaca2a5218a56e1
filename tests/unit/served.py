"""The HTTP surface behind a real server on loopback, and the command line that talks to it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager

import uvicorn
from click.testing import CliRunner, Result

from responder.cli.main import cli
from responder.web.app import build_app
from responder.web.server import server_config
from tests.unit.web_parts import Parts


class _Server(uvicorn.Server):
    stopping: Callable[[], None] = staticmethod(lambda: None)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        asyncio.get_running_loop().call_soon(self.stopping)  # once every connection was told
        await super().shutdown(sockets)


@asynccontextmanager
async def served(parts: Parts, stopping: Callable[[], None] | None = None) -> AsyncIterator[int]:
    """The port of a real server on loopback. stopping: called when the server has begun to stop."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = _Server(server_config(build_app(parts.services())))
    if stopping is not None:
        server.stopping = stopping
    running = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        yield listener.getsockname()[1]
    finally:
        server.should_exit = True
        await running


async def run(port: int, *arguments: str, token: str | None = None) -> Result:
    environment = {"RESPONDER_URL": f"http://127.0.0.1:{port}", "RESPONDER_TOKEN": token}
    return await asyncio.to_thread(CliRunner().invoke, cli, list(arguments), env=environment)


@asynccontextmanager
async def answering(answer: bytes) -> AsyncIterator[int]:
    """The port of something on loopback that gives every request this answer."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(talk, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]
