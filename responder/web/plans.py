"""What a plan would do now."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field, WithJsonSchema
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from responder.domain.incident import Order
from responder.engine.orders import RollbackRequest
from responder.engine.preview import PlanPreview, StepPreview
from responder.web.answers import json_answer
from responder.web.bodies import Body, Name, Text, read_body, read_document
from responder.web.documents import Document, preview_document
from responder.web.gate import CommandGate
from responder.web.services import WebServices
from responder.web.tokens import OPERATORS


def _as_text(value: object) -> object:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


class PreviewBody(Body):
    """Like that of a rollback, without what only matters when it is done."""

    target: Name
    version: Name | None = None
    revision: Annotated[Name, BeforeValidator(_as_text), WithJsonSchema({"type": ["string", "integer"]})] | None = None
    inputs: Annotated[dict[Name, Text], Field(max_length=50)] = {}  # noqa: RUF012 (pydantic copies it)
    skip_validation: bool = False
    create_backup: bool = False


def plan_routes(services: WebServices) -> list[Route]:
    """None when this service can't look ahead."""
    previewer = services.previewer
    if previewer is None:
        return []
    gate = CommandGate(services)

    async def preview(request: Request) -> Response:
        actor = await gate.admit(request, OPERATORS)
        body = read_body(PreviewBody, await read_document(request))
        order = Order(
            by=actor.name,
            reason="a look ahead",
            version=body.version or "",
            revision=body.revision or "",
            skip_validation=body.skip_validation,
            create_backup=body.create_backup,
        )
        asked = RollbackRequest(body.target, order, request.path_params["name"], body.inputs)
        return json_answer(_document(await previewer.preview(asked)))

    return [Route("/v1/plans/{name}/preview", preview, methods=["POST"])]


def _document(preview: PlanPreview) -> Document:
    return {**preview_document(preview.order), "steps": [_step(step) for step in preview.steps]}


def _step(step: StepPreview) -> Document:
    return {
        "name": step.name,
        "uses": step.uses,
        "phase": step.phase,
        "depth": step.depth,
        "when": step.when,
        "what": step.what,
        "difference": step.difference,
    }
