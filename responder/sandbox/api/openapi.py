"""Just enough OpenAPI for kubectl to leave the checking of manifests to the server (`create -f`, `apply -f`)."""

from __future__ import annotations

from responder.sandbox.api.resources import RESOURCES, Resource
from responder.sandbox.api.store import Json

ROOT = "/openapi/v3"
_FIELD_VALIDATION = {"name": "fieldValidation", "in": "query", "schema": {"type": "string"}}


def _base(resource: Resource) -> str:
    return f"apis/{resource.api_version}" if resource.group else f"api/{resource.version}"


def _patch(resource: Resource) -> Json:
    kind = {"group": resource.group, "version": resource.version, "kind": resource.kind}
    return {"patch": {"parameters": [_FIELD_VALIDATION], "x-kubernetes-group-version-kind": kind, "responses": {}}}


def openapi(path: str) -> Json | None:
    """The document at this path; None when there is none."""
    bases = {_base(resource) for resource in RESOURCES}
    if path == ROOT:
        return {"paths": {base: {"serverRelativeURL": f"{ROOT}/{base}?hash=sandbox"} for base in sorted(bases)}}
    base = path.removeprefix(f"{ROOT}/")
    if base not in bases:
        return None
    found = [resource for resource in RESOURCES if _base(resource) == base]
    scope = {True: "namespaces/{namespace}/", False: ""}
    return {
        "openapi": "3.0.0",
        "info": {"title": "Sandbox", "version": "1"},
        "paths": {f"/{base}/{scope[resource.namespaced]}{resource.plural}/{{name}}": _patch(resource) for resource in found},
        "components": {"schemas": {}},
    }
