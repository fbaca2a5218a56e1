"""The YAML form of targets: exactly one place each, and how far we may go there."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import AfterValidator, ConfigDict, Field, WithJsonSchema, model_validator
from pydantic.json_schema import JsonSchemaValue

from responder.domain.guards import NAMES, WAIVABLE
from responder.domain.target import (
    ArgoCdRef,
    CheckoutRef,
    ComposeRef,
    Concern,
    GuardSettings,
    HelmRef,
    Mode,
    OnOwner,
    Place,
    Target,
    WorkloadRef,
)
from responder.rulebook.scalar import Duration, Limit, Matchers, ObjectName, PositiveDuration
from responder.rulebook.scalar_place import (
    Arguments,
    FilePath,
    Folder,
    Host,
    ImageTag,
    ProcessNames,
    ProjectName,
    ReleaseName,
    ServiceNames,
)
from responder.rulebook.strict_form import Form

WORKLOAD_KINDS = {"deployment": "Deployment", "statefulset": "StatefulSet", "daemonset": "DaemonSet", "rollout": "Rollout"}
PLACES = ("kubernetes", "helm", "argocd", "compose", "checkout")


def _default(owner: type[Any], field: str) -> Any:
    """The default of a domain dataclass, so that it is written down once."""
    return next(each.default for each in dataclasses.fields(owner) if each.name == field)


def _listed(words: tuple[str, ...]) -> str:
    quoted = [f"`{word}`" for word in words]
    return f"{', '.join(quoted[:-1])} and {quoted[-1]}"


def _one_of(words: tuple[str, ...]) -> ConfigDict:
    return ConfigDict(json_schema_extra={"oneOf": [{"required": [word]} for word in words]})


class KubernetesForm(Form):
    """A workload of the cluster: exactly one of `deployment`, `statefulset`, `daemonset` and `rollout` (Argo Rollouts)."""

    model_config = _one_of(tuple(WORKLOAD_KINDS))
    namespace: ObjectName
    deployment: ObjectName | None = None
    statefulset: ObjectName | None = None
    daemonset: ObjectName | None = None
    rollout: ObjectName | None = None

    @model_validator(mode="after")
    def _one_workload(self) -> Self:
        if len(self.model_fields_set & set(WORKLOAD_KINDS)) != 1:
            raise ValueError(f"needs exactly one of {_listed(tuple(WORKLOAD_KINDS))}")
        return self

    def place(self) -> WorkloadRef:
        word = next(word for word in WORKLOAD_KINDS if word in self.model_fields_set)
        return WorkloadRef(self.namespace, getattr(self, word), WORKLOAD_KINDS[word])


class HelmForm(Form):
    """A Helm release, rolled back by `helm`."""

    namespace: ObjectName
    release: ReleaseName

    def place(self) -> HelmRef:
        return HelmRef(self.namespace, self.release)


class ArgoCdForm(Form):
    """An application, rolled back by Argo CD (needs RESPONDER_ARGOCD_URL and RESPONDER_ARGOCD_TOKEN)."""

    shorthand: ClassVar[str | None] = "application"
    shorthand_schema: ClassVar[JsonSchemaValue] = {"type": "string"}
    application: ObjectName
    namespace: Annotated[
        ObjectName | None, Field(description="Where the Application object is, when it is not in Argo CD's own namespace.")
    ] = None

    def place(self) -> ArgoCdRef:
        return ArgoCdRef(self.application, self.namespace or "")


class ComposeForm(Form):
    """A Docker Compose project, here or over SSH."""

    project: ProjectName
    folder: Annotated[Folder, Field(description="Where its files are.")]
    host: Annotated[Host | None, Field(description="`user@host`, over SSH; without it: this machine.")] = None
    files: Annotated[tuple[FilePath, ...], Field(description="Compose files, as for `docker compose --file`.")] = _default(
        ComposeRef, "files"
    )
    services: Annotated[ServiceNames, Field(description="Those that are rolled back; without it: all.")] = _default(
        ComposeRef, "services"
    )
    rollback_tag: Annotated[ImageTag, Field(description="Tag of the images that are kept for going back.")] = _default(
        ComposeRef, "rollback_tag"
    )

    def place(self) -> ComposeRef:
        return ComposeRef(self.project, self.folder, self.host or "", self.files, self.services, self.rollback_tag)


class CheckoutForm(Form):
    """A git checkout that is installed, built and run by a process manager, here or over SSH."""

    folder: Annotated[Folder, Field(description="The checkout.")]
    host: Annotated[Host | None, Field(description="`user@host`, over SSH; without it: this machine.")] = None
    install: Annotated[Arguments, Field(description="Command after checking out, as a list of arguments.")] = _default(
        CheckoutRef, "install"
    )
    build: Annotated[Arguments, Field(description="Command after installing, as a list of arguments.")] = _default(
        CheckoutRef, "build"
    )
    manager: Annotated[Literal["pm2", "systemd"], Field(description="What runs the processes.")]
    processes: Annotated[ProcessNames, Field(description="Names it knows them by.")]

    def place(self) -> CheckoutRef:
        return CheckoutRef(self.folder, self.host or "", self.install, self.build, self.manager, self.processes)


def _one_word_of(words: tuple[str, ...], kind: str) -> AfterValidator:
    def check(word: str) -> str:
        if word not in words:
            raise ValueError(f"`{word}` is no {kind}; there are {_listed(words)}")
        return word

    return AfterValidator(check)


GuardName = Annotated[str, _one_word_of(NAMES, "guard"), WithJsonSchema({"type": "string", "enum": list(NAMES)})]
Waivable = Annotated[
    str, _one_word_of(WAIVABLE, "guard that can be waived"), WithJsonSchema({"type": "string", "enum": list(WAIVABLE)})
]


class GuardsForm(Form):
    deployed_within: Annotated[
        PositiveDuration, Field(description="How old the suspect change may be; older changes are not rolled back.")
    ] = _default(GuardSettings, "deployed_within")
    proven_for: Annotated[
        Duration, Field(description="How long a version must have been fully available to be rolled back to.")
    ] = _default(GuardSettings, "proven_for")
    max_rollbacks: Annotated[Limit, Field(description="At most so many rollbacks in a sliding window.")] = _default(
        GuardSettings, "max_rollbacks"
    )
    max_failures: Annotated[
        Limit, Field(description="So many failed rollbacks in a sliding window open the breaker, until a person closes it.")
    ] = _default(GuardSettings, "max_failures")
    settle_for: Annotated[Duration, Field(description="No further rollback so soon after the last one began.")] = _default(
        GuardSettings, "settle_for"
    )
    changed_config: Annotated[
        Concern, Field(description="What to do when a ConfigMap or Secret changed after the version to go back to last ran.")
    ] = _default(GuardSettings, "changed_config")
    disruption_budget: Annotated[
        Concern, Field(description="What to do when the rollout may take away more pods than a PodDisruptionBudget allows.")
    ] = _default(GuardSettings, "disruption_budget")
    quota: Annotated[Concern, Field(description="What to do when a ResourceQuota has no room for the new pods.")] = _default(
        GuardSettings, "quota"
    )
    waive: Annotated[tuple[Waivable, ...], Field(description="Guards that only warn here.")] = _default(GuardSettings, "waive")
    order: Annotated[tuple[GuardName, ...], Field(description="Guards that are named first.")] = _default(GuardSettings, "order")

    def settings(self) -> GuardSettings:
        return GuardSettings(**{name: getattr(self, name) for name in type(self).model_fields})


class TargetForm(Form):
    """Something that can be rolled back. Nothing outside the targets is ever touched.

    Exactly one of `kubernetes`, `helm`, `argocd`, `compose` and `checkout`.
    """

    model_config = _one_of(PLACES)
    kubernetes: KubernetesForm | None = None
    helm: HelmForm | None = None
    argocd: ArgoCdForm | None = None
    compose: ComposeForm | None = None
    checkout: CheckoutForm | None = None
    match: Annotated[Matchers, Field(description="An alert speaks of this target when all of these match its labels.")]
    mode: Annotated[Mode, Field(description="observe: everything but the effect. armed: really act.")] = _default(Target, "mode")
    guards: GuardsForm = GuardsForm()
    owner: Annotated[
        OnOwner,
        Field(description="refuse: an owned object is left alone. suspend: Flux is suspended first, until a person resumes it."),
    ] = _default(Target, "on_owner")
    evict_unready: Annotated[
        bool,
        Field(strict=True, description="StatefulSet: delete the bad version's unready pods, which would block the rollback."),
    ] = _default(Target, "evict_unready")

    @model_validator(mode="before")
    @classmethod
    def _one_place(cls, data: object) -> object:
        if isinstance(data, dict) and len(data.keys() & set(PLACES)) != 1:
            raise ValueError(f"needs exactly one of {_listed(PLACES)}")
        return data

    @property
    def place_word(self) -> str:
        return next(word for word in PLACES if getattr(self, word) is not None)

    def place(self) -> Place:
        form: KubernetesForm | HelmForm | ArgoCdForm | ComposeForm | CheckoutForm = getattr(self, self.place_word)
        return form.place()
