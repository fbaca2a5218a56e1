"""The kinds of patch bodies an API server takes."""

from __future__ import annotations

from typing import Any

import jsonpatch
import orjson

from responder.sandbox.api.refusals import bad_request, unprocessable_patch, unsupported_media_type
from responder.sandbox.api.store import Json, copied

JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"

# Lists that strategic merge joins by a key; every other list is replaced.
MERGE_KEYS = {
    "containers": "name",
    "initContainers": "name",
    "ephemeralContainers": "name",
    "env": "name",
    "volumes": "name",
    "imagePullSecrets": "name",
    "volumeMounts": "mountPath",
    "ports": "containerPort",
    "ownerReferences": "uid",
    "conditions": "type",
    "hostAliases": "ip",
}


def apply_patch(item: Json, content_type: str, body: bytes) -> Json:
    """Return the patched object.

    Raises RefusalError: 415 for other content types, 400 for a broken body, 422 when a JSON patch doesn't apply.
    """
    kind = content_type.partition(";")[0].strip()
    if kind not in (JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH, APPLY_PATCH):
        raise unsupported_media_type()
    try:
        patch = orjson.loads(body)
    except ValueError as error:
        raise bad_request(f"error decoding patch: {error}") from error
    if kind == JSON_PATCH:
        return _json_patch(item, patch)
    if not isinstance(patch, dict):
        raise bad_request("error decoding patch: json: cannot unmarshal the value into an object")
    patched = merge(item, patch) if kind == MERGE_PATCH else merge_strategically(item, patch)
    return patched if isinstance(patched, dict) else {}


def is_apply(content_type: str) -> bool:
    """Server-side apply: here only a strategic merge of a JSON body that may create; nobody owns fields."""
    return content_type.partition(";")[0].strip() == APPLY_PATCH


def _json_patch(item: Json, patch: Any) -> Json:
    if not isinstance(patch, list) or not all(isinstance(operation, dict) for operation in patch):
        raise bad_request("json: cannot unmarshal object into Go value of type jsonpatch.Patch")
    try:
        patched = jsonpatch.apply_patch(copied(item), patch)
    except (jsonpatch.JsonPatchException, jsonpatch.JsonPointerException, TypeError, KeyError) as error:
        raise unprocessable_patch() from error
    if not isinstance(patched, dict):
        raise unprocessable_patch()
    return patched


def merge(item: Any, patch: Any) -> Any:
    """RFC 7386."""
    if not isinstance(patch, dict):
        return copied(patch)
    result = dict(item) if isinstance(item, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merge(result.get(key), value)
    return result


def merge_strategically(item: Any, patch: Json) -> Json:
    """Merge patch whose known lists are joined by key.

    Knows the directives `$patch`, `$retainKeys`, `$deleteFromPrimitiveList` and `$setElementOrder`.
    """
    directive = patch.get("$patch")
    if directive == "replace":
        return {key: copied(value) for key, value in patch.items() if key != "$patch"}
    if directive == "delete":
        return {}
    result: Json = dict(item) if isinstance(item, dict) else {}
    if (retained := patch.get("$retainKeys")) is not None:
        result = {key: value for key, value in result.items() if key in retained}
    for key, value in patch.items():
        if key.startswith("$deleteFromPrimitiveList/"):
            field = key.partition("/")[2]
            result[field] = [element for element in result.get(field) or [] if element not in value]
        elif key.startswith("$"):
            continue
        elif value is None:
            result.pop(key, None)
        elif isinstance(value, dict):
            result[key] = merge_strategically(result.get(key), value)
        elif isinstance(value, list) and key in MERGE_KEYS and all(isinstance(element, dict) for element in value):
            order = patch.get(f"$setElementOrder/{key}")
            result[key] = _merge_list(result.get(key) or [], value, MERGE_KEYS[key], order)
        else:
            result[key] = copied(value)
    return result


def _merge_list(items: list[Json], patch: list[Json], key: str, order: list[Json] | None) -> list[Json]:
    if any(element.get("$patch") == "replace" and key not in element for element in patch):
        return [copied(element) for element in patch if "$patch" not in element]
    result = [copied(element) for element in items]
    for element in patch:
        at = next((index for index, known in enumerate(result) if known.get(key) == element.get(key)), None)
        if element.get("$patch") == "delete":
            result = [known for known in result if known.get(key) != element.get(key)]
        elif at is None:
            result.append(merge_strategically({}, element))
        else:
            result[at] = merge_strategically(result[at], element)
    if order:
        rank = {element.get(key): index for index, element in enumerate(order)}
        result.sort(key=lambda element: rank.get(element.get(key), len(rank)))
    return result
