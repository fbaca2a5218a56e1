"""`kubernetes.restart`: all pods anew, one after the other."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from responder.actions.kubernetes.edit import Plan, Wish, show
from responder.actions.kubernetes.parameters.workloads import RestartParameters
from responder.actions.kubernetes.paths import Object, path
from responder.actions.kubernetes.place import Place, locate
from responder.actions.kubernetes.rollouts import change_pods
from responder.clients.kubernetes import KubernetesClient
from responder.errors import RefusedError
from responder.ports import StepContext

_STAMP = path("spec", "template", "metadata", "annotations", "kubectl.kubernetes.io/restartedAt")
_ARGO_STAMP = "/spec/restartAt"


class Restart:
    def __init__(self, client: KubernetesClient) -> None:
        self._client = client

    async def run(self, parameters: Mapping[str, object], context: StepContext) -> str:
        restart = RestartParameters.read(parameters)
        place = await locate(restart, context, self._client)
        return await change_pods(self._client, place, restart_plan(place, context.now()), context, wait=restart.wait)

    async def preview(self, parameters: Mapping[str, object], context: StepContext) -> str:
        place = await locate(RestartParameters.read(parameters), context, self._client)
        return await show(self._client, place, restart_plan(place, context.now()))


def restart_plan(place: Place, now: datetime) -> Plan:
    """The stamp is written down with the intent: that is how a second attempt knows the first one's restart."""
    if place.kind not in ("Deployment", "StatefulSet", "DaemonSet", "Rollout"):
        raise RefusedError(f"a {place.kind} can't be restarted")
    stamp = now.strftime("%Y-%m-%dT%H:%M:%SZ")

    def plan(item: Object) -> Wish:
        if item["spec"].get("paused"):
            raise RefusedError(f"{place} is paused: no pod would be started anew; resume it first")
        return Wish({_ARGO_STAMP if place.kind == "Rollout" else _STAMP: stamp}, f"restart {place}")

    return plan
