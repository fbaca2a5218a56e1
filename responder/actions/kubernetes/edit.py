"""One change to one object, made once: rehearsed on the server, written down, sent with preconditions, taken back if need be.

Every attempt starts from a fresh read. The intent says what the changed places held before and what they will hold (as the server
itself rehearsed it), so after a crash or a lost answer a look at the object tells whether the change was made.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from responder.actions.kubernetes.difference import difference
from responder.actions.kubernetes.paths import Object, changed, changes, values_at
from responder.actions.kubernetes.place import Place, noted_place
from responder.clients.kubernetes import KubernetesClient
from responder.domain.guards import kept_away
from responder.errors import NotFoundError, PermanentError, RefusedError, TemporaryError
from responder.ports import StepContext

_ATTEMPTS = 6
_ASKED_WAIT_LIMIT_SECONDS = 5.0
_backoff = wait_random_exponential(multiplier=0.05, max=2)
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Wish:
    """What is to be where, None for nothing; and in words: `pause deployment/app in namespace shop`."""

    values: Mapping[str, Any]
    phrase: str


Plan = Callable[[Object], Wish]
"""From the object as it is to what is to be made of it. Raises RefusedError or PermanentError."""


@dataclass(frozen=True, slots=True)
class Notes:
    """A step's memory of one change. before_write: awaited before the first byte goes out."""

    intent: Mapping[str, Any] | None
    record: Callable[[Mapping[str, object]], Awaitable[None]]
    before_write: Callable[[], Awaitable[None]]

    @staticmethod
    def of(context: StepContext) -> Notes:
        return Notes(context.intent, context.record, context.mark_changed)


@dataclass(frozen=True, slots=True)
class Edited:
    """intent: what stands written down; None when there was nothing to do."""

    text: str
    intent: Mapping[str, Any] | None


async def insist(context: StepContext, attempt: Callable[[], Awaitable[T]]) -> T:
    """Temporary errors are tried again a few times here; what is left goes to the step's own retry."""

    async def sleep(seconds: float) -> None:
        await context.sleep(timedelta(seconds=max(seconds, 0.001)))

    retrying = AsyncRetrying(
        stop=stop_after_attempt(_ATTEMPTS),
        wait=_wait,
        retry=retry_if_exception_type(TemporaryError),
        sleep=sleep,
        reraise=True,
    )

    async def once() -> T:
        return await attempt()  # tenacity awaits only what is a coroutine function itself, as no lambda is

    return await retrying(once)


async def make(
    client: KubernetesClient, place: Place, plan: Plan, context: StepContext, notes: Notes | None = None, *, subresource: str = ""
) -> Edited:
    """Make the change that `plan` asks for, or find it made."""
    edit = _Edit(client, place, plan, context, notes=notes or Notes.of(context), subresource=subresource)
    return await insist(context, edit.attempt)


async def show(client: KubernetesClient, place: Place, plan: Plan, *, subresource: str = "") -> str:
    """For `preview`: the sentence, then what the server says would differ."""
    item = await client.get(place.resource, place.namespace, place.name, subresource=subresource)
    wish = plan(item)
    if values_at(item, wish.values) == dict(wish.values):
        return f"nothing to do: {place} is like that already (asked to {wish.phrase})"
    outcome = await rehearse(client, place, item, wish.values, subresource)
    return f"would {wish.phrase}\n{difference(item, outcome)}".rstrip()


async def take_back(client: KubernetesClient, context: StepContext, *, subresource: str = "") -> str:
    """For `compensate`: put back what the intent says was there, unless somebody has changed it since.

    The intent says where, too: a target that is declared no more must not be left stopped either.
    """
    intent, place = context.intent, noted_place(context.intent)
    if intent is None or place is None or not isinstance(intent.get("after"), Mapping):
        return ""
    before: Any = intent["before"]
    after: Any = intent["after"]

    async def attempt() -> str:
        try:
            item = await client.get(place.resource, place.namespace, place.name, subresource=subresource)
        except NotFoundError:
            return f"{place} is gone: nothing to put back"
        now = values_at(item, before)
        if item["metadata"]["uid"] != intent["uid"]:
            return f"{place} was made anew by somebody else: left as it is"
        if now == before:
            return f"{place} is as it was before: nothing to put back"
        if now != after:
            return f"{place} was changed by somebody else meanwhile: left as it is"
        context.progress(f"putting {place} back as it was")
        await send(client, place, item, before, subresource, dry_run=False)
        return f"put {place} back as it was"

    return await insist(context, attempt)


async def check_hold(client: KubernetesClient, place: Place, item: Object | None = None) -> None:
    """Before a step begins to change an object: what was begun is finished, or put back. item: None to read it.

    Raises RefusedError when an annotation on it keeps Responder away.
    """
    found = item or await client.get(place.resource, place.namespace, place.name)
    if reason := kept_away(found["metadata"].get("annotations") or {}):
        raise RefusedError(f"{place}: {reason}")


async def rehearse(client: KubernetesClient, place: Place, item: Object, values: Mapping[str, Any], subresource: str) -> Object:
    """The object as the server would make it."""
    try:
        return await send(client, place, item, values, subresource, dry_run=True)
    except PermanentError as error:
        if "does not support dry run" not in str(error):
            raise
        return changed(item, values)  # an admission webhook's fault; the real write is guarded all the same


async def send(
    client: KubernetesClient, place: Place, item: Object, values: Mapping[str, Any], subresource: str, *, dry_run: bool
) -> Object:
    """Only on the object that was read, as it was read."""
    if subresource:
        body = changed(item, values)
        return await client.replace(place.resource, place.namespace, place.name, body, subresource=subresource, dry_run=dry_run)
    meta = item["metadata"]
    # The generation stands still when only the status moves; what has none is held to its resourceVersion.
    guard = "generation" if "generation" in meta else "resourceVersion"
    tests: list[Object] = [
        {"op": "test", "path": "/metadata/uid", "value": meta["uid"]},
        {"op": "test", "path": f"/metadata/{guard}", "value": meta[guard]},
    ]
    operations = [*tests, *changes(item, values)]
    return await client.patch_json(place.resource, place.namespace, place.name, operations, dry_run=dry_run)


class _Edit:
    def __init__(
        self, client: KubernetesClient, place: Place, plan: Plan, context: StepContext, *, notes: Notes, subresource: str
    ) -> None:
        self._client = client
        self._place = place
        self._plan = plan
        self._context = context
        self._notes = notes
        self._intent = notes.intent
        self._marked = False
        self._sent = False
        self._subresource = subresource

    async def attempt(self) -> Edited:
        place = self._place
        item = await self._client.get(place.resource, place.namespace, place.name, subresource=self._subresource)
        if "deletionTimestamp" in item["metadata"]:
            raise RefusedError(f"{place} is being deleted")
        if self._intent is None:
            return await self._begin(item)
        return await self._go_on(item, self._intent)

    async def _begin(self, item: Object) -> Edited:
        wish = self._plan(item)
        before = values_at(item, wish.values)
        if before == dict(wish.values):
            return Edited(f"nothing to do: {self._place} is like that already (asked to {wish.phrase})", None)
        await check_hold(self._client, self._place, None if self._subresource else item)
        outcome = await rehearse(self._client, self._place, item, wish.values, self._subresource)
        after = values_at(outcome, wish.values)
        meta = item["metadata"]
        intent = {
            "stage": "write",
            "object": self._place.note(),
            "uid": meta["uid"],
            "generation": meta.get("generation"),
            "phrase": wish.phrase,
            "before": before,
            "after": after,
        }
        self._context.progress(f"about to {wish.phrase}")
        await self._mark()
        await self._notes.record(intent)
        self._intent = intent
        return await self._write(item, intent)

    async def _go_on(self, item: Object, intent: Mapping[str, Any]) -> Edited:
        """An interrupted attempt, or a write that failed or whose answer was lost."""
        if item["metadata"]["uid"] != intent["uid"]:
            raise RefusedError(f"{self._place} was deleted and made anew since this step began: another object")
        now = values_at(item, intent["after"])
        if now == intent["after"]:
            return Edited(f"{intent['phrase']}: done" + ("" if self._sent else ", found done"), intent)
        if now != intent["before"]:
            raise PermanentError(f"{self._place} was changed by somebody else since this step began; a person must look")
        return await self._write(item, intent)

    async def _write(self, item: Object, intent: Mapping[str, Any]) -> Edited:
        await self._mark()
        self._sent = True
        await send(self._client, self._place, item, intent["after"], self._subresource, dry_run=False)
        return Edited(f"{intent['phrase']}: done", intent)

    async def _mark(self) -> None:
        if not self._marked:
            await self._notes.before_write()
            self._marked = True


def _wait(state: RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    asked = error.retry_after if isinstance(error, TemporaryError) else None
    return min(asked.total_seconds(), _ASKED_WAIT_LIMIT_SECONDS) if asked else _backoff(state)
