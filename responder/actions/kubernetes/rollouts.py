"""Waiting until a target's pods follow a change."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from typing import Any

from responder.actions.kubernetes.edit import Edited, Plan, make
from responder.actions.kubernetes.place import Place
from responder.clients.kubernetes import KubernetesClient
from responder.domain.own_changes import MADE, note_of
from responder.domain.version import RolloutPhase
from responder.errors import PermanentError, TemporaryError
from responder.ports import StepContext

_POLLS = (timedelta(milliseconds=300),) * 20
_LATER_POLL = timedelta(seconds=1)


async def poll(context: StepContext, look: Callable[[], Awaitable[tuple[bool, str]]]) -> str:
    """Look again and again until it holds; says what it sees when that changes. The step's timeout bounds it.

    look: whether it holds, and in words how things are.
    """
    shown = ""
    polls = 0
    while True:
        try:
            holds, text = await look()
        except TemporaryError as error:  # a short absence of the API server is no reason to fail
            holds, text = False, f"can't be read now: {error}"
        if holds:
            return text
        if text != shown:
            context.progress(text)
            shown = text
        await context.sleep(_POLLS[polls] if polls < len(_POLLS) else _LATER_POLL)
        polls += 1


async def rolled_out(context: StepContext, target: str) -> str:
    """Wait for the end of the target's rollout. Raises PermanentError when it failed."""
    workload = context.workload_of(target)

    async def look() -> tuple[bool, str]:
        status = (await workload.read()).rollout
        if status.phase is RolloutPhase.FAILED:
            raise PermanentError(f"the rollout of {target} failed: {status.reason}")
        return status.phase is RolloutPhase.COMPLETE, f"{target}: {status.reason}"

    return await poll(context, look)


async def change_pods(client: KubernetesClient, place: Place, plan: Plan, context: StepContext, *, wait: bool) -> str:
    """The whole of a step that changes a pod template: make the change once, then wait for the pods."""
    if place.target is not None and wait and is_past_the_change(context.intent):
        return f"{(context.intent or {}).get('phrase')}: done; {await rolled_out(context, place.target)}"
    edited = await make(client, place, plan, context)
    if place.target is None or edited.intent is None:
        return edited.text
    await context.record({**edited.intent, "stage": "rollout", **await _made(place.target, edited.intent, context)})
    if not wait:
        return edited.text
    return f"{edited.text}; {await rolled_out(context, place.target)}"


async def _made(target: str, intent: Mapping[str, Any], context: StepContext) -> Mapping[str, object]:
    """What this step made of the target, so that a rollback later in this run knows it; nothing if somebody was at it since."""
    state = await context.workload_of(target).read()
    return {MADE: note_of(target, state.current)} if state.generation == intent["generation"] + 1 else {}


async def remember_stage(context: StepContext, edited: Edited, stage: str) -> None:
    if edited.intent is not None and edited.intent.get("stage") != stage:
        await context.record({**edited.intent, "stage": stage})


def is_past_the_change(intent: Mapping[str, Any] | None) -> bool:
    """The change was made before an interruption: if it is gone, somebody took it back."""
    return intent is not None and intent.get("stage") == "rollout"
