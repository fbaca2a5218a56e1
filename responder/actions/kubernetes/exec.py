"""`kubernetes.exec`: a program in a pod of a target. Whether an interrupted one came to its end can't be known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from responder.actions.kubernetes.colours import is_ready
from responder.actions.kubernetes.edit import check_hold, insist
from responder.actions.kubernetes.parameters.programs import ExecParameters
from responder.actions.kubernetes.paths import Object
from responder.actions.kubernetes.place import Place, locate
from responder.actions.kubernetes.pods import pods_of
from responder.clients.http import redact
from responder.clients.kubernetes import PODS, KubernetesClient
from responder.errors import OutcomeUnknownError, PermanentError, TemporaryError
from responder.ports import StepContext

_OUTPUT_LIMIT = 3000


class Exec:
    def __init__(self, client: KubernetesClient) -> None:
        self._client = client

    async def run(self, parameters: Mapping[str, object], context: StepContext) -> str:
        step = ExecParameters.read(parameters)
        place = await locate(step, context, self._client)
        if context.intent is not None and step.changes:
            begun = f"{step.argv[0]} was begun in pod {context.intent.get('pod')} and interrupted"
            raise PermanentError(f"{begun}: whether it came to its end is not known")
        pod = await insist(context, lambda: self._pod(place))
        name = pod["metadata"]["name"]
        if step.changes:  # on the workload, or on that very pod
            await check_hold(self._client, place)
            await check_hold(self._client, replace(place, resource=PODS, kind="Pod", name=name), pod)
        container = step.container or pod["spec"]["containers"][0]["name"]
        context.progress(f"about to run {step.argv[0]} in container {container} of pod {name}")
        if step.changes:
            await context.mark_changed()
        await context.record({"stage": "write", "object": place.note(), "pod": name, "uid": pod["metadata"]["uid"]})
        try:
            code, output = await self._client.execute(place.namespace, name, step.argv, container=container, silence=step.silence)
        except OutcomeUnknownError as error:
            if not step.changes:
                raise
            raise PermanentError(f"{error}; whether it came to its end is not known") from error
        text = redact(output, context.secrets)[-_OUTPUT_LIMIT:].rstrip()
        if code:
            raise PermanentError(f"{step.argv[0]} ended with {code} in pod {name}\n{text}".rstrip())
        return f"{step.argv[0]} succeeded in pod {name}\n{text}".rstrip()

    async def preview(self, parameters: Mapping[str, object], context: StepContext) -> str:
        step = ExecParameters.read(parameters)
        place = await locate(step, context, self._client)
        pod = await self._pod(place)
        return f"would run {' '.join(step.argv)} in pod {pod['metadata']['name']} of {place}"

    async def _pod(self, place: Place) -> Object:
        """The same one whenever it can be: the first by name of those that are ready."""
        ready = [pod for pod in await pods_of(self._client, place) if is_ready(pod)]
        if not ready:
            raise TemporaryError(f"no pod of {place} is ready")
        return min(ready, key=lambda pod: str(pod["metadata"]["name"]))
