"""`kubernetes.logs`: what the pods have written since the rollback has these texts, or lacks them. Changes nothing.

A log that can't be read, or that is longer than what is read at a time, says nothing: the step does not pass by it. Texts are no
regular expressions: whoever can write into a log must not choose how long it takes to look through it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from responder.actions.kubernetes.parameters.logs import LogsParameters
from responder.actions.kubernetes.paths import Object
from responder.actions.kubernetes.place import Place, locate
from responder.actions.kubernetes.pods import pods_of
from responder.clients.http import redact
from responder.clients.kubernetes import KubernetesClient
from responder.domain.wording import one_line, spell_duration
from responder.errors import NotFoundError, PermanentError, TemporaryError
from responder.ports import StepContext

_LIMIT = 16 * 1024 * 1024  # bytes of one container's log
_LONGEST_LINE = 16 * 1024  # characters looked at; the kubelet cuts lines there, too
_SHOWN = 3
_WIDTH = 200


@dataclass(slots=True)
class _Seen:
    """unwanted: the first lines of that kind, with the pod's name. at_limit: containers whose oldest lines were not read."""

    pods: int
    lines: int = 0
    unwanted_count: int = 0
    unwanted: list[str] = field(default_factory=list)
    found: set[str] = field(default_factory=set)
    at_limit: int = 0


class Logs:
    def __init__(self, client: KubernetesClient) -> None:
        self._client = client

    async def run(self, parameters: Mapping[str, object], context: StepContext) -> str:
        step = LogsParameters.read(parameters)
        place = await locate(step, context, self._client)
        good_since: datetime | None = None
        shown = ""
        while True:
            seen = await self._look(step, place, context)
            now = context.now()
            if seen.unwanted_count > step.at_most:
                raise TemporaryError(f"{place}: {_unwanted(seen, step)}")
            missing = [text for text in step.contains if text not in seen.found]
            good_since = good_since or now
            left = (step.hold or timedelta(0)) - (now - good_since)
            if not missing and left <= timedelta(0):
                return f"{place}: {_good(seen, step)}"
            waits = (
                f"no line with {', '.join(missing)} yet" if missing else f"{_good(seen, step)}; for {spell_duration(left)} more"
            )
            if waits != shown:
                context.progress(f"{place}: {waits}")
                shown = waits
            await context.sleep(step.every if missing else min(step.every, left))

    async def preview(self, parameters: Mapping[str, object], context: StepContext) -> str:
        step = LogsParameters.read(parameters)
        place = await locate(step, context, self._client)
        wanted = [f"lacks {', '.join(step.lacks)}"] if step.lacks else []
        wanted += [f"has {', '.join(step.contains)}"] if step.contains else []
        return f"would look whether what the pods of {place} write {' and '.join(wanted)}"

    async def _look(self, step: LogsParameters, place: Place, context: StepContext) -> _Seen:
        since = context.now() - step.since if step.since is not None else _changed_at(context)
        pods = [pod for pod in await pods_of(self._client, place) if _is_running(pod)]
        if not pods:
            raise TemporaryError(f"no pod of {place} is running: there is no log to read")
        seen = _Seen(len(pods))
        for pod in sorted(pods, key=lambda one: str(one["metadata"]["name"])):
            name = pod["metadata"]["name"]
            with contextlib.suppress(NotFoundError):  # it is gone meanwhile
                for container in _containers(pod, step):
                    _sift(await self._read(place, name, container, step, since), name, step, seen, context.secrets)
                    if _has_ended_since(pod, container, since):
                        last_words = await self._read_previous(place, name, container, step, since)
                        _sift(last_words, name, step, seen, context.secrets)
        return seen

    async def _read(self, place: Place, pod: str, container: str, step: LogsParameters, since: datetime) -> str:
        text = await self._client.read_log(place.namespace, pod, container=container, lines=step.lines, since=since, limit=_LIMIT)
        if len(text) >= _LIMIT // 4 and len(text.encode()) >= _LIMIT:
            many = f"the log of container {container} of pod {pod} is longer than {_LIMIT >> 20} MiB"
            raise PermanentError(f"{many}: lower `lines`, or look at less by `since`")
        return text

    async def _read_previous(self, place: Place, pod: str, container: str, step: LogsParameters, since: datetime) -> str:
        """Of the container that this one took the place of, as long as the node has kept it; "" when it has not."""
        try:
            return await self._client.read_log(
                place.namespace, pod, container=container, lines=step.lines, since=since, limit=_LIMIT, previous=True
            )
        except PermanentError:
            return ""


def _changed_at(context: StepContext) -> datetime:
    """When this run first changed something; for one that has changed nothing, when its incident opened."""
    return context.incident.acted_at or context.incident.opened_at


def _is_running(pod: Object) -> bool:
    return "deletionTimestamp" not in pod["metadata"] and pod.get("status", {}).get("phase") == "Running"


def _containers(pod: Object, step: LogsParameters) -> Sequence[str]:
    names = [str(one["name"]) for one in pod["spec"]["containers"]]
    if step.container is None:
        return names
    if step.container not in names:
        raise PermanentError(f"pod {pod['metadata']['name']} has no container {step.container}, only {', '.join(names)}")
    return [step.container]


def _has_ended_since(pod: Object, container: str, since: datetime) -> bool:
    """Whether one of that name ended, and was started anew, after that moment."""
    found: Object = next((one for one in pod["status"].get("containerStatuses") or [] if one["name"] == container), {})
    ended = ((found.get("lastState") or {}).get("terminated") or {}).get("finishedAt")
    return ended is not None and datetime.fromisoformat(ended) >= since.replace(microsecond=0)


def _sift(text: str, pod: str, step: LogsParameters, seen: _Seen, secrets: Sequence[str]) -> None:
    lines = text.splitlines()
    seen.lines += len(lines)
    seen.at_limit += len(lines) >= step.lines
    lacks, contains, ignore = (list(_patterns(texts, step)) for texts in (step.lacks, step.contains, step.ignore))
    for raw in lines:
        line = raw[:_LONGEST_LINE]
        line = line.casefold() if step.ignore_case else line
        if any(_has(line, pieces) for _, pieces in ignore):
            continue
        seen.found.update(name for name, pieces in contains if name not in seen.found and _has(line, pieces))
        if any(_has(line, pieces) for _, pieces in lacks):
            seen.unwanted_count += 1
            if len(seen.unwanted) < _SHOWN:
                seen.unwanted.append(f"{pod}: {one_line(redact(raw, secrets), _WIDTH)}")


def _patterns(texts: Sequence[str], step: LogsParameters) -> Iterator[tuple[str, list[str]]]:
    """Each text with its pieces between the asterisks."""
    for text in texts:
        yield text, [piece for piece in (text.casefold() if step.ignore_case else text).split("*") if piece]


def _has(line: str, pieces: Sequence[str]) -> bool:
    """All pieces, one after the other: taking each where it comes first is enough, so this is as fast as `in`."""
    at = 0
    for piece in pieces:
        at = line.find(piece, at)
        if at < 0:
            return False
        at += len(piece)
    return True


def _good(seen: _Seen, step: LogsParameters) -> str:
    read = f"{seen.lines} lines of {seen.pods} pod{'' if seen.pods == 1 else 's'}"
    read += f" (only the last {step.lines} of a container)" if seen.at_limit else ""
    said = [f"have {', '.join(step.contains)}"] if step.contains else []
    if step.lacks:
        let_pass = f" but {seen.unwanted_count}, and {step.at_most} may" if seen.unwanted_count else ""
        said.append(f"lack {', '.join(step.lacks)}{let_pass}")
    return f"{read} {' and '.join(said)}"


def _unwanted(seen: _Seen, step: LogsParameters) -> str:
    of = f"{seen.unwanted_count} line{'' if seen.unwanted_count == 1 else 's'} with {' or '.join(step.lacks)}"
    of += f", more than {step.at_most}" if step.at_most else ""
    return "\n".join([of, *seen.unwanted])
