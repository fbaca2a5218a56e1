"""What a step is about: a target, an object, the object of a manifest, one of two colours; and what becomes of its effect."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from responder.actions.kubernetes.kinds import KINDS
from responder.actions.kubernetes.parameters.written import LabelKey, LabelValue, Name, Namespace
from responder.actions.parameters import Parameters

WHEN_PLAN_FAILS = "What becomes of the effect when the plan fails later: `undo` puts back what was before, `keep` leaves it."
Afterwards = Literal["undo", "keep"]


class ObjectParameters(Parameters):
    """An object that is no target: named outright."""

    kind: str = Field(description="For example ConfigMap, Ingress or Service; any kind with `api_version`.", min_length=1)
    namespace: Namespace = Field(description="A namespace of a declared target, unless `elsewhere`.")
    name: Name
    api_version: str = Field("", description="For example networking.k8s.io/v1. Default: known for the usual kinds.")
    elsewhere: bool = Field(False, description="The namespace is none of the declared targets': on purpose.")

    @model_validator(mode="after")
    def _known_kind(self) -> Self:
        if not self.api_version and self.kind not in KINDS:
            raise ValueError(f"unknown kind {self.kind!r}; add `api_version`, or write one of {', '.join(sorted(KINDS))}")
        if self.api_version and not re.fullmatch(r"([a-z0-9.-]+/)?v[0-9][a-z0-9]*", self.api_version):
            raise ValueError(f"{self.api_version!r} is not an apiVersion; write for example networking.k8s.io/v1")
        return self


class OnParameters(Parameters):
    """What a step is about: a declared target, or an object."""

    target: str | None = Field(None, min_length=1, description="Name of a declared target. Default: the incident's.")
    object: ObjectParameters | None = Field(None, description="Instead of a target: an object, written out.")

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        if self.target is not None and self.object is not None:
            raise ValueError("`target` and `object` exclude each other")
        return self


class ObjectOnlyParameters(Parameters):
    object: ObjectParameters


class WaitingParameters(OnParameters):
    wait: bool = Field(True, description="Wait until the pods follow: the step ends when the rollout is complete. Targets only.")


class Colours(Parameters):
    """A Service whose selector names one of several targets: blue and green."""

    service: Name
    key: LabelKey = Field(description="The one key of the Service's selector that tells the colours apart.")
    colours: Annotated[Mapping[LabelValue, str], Field(min_length=2, description="Value of the key → name of its target.")]


def manifest_object(manifest: Mapping[str, Any], *, elsewhere: bool, default_name: str = "") -> ObjectParameters:
    """The object that a manifest speaks of. Raises ValueError."""
    meta = manifest.get("metadata")
    if not isinstance(meta, Mapping):
        raise ValueError("manifest: needs `metadata` with namespace and name")  # noqa: TRY004 - pydantic reads ValueError
    return ObjectParameters.model_validate(
        {
            "kind": manifest.get("kind", ""),
            "api_version": manifest.get("apiVersion", ""),
            "namespace": meta.get("namespace", ""),
            "name": meta.get("name") or default_name,
            "elsewhere": elsewhere,
        }
    )
