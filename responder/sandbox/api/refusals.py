"""Refusals as the API server words them: Status objects.

Wording and codes were compared with a genuine kube-apiserver; clients read `reason` and `code`, people read `message`.
"""

from __future__ import annotations

from dataclasses import dataclass

from responder.sandbox.api.resources import Resource
from responder.sandbox.api.store import Json

REJECTED = "the server rejected our request due to an error in our request"
MODIFIED = "the object has been modified; please apply your changes to the latest version and try again"


@dataclass(frozen=True, slots=True)
class Cause:
    """One thing wrong with a field. reason: FieldValueInvalid, FieldValueRequired, …"""

    field: str
    message: str
    reason: str = "FieldValueInvalid"


class RefusalError(Exception):
    """The request is refused; `status` is the body that says so."""

    def __init__(self, code: int, reason: str, message: str, details: Json | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.status: Json = {
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message, "reason": reason,
        }  # fmt: skip
        if details is not None:
            self.status["details"] = details
        self.status["code"] = code


def _details(resource: Resource, name: str = "", kind: str = "") -> Json:
    return {key: value for key, value in (("name", name), ("group", resource.group), ("kind", kind or resource.plural)) if value}


def bad_request(message: str) -> RefusalError:
    return RefusalError(400, "BadRequest", message)


def unauthorized() -> RefusalError:
    return RefusalError(401, "Unauthorized", "Unauthorized")


def forbidden(
    user: str, verb: str, resource: Resource, *, namespace: str = "", name: str = "", subresource: str = ""
) -> RefusalError:
    what = resource.qualified + (f' "{name}"' if name else "")
    where = f'in the namespace "{namespace}"' if namespace else "at the cluster scope"
    asked = f"{resource.plural}/{subresource}" if subresource else resource.plural
    message = f'{what} is forbidden: User "{user}" cannot {verb} resource "{asked}" in API group "{resource.group}" {where}'
    return RefusalError(403, "Forbidden", message, _details(resource, name))


def forbidden_path(user: str, verb: str, path: str) -> RefusalError:
    return RefusalError(403, "Forbidden", f'forbidden: User "{user}" cannot {verb} path "{path}"', {})


def being_terminated(resource: Resource, name: str, namespace: str) -> RefusalError:
    cause = {
        "reason": "NamespaceTerminating",
        "message": f"namespace {namespace} is being terminated",
        "field": "metadata.namespace",
    }
    text = f"unable to create new content in namespace {namespace} because it is being terminated"
    message = f'{resource.qualified} "{name}" is forbidden: {text}'
    return RefusalError(403, "Forbidden", message, {**_details(resource, name), "causes": [cause]})


def not_found(resource: Resource, name: str) -> RefusalError:
    return RefusalError(404, "NotFound", f'{resource.qualified} "{name}" not found', _details(resource, name))


def no_such_resource() -> RefusalError:
    return RefusalError(404, "NotFound", "the server could not find the requested resource", {})


def method_not_allowed() -> RefusalError:
    return RefusalError(405, "MethodNotAllowed", "the server does not allow this method on the requested resource", {})


def already_exists(resource: Resource, name: str) -> RefusalError:
    return RefusalError(409, "AlreadyExists", f'{resource.qualified} "{name}" already exists', _details(resource, name))


def conflict(resource: Resource, name: str, why: str = MODIFIED) -> RefusalError:
    message = f'Operation cannot be fulfilled on {resource.qualified} "{name}": {why}'
    return RefusalError(409, "Conflict", message, _details(resource, name))


def expired(requested: int, oldest: int) -> RefusalError:
    return RefusalError(410, "Expired", f"too old resource version: {requested} ({oldest})")


def unsupported_media_type() -> RefusalError:
    return RefusalError(415, "UnsupportedMediaType", "415: Unsupported Media Type", {})


def unprocessable_patch() -> RefusalError:
    """What a JSON patch gets whose `test` fails or whose path is missing: 422 without a word on which."""
    return RefusalError(422, "Invalid", REJECTED, {})


def invalid(resource: Resource, name: str, causes: list[Cause]) -> RefusalError:
    texts = [f"{cause.field}: {cause.message}" for cause in causes]
    message = f'{resource.qualified_kind} "{name}" is invalid: {texts[0] if len(texts) == 1 else "[" + ", ".join(texts) + "]"}'
    listed = [{"reason": cause.reason, "message": cause.message, "field": cause.field} for cause in causes]
    return RefusalError(422, "Invalid", message, {**_details(resource, name, resource.kind), "causes": listed})
