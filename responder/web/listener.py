"""The socket the service listens on."""

from __future__ import annotations

import socket

from responder.errors import SettingsError


def listen(host: str, port: int) -> socket.socket:
    """port: 0 takes any free one. Raises SettingsError."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = found[0]
        listener = socket.socket(family, kind, protocol)  # the protocol is named: without it Nagle's delay stays on
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(2048)
    except OSError as error:
        raise SettingsError(f"RESPONDER_HOST, RESPONDER_PORT: can't listen there: {error.strerror or error}") from error
    else:
        return listener


def url_of(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
