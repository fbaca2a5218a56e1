"""`/openapi.json`: the HTTP surface as OpenAPI 3.1. Bodies are described by what reads them; the rest is the table below."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic.json_schema import JsonSchemaMode, models_json_schema

from responder import __version__
from responder.domain.incident import IncidentStatus
from responder.web.bodies import Body, HoldBody, ReasonBody, RollbackBody, SuppressionBody, WordBody
from responder.web.commands import KEY_HEADER
from responder.web.plans import PreviewBody

Schema = Mapping[str, Any]
_MODE: JsonSchemaMode = "validation"
_NOBODY, _SENDER, _READER, _OPERATOR, _ADMIN, _SLACK = "nobody", "sender", "reader", "operator", "admin", "slack"


@dataclass(frozen=True, slots=True)
class Operation:
    """who: whose token it takes. status: of success. gives: name of the schema of its answer, "" for anything.

    refusals: statuses besides those that everything of its kind may answer. query: name → schema.
    """

    method: str
    path: str
    summary: str
    who: str = _READER
    body: type[Body] | None = None
    status: int = 200
    gives: str = ""
    refusals: tuple[int, ...] = ()
    query: tuple[tuple[str, Schema], ...] = ()

    @property
    def is_command(self) -> bool:
        return self.who == _OPERATOR and self.method != "get" and self.path.startswith("/v1/") and "/preview" not in self.path


_TEXT: Schema = {"type": "string"}
_LIMIT: Schema = {"type": "integer", "minimum": 1, "maximum": 200, "default": 50}
_TRUTH: Schema = {"type": "boolean"}
_LIST = (("limit", _LIMIT), ("cursor", _TEXT), ("target", _TEXT), ("open", _TRUTH), ("status", _TEXT))
_INCIDENT = "/v1/incidents/{id}"


def _webhook(path: str, sender: str, method: str = "post") -> Operation:
    return Operation(method, path, f"Take a delivery of {sender}", _SENDER, None, 202, "Accepted", (413, 415))


def _word(name: str, summary: str, body: type[Body]) -> Operation:
    return Operation("post", f"{_INCIDENT}/{name}", summary, _OPERATOR, body, 200, "IncidentAnswer", (404, 409))


OPERATIONS: Sequence[Operation] = (
    _webhook("/webhooks/alertmanager", "Alertmanager"),
    _webhook("/webhooks/grafana", "Grafana"),
    _webhook("/webhooks/grafana", "Grafana, whose contact points can be set to PUT", "put"),
    _webhook("/webhooks/sentry", "Sentry"),
    _webhook("/webhooks/events", "anything that posts events"),
    Operation("post", "/webhooks/slack/interactions", "Take a button pressed in Slack", _SLACK, refusals=(400, 413)),
    Operation("post", "/webhooks/slack/commands", "Take a slash command of Slack", _SLACK, refusals=(413,)),
    Operation("get", "/", "What is here", _NOBODY),
    Operation("get", "/healthz", "Whether the process lives", _NOBODY),
    Operation("get", "/readyz", "Whether it can do its work", _NOBODY, refusals=(503,)),
    Operation("get", "/metrics", "Metrics in Prometheus' text format", _NOBODY),
    Operation("get", "/openapi.json", "This document", _NOBODY),
    Operation("post", "/-/reload", "Read the rulebook and the tokens file again", _ADMIN, refusals=(422,)),
    Operation("get", "/v1/targets", "The declared targets"),
    Operation("get", "/v1/targets/{target}/versions", "What a target runs and can go back to", refusals=(404, 502)),
    Operation("get", "/v1/targets/{target}/guards", "How each guard of a target would decide right now", refusals=(404,)),
    Operation("get", "/v1/rules", "What each rule waits for"),
    Operation("get", "/v1/incidents", "Incidents, newest first", gives="IncidentList", refusals=(400,), query=_LIST),
    Operation("get", _INCIDENT, "One incident with its events", gives="IncidentAnswer", refusals=(404,)),
    Operation(
        "get",
        f"{_INCIDENT}/report",
        "Its report, as Markdown, HTML or JSON",
        refusals=(400, 404),
        query=(("format", {"type": "string", "enum": ["markdown", "html", "json"]}),),
    ),
    Operation(
        "get",
        "/v1/statistics",
        "How many rollbacks there were, how many succeeded, how long they took",
        refusals=(400,),
        query=(("window", {"type": "string", "default": "30d"}), ("target", _TEXT)),
    ),
    Operation(
        "get",
        "/v1/observed",
        "What observe mode would have done, and how it turned out without it",
        refusals=(400,),
        query=(("since", {"type": "string", "default": "14d"}),),
    ),
    Operation("get", "/v1/stream", "Changes of incidents as server-sent events", query=(("after", _TEXT),)),
    _word("approve", "Say yes to what waits", WordBody),
    _word("reject", "Say no to what waits", WordBody),
    _word("cancel", "Stop it", ReasonBody),
    _word("acknowledge", "Have it in hand", ReasonBody),
    Operation("post", "/v1/rollbacks", "Order a rollback", _OPERATOR, RollbackBody, 202, "IncidentAnswer", (404, 409)),
    Operation("post", "/v1/plans/{name}/preview", "What a plan would do now", _OPERATOR, PreviewBody, refusals=(404,)),
    Operation("get", "/v1/suppressions", "What is suppressed now", gives="SuppressionList"),
    Operation("post", "/v1/suppressions", "Suppress", _OPERATOR, SuppressionBody, 201, "SuppressionAnswer"),
    Operation("delete", "/v1/suppressions/{id}", "End a suppression", _OPERATOR, ReasonBody, 200, "SuppressionAnswer", (404,)),
    Operation("get", "/v1/hold", "Whether everything is on hold", gives="Hold"),
    Operation("put", "/v1/hold", "Hold everything, or let go", _OPERATOR, HoldBody, gives="Hold"),
    Operation("get", "/v1/audit", "Who told the service what", gives="AuditList", refusals=(400,), query=_LIST[:2]),
)  # fmt: skip


def openapi_document() -> dict[str, Any]:
    bodies = sorted({one.body for one in OPERATIONS if one.body is not None}, key=lambda one: one.__name__)
    _, made = models_json_schema([(body, _MODE) for body in bodies], ref_template="#/components/schemas/{model}")
    paths: dict[str, dict[str, Any]] = {}
    for one in OPERATIONS:
        paths.setdefault(one.path, {})[one.method] = _operation(one)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Responder", "version": __version__, "description": "Turns alerts into safe rollbacks."},
        "paths": paths,
        "components": {
            "schemas": {**_SCHEMAS, **made.get("$defs", {})},
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
        },
    }


def _operation(one: Operation) -> dict[str, Any]:
    parameters: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "schema": _TEXT} for name in re.findall(r"{(\w+)}", one.path)
    ]
    parameters += [{"name": name, "in": "query", "schema": schema} for name, schema in one.query]
    if one.is_command:
        about = "The same command under the same key is done once, and answered the same."
        key = {"type": "string", "maxLength": 255, "pattern": "^[\\x21-\\x7e]*$"}
        parameters.append({"name": KEY_HEADER, "in": "header", "description": about, "schema": key})
    described: dict[str, Any] = {"summary": one.summary, "operationId": _name(one), "responses": _answers(one)}
    if parameters:
        described["parameters"] = parameters
    if one.who not in (_NOBODY, _SLACK):
        described["security"] = [{"bearer": []}, {}]
    if one.body is not None:
        schema = {"$ref": f"#/components/schemas/{one.body.__name__}"}
        is_needed = any(field.is_required() for field in one.body.model_fields.values())
        described["requestBody"] = {"required": is_needed, "content": {"application/json": {"schema": schema}}}
    elif one.who == _SLACK:
        form = {"type": "object", "additionalProperties": _TEXT}
        described["requestBody"] = {"required": True, "content": {"application/x-www-form-urlencoded": {"schema": form}}}
    elif one.who == _SENDER:
        described["requestBody"] = {"required": True, "content": {"application/json": {"schema": {}}}}
    return described


def _answers(one: Operation) -> dict[str, Any]:
    good: dict[str, Any] = {"description": one.summary}
    if one.gives:
        good["content"] = {"application/json": {"schema": {"$ref": f"#/components/schemas/{one.gives}"}}}
    answers = {str(one.status): good}
    if one.path == "/v1/rollbacks":
        answers["200"] = {"description": "A dry run: what would happen"}
    usual = {400, 413, 415} if one.body is not None or one.who == _SENDER else set()
    usual |= {401, 403} if one.who not in (_NOBODY, _SLACK) else {401} if one.who == _SLACK else set()
    usual |= {422} if one.is_command else set()
    usual |= {429} if one.who in (_OPERATOR, _ADMIN) else set()
    usual |= {503} if one.path not in ("/", "/healthz", "/metrics", "/openapi.json") else set()
    problem = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    for status in sorted(usual | set(one.refusals)):
        answers[str(status)] = {"description": _REFUSALS.get(status, "Refused"), "content": problem}
    return answers


def _name(one: Operation) -> str:
    words = re.findall(r"\w+", one.path.replace("/v1/", "/"))
    return "_".join((one.method, *words)) if words else f"{one.method}_index"


_REFUSALS = {
    400: "Malformed; `field` names what",
    401: "No token, or an unknown one",
    403: "Not with this token, or not by this person",
    404: "There is none",
    409: "It does not apply now, or a guard refuses; the answer says which",
    413: "Too large",
    415: "Not JSON",
    422: "The key was used for another command, or the rulebook is wrong",
    429: "Too many commands in a row; `Retry-After` says when to come again",
    502: "The service lacks a right there",
    503: "Not now; try again",
}
_MOMENT: Schema = {"type": ["string", "null"], "format": "date-time"}


def _object(required: Mapping[str, Schema], **others: Schema) -> Schema:
    return {"type": "object", "required": list(required), "properties": {**required, **others}}


def _listed(name: str, of: str) -> Schema:
    return _object({name: {"type": "array", "items": {"$ref": f"#/components/schemas/{of}"}}}, next={})


def _answer(name: str, of: str) -> Schema:
    return _object({name: {"$ref": f"#/components/schemas/{of}"}})


_SCHEMAS: Mapping[str, Schema] = {
    "Problem": _object(
        {"type": _TEXT, "title": _TEXT, "status": {"type": "integer"}, "detail": _TEXT},
        field=_TEXT,
        problems={"type": "array", "items": _TEXT},
        incident={"$ref": "#/components/schemas/Incident"},
        guards={"type": "object"},
        may_override={"type": "array", "items": _TEXT},
    ),
    "Accepted": _object(
        {"accepted": {"type": "integer"}, "ignored": {"type": "integer"}}, problems={"type": "array", "items": _TEXT}
    ),
    "Incident": _object(
        {
            "id": _TEXT,
            "target": _TEXT,
            "rule": _TEXT,
            "group": _TEXT,
            "severity": _TEXT,
            "status": {"type": "string", "enum": [status.value for status in IncidentStatus]},
            "reason": _TEXT,
            "opened_at": _MOMENT,
            "closed_at": _MOMENT,
            "pinned": {"type": ["object", "null"]},
            "steps": {"type": "array", "items": {"type": "object"}},
        },
        events={"type": "array", "items": {"type": "object"}},
    ),
    "IncidentAnswer": _answer("incident", "Incident"),
    "IncidentList": _listed("incidents", "Incident"),
    "Suppression": _object(
        {
            "id": _TEXT,
            "matchers": {"type": "array", "items": _TEXT},
            "until": _MOMENT,
            "reason": _TEXT,
            "by": _TEXT,
            "created_at": _MOMENT,
            "ended": {"type": ["object", "null"]},
        }
    ),
    "SuppressionAnswer": _answer("suppression", "Suppression"),
    "SuppressionList": _listed("suppressions", "Suppression"),
    "Hold": _object({"held": _TRUTH, "reason": _TEXT, "by": _TEXT, "at": _MOMENT}),
    "AuditEntry": _object(
        {
            "number": {"type": "integer"},
            "at": _MOMENT,
            "by": _TEXT,
            "action": _TEXT,
            "subject": _TEXT,
            "outcome": {"type": "string", "enum": ["done", "refused", "denied"]},
            "text": _TEXT,
        }
    ),
    "AuditList": _listed("audit", "AuditEntry"),
}
