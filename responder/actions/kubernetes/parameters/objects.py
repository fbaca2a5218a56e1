"""Steps that change, keep, put back or wait for objects of any kind."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from responder.actions.kubernetes.kinds import POD_TEMPLATES
from responder.actions.kubernetes.parameters.about import (
    WHEN_PLAN_FAILS,
    Afterwards,
    ObjectOnlyParameters,
    OnParameters,
    WaitingParameters,
    manifest_object,
)
from responder.actions.kubernetes.parameters.written import LabelKey, LabelValue
from responder.actions.parameters import Argument, Parameters
from responder.actions.templates import is_template

REMAKEABLE = frozenset(
    {"Ingress", "Service", "ConfigMap", "NetworkPolicy", "HorizontalPodAutoscaler", "PodDisruptionBudget", "CronJob"}
)
"""Kinds whose manifest is all there is to them."""


class PatchOperation(Parameters):
    op: Literal["add", "replace", "remove", "test"]
    path: Annotated[str, Field(pattern=r"^(/[^/]+)+$", description="JSON pointer: /spec/type, /metadata/labels/a~1b.")]
    value: Any = None


class PatchParameters(WaitingParameters):
    """Change fields of an object by JSON patch. The image of a pod template is changed by `rollback` or `set_image`."""

    operations: Annotated[tuple[PatchOperation, ...], Field(min_length=1)]
    when_plan_fails: Afterwards = Field("keep", description=WHEN_PLAN_FAILS)


class ApplyParameters(Parameters):
    """Server-side apply of a manifest written in the rulebook, or what an earlier `delete` took away."""

    manifest: Mapping[str, Any] | None = Field(
        None, description="apiVersion, kind, metadata.namespace, metadata.name and what is to be."
    )
    deleted_by: str | None = Field(None, min_length=1, description="Instead: name of an earlier `delete` step, to bring back.")
    force: bool = Field(False, description="Take over fields that another manager owns.")
    elsewhere: bool = Field(False, description="The namespace is none of the declared targets': on purpose.")

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if (self.manifest is None) == (self.deleted_by is None):
            raise ValueError("needs either `manifest` or `deleted_by`")
        if self.manifest is None:
            return self
        named = manifest_object(self.manifest, elsewhere=self.elsewhere)
        if named.kind in POD_TEMPLATES:
            raise ValueError(
                f"a {named.kind} is not applied: that can't take out what others put in; use `rollback` or `kubernetes.patch`"
            )
        return self


class DeleteParameters(ObjectOnlyParameters):
    """Delete an object and wait until it is gone. Put back when the plan fails later, if the manifest alone makes it again."""

    wait: bool = Field(True, description="Wait until it is gone.")
    missing_ok: bool = Field(True, description="An object that is not there is fine.")
    when_plan_fails: Afterwards = Field("undo", description=f"{WHEN_PLAN_FAILS} Secrets, claims and the like are never put back.")

    def destroys(self) -> bool:
        return self.object.kind not in REMAKEABLE


class SnapshotParameters(OnParameters):
    """Keep what a ConfigMap, a Secret or a workload's template holds now, to be put back by `kubernetes.restore`."""

    keep: int = Field(10, ge=1, le=100, strict=True, description="How many to keep of this object; older ones go.")


class RestoreParameters(ObjectOnlyParameters):
    """Put back what a snapshot of a ConfigMap or Secret holds."""

    snapshot: Argument | None = Field(None, description="Name of the snapshot.")
    before: Argument | None = Field(
        None,
        description="The newest one older than this: a time, or `deploy`, the version's rollout. Default: deploy, where known.",
    )
    bad: Argument | None = Field(
        None, description="Hash of the content to replace (`kubernetes.snapshot` tells it), or its beginning."
    )
    force: bool = Field(False, description="Replace it even if somebody changed it since the incident began.")
    restart: tuple[str, ...] = Field((), description="Names of targets to restart afterwards: those that read it.")

    @model_validator(mode="after")
    def _usable(self) -> Self:
        if self.object.kind not in ("ConfigMap", "Secret"):
            raise ValueError("only a ConfigMap or a Secret is restored; a workload goes back by `rollback`")
        if self.snapshot is not None and self.before is not None:
            raise ValueError("`snapshot` and `before` exclude each other")
        if self.before is not None and not is_template(self.before) and self.before != "deploy":
            try:
                moment = datetime.fromisoformat(self.before)
            except ValueError:
                raise ValueError(
                    f"before: {self.before!r} is not a time; write for example 2026-03-01T12:00:00Z, or deploy"
                ) from None
            if moment.tzinfo is None:
                raise ValueError("before: the time needs its zone; write for example 2026-03-01T12:00:00Z")
        return self

    def destroys(self) -> bool:
        return True


class WaitParameters(OnParameters):
    """Wait until something holds; the step's timeout bounds it. Changes nothing."""

    until: Literal["rollout", "condition", "no_pods", "no_endpoints", "gone"] = Field(alias="for")
    condition: Annotated[
        str | None, Field(pattern=r"^[A-Za-z0-9./-]+(=[A-Za-z]+)?$", description="Available, or Progressing=False.")
    ] = None
    labels: Mapping[LabelKey, LabelValue] = Field({}, description="For `no_pods`: only pods with these labels.")

    @model_validator(mode="after")
    def _fitting(self) -> Self:
        if (self.until == "condition") != (self.condition is not None):
            raise ValueError("`condition` belongs to `for: condition`")
        if self.labels and self.until != "no_pods":
            raise ValueError("`labels` belongs to `for: no_pods`")
        if self.until in ("no_endpoints", "gone") and self.object is None:
            raise ValueError(f"`for: {self.until}` needs an `object`")
        return self

    def only_looks(self) -> bool:
        return True
