"""A Statuspage of our own: one page with components and incidents, behaving as the API's description says."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from responder.ports import Clock
from responder.sandbox.catcher import Catcher, Handler

API_KEY = "catcher-key"
PAGE_ID = "catcherpage"
STATUSES = ("investigating", "identified", "monitoring", "resolved")
IMPACTS = ("none", "maintenance", "minor", "major", "critical")
COMPONENT_STATUSES = ("operational", "under_maintenance", "degraded_performance", "partial_outage", "major_outage", "")
MOST_LISTED = 100

Json = dict[str, Any]


class StatuspageCatcher(Catcher):
    """`url`, `api_key` and `page_id` are what a client needs; `incidents` and `components` what the page shows.

    component_names: the page's components by id. rate: at most that many requests within that time, None for no limit.
    rate_status: what is answered to those above it, 420 or 429.
    """

    def __init__(
        self,
        component_names: Mapping[str, str] | None = None,
        *,
        clock: Clock | None = None,
        port: int = 0,
        rate: tuple[int, timedelta] | None = None,
        rate_status: int = 420,
    ) -> None:
        self.incidents: list[Json] = []
        self.components = {
            identity: {"id": identity, "name": name, "status": "operational"}
            for identity, name in (component_names or {}).items()
        }
        self.api_key, self.page_id = API_KEY, PAGE_ID
        self.refused_by_rate = 0
        self._rate, self._rate_status = rate, rate_status
        self._recent: deque[float] = deque()
        self._numbers = 0
        super().__init__(clock, port)

    @property
    def url(self) -> str:
        return f"{self.base_url}/v1"

    def caught(self) -> object:
        return {"incidents": self.incidents, "components": self.components}

    def _routes(self) -> Sequence[Route]:
        page = "/v1/pages/{page}"
        table: list[tuple[str, str, Handler]] = [
            ("POST", "/incidents", self._create),
            ("GET", "/incidents", self._list),
            ("GET", "/incidents/unresolved", self._unresolved),
            ("GET", "/incidents/{incident}", self._get),
            ("PATCH", "/incidents/{incident}", self._update),
            ("GET", "/components", self._list_components),
            ("PATCH", "/components/{component}", self._update_component),
        ]
        return [Route(page + path, self._guarded(self._allowed(handle)), methods=[method]) for method, path, handle in table]

    def _allowed(self, handle: Handler) -> Handler:
        async def allowed(request: Request) -> Response:
            if request.headers.get("authorization") != f"OAuth {self.api_key}":
                return _refused(401, "Could not authenticate")
            if self._too_fast():
                self.refused_by_rate += 1
                return _refused(self._rate_status, "Too many requests")
            if request.path_params["page"] != self.page_id:
                return _refused(404, "Not found")
            return await handle(request)

        return allowed

    def _too_fast(self) -> bool:
        if self._rate is None:
            return False
        most, window = self._rate
        now = asyncio.get_running_loop().time()
        while self._recent and self._recent[0] <= now - window.total_seconds():
            self._recent.popleft()
        if len(self._recent) >= most:
            return True
        self._recent.append(now)
        return False

    async def _create(self, request: Request) -> Response:
        body = await _wrapped(request, "incident")
        if body is None:
            return _refused(400, "incident is missing")
        problems = self._problems(body)
        if not body.get("name"):
            problems.append("Name can't be blank")
        if problems:
            return _refused(422, problems)
        now = self._stamp()
        incident: Json = {
            "id": self._new_id(),
            "page_id": self.page_id,
            "name": body["name"],
            "status": body.get("status", "investigating"),
            "impact": body.get("impact_override") or "none",
            "impact_override": body.get("impact_override"),
            "created_at": now,
            "updated_at": now,
            "resolved_at": None,
            "shortlink": f"{self.base_url}/short",
            "metadata": body.get("metadata") or {},
            "incident_updates": [],
            "components": [],
        }
        self._apply(incident, body)
        self.incidents.insert(0, incident)
        return JSONResponse(incident, 201)

    async def _update(self, request: Request) -> Response:
        incident = self._named(request)
        if incident is None:
            return _refused(404, "Not found")
        body = await _wrapped(request, "incident")
        if body is None:
            return _refused(400, "incident is missing")
        problems = self._problems(body)
        if problems:
            return _refused(422, problems)
        for name in ("name", "status", "impact_override", "metadata"):
            if name in body:
                incident[name] = body[name]
        self._apply(incident, body)
        return JSONResponse(incident)

    def _apply(self, incident: Json, body: Json) -> None:
        """Add the update that a status or a text makes, and set the components."""
        now = self._stamp()
        changed = []
        for identity, status in (body.get("components") or {}).items():
            component = self.components[identity]
            changed.append({"code": identity, "name": component["name"], "old_status": component["status"], "new_status": status})
            component["status"] = status
        linked = (
            {one["id"] for one in incident["components"]}
            | set(body.get("component_ids") or ())
            | {one["code"] for one in changed}
        )
        incident["components"] = [component for identity, component in self.components.items() if identity in linked]
        if "status" in body or "body" in body:
            update = {
                "id": self._new_id(),
                "incident_id": incident["id"],
                "status": incident["status"],
                "body": body.get("body", ""),
                "created_at": now,
                "deliver_notifications": body.get("deliver_notifications", True),
                "affected_components": changed,
            }
            incident["incident_updates"].insert(0, update)
        incident["updated_at"] = now
        incident["resolved_at"] = now if incident["status"] == "resolved" else None

    def _problems(self, body: Json) -> list[str]:
        components = body.get("components") or {}
        metadata = body.get("metadata")
        wrong = {
            "Name is too long (maximum is 255 characters)": len(body.get("name") or "") > 255,
            "Body is too long (maximum is 25000 characters)": len(body.get("body") or "") > 25_000,
            "Status is not included in the list": body.get("status", "investigating") not in STATUSES,
            "Impact override is not included in the list": body.get("impact_override", "none") not in IMPACTS,
            "Component not found": not {*components, *(body.get("component_ids") or ())} <= set(self.components),
            "Component status is not included in the list": any(one not in COMPONENT_STATUSES for one in components.values()),
            "Metadata must be an object of objects": metadata is not None
            and not (isinstance(metadata, dict) and all(isinstance(one, dict) for one in metadata.values())),
        }
        return [problem for problem, is_wrong in wrong.items() if is_wrong]

    async def _get(self, request: Request) -> Response:
        incident = self._named(request)
        return _refused(404, "Not found") if incident is None else JSONResponse(incident)

    async def _unresolved(self, _request: Request) -> Response:
        return JSONResponse([one for one in self.incidents if one["status"] != "resolved"][:MOST_LISTED])

    async def _list(self, request: Request) -> Response:
        query = request.query_params.get("q", "").lower()
        limit = min(int(request.query_params.get("limit", MOST_LISTED)), MOST_LISTED)
        start = (max(int(request.query_params.get("page", 1)), 1) - 1) * limit
        found = [one for one in self.incidents if query in _searched(one)]
        return JSONResponse(found[start : start + limit])

    async def _list_components(self, _request: Request) -> Response:
        return JSONResponse(list(self.components.values())[:MOST_LISTED])

    async def _update_component(self, request: Request) -> Response:
        component = self.components.get(request.path_params["component"])
        body = await _wrapped(request, "component")
        if component is None:
            return _refused(404, "Not found")
        if body is None or body.get("status") not in COMPONENT_STATUSES:
            return _refused(422, ["Status is not included in the list"])
        component["status"] = body["status"]
        return JSONResponse(component)

    def _named(self, request: Request) -> Json | None:
        return next((one for one in self.incidents if one["id"] == request.path_params["incident"]), None)

    def _new_id(self) -> str:
        self._numbers += 1
        return f"p{self._numbers:011x}"

    def _stamp(self) -> str:
        return self._now(self._numbers).isoformat()


async def _wrapped(request: Request, name: str) -> Json | None:
    try:
        body = orjson.loads(await request.body())
    except orjson.JSONDecodeError:
        return None
    inner = body.get(name) if isinstance(body, dict) else None
    return inner if isinstance(inner, dict) else None


def _refused(status: int, error: str | list[str]) -> Response:
    return JSONResponse({"error": error}, status)


def _searched(incident: Json) -> str:
    """The fields that `q` looks into: the metadata is not among them."""
    texts = [incident["name"], incident["status"], *(update["body"] for update in incident["incident_updates"])]
    return "\n".join(texts).lower()
