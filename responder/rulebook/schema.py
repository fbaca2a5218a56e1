"""The JSON Schema of a rulebook file, for editors: generated from what the loader validates with."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode, JsonSchemaValue, models_json_schema

from responder.domain.quantity import format_duration
from responder.domain.target import RollbackLimit
from responder.rulebook.form import RulebookForm
from responder.rulebook.loader import NOTIFIERS
from responder.rulebook.plan_form import STRUCTURE, StepForm
from responder.rulebook.scalar import NAME_PATTERN, TEMPLATE_NAME_PATTERN

_REFERENCE = "#/$defs/{model}"
_MODE: JsonSchemaMode = "validation"


class _EditorSchema(GenerateJsonSchema):
    """Shows defaults as a rulebook would write them, and no titles: editors show the key itself."""

    def encode_default(self, dft: Any) -> Any:
        return as_written(dft)

    def field_title_should_be_set(self, schema: object) -> bool:  # noqa: ARG002 - pydantic asks per field
        return False


def rulebook_schema(actions: Mapping[str, type[BaseModel]]) -> dict[str, Any]:
    """actions: parameter models by the word in `uses`, as for `load_rulebook`."""
    actions = {**STRUCTURE, **actions}
    forms: list[type[BaseModel]] = [RulebookForm, *actions.values()]
    references, document = models_json_schema(
        [(form, _MODE) for form in forms], ref_template=_REFERENCE, schema_generator=_EditorSchema
    )
    definitions: dict[str, Any] = document["$defs"]
    step = _long_form(definitions[StepForm.__name__])
    step["properties"]["uses"]["enum"] = list(actions)
    nested = {"$ref": _REFERENCE.format(model=StepForm.__name__)}
    step["properties"]["steps"]["items"] = nested
    step["properties"]["on_failure"]["anyOf"][1]["items"] = nested
    step["allOf"] = [_parameters_of(word, model, references[model, _MODE]) for word, model in actions.items()]
    short_step = definitions[StepForm.__name__]["anyOf"][0]
    short_step["enum"] = [word for word, model in actions.items() if not _needs_parameters(model)]
    _long_form(definitions["RouteForm"])["properties"]["to"]["enum"] = list(NOTIFIERS)
    definitions["RouteForm"]["anyOf"][0]["enum"] = list(NOTIFIERS)
    rulebook = definitions.pop(RulebookForm.__name__)
    for section in ("targets", "plans"):
        rulebook["properties"][section]["propertyNames"] = {"pattern": f"^{NAME_PATTERN}$"}
    names = {"pattern": f"^{TEMPLATE_NAME_PATTERN}$"}
    rulebook["properties"]["vars"]["propertyNames"] = names
    definitions["PlanForm"]["properties"]["inputs"]["propertyNames"] = names
    used = _referenced(rulebook, definitions)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Responder rulebook",
        **_tidy(rulebook),
        "$defs": {name: _tidy(definitions[name]) for name in sorted(used)},
    }


def _referenced(node: Any, definitions: Mapping[str, Any]) -> set[str]:
    """Names of the definitions that `node` needs, directly or through others."""
    found: set[str] = set()
    pending = [node]
    while pending:
        match pending.pop():
            case dict() as mapping:
                name = str(mapping.get("$ref", "")).removeprefix(_REFERENCE.format(model=""))
                if name and name not in found:
                    found.add(name)
                    pending.append(definitions[name])
                pending.extend(mapping.values())
            case list() as items:
                pending.extend(items)
    return found


def _long_form(definition: JsonSchemaValue) -> JsonSchemaValue:
    """The definition of a form that also has a short one, without the short one."""
    long_form: JsonSchemaValue = definition["anyOf"][1]
    return long_form


def _parameters_of(word: str, model: type[BaseModel], reference: JsonSchemaValue) -> JsonSchemaValue:
    then: JsonSchemaValue = {"properties": {"with": reference}}
    if _needs_parameters(model):
        then["required"] = ["with"]
    return {"if": {"properties": {"uses": {"const": word}}, "required": ["uses"]}, "then": then}


def _needs_parameters(model: type[BaseModel]) -> bool:
    return any(field.is_required() for field in model.model_fields.values())


def as_written(value: object) -> object:
    """A default as a rulebook would write it; None when it has no short form."""
    if isinstance(value, timedelta):
        return format_duration(value)
    if isinstance(value, RollbackLimit):
        return f"{value.count} per {format_duration(value.within)}"
    if isinstance(value, tuple) and len(value) == 2 and all(isinstance(end, timedelta) for end in value):
        return "..".join(format_duration(end) for end in value)
    if isinstance(value, frozenset | set):
        return sorted(value)
    if isinstance(value, tuple):
        return list(value)
    return value if isinstance(value, str | int | float | dict) else None


def _tidy(node: Any) -> Any:
    """Without what pydantic adds for itself: titles, empty defaults, and null for keys that may be left out."""
    if isinstance(node, list):
        return [_tidy(item) for item in node]
    if not isinstance(node, dict):
        return node
    tidy = {key: _tidy(value) for key, value in node.items() if not (key == "default" and value in (None, [], {}))}
    if isinstance(tidy.get("title"), str):
        del tidy["title"]
    branches = node.get("anyOf", [])
    if node.get("default", ...) is None and {"type": "null"} in branches:
        others = [_tidy(branch) for branch in branches if branch != {"type": "null"}]
        del tidy["anyOf"]
        return {**others[0], **tidy} if len(others) == 1 else {**tidy, "anyOf": others}
    return tidy
