"""The `with` of the steps on Kubernetes objects. Objects, programs and manifests are written out: no alert can choose one."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, WithJsonSchema, model_validator

from responder.actions.kubernetes.kinds import KINDS, POD_TEMPLATES
from responder.actions.parameters import Argument, Duration, Parameters
from responder.actions.templates import is_template

_NAME = r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?"
_LABEL = r"([A-Za-z0-9.-]{1,253}/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
_LABEL_VALUE = r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?"
IMAGE = r"[a-z0-9]([\w.:/-]*[\w])?(@sha256:[0-9a-f]{64})?"


def _literal(what: str, pattern: str) -> AfterValidator:
    def check(value: str) -> str:
        if is_template(value):
            raise ValueError("must be written out: a template could let an alert choose what is changed")
        if not re.fullmatch(pattern, value):
            raise ValueError(f"{value[:80]!r} is not {what}")
        return value

    return AfterValidator(check)


def _pattern(pattern: str) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "pattern": f"^{pattern}$"})


_DNS_LABEL = r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"
_ENV_NAME = r"[A-Za-z_][A-Za-z0-9_.-]*"
Name = Annotated[str, _literal("a name of a Kubernetes object", _NAME), _pattern(_NAME)]
Namespace = Annotated[str, _literal("a name of a namespace", _DNS_LABEL), _pattern(_DNS_LABEL)]
LabelKey = Annotated[str, _literal("a label key", _LABEL), _pattern(_LABEL)]
LabelValue = Annotated[str, _literal("a label value", _LABEL_VALUE), _pattern(_LABEL_VALUE)]
ContainerName = Annotated[str, _literal("a name of a container", _DNS_LABEL), _pattern(_DNS_LABEL)]
EnvName = Annotated[str, _literal("a name of an environment variable", _ENV_NAME), _pattern(_ENV_NAME)]
WHEN_PLAN_FAILS = "What becomes of the effect when the plan fails later: `undo` puts back what was before, `keep` leaves it."
Afterwards = Literal["undo", "keep"]


def _check_image(value: str) -> str:
    """Only what follows the repository may be a template: an input or a version may choose a tag, nobody chooses what is run."""
    head, brace, _ = value.partition("{{")
    if (
        "{%" in value
        or (brace and not re.fullmatch(r"[a-z0-9][\w.:/-]*[:@][\w.:-]*", head))
        or (brace and "/" in value[len(head) :])
    ):
        raise ValueError("only the tag or digest may be a template: registry.example.com/shop/app:{{ inputs.version }}")
    if not brace and not re.fullmatch(IMAGE, value):
        raise ValueError(f"{value[:80]!r} is not an image")
    return value


Image = Annotated[Argument, AfterValidator(_check_image)]


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


class _Waiting(OnParameters):
    wait: bool = Field(True, description="Wait until the pods follow: the step ends when the rollout is complete. Targets only.")


class UndoParameters(Parameters):
    """`rollback` by the name that kubectl gives it: to the version pinned for this run, with every guard.

    With `to_revision` that is the one pinned, if the guards find nothing against it.
    """

    target: str | None = Field(None, min_length=1, description="Name of a declared target. Default: the incident's.")
    to_revision: int | None = Field(
        None, ge=1, strict=True, description="The revision to go back to. Default: the guards choose."
    )


class PauseParameters(OnParameters):
    """Pause the rollouts of a Deployment or Rollout. Resumed when the plan fails later."""


class ResumeParameters(_Waiting):
    """Resume the rollouts of a Deployment or Rollout."""


class RestartParameters(_Waiting):
    """Start all pods anew, one after the other, as `kubectl rollout restart` does. Makes a revision, which is no version."""


class Colours(Parameters):
    """A Service whose selector names one of several targets: blue and green."""

    service: Name
    key: LabelKey = Field(description="The one key of the Service's selector that tells the colours apart.")
    colours: Annotated[Mapping[LabelValue, str], Field(min_length=2, description="Value of the key → name of its target.")]


class ScaleParameters(OnParameters):
    """Set the number of pods. Refused where an autoscaler owns that number, unless told otherwise."""

    replicas: int | None = Field(None, ge=0, le=10_000, strict=True)
    as_before: str | None = Field(None, min_length=1, description="Name of an earlier `scale` step: back to what it found.")
    at_least: int | None = Field(None, ge=0, le=10_000, strict=True, description="Scale up to this, never down.")
    expect: int | None = Field(None, ge=0, strict=True, description="Refuse unless it has this number now.")
    idle_of: Colours | None = Field(None, description="Instead of a target: the one that the Service does not send traffic to.")
    despite_autoscaler: bool = Field(False, description="Do it although an HPA or KEDA owns the number.")
    wait: bool = Field(True, description="Wait until so many pods are ready, or none is left.")
    when_plan_fails: Afterwards | None = Field(None, description=f"{WHEN_PLAN_FAILS} Default: undo if it scaled down.")

    @model_validator(mode="after")
    def _one_number(self) -> Self:
        if sum(one is not None for one in (self.replicas, self.as_before, self.at_least)) != 1:
            raise ValueError("needs one of `replicas`, `as_before` and `at_least`")
        if self.idle_of is not None and (self.target is not None or self.object is not None):
            raise ValueError("`idle_of` excludes `target` and `object`")
        return self


class SetImageParameters(_Waiting):
    """Set images by container name, init containers included. A way out of a stuck rollout: no guard chooses the version."""

    images: Annotated[
        Mapping[ContainerName, Image], Field(min_length=1, description="Container → image; its tag may be a template.")
    ]


class SetEnvParameters(_Waiting):
    """Set or unset environment variables of containers: a feature flag, say."""

    env: Annotated[
        Mapping[EnvName, Argument | None], Field(min_length=1, description="Name → value; null takes the variable out.")
    ]
    containers: Annotated[
        tuple[ContainerName, ...], Field(description="Default: the only one, or all that have the variables.")
    ] = ()
    when_plan_fails: Afterwards = Field("keep", description=WHEN_PLAN_FAILS)


class PatchOperation(Parameters):
    op: Literal["add", "replace", "remove", "test"]
    path: Annotated[str, Field(pattern=r"^(/[^/]+)+$", description="JSON pointer: /spec/type, /metadata/labels/a~1b.")]
    value: Any = None


class PatchParameters(_Waiting):
    """Change fields of an object by JSON patch. The image of a pod template is changed by `rollback` or `set_image`."""

    operations: Annotated[tuple[PatchOperation, ...], Field(min_length=1)]
    when_plan_fails: Afterwards = Field("keep", description=WHEN_PLAN_FAILS)


class SwitchServiceParameters(Colours):
    """Blue-green: point a Service at the other target, once that one's pods are ready; then see that traffic can follow."""

    namespace: Namespace | None = Field(None, description="Of the Service. Default: the colours' own.")
    to: LabelValue = Field("other", description="A colour, or `other`: the one that is not served now.")
    ready: int = Field(1, ge=1, strict=True, description="Ready pods that the new colour must have before the switch.")
    when_plan_fails: Afterwards = Field("keep", description=f"{WHEN_PLAN_FAILS} Going back would be a second step back.")


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


REMAKEABLE = frozenset(
    {"Ingress", "Service", "ConfigMap", "NetworkPolicy", "HorizontalPodAutoscaler", "PodDisruptionBudget", "CronJob"}
)
"""Kinds whose manifest is all there is to them."""


class DeletePodsParameters(OnParameters):
    """Delete pods, so that their owner makes new ones: exactly those that are there when the step begins."""

    labels: Mapping[LabelKey, LabelValue] = Field({}, description="Only pods with these labels.")
    unready: bool = Field(False, description="Only pods that are not ready.")
    force: bool = Field(False, description="Without grace: the pod's record goes at once, whatever its processes do.")
    wait: bool = Field(True, description="Wait until they are gone.")


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


class JobParameters(Parameters):
    """Run a Job made from a manifest in the rulebook, wait for its end, keep the end of its log."""

    manifest: Mapping[str, Any] = Field(
        description="A batch/v1 Job; `metadata.name` may be left out, it is made from incident and step."
    )
    env: Mapping[EnvName, Argument] = Field({}, description="Given to every container: data that the manifest can't know.")
    ttl: Duration = Field(timedelta(days=1), description="How long the ended Job is kept.")
    log_lines: int = Field(40, ge=0, le=1000, strict=True, description="Lines of its log that are shown.")
    changes: bool = Field(True, description="It changes something, as a check (`false`) does not.")
    destroys_data: bool = Field(False, description="It destroys data: a backup step and a person's word are demanded.")
    elsewhere: bool = Field(False, description="The namespace is none of the declared targets': on purpose.")

    @model_validator(mode="after")
    def _complete(self) -> Self:
        named = manifest_object({"apiVersion": "batch/v1", **self.manifest}, elsewhere=self.elsewhere, default_name="job")
        if named.kind != "Job":
            raise ValueError(f"must be a Job, not a {named.kind}")
        return self

    def destroys(self) -> bool:
        return self.destroys_data


class ExecParameters(OnParameters):
    """Run a program in a ready pod of a target. No shell unless you write one."""

    argv: Annotated[tuple[str, ...], Field(min_length=1, description="Program and arguments, written out.")]
    container: ContainerName | None = None
    changes: bool = Field(True, description="It changes something. A mere check (`false`) may be run again after a crash.")
    silence: Duration = Field(timedelta(minutes=5), description="How long it may say nothing.")
    destroys_data: bool = Field(False, description="It destroys data: a backup step and a person's word are demanded.")

    @model_validator(mode="after")
    def _literal_arguments(self) -> Self:
        if any(is_template(argument) for argument in self.argv):
            raise ValueError("argv must be written out: a template could let an alert choose what is run")
        return self

    def destroys(self) -> bool:
        return self.destroys_data

    def only_looks(self) -> bool:
        return not self.changes


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
