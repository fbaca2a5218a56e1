"""`kubernetes.set_image`, `kubernetes.set_env`: containers of a pod template by their names, init containers included."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from responder.actions.kubernetes.edit import Plan, Wish, show, take_back
from responder.actions.kubernetes.kinds import POD_TEMPLATES
from responder.actions.kubernetes.parameters.workloads import SetEnvParameters, SetImageParameters
from responder.actions.kubernetes.parameters.written import IMAGE
from responder.actions.kubernetes.paths import Object, path, value_at
from responder.actions.kubernetes.place import Place, locate
from responder.actions.kubernetes.rollouts import change_pods
from responder.actions.templates import render_argument
from responder.clients.kubernetes import KubernetesClient
from responder.errors import PermanentError, RefusedError
from responder.ports import StepContext

_LISTS = ("containers", "initContainers")


class SetImage:
    def __init__(self, client: KubernetesClient) -> None:
        self._client = client

    async def run(self, parameters: Mapping[str, object], context: StepContext) -> str:
        step = SetImageParameters.read(parameters)
        place = await locate(step, context, self._client)
        return await change_pods(self._client, place, _image_plan(step, place, context), context, wait=step.wait)

    async def preview(self, parameters: Mapping[str, object], context: StepContext) -> str:
        step = SetImageParameters.read(parameters)
        place = await locate(step, context, self._client)
        return await show(self._client, place, _image_plan(step, place, context))


class SetEnv:
    def __init__(self, client: KubernetesClient) -> None:
        self._client = client

    async def run(self, parameters: Mapping[str, object], context: StepContext) -> str:
        step = SetEnvParameters.read(parameters)
        place = await locate(step, context, self._client)
        return await change_pods(self._client, place, _env_plan(step, place, context), context, wait=step.wait)

    async def preview(self, parameters: Mapping[str, object], context: StepContext) -> str:
        step = SetEnvParameters.read(parameters)
        place = await locate(step, context, self._client)
        return await show(self._client, place, _env_plan(step, place, context))

    async def compensate(self, parameters: Mapping[str, object], context: StepContext) -> str:
        step = SetEnvParameters.read(parameters)
        if step.when_plan_fails == "keep":
            return ""
        return await take_back(self._client, context)


def _image_plan(step: SetImageParameters, place: Place, context: StepContext) -> Plan:
    _check_kind(place)
    images = {name: render_argument(image, context.incident, context.target) for name, image in step.images.items()}
    for image in images.values():
        if not re.fullmatch(IMAGE, image):
            raise PermanentError(f"{image[:80]!r} is not an image")

    def plan(item: Object) -> Wish:
        known = {name: section for section, name, _ in _containers(item)}
        missing = sorted(set(images) - set(known))
        if missing:
            raise PermanentError(f"{place} has no container {', '.join(missing)}; it has {', '.join(sorted(known))}")
        values = {_at(known[name], name, "image"): image for name, image in images.items()}
        changes = [f"{name} from {value_at(item, _at(known[name], name, 'image'))} to {images[name]}" for name in images]
        return Wish(values, f"set the image in {place}: {', '.join(changes)}")

    return plan


def _env_plan(step: SetEnvParameters, place: Place, context: StepContext) -> Plan:
    _check_kind(place)
    env = {
        name: None if value is None else {"name": name, "value": render_argument(value, context.incident, context.target)}
        for name, value in step.env.items()
    }

    def plan(item: Object) -> Wish:
        chosen = _chosen(step, place, item)
        values = {_at(section, container, "env", f"[{name}]"): env[name] for section, container in chosen for name in env}
        names = ", ".join(name if entry else f"{name} (taken out)" for name, entry in env.items())
        return Wish(values, f"set {names} in container {', '.join(name for _, name in chosen)} of {place}")

    return plan


def _chosen(step: SetEnvParameters, place: Place, item: Object) -> list[tuple[str, str]]:
    known = list(_containers(item))
    names = [name for _, name, _ in known]
    if missing := sorted(set(step.containers) - set(names)):
        raise PermanentError(f"{place} has no container {', '.join(missing)}; it has {', '.join(names)}")
    if step.containers:
        return [(section, name) for section, name, _ in known if name in step.containers]
    if len(known) == 1:
        return [known[0][:2]]
    having = [
        (section, name)
        for section, name, container in known
        if {one.get("name") for one in container.get("env") or []} & set(step.env)
    ]
    if not having:
        raise PermanentError(f"none of the containers of {place} has {', '.join(step.env)}; say which by `containers`")
    return having


def _containers(item: Object) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Which list, name, container."""
    pod = item["spec"]["template"]["spec"]
    for section in _LISTS:
        for container in pod.get(section) or []:
            yield section, container["name"], container


def _at(section: str, container: str, *steps: str) -> str:
    return path("spec", "template", "spec", section, f"[{container}]", *steps)


def _check_kind(place: Place) -> None:
    if place.kind not in POD_TEMPLATES:
        raise RefusedError(f"a {place.kind} has no pod template")
