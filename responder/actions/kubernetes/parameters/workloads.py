"""Steps that change what a workload runs, how often, and who gets traffic."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Self

from pydantic import Field, model_validator

from responder.actions.kubernetes.parameters.about import WHEN_PLAN_FAILS, Afterwards, Colours, OnParameters, WaitingParameters
from responder.actions.kubernetes.parameters.written import ContainerName, EnvName, Image, LabelKey, LabelValue, Namespace
from responder.actions.parameters import Argument, Parameters


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


class ResumeParameters(WaitingParameters):
    """Resume the rollouts of a Deployment or Rollout."""


class RestartParameters(WaitingParameters):
    """Start all pods anew, one after the other, as `kubectl rollout restart` does. Makes a revision, which is no version."""


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


class SetImageParameters(WaitingParameters):
    """Set images by container name, init containers included. A way out of a stuck rollout: no guard chooses the version."""

    images: Annotated[
        Mapping[ContainerName, Image], Field(min_length=1, description="Container → image; its tag may be a template.")
    ]


class SetEnvParameters(WaitingParameters):
    """Set or unset environment variables of containers: a feature flag, say."""

    env: Annotated[
        Mapping[EnvName, Argument | None], Field(min_length=1, description="Name → value; null takes the variable out.")
    ]
    containers: Annotated[
        tuple[ContainerName, ...], Field(description="Default: the only one, or all that have the variables.")
    ] = ()
    when_plan_fails: Afterwards = Field("keep", description=WHEN_PLAN_FAILS)


class SwitchServiceParameters(Colours):
    """Blue-green: point a Service at the other target, once that one's pods are ready; then see that traffic can follow."""

    namespace: Namespace | None = Field(None, description="Of the Service. Default: the colours' own.")
    to: LabelValue = Field("other", description="A colour, or `other`: the one that is not served now.")
    ready: int = Field(1, ge=1, strict=True, description="Ready pods that the new colour must have before the switch.")
    when_plan_fails: Afterwards = Field("keep", description=f"{WHEN_PLAN_FAILS} Going back would be a second step back.")


class DeletePodsParameters(OnParameters):
    """Delete pods, so that their owner makes new ones: exactly those that are there when the step begins."""

    labels: Mapping[LabelKey, LabelValue] = Field({}, description="Only pods with these labels.")
    unready: bool = Field(False, description="Only pods that are not ready.")
    force: bool = Field(False, description="Without grace: the pod's record goes at once, whatever its processes do.")
    wait: bool = Field(True, description="Wait until they are gone.")
