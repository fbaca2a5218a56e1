"""The node's part in reading logs, for a genuine API server without one: what pods write is made up, the pods are not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

import httpx

from tests.harness.cluster import Cluster
from tests.harness.kubernetes_proxy import Forward, Request

Line = tuple[datetime, str]


class PodLogs:
    """A rule for a KubernetesProxy. written: what a pod has written up to now, oldest first. read: the pod of each request.

    written_before: by the containers that those of now took the place of; None when the node has not kept it.
    `sinceTime`, `tailLines` and `limitBytes` are heeded as the kubelet does: the last lines, cut off behind so many bytes.
    """

    def __init__(self, cluster: Cluster, written: Callable[[dict[str, Any]], Sequence[Line]]) -> None:
        self._cluster = cluster
        self.written = written
        self.written_before: Sequence[Line] | None = None
        self.read: list[str] = []

    async def __call__(self, request: Request, forward: Forward) -> httpx.Response | None:
        path = urlsplit(request.target).path
        if not path.endswith("/log"):
            return await forward()
        found = await self._cluster.http.get(path.removesuffix("/log"))
        if found.is_error:
            return found
        pod, query = found.json(), {key: values[0] for key, values in request.query.items()}
        assert query["container"] in [one["name"] for one in pod["spec"]["containers"]], query
        self.read.append(pod["metadata"]["name"])
        written = self.written(pod) if "previous" not in query else self.written_before
        if written is None:
            status = {"kind": "Status", "code": 400, "message": "previous terminated container not found"}
            return httpx.Response(400, json=status)
        since = datetime.fromisoformat(query["sinceTime"]) if "sinceTime" in query else None
        lines = [text for at, text in written if since is None or at >= since]
        text = "".join(f"{line}\n" for line in lines[-int(query.get("tailLines", len(lines)) or 0) :])
        limit = int(query.get("limitBytes", len(text.encode())))
        return httpx.Response(200, content=text.encode()[:limit], headers={"content-type": "text/plain"})
