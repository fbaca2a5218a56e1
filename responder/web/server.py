"""How the service is put on the network: one set of server options for `serve` and for the benchmark."""

from __future__ import annotations

import uvicorn
from starlette.types import ASGIApp

from responder.web.protocol import ShortCutProtocol


def server_config(app: ASGIApp, host: str = "127.0.0.1", port: int = 8080) -> uvicorn.Config:
    """host, port: ignored when the server is given a socket."""
    return uvicorn.Config(
        app,
        host=host,
        port=port,
        loop="uvloop",
        http=ShortCutProtocol,  # httptools, and a short cut for webhooks
        ws="none",
        interface="asgi3",  # named, so that no guess is made about callables that are no coroutine functions
        lifespan="off",  # the wiring owns what runs beside the server
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=10,
        limit_concurrency=2048,
        backlog=2048,
    )
