"""A PagerDuty of our own: Events API v2 with one integration, behaving as its documentation says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

import orjson
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from responder.ports import Clock
from responder.sandbox.catcher import Catcher

ROUTING_KEY = "catcher0routing0key0of0thirty2ch"
SEVERITIES = ("critical", "error", "warning", "info")
ACTIONS = ("trigger", "acknowledge", "resolve")
LARGEST = 512 * 1024

Json = dict[str, Any]


class PagerDutyCatcher(Catcher):
    """`url` and `routing_key` are what a client needs; `events` and `changes` what was accepted, `alerts` what it made of them.

    An alert: `dedup_key`, `status` (triggered, acknowledged, resolved), `summary`, `severity`, `merged` (further triggers).
    """

    def __init__(self, clock: Clock | None = None, port: int = 0) -> None:
        self.events: list[Json] = []
        self.changes: list[Json] = []
        self.alerts: list[Json] = []
        self.routing_key = ROUTING_KEY
        super().__init__(clock, port)

    @property
    def url(self) -> str:
        return self.base_url

    def caught(self) -> object:
        return {"alerts": self.alerts, "events": self.events, "changes": self.changes}

    def status_of(self, dedup_key: str) -> str:
        """Of the latest alert with this key, "" when there is none."""
        return next((str(one["status"]) for one in reversed(self.alerts) if one["dedup_key"] == dedup_key), "")

    def _routes(self) -> Sequence[Route]:
        return [
            Route("/v2/enqueue", self._guarded(self._enqueue), methods=["POST"]),
            Route("/v2/change/enqueue", self._guarded(self._change), methods=["POST"]),
        ]

    async def _enqueue(self, request: Request) -> Response:
        body = await _body(request)
        problems = event_problems(body) if isinstance(body, dict) else ["Body must be a JSON object"]
        if problems or not isinstance(body, dict):
            return _invalid(problems)
        if body["routing_key"] != self.routing_key:
            return _invalid(["Invalid routing key"])
        key = body.get("dedup_key") or f"catcher-{len(self.events) + 1}"
        self.events.append(_without_key(body))
        self._take(body["event_action"], key, body)
        return JSONResponse({"status": "success", "message": "Event processed", "dedup_key": key}, 202)

    async def _change(self, request: Request) -> Response:
        body = await _body(request)
        problems = change_problems(body) if isinstance(body, dict) else ["Body must be a JSON object"]
        if problems or not isinstance(body, dict):
            return _invalid(problems)
        if body["routing_key"] != self.routing_key:
            return _invalid(["Invalid routing key"])
        self.changes.append(_without_key(body))
        return JSONResponse({"status": "success", "message": "Change event processed"}, 202)

    def _take(self, action: str, key: str, body: Json) -> None:
        known = next((one for one in self.alerts if one["dedup_key"] == key and one["status"] != "resolved"), None)
        if action == "trigger" and known is None:
            payload = body["payload"]
            alert = {"dedup_key": key, "status": "triggered", "summary": payload["summary"], "severity": payload["severity"]}
            self.alerts.append({**alert, "merged": 0})
        elif action == "trigger" and known is not None:
            known["merged"] += 1
        elif known is not None:  # else it is dropped, though the answer says that it was processed
            known["status"] = "acknowledged" if action == "acknowledge" else "resolved"


def event_problems(body: Mapping[str, Any]) -> list[str]:
    """What PagerDuty would not accept about an event, [] when nothing."""
    action, key, payload = body.get("event_action"), body.get("dedup_key"), body.get("payload")
    problems = _common_problems(body)
    if action not in ACTIONS:
        problems.append("'event_action' is missing or unknown")
    if key is not None and (not isinstance(key, str) or len(key) > 255):
        problems.append("'dedup_key' must be text of at most 255 characters")
    if action in ("acknowledge", "resolve") and not key:
        problems.append("'dedup_key' is missing")
    if action == "trigger" and not isinstance(payload, dict):
        problems.append("'payload' is missing")
    if isinstance(payload, dict):
        problems += _payload_problems(payload)
        if payload.get("severity") not in SEVERITIES:
            problems.append("'payload.severity' is missing or unknown")
        problems += [
            f"'payload.{name}' must be text"
            for name in ("component", "group", "class")
            if not isinstance(payload.get(name, ""), str)
        ]
    for image in body.get("images") or []:
        if not isinstance(image, dict) or not _is_https(image.get("src")):
            problems.append("'images' need a 'src' with https")
    return problems


def change_problems(body: Mapping[str, Any]) -> list[str]:
    """The same for a change event, which knows neither severity nor key."""
    payload = body.get("payload")
    problems = _common_problems(body)
    if not isinstance(payload, dict):
        return [*problems, "'payload' is missing"]
    if "severity" in payload or "dedup_key" in body or "event_action" in body:
        problems.append("a change event has no severity, no key and no action")
    return problems + _payload_problems(payload, source_needed=False)


def _common_problems(body: Mapping[str, Any]) -> list[str]:
    problems = []
    if not isinstance(body.get("routing_key"), str) or not body["routing_key"]:
        problems.append("'routing_key' is missing")
    links = body.get("links") or []
    if not isinstance(links, list) or not all(isinstance(link, dict) and _is_http(link.get("href")) for link in links):
        problems.append("'links' need a 'href'")
    if len(orjson.dumps(body)) > LARGEST:
        problems.append("larger than 512 KB")
    return problems


def _payload_problems(payload: Mapping[str, Any], *, source_needed: bool = True) -> list[str]:
    problems = []
    summary, source, details = payload.get("summary"), payload.get("source"), payload.get("custom_details")
    if not isinstance(summary, str) or not summary or len(summary) > 1024:
        problems.append("'payload.summary' is missing or longer than 1024 characters")
    if (source_needed or source is not None) and (not isinstance(source, str) or not source):
        problems.append("'payload.source' is missing or empty")
    if "timestamp" in payload and not _is_time(payload["timestamp"]):
        problems.append("'payload.timestamp' is no ISO 8601 time")
    if details is not None and not isinstance(details, dict):
        problems.append("'payload.custom_details' must be an object")
    return problems


def _is_http(value: object) -> bool:
    return isinstance(value, str) and urlsplit(value).scheme in ("http", "https")


def _is_https(value: object) -> bool:
    return isinstance(value, str) and urlsplit(value).scheme == "https"


def _is_time(value: object) -> bool:
    try:
        return isinstance(value, str) and datetime.fromisoformat(value) is not None
    except ValueError:
        return False


def _without_key(body: Json) -> Json:
    return {name: value for name, value in body.items() if name != "routing_key"}


async def _body(request: Request) -> object:
    try:
        return orjson.loads(await request.body())
    except orjson.JSONDecodeError:
        return None


def _invalid(errors: Sequence[str]) -> Response:
    return JSONResponse({"status": "invalid event", "message": "Event object is invalid", "errors": list(errors)}, 400)
