"""What every form of a rulebook has in common: it refuses what it does not know."""

from __future__ import annotations

from typing import ClassVar

from pydantic import BaseModel, ConfigDict, GetJsonSchemaHandler, field_validator, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema


class Form(BaseModel):
    """Unknown keys are errors; so is a key without a value.

    shorthand: name of the key that a bare scalar stands for, None when there is no short form.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    shorthand: ClassVar[str | None] = None
    shorthand_schema: ClassVar[JsonSchemaValue] = {"type": "string"}

    @field_validator("*", mode="before")
    @classmethod
    def _has_a_value(cls, value: object) -> object:
        if value is None:
            raise ValueError("has no value; give one or remove the key")
        return value

    @model_validator(mode="before")
    @classmethod
    def _read(cls, data: object) -> object:
        return cls.expand(data)

    @classmethod
    def expand(cls, data: object) -> object:
        """The long form of a short one; anything else as it is."""
        if cls.shorthand is not None and isinstance(data, str | int | float) and not isinstance(data, bool):
            return {cls.shorthand: data}
        return data

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        schema = handler(core_schema)
        if cls.shorthand is not None:
            full = handler.resolve_ref_schema(schema)
            long_form = dict(full)
            full.clear()
            full["anyOf"] = [cls.shorthand_schema, long_form]
        return schema
