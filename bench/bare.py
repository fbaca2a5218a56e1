"""What the intake is held against: a Starlette route that answers 202 and does nothing, on the service's own server options.

python -m bench.bare    # prints its address, serves until SIGTERM
"""

from __future__ import annotations

import socket

import uvicorn
import uvloop
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from responder.web.server import server_config


async def same(_request: Request) -> Response:
    return Response(b'{"accepted":1,"ignored":0}', status_code=202, media_type="application/json")


async def empty(_request: Request) -> Response:
    return Response(status_code=202)


async def main() -> None:
    listener = socket.create_server(("127.0.0.1", 0), backlog=2048)
    app = Starlette(routes=[Route("/same", same, methods=["POST"]), Route("/empty", empty, methods=["POST"])])
    print(f"http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
    await uvicorn.Server(server_config(app)).serve(sockets=[listener])


if __name__ == "__main__":
    uvloop.run(main())
