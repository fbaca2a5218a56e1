"""What a request is about, read off its method, path and query."""

from __future__ import annotations

from dataclasses import dataclass

from responder.sandbox.api.refusals import method_not_allowed, no_such_resource
from responder.sandbox.api.resources import NAMESPACES, SERVED, Resource

_VERBS = {
    ("GET", True): "get",
    ("GET", False): "list",
    ("POST", False): "create",
    ("PUT", True): "update",
    ("PATCH", True): "patch",
    ("DELETE", True): "delete",
    ("DELETE", False): "deletecollection",
}


@dataclass(frozen=True, slots=True)
class Asked:
    """namespace "": all namespaces, or a resource that has none. name "": the collection."""

    verb: str
    resource: Resource
    namespace: str = ""
    name: str = ""
    subresource: str = ""


def read_path(method: str, path: str, *, watch: bool) -> Asked:
    """Raises RefusalError: 404 for a resource that is not served, 405 for a method it doesn't know."""
    parts = [part for part in path.split("/") if part]
    if parts[:2] == ["api", "v1"]:
        group, version, rest = "", "v1", parts[2:]
    elif parts[:1] == ["apis"] and len(parts) > 3:
        group, version, rest = parts[1], parts[2], parts[3:]
    else:
        raise no_such_resource()
    namespace = ""
    if rest[:1] == ["namespaces"] and len(rest) > 2 and (group, version, rest[2]) in SERVED:
        namespace, rest = rest[1], rest[2:]
    resource = SERVED.get((group, version, rest[0])) if rest else None
    if resource is None or len(rest) > 3 or (namespace and not resource.namespaced):
        raise no_such_resource()
    name, subresource = [*rest[1:], "", ""][:2]
    if resource.namespaced and name and not namespace:
        raise no_such_resource()
    if subresource and subresource not in resource.subresources and (resource, subresource) != (NAMESPACES, "status"):
        raise no_such_resource()
    verb = _VERBS.get((method, bool(name)))
    if verb is None or (verb == "create" and resource.namespaced and not namespace):
        raise method_not_allowed()
    return Asked("watch" if verb == "list" and watch else verb, resource, namespace, name, subresource)
