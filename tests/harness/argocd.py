"""A played Argo CD: the part of its API that rollbacks need, after its documentation and sources, with its refusals.

An operation stays under way until the test ends it.
"""

from __future__ import annotations

import json
from typing import Any, Self

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from responder.sandbox.loopback import LoopbackServer

Object = dict[str, Any]

TOKEN = "argocd-t0ken-of-the-test"
_STARTED = "2026-03-01T10:{minute:02d}:00Z"


class ArgoCd:
    """One application, `shop`. calls: every request that would change something. lose: answers of so many writes are lost.

    forbidden: rollbacks are.
    """

    def __init__(self) -> None:
        self.calls: list[tuple[str, Object]] = []
        self.minute = 0
        self.refreshes = 0
        self.lose = 0
        self.keeps_automated = False
        self.forbidden = False
        self.application: Object = {
            "metadata": {"name": "shop", "namespace": "argocd", "uid": "u-1", "generation": 1, "labels": {}, "annotations": {}},
            "spec": {"source": self.source(), "syncPolicy": {"automated": {"prune": True, "selfHeal": True}}},
            "status": {"history": [], "health": {"status": "Healthy"}, "summary": {"images": []}},
        }
        paths = "/api/v1/applications/{name}"
        routes = [
            Route(paths, self._get, methods=["GET"]),
            Route(paths, self._patch, methods=["PATCH"]),
            Route(f"{paths}/rollback", self._roll_back, methods=["POST"]),
        ]
        self._server = LoopbackServer(Starlette(routes=routes), 0)

    async def __aenter__(self) -> Self:
        await self._server.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._server.stop()

    @property
    def url(self) -> str:
        return self._server.url

    @property
    def status(self) -> Object:
        found: Object = self.application["status"]
        return found

    @staticmethod
    def source() -> Object:
        return {"repoURL": "https://git.example/shop", "path": "deploy", "targetRevision": "main"}

    def sync(self, revision: str, *, phase: str = "Succeeded", image: str = "") -> None:
        """As when somebody pushed to Git."""
        self._begin(revision)
        self.end(phase, image=image)

    def end(self, phase: str = "Succeeded", *, image: str = "", looked_at: bool = True) -> None:
        """The operation under way comes to this end."""
        state = self.status["operationState"]
        state |= {"phase": phase, "finishedAt": self._now(), "message": "one or more objects failed to apply"}
        self.application.pop("operation", None)
        revision = state["operation"]["sync"]["revision"]
        state["syncResult"] = {"revision": revision, "source": self.source()}
        if phase == "Succeeded":
            history = self.status["history"]
            number = history[-1]["id"] + 1 if history else 0
            history.append({"id": number, "revision": revision, "deployedAt": self._now(), "source": self.source()})
            self.status["summary"] = {"images": [image or f"shop/app:{revision[:3]}"]}
        if looked_at:
            self.status["reconciledAt"] = self._now()

    def _begin(self, revision: str) -> None:
        operation = {"sync": {"revision": revision, "source": self.source()}}
        self.application["operation"] = operation
        self.status["operationState"] = {"phase": "Running", "operation": operation, "startedAt": self._now()}

    def _now(self) -> str:
        self.minute += 1
        return _STARTED.format(minute=self.minute)

    async def _get(self, request: Request) -> Response:
        if refused := self._refusal(request):
            return refused
        if request.query_params.get("refresh") == "normal":
            self.refreshes += 1
            self.status["reconciledAt"] = self._now()
        return JSONResponse(self.application)

    async def _patch(self, request: Request) -> Response:
        if refused := self._refusal(request):
            return refused
        body = await request.json()
        self.calls.append(("patch", body))
        assert body["patchType"] == "merge"
        change = json.loads(body["patch"])
        _merge(self.application, {**change, "spec": {}} if self.keeps_automated else change)
        return self._answer()

    async def _roll_back(self, request: Request) -> Response:
        if refused := self._refusal(request):
            return refused
        body = await request.json()
        self.calls.append(("rollback", body))
        if self.forbidden:
            return _refused(403, 7, "permission denied: applications, sync, default/shop")
        if self.application["spec"]["syncPolicy"].get("automated") is not None:
            return _refused(400, 9, "rollback cannot be initiated when auto-sync is enabled")
        if self.application.get("operation"):
            return _refused(400, 9, "another operation is already in progress")
        entry = next((one for one in self.status["history"] if one["id"] == body["id"]), None)
        if entry is None:
            return _refused(400, 3, f"application argocd/shop does not have deployment with id {body['id']}")
        self._begin(entry["revision"])
        return self._answer()

    def _answer(self) -> Response:
        if self.lose:
            self.lose -= 1
            return Response(status_code=502)
        return JSONResponse(self.application)

    def _refusal(self, request: Request) -> Response | None:
        if request.headers.get("authorization") != f"Bearer {TOKEN}":
            return _refused(401, 16, "invalid session: token signature is invalid")
        if request.path_params["name"] != "shop":
            return _refused(403, 7, "permission denied")
        return None


def _refused(status: int, code: int, message: str) -> Response:
    return JSONResponse({"error": message, "code": code, "message": message}, status)


def _merge(into: Object, change: Object) -> None:
    for key, value in change.items():
        if value is None:
            into.pop(key, None)
        elif isinstance(value, dict):
            _merge(into.setdefault(key, {}), value)
        else:
            into[key] = value
