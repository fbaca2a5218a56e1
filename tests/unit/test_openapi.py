"""`/openapi.json` is of one mind with the service: the same addresses, the same bodies, the same answers."""

from __future__ import annotations

from typing import Any, cast

import jsonschema
import pytest
from starlette.routing import Route

from responder.engine.feed import Feed
from responder.engine.guard_view import GuardView
from responder.engine.preview import Previewer
from responder.web.app import Surface, build_app
from responder.web.intake import IntakeEndpoint
from responder.web.openapi import OPERATIONS, openapi_document
from responder.web.webhooks import Webhooks
from tests.unit.played_commands import OPERATOR, Played, parts
from tests.unit.test_web_commands import WRONG
from tests.unit.web_parts import Parts, an_incident

DOCUMENT = openapi_document()


def with_everything() -> Parts:
    made = parts(Played())
    made.overrides["previewer"] = cast("Previewer", object())
    made.overrides["guards"] = cast("GuardView", object())
    made.overrides["feed"] = Feed("life")
    made.incidents.incidents = [an_incident()]
    return made


def test_every_address_is_described_and_every_description_has_an_address() -> None:
    surface = build_app(with_everything().services())
    assert isinstance(surface, Surface)
    routes: list[Route] = surface._pages.routes  # type: ignore[attr-defined]
    there = {(route.path, method.lower()) for route in routes for method in route.methods or () if method != "HEAD"}
    endpoints = cast("dict[bytes, IntakeEndpoint]", Webhooks(with_everything().services()).short_cuts)
    webhooks = {(path.decode(), method.lower()) for path, one in endpoints.items() for method in one._methods}
    assert {(one.path, one.method) for one in OPERATIONS} == there | webhooks


def validator(name: str) -> jsonschema.Draft202012Validator:
    schema = {"$ref": f"#/components/schemas/{name}", "components": DOCUMENT["components"]}
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def test_every_reference_leads_somewhere_and_names_are_unique() -> None:
    names = [one["operationId"] for methods in DOCUMENT["paths"].values() for one in methods.values()]
    assert len(names) == len(set(names))
    for name in DOCUMENT["components"]["schemas"]:
        validator(name)

    def references(node: Any) -> set[str]:
        if isinstance(node, dict):
            own = {node["$ref"]} if "$ref" in node else set()
            return own.union(*map(references, node.values()))
        return set[str]().union(*map(references, node)) if isinstance(node, list | tuple) else set()

    assert {f"#/components/schemas/{name}" for name in DOCUMENT["components"]["schemas"]} >= references(DOCUMENT)


GOOD = {
    "/v1/rollbacks": {"target": "shop", "reason": "x", "revision": 7, "inputs": {"a": "b"}, "override": ["paused"]},
    "/v1/suppressions": {"matchers": ['a="b"'], "duration": "1h", "reason": "x"},
    "/v1/hold": {"held": True, "reason": "x"},
    "/v1/incidents/{id}/approve": {"reason": "x", "step": "backup"},
    "/v1/incidents/{id}/reject": {},
    "/v1/incidents/{id}/cancel": {"reason": "x"},
    "/v1/incidents/{id}/acknowledge": {},
    "/v1/suppressions/{id}": {"reason": "x"},
}
COMMANDS = [one for one in OPERATIONS if one.is_command]


@pytest.mark.parametrize("operation", COMMANDS, ids=lambda one: f"{one.method} {one.path}")
async def test_a_good_body_is_good_for_both_and_the_answer_is_as_described(operation: Any) -> None:
    body = GOOD[operation.path]
    validator(operation.body.__name__).validate(body)
    async with with_everything().client() as client:
        path = operation.path.replace("{id}", "inc_0001")
        answer = await client.request(operation.method, path, json=body, headers=OPERATOR)
    assert answer.status_code == operation.status, answer.text
    validator(operation.gives).validate(answer.json())


@pytest.mark.parametrize("operation", [one for one in OPERATIONS if one.method == "get" and one.gives], ids=lambda one: one.path)
async def test_an_answer_is_as_described(operation: Any) -> None:
    async with with_everything().client() as client:
        answer = await client.get(operation.path.replace("{id}", "inc_0001"), headers=OPERATOR)
    assert answer.status_code == 200, answer.text
    validator(operation.gives).validate(answer.json())


SEEN = ["no reason", "no target", "a target that is no text", "a member that is not known", "a truth as text"]


@pytest.mark.parametrize("name", SEEN)
def test_what_the_service_refuses_by_its_form_the_description_refuses(name: str) -> None:
    _, body, _ = WRONG[name]
    assert not validator("RollbackBody").is_valid(body)


async def test_the_document_is_served_without_a_token_and_refusals_are_as_described() -> None:
    async with with_everything().client() as client:
        assert (await client.get("/openapi.json")).json() == DOCUMENT
        refused = await client.post("/v1/rollbacks", json={}, headers=OPERATOR)
    validator("Problem").validate(refused.json())
