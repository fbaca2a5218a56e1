"""A small HTTP server on a free loopback port, in the running event loop."""

from __future__ import annotations

import socket

from starlette.types import ASGIApp


class LoopbackServer:
    """Serves an application between `start` and `stop`. port: 0 takes a free one. Signals are left to the process."""

    def __init__(self, app: ASGIApp, port: int = 0) -> None:
        import uvicorn

        self._config = uvicorn.Config(app, lifespan="off", log_config=None, access_log=False, timeout_graceful_shutdown=1)
        self._server = uvicorn.Server(self._config)
        # With the protocol named, asyncio switches Nagle's algorithm off; without, answers may be held up for 40 ms.
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            self._socket.bind(("127.0.0.1", port))
        except OSError:
            self._socket.close()
            raise
        self._port = int(self._socket.getsockname()[1])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    async def start(self) -> None:
        # Not `serve()`: that takes over the process's signal handlers and looks only every 100 ms whether to stop.
        self._config.load()
        self._server.lifespan = self._config.lifespan_class(self._config)
        await self._server.startup(sockets=[self._socket])

    async def stop(self) -> None:
        await self._server.shutdown(sockets=[self._socket])
