"""What would change, as people read it: a unified diff of the object as it is and as the server would make it."""

from __future__ import annotations

import base64
import binascii
import difflib
import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

from responder.actions.kubernetes.paths import Object

_OF_THE_SERVER = ("managedFields", "resourceVersion", "generation", "uid", "creationTimestamp", "selfLink")
_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


def difference(before: Object | None, after: Object | None) -> str:
    """ "" when nothing that people wrote differs. Values of Secrets are shown as hashes."""
    lines = difflib.unified_diff(_text(before), _text(after), "now", "then", lineterm="", n=2)
    return "\n".join(lines)


def content_hash(item: Object) -> str:
    """SHA-256 over what a ConfigMap or Secret holds."""
    content = {key: item.get(key) or {} for key in ("data", "binaryData")}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _text(item: Object | None) -> list[str]:
    return list(_lines(_for_people(item), "")) if item else []


def _for_people(item: Object) -> Object:
    shown = {key: value for key, value in item.items() if key != "status"}
    meta = {key: value for key, value in (item.get("metadata") or {}).items() if key not in _OF_THE_SERVER}
    annotations = {key: value for key, value in (meta.pop("annotations", None) or {}).items() if key != _LAST_APPLIED}
    shown["metadata"] = {**meta, **({"annotations": annotations} if annotations else {})}
    if item.get("kind") == "Secret":
        for field in ("data", "stringData"):
            if item.get(field):
                shown[field] = {key: _hidden(value) for key, value in item[field].items()}
    return shown


def _hidden(value: Any) -> str:
    try:
        raw = base64.b64decode(str(value), validate=True)
    except (binascii.Error, ValueError):
        raw = str(value).encode()
    return f"({len(raw)} bytes, sha256 {hashlib.sha256(raw).hexdigest()[:12]})"


def _lines(value: Any, indent: str) -> Iterator[str]:
    """Like YAML, keys in order, long texts line by line."""
    if isinstance(value, Mapping):
        for key in sorted(value):
            yield from _entry(f"{indent}{key}:", value[key], indent)
    elif isinstance(value, list):
        for element in value:
            if isinstance(element, Mapping) and element:
                first, *rest = _lines(element, indent + "  ")
                yield f"{indent}- {first.strip()}"
                yield from rest
            else:
                yield from _entry(f"{indent}-", element, indent)


def _entry(head: str, value: Any, indent: str) -> Iterator[str]:
    if isinstance(value, Mapping | list) and value:
        yield head
        yield from _lines(value, indent + "  ")
    elif isinstance(value, str) and "\n" in value:
        yield f"{head} |"
        yield from (f"{indent}  {line}" for line in value.splitlines())
    elif isinstance(value, str):
        yield f"{head} {value}" if value else f'{head} ""'
    else:
        yield f"{head} {json.dumps(value)}"
