"""Label and field selectors of list and watch requests."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from responder.sandbox.api.refusals import bad_request
from responder.sandbox.api.resources import Resource
from responder.sandbox.api.store import Json

Predicate = Callable[[Json], bool]

_REQUIREMENT = re.compile(
    r"""\s*(?:
        (?P<set_key>[\w./-]+)\s+(?P<set_op>in|notin)\s*\((?P<set_values>[^)]*)\)
      | !\s*(?P<absent>[\w./-]+)
      | (?P<key>[\w./-]+)\s*(?:(?P<op>==|!=|=)\s*(?P<value>[\w.-]*))?
    )\s*(?:,|$)""",
    re.VERBOSE,
)


def _label_requirement(found: re.Match[str]) -> Predicate:
    if key := found["set_key"]:
        values = {value.strip() for value in found["set_values"].split(",")}
        if found["set_op"] == "in":
            return lambda labels: labels.get(key) in values
        return lambda labels: labels.get(key) not in values
    if key := found["absent"]:
        return lambda labels: key not in labels
    key, operator, value = found["key"], found["op"], found["value"]
    if operator is None:
        return lambda labels: key in labels
    if operator == "!=":
        return lambda labels: labels.get(key) != value
    return lambda labels: labels.get(key) == value


def label_predicate(text: str) -> Predicate:
    """Raises RefusalError (400) for a selector that can't be read."""
    requirements: list[Predicate] = []
    at = 0
    while at < len(text):
        found = _REQUIREMENT.match(text, at)
        if found is None:
            raise bad_request(f"unable to parse requirement: found {text[at:]!r}, expected: ',' or 'end of string'")
        requirements.append(_label_requirement(found))
        at = found.end()
    return lambda item: all(holds(item["metadata"].get("labels") or {}) for holds in requirements)


def _field(item: Json, path: str) -> str:
    value: Any = item
    for key in path.split("."):
        value = value.get(key) if isinstance(value, dict) else None
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):  # an event's `source` selects by its component
        value = value.get("component")
    return "" if value is None else str(value)


def field_predicate(text: str, resource: Resource) -> Predicate:
    """Raises RefusalError (400) for a field this kind can't be selected by."""
    known = ("metadata.name", "metadata.namespace", *resource.fields)
    requirements: list[tuple[str, bool, str]] = []
    for part in filter(None, text.split(",")):
        found = re.fullmatch(r"\s*([\w.]+)\s*(==|!=|=)\s*(.*?)\s*", part)
        if found is None:
            raise bad_request(f"invalid selector: '{part}'; can't understand '{part}'")
        if found[1] not in known:
            raise bad_request(f'"{found[1]}" is not a known field selector: only "metadata.name", "metadata.namespace"')
        requirements.append((found[1], found[2] != "!=", found[3]))
    return lambda item: all((_field(item, path) == value) is equal for path, equal, value in requirements)


def selection(resource: Resource, labels: str, fields: str) -> Predicate:
    by_labels, by_fields = label_predicate(labels), field_predicate(fields, resource)
    return lambda item: by_labels(item) and by_fields(item)


def matches_selector(selector: Json, labels: Json) -> bool:
    """Whether a LabelSelector (matchLabels, matchExpressions) selects these labels."""
    for rule in selector.get("matchExpressions") or []:
        key, values = rule["key"], rule.get("values") or []
        holds = {
            "In": labels.get(key) in values and key in labels,
            "NotIn": labels.get(key) not in values,
            "Exists": key in labels,
            "DoesNotExist": key not in labels,
        }
        if not holds.get(rule["operator"], False):
            return False
    return all(labels.get(key) == value for key, value in (selector.get("matchLabels") or {}).items())
