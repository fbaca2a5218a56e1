"""A proxy in front of a cluster whose pods run nothing: what is executed in a pod is run here, as a real process.

The API server of the tests has no kubelet behind it, so it can't pass on `exec`. This answers these requests itself, by the same
websocket protocol (`v4.channel.k8s.io`), once it has seen that the pod is there and ready.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

from tests.harness.cluster import Cluster
from tests.harness.kubernetes_proxy import KubernetesProxy, Request
from tests.harness.program import clean_environment

_KEY_END = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455


class PodPrograms(KubernetesProxy):
    """folder, environment: what the container looks like from inside. executed: pod and command line of each."""

    def __init__(self, cluster: Cluster, folder: Path, environment: Mapping[str, str]) -> None:
        super().__init__(cluster)
        self._folder = folder
        self._environment = {**clean_environment(), **environment}
        self.executed: list[tuple[str, list[str]]] = []

    async def _answer(self, request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        parts = urlsplit(request.target)
        if not parts.path.endswith("/exec"):
            return await super()._answer(request, reader, writer)
        pod = (await self._cluster.http.get(parts.path.removesuffix("/exec"))).json()
        assert any(one["type"] == "Ready" and one["status"] == "True" for one in pod["status"]["conditions"]), pod
        argv = [value for name, value in parse_qsl(parts.query) if name == "command"]
        self.executed.append((pod["metadata"]["name"], argv))
        accept = base64.b64encode(hashlib.sha1((request.headers["sec-websocket-key"] + _KEY_END).encode()).digest()).decode()
        head = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        writer.write(f"{head}Sec-WebSocket-Accept: {accept}\r\nSec-WebSocket-Protocol: v4.channel.k8s.io\r\n\r\n".encode())
        code, output = await self._run(argv)
        for start in range(0, len(output), 100):
            writer.write(_frame(b"\x01" + output[start : start + 100]))
        writer.write(_frame(b"\x03" + json.dumps(_status(code)).encode()) + b"\x88\x02\x03\xe8")
        await writer.drain()
        await reader.read(100)  # the client's goodbye
        return False

    async def _run(self, argv: list[str]) -> tuple[int, bytes]:
        process = await asyncio.create_subprocess_exec(
            *argv, cwd=self._folder, env=self._environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        output, _ = await process.communicate()
        return process.returncode or 0, output


def _frame(data: bytes) -> bytes:
    length = bytes([len(data)]) if len(data) < 126 else b"\x7e" + len(data).to_bytes(2, "big")
    return b"\x82" + length + data


def _status(code: int) -> dict[str, object]:
    if not code:
        return {"status": "Success"}
    causes = [{"reason": "ExitCode", "message": str(code)}]
    return {"status": "Failure", "reason": "NonZeroExitCode", "details": {"causes": causes}}
