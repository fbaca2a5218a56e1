"""What an API server refuses in the objects that the sandbox plays."""

from __future__ import annotations

import json
import re
from typing import Any

from responder.sandbox.api.refusals import Cause
from responder.sandbox.api.resources import DEPLOYMENTS, PODS, REPLICA_SETS, Resource
from responder.sandbox.api.selectors import matches_selector
from responder.sandbox.api.store import Json

_NAME = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*"
_NAME_RULE = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with "
    f"an alphanumeric character (e.g. 'example.com', regex used for validation is '{_NAME}')"
)
_INTEGERS = ("replicas", "revisionHistoryLimit", "minReadySeconds", "progressDeadlineSeconds")
_REQUIRED = "FieldValueRequired"


def _is(value: Any, kind: type) -> bool:
    if kind is int and (isinstance(value, bool) or (isinstance(value, int) and abs(value) >= 2**31)):
        return False
    return value is None or isinstance(value, kind)


def type_error(resource: Resource, item: Json) -> str | None:
    """The first field whose JSON type the server could not even decode; None when there is none."""
    for key in ("metadata", "spec", "status"):
        if resource != DEPLOYMENTS and key != "metadata":
            continue
        if not _is(item.get(key), dict):
            return key
    metadata = item.get("metadata") or {}
    for key in ("labels", "annotations"):
        if not _is(metadata.get(key), dict) or not all(isinstance(value, str) for value in (metadata.get(key) or {}).values()):
            return f"metadata.{key}"
    if resource not in (DEPLOYMENTS, REPLICA_SETS):
        return None
    spec = item.get("spec") or {}
    for key in _INTEGERS:
        if not _is(spec.get(key), int):
            return f"spec.{key}"
    if not _is(spec.get("paused"), bool):
        return "spec.paused"
    return _template_type_error(spec.get("template"))


def _template_type_error(template: Any) -> str | None:
    if not _is(template, dict):
        return "spec.template"
    for key in ("metadata", "spec"):
        if not _is((template or {}).get(key), dict):
            return f"spec.template.{key}"
    pod = (template or {}).get("spec") or {}
    for key in ("containers", "initContainers", "volumes"):
        if not _is(pod.get(key), list) or not all(isinstance(element, dict) for element in pod.get(key) or []):
            return f"spec.template.spec.{key}"
    for index, container in enumerate(pod.get("containers") or []):
        for key in ("image", "name"):
            if not _is(container.get(key), str):
                return f"spec.template.spec.containers[{index}].{key}"
    return None


def _containers(containers: list[Json], path: str) -> list[Cause]:
    if not containers:
        return [Cause(path, "Required value", _REQUIRED)]
    causes: list[Cause] = []
    seen: set[str] = set()
    for index, container in enumerate(containers):
        name = container.get("name", "")
        if not name:
            causes.append(Cause(f"{path}[{index}].name", "Required value", _REQUIRED))
        elif name in seen:
            causes.append(Cause(f"{path}[{index}].name", f'Duplicate value: "{name}"', "FieldValueDuplicate"))
        if not container.get("image"):
            causes.append(Cause(f"{path}[{index}].image", "Required value", _REQUIRED))
        seen.add(name)
    return causes


def _strategy(strategy: Json) -> list[Cause]:
    causes = []
    if strategy.get("type", "Recreate") not in ("Recreate", "RollingUpdate"):
        text = f'Unsupported value: "{strategy["type"]}": supported values: "Recreate", "RollingUpdate"'
        causes.append(Cause("spec.strategy.type", text, "FieldValueNotSupported"))
    for key in ("maxSurge", "maxUnavailable"):
        value = (strategy.get("rollingUpdate") or {}).get(key, 0)
        if not (isinstance(value, int) and value >= 0) and not (isinstance(value, str) and re.fullmatch(r"\d+%", value)):
            text = (
                f"Invalid value: {json.dumps(value)}: a valid percent string must be a numeric string followed by an ending '%'"
            )
            causes.append(Cause(f"spec.strategy.rollingUpdate.{key}", text))
    return causes


def _workload(item: Json) -> list[Cause]:
    spec = item["spec"]
    causes = [
        Cause(f"spec.{key}", f"Invalid value: {spec[key]}: must be greater than or equal to 0")
        for key in _INTEGERS
        if isinstance(spec.get(key), int) and spec[key] < 0
    ]
    causes += _strategy(spec.get("strategy") or {})
    selector, template = spec.get("selector") or {}, spec["template"]
    if not selector.get("matchLabels") and not selector.get("matchExpressions"):
        causes.append(Cause("spec.selector", "Required value", _REQUIRED))
    labels = template["metadata"].get("labels") or {}
    if not selector or not matches_selector(selector, labels):
        shown = "map[string]string" + json.dumps(labels, separators=(",", ":"), sort_keys=True)
        text = f"Invalid value: {shown}: `selector` does not match template `labels`"
        causes.append(Cause("spec.template.metadata.labels", text))
    return causes + _containers(template["spec"].get("containers") or [], "spec.template.spec.containers")


def problems(resource: Resource, item: Json, old: Json | None) -> list[Cause]:
    """Everything wrong with an object after defaults. old: what it replaces, None for a new one."""
    name = item["metadata"].get("name", "")
    causes: list[Cause] = []
    if not re.fullmatch(_NAME, name):
        causes.append(Cause("metadata.name", f'Invalid value: "{name}": {_NAME_RULE}'))
    if resource in (DEPLOYMENTS, REPLICA_SETS):
        causes += _workload(item)
        if old is not None and item["spec"].get("selector") != old["spec"].get("selector"):
            shown = json.dumps(item["spec"].get("selector"), separators=(",", ":"))
            causes.append(Cause("spec.selector", f"Invalid value: {shown}: field is immutable"))
    elif resource == PODS:
        causes += _containers(item["spec"].get("containers") or [], "spec.containers")
    return causes
