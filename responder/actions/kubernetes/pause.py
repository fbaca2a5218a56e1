"""`kubernetes.pause`, `kubernetes.resume`: hold the rollouts of a Deployment or Rollout, and let them go on."""

from __future__ import annotations

from collections.abc import Mapping

from responder.actions.kubernetes.edit import Plan, Wish, make, show, take_back
from responder.actions.kubernetes.parameters.workloads import PauseParameters, ResumeParameters
from responder.actions.kubernetes.paths import Object
from responder.actions.kubernetes.place import Place, locate
from responder.actions.kubernetes.rollouts import change_pods
from responder.clients.kubernetes import KubernetesClient
from responder.errors import RefusedError
from responder.ports import StepContext

_PAUSED = "/spec/paused"


class Pause:
    def __init__(self, client: KubernetesClient) -> None:
        self._client = client

    async def run(self, parameters: Mapping[str, object], context: StepContext) -> str:
        place = await locate(PauseParameters.read(parameters), context, self._client)
        return (await make(self._client, place, _plan(place, paused=True), context)).text

    async def preview(self, parameters: Mapping[str, object], context: StepContext) -> str:
        place = await locate(PauseParameters.read(parameters), context, self._client)
        return await show(self._client, place, _plan(place, paused=True))

    async def compensate(self, parameters: Mapping[str, object], context: StepContext) -> str:  # noqa: ARG002 - the protocol's
        return await take_back(self._client, context)


class Resume:
    def __init__(self, client: KubernetesClient) -> None:
        self._client = client

    async def run(self, parameters: Mapping[str, object], context: StepContext) -> str:
        resume = ResumeParameters.read(parameters)
        place = await locate(resume, context, self._client)
        return await change_pods(self._client, place, _plan(place, paused=False), context, wait=resume.wait)

    async def preview(self, parameters: Mapping[str, object], context: StepContext) -> str:
        place = await locate(ResumeParameters.read(parameters), context, self._client)
        return await show(self._client, place, _plan(place, paused=False))


def _plan(place: Place, *, paused: bool) -> Plan:
    if place.kind not in ("Deployment", "Rollout"):
        raise RefusedError(f"a {place.kind} can't be paused")

    def plan(_: Object) -> Wish:
        return Wish({_PAUSED: True if paused else None}, f"{'pause' if paused else 'resume'} {place}")

    return plan
