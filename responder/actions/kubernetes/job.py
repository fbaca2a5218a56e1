"""`kubernetes.job`: run a Job of the rulebook once, wait for its end, keep the end of its log."""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Mapping
from typing import Any

from responder.actions.kubernetes.difference import difference
from responder.actions.kubernetes.edit import check_hold, insist
from responder.actions.kubernetes.parameters.about import manifest_object
from responder.actions.kubernetes.parameters.programs import JobParameters
from responder.actions.kubernetes.paths import Object, copied
from responder.actions.kubernetes.place import Place, check_namespace, place_of_target
from responder.actions.kubernetes.rollouts import poll
from responder.actions.templates import render_argument
from responder.clients.http import redact
from responder.clients.kubernetes import JOBS, PODS, KubernetesClient
from responder.domain.target import WorkloadRef
from responder.errors import ConflictError, NotFoundError, PermanentError, RefusedError, ResponderError
from responder.ports import StepContext

_NAME_LIMIT = 63  # it becomes a label of the pods
_INCIDENT, _STEP = "responder.dev/incident", "responder.dev/step"
_LOG_LIMIT = 3000


class Job:
    def __init__(self, client: KubernetesClient) -> None:
        self._client = client

    async def run(self, parameters: Mapping[str, object], context: StepContext) -> str:
        step = JobParameters.read(parameters)
        manifest = _manifest(step, context)
        place = Place(JOBS, "Job", manifest["metadata"]["namespace"], manifest["metadata"]["name"])
        check_namespace(place.namespace, context, elsewhere=step.elsewhere)
        uid = await insist(context, lambda: self._begin(step, place, manifest, context))
        outcome = await self._end(place, uid, context)
        log = await self._log(place, step.log_lines, context)
        if outcome != "Complete":
            raise PermanentError(f"{place}: {outcome}{log}")
        return f"{place} is complete{log}"

    async def preview(self, parameters: Mapping[str, object], context: StepContext) -> str:
        step = JobParameters.read(parameters)
        manifest = _manifest(step, context)
        namespace = manifest["metadata"]["namespace"]
        check_namespace(namespace, context, elsewhere=step.elsewhere)
        outcome = await self._client.create(JOBS, namespace, manifest, dry_run=True)
        return f"would run job/{manifest['metadata']['name']} in namespace {namespace}\n{difference(None, outcome)}"

    async def _begin(self, step: JobParameters, place: Place, manifest: Object, context: StepContext) -> str:
        """Create the Job, or find it. Returns its uid."""
        intent: Mapping[str, Any] = context.intent or {}
        found = await self._client.get_or_none(JOBS, place.namespace, place.name)
        if found is None and intent.get("uid"):
            raise PermanentError(f"{place} is gone: whether it came to its end is not known")
        if found is None:
            if not intent:
                if step.changes:
                    await _check_hold(self._client, context)
                await self._client.create(JOBS, place.namespace, manifest, dry_run=True)
            context.progress(f"about to run {place}")
            if step.changes:
                await context.mark_changed()
            await context.record(_intent(place))
            try:
                found = await self._client.create(JOBS, place.namespace, manifest)
            except ConflictError:  # an earlier request whose answer was lost
                found = await self._client.get(JOBS, place.namespace, place.name)
        if (found["metadata"].get("labels") or {}).get(_INCIDENT) != context.incident.id:
            raise RefusedError(f"{place} exists and is not ours")
        uid = str(found["metadata"]["uid"])
        if intent.get("uid") not in (None, uid):
            raise RefusedError(f"{place} was deleted and made anew by somebody else")
        await context.record({**_intent(place), "uid": uid})
        return uid

    async def _end(self, place: Place, uid: str, context: StepContext) -> str:
        """`Complete`, or why it failed."""
        outcome = ""

        async def look() -> tuple[bool, str]:
            nonlocal outcome
            try:
                found = await self._client.get(JOBS, place.namespace, place.name)
            except NotFoundError:
                found = None
            if found is None or found["metadata"]["uid"] != uid:
                raise PermanentError(f"{place} is gone: whether it came to its end is not known")
            status = found.get("status") or {}
            for condition in status.get("conditions") or []:
                if condition.get("status") == "True" and condition.get("type") in ("Complete", "Failed"):
                    why = [str(condition.get(key)) for key in ("reason", "message") if condition.get(key)]
                    outcome = "Complete" if condition["type"] == "Complete" else ": ".join(["failed", *why])
            return bool(outcome), f"{place}: {status.get('active', 0)} active, {status.get('failed', 0)} failed"

        await poll(context, look)
        return outcome

    async def _log(self, place: Place, lines: int, context: StepContext) -> str:
        if not lines:
            return ""
        try:
            pods = await self._client.list(PODS, place.namespace, labels=f"job-name={place.name}")
            if not pods:
                return ""
            newest = max(pods, key=lambda pod: str(pod["metadata"]["creationTimestamp"]))
            container = newest["spec"]["containers"][0]["name"]
            text = await self._client.read_log(place.namespace, newest["metadata"]["name"], container=container, lines=lines)
        except ResponderError as error:  # only costs us the log
            return f"\n(no log: {error})"
        return f"\n{redact(text, context.secrets)[-_LOG_LIMIT:]}".rstrip()


async def _check_hold(client: KubernetesClient, context: StepContext) -> None:
    """A Job has no object before it runs; what it changes is the step's target. Raises RefusedError."""
    if not isinstance(context.declared(context.target).workload, WorkloadRef):
        return
    with contextlib.suppress(NotFoundError):  # nothing is there that could keep us away
        await check_hold(client, place_of_target(context))


def _intent(place: Place) -> dict[str, object]:
    return {"stage": "write", "object": place.note(), "uid": None}


def _manifest(step: JobParameters, context: StepContext) -> Object:
    """The Job as it is sent: named, labelled and told what it can't know."""
    named = manifest_object({"apiVersion": "batch/v1", **step.manifest}, elsewhere=step.elsewhere, default_name="job")
    body: Object = copied(dict(step.manifest))
    labels = {_INCIDENT: context.incident.id, _STEP: re.sub(r"[^A-Za-z0-9_.-]", "-", context.step)[:60].strip("-._")}
    meta = body["metadata"]
    body |= {"apiVersion": "batch/v1", "kind": "Job"}
    body["metadata"] = {**meta, "name": job_name(context.incident.id, context.step), "namespace": named.namespace}
    body["metadata"]["labels"] = {**(meta.get("labels") or {}), **labels}
    spec = body.setdefault("spec", {})
    spec.setdefault("ttlSecondsAfterFinished", int(step.ttl.total_seconds()))
    template = spec.setdefault("template", {})
    template["metadata"] = {**(template.get("metadata") or {})}
    template["metadata"]["labels"] = {**(template["metadata"].get("labels") or {}), **labels}
    pod = template.setdefault("spec", {})
    pod.setdefault("restartPolicy", "Never")
    given = {name: render_argument(value, context.incident, context.target) for name, value in step.env.items()}
    for container in [*(pod.get("containers") or []), *(pod.get("initContainers") or [])]:
        kept = [one for one in container.get("env") or [] if one.get("name") not in given]
        container["env"] = [*kept, *({"name": name, "value": value} for name, value in given.items())]
    return body


def job_name(incident_id: str, step: str) -> str:
    """`<incident>-<step>` as far as names may be spelled like that: the same for every attempt, so that it is found again."""
    raw = f"{incident_id}-{step}"
    name = re.sub(r"[^a-z0-9-]+", "-", raw.lower()).strip("-")
    if name != raw.replace("_", "-") or len(name) > _NAME_LIMIT:
        name = f"{name[: _NAME_LIMIT - 9].rstrip('-')}-{hashlib.sha256(raw.encode()).hexdigest()[:8]}"
    return name
