"""Credentials and transport of one cluster, both the library's; requests go out and answers come in as raw JSON."""

from __future__ import annotations

import asyncio
import hashlib
import importlib
import os
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.request import getproxies

import orjson

from responder.clients.kubernetes_errors import Call, error_of_answer, error_of_transport
from responder.errors import SettingsError, TemporaryError

if TYPE_CHECKING:
    import aiohttp

Object = dict[str, Any]

_CONNECT_SECONDS = 5.0
_REQUESTS_AT_ONCE = 32
"""Further ones wait for their turn. Streams don't count: each target's watch holds a connection for as long as it runs."""


class Connection:
    """Connects on first use; credentials are loaded again when the server no longer takes them."""

    def __init__(self, kubeconfig: str | None, timeout: timedelta) -> None:
        self._kubeconfig = kubeconfig
        self._timeout = timeout
        self._api: Any = None
        self._tls = ""
        self._retired: Any = None
        self._renewals = 0
        self._opening = asyncio.Lock()
        self._turns = asyncio.Semaphore(_REQUESTS_AT_ONCE)

    async def open(self) -> Any:
        """The library's ApiClient. Raises SettingsError when there are no usable credentials."""
        async with self._opening:
            if self._api is None:
                self._api, self._tls = await _load(self._kubeconfig)
            return self._api

    async def close(self) -> None:
        apis, self._api, self._retired = (self._api, self._retired), None, None
        for api in apis:
            if api is not None:
                await api.close()

    async def _renew(self, seen: int) -> None:
        """Load credentials again, unless somebody did since the request that they failed was sent (seen: renewals then).

        Requests and watches under way keep their connections: tokens change in place, and a client with an old certificate is
        closed only when the next certificate comes.
        """
        async with self._opening:
            if self._renewals != seen or self._api is None:
                return
            fresh, tls = await _load(self._kubeconfig)
            self._renewals += 1
            if tls == self._tls:
                current = self._api.configuration
                current.api_key = fresh.configuration.api_key
                current.refresh_api_key_hook = fresh.configuration.refresh_api_key_hook
                return
            replaced, self._api, self._tls = self._api, fresh, tls
            forgotten, self._retired = self._retired, replaced
        if forgotten is not None:
            await forgotten.close()

    async def ask(self, call: Call) -> Object:
        """Send one request and return the object it answers."""
        try:
            answer = orjson.loads(await self._answer(call))
        except ValueError as error:
            raise TemporaryError(f"{call}: the answer is not JSON") from error
        if not isinstance(answer, dict):
            raise TemporaryError(f"{call}: the answer is not an object")
        return answer

    async def ask_text(self, call: Call) -> str:
        """Send one request and return the text it answers."""
        return (await self._answer(call)).decode(errors="replace")

    async def _answer(self, call: Call) -> bytes:
        async with self._turns:
            response = await self.send(call)
            try:
                text: bytes = await response.read()
            except transport_errors() as error:
                raise error_of_transport(call, error) from error
        if response.status >= 400:
            raise error_of_answer(call, response.status, text, response.headers.get("Retry-After"))
        return text

    async def open_socket(self, call: Call, query: Sequence[tuple[str, str]]) -> aiohttp.ClientWebSocketResponse:
        """A websocket on this path; the caller closes it. Raises like `ask`."""
        import aiohttp

        for last in (False, True):
            renewals = self._renewals
            try:
                return await self._open_socket(await self.open(), call, query)
            except aiohttp.WSServerHandshakeError as error:
                if last or error.status != 401:
                    raise error_of_answer(call, error.status, b"", None) from None
            except transport_errors() as error:
                raise error_of_transport(call, error) from error
            await self._renew(renewals)
        raise AssertionError("unreachable")

    async def _open_socket(self, api: Any, call: Call, query: Sequence[tuple[str, str]]) -> aiohttp.ClientWebSocketResponse:
        stream = importlib.import_module("kubernetes.aio.stream.ws_client")
        _, url, headers, _, _ = await api.param_serialize(
            "GET", call.path, query_params=list(query), header_params={}, auth_settings=["BearerToken"]
        )
        rest = api.rest_client
        if rest.pool_manager is None:
            rest.pool_manager = rest._create_pool_manager()  # as the library's own websocket client does
        async with asyncio.timeout(self._timeout.total_seconds()):
            socket: aiohttp.ClientWebSocketResponse = await rest.pool_manager.ws_connect(
                stream.get_websocket_url(url), headers=headers, protocols=("v4.channel.k8s.io",), max_msg_size=0
            )
        return socket

    async def send(self, call: Call, *, silence: float | None = None) -> aiohttp.ClientResponse:
        """Send one request; the caller reads the answer.

        silence: for streams, how many seconds without a byte are too many; None limits the request as a whole.
        """
        renewals = self._renewals
        response = await self._send(await self.open(), call, silence)
        if response.status != 401:
            return response
        response.release()
        await self._renew(renewals)
        return await self._send(await self.open(), call, silence)

    async def _send(self, api: Any, call: Call, silence: float | None) -> aiohttp.ClientResponse:
        import aiohttp

        total = self._timeout.total_seconds() if silence is None else None
        limit = aiohttp.ClientTimeout(total=total, sock_connect=_CONNECT_SECONDS, sock_read=silence)
        method, url, headers, body, _ = await api.param_serialize(
            call.method,
            call.path,
            query_params=list(call.query.items()),
            header_params={"Accept": call.accept, "Content-Type": call.content},
            body=call.body,
            auth_settings=["BearerToken"],
        )
        try:
            answer = await api.call_api(method, url, headers, body, _request_timeout=limit, _preload_content=False)
        except transport_errors() as error:
            raise error_of_transport(call, error) from error
        response: aiohttp.ClientResponse = answer.response
        return response


def transport_errors() -> tuple[type[Exception], ...]:
    import aiohttp

    return (aiohttp.ClientError, OSError, TimeoutError)


async def _load(kubeconfig: str | None) -> tuple[Any, str]:
    """A new ApiClient, and what tells whether another one would need connections of its own."""
    # Importing takes most of a second: not on the event loop.
    client = await asyncio.to_thread(importlib.import_module, "kubernetes.aio.client")
    config = await asyncio.to_thread(importlib.import_module, "kubernetes.aio.config")
    unreadable = importlib.import_module("yaml").YAMLError
    settings = client.Configuration(connection_pool_maxsize=0)  # no limit: watches would use up any
    if not getproxies():  # else each request would have two threads look for a proxy and for a .netrc
        settings.client_session_kwargs = {"trust_env": False}
    files = kubeconfig or config.KUBE_CONFIG_DEFAULT_LOCATION
    try:
        if await asyncio.to_thread(_any_exists, files):
            await config.load_kube_config(config_file=files, client_configuration=settings, persist_config=False)
        elif kubeconfig:
            raise SettingsError(f"KUBECONFIG: no such file: {kubeconfig}")
        else:
            config.load_incluster_config(client_configuration=settings)
        return client.ApiClient(settings), await asyncio.to_thread(_tls_identity, settings)
    except config.ConfigException as error:
        # Its text can quote the whole user entry, token included.
        if str(error).startswith("Service "):
            raise SettingsError("KUBECONFIG and ~/.kube/config name no file, and this is no pod with a service account") from None
        raise SettingsError("KUBECONFIG: an entry is missing, or a file that it names") from None
    except (unreadable, KeyError, TypeError, AttributeError, OSError, ValueError) as error:
        raise SettingsError(
            f"KUBECONFIG: not a kubeconfig file, or one with unusable certificates ({type(error).__name__})"
        ) from None


def _tls_identity(settings: Any) -> str:
    seen = hashlib.sha256(f"{settings.host} {settings.verify_ssl}".encode())
    for name in (settings.ssl_ca_cert, settings.cert_file, settings.key_file):
        seen.update(Path(name).read_bytes() if name else b"-")
    return seen.hexdigest()


def _any_exists(files: str) -> bool:
    return any(Path(one).expanduser().is_file() for one in files.split(os.pathsep))
