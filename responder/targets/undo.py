"""One rollback of a workload: make its pod template equal to the pinned one, once, and only from the pinned bad one.

"Make it equal to this" can be repeated; "undo" can't. Every attempt starts from a fresh read, every write carries uid and
generation as preconditions, so whatever happens in between (a lost answer, an autoscaler, a person) is seen before the next one.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import structlog
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from responder.clients.kubernetes import KubernetesClient
from responder.domain.target import WorkloadRef
from responder.domain.version import Pin, Version
from responder.errors import PermanentError, RefusedError, TemporaryError
from responder.ports import Clock
from responder.targets import revision as kept
from responder.targets import template as templates
from responder.targets.kinds import Templates
from responder.targets.revision import Revision
from responder.targets.trace import annotating

_ATTEMPTS = 6
_ASKED_WAIT_LIMIT_SECONDS = 5.0
_backoff = wait_random_exponential(multiplier=0.05, max=2)

Prepare = Callable[[dict[str, Any]], Awaitable[str]]

_log = structlog.get_logger(__name__)


async def insist(pin: Pin, attempt: Callable[[], Awaitable[str]]) -> str:
    """Temporary errors are tried again a few times here; what is left goes to the step's own retry."""
    retrying = AsyncRetrying(
        stop=stop_after_attempt(_ATTEMPTS),
        wait=_wait,
        retry=retry_if_exception_type(TemporaryError),
        before_sleep=lambda state: _log.info("rollback_plans_again", target=pin.target, reason=str(_error(state))),
        reraise=True,
    )
    return await retrying(attempt)


class Undo:
    """prepare: awaited with the workload after the intent is written, right before the change; says what people should know.

    clock: for the annotation that tells who did it; None leaves none.
    """

    def __init__(
        self,
        client: KubernetesClient,
        kind: Templates,
        ref: WorkloadRef,
        pin: Pin,
        *,
        before_write: Callable[[], Awaitable[None]],
        prepare: Prepare,
        clock: Clock | None = None,
    ) -> None:
        self._client = client
        self._kind = kind
        self._ref = ref
        self._pin = pin
        self._before_write = before_write
        self._prepare = prepare
        self._clock = clock
        self._told = False
        self._sent = False
        self._prepared = ""

    async def attempt(self) -> str:
        found = await self._client.get(self._kind.resource, self._ref.namespace, self._ref.name)
        if found["metadata"]["uid"] != self._pin.uid:
            raise RefusedError(f"{self._ref} was deleted and made anew since the rollback was decided: another object")
        known = await self._kind.revisions(self._client, found)
        if self._is_done(found, known):
            return self._done(found) if self._sent else f"nothing to do: {self._ref} already runs {name_of(self._pin.to_version)}"
        self._check(found, known)
        target = kept.with_digest(known, self._pin.to_version.digest)
        if target is None:
            gone = f"the {self._kind.keeper} of {name_of(self._pin.to_version)} is gone (revisionHistoryLimit)"
            raise PermanentError(f"{self._ref}: {gone}")
        await self._write(found, target)
        return self._done(found)

    def _is_done(self, found: dict[str, Any], known: list[Revision]) -> bool:
        """At the target. A template that is exactly the bad one is not, even if only a restart stamp tells them apart."""
        template = _template_of(found, known)
        if templates.digest(template) == self._pin.from_version.digest:
            return self._pin.from_version.digest == self._pin.to_version.digest
        return kept.runs(template, self._pin.to_version, known)

    def _check(self, found: dict[str, Any], known: list[Revision]) -> None:
        """Refuse what was not decided upon."""
        pin, template = self._pin, _template_of(found, known)
        if not kept.runs(template, pin.from_version, known):
            now = templates.version_name(template)
            raise RefusedError(
                f"{self._ref} was changed by somebody else: it is asked to run {now}, which is neither"
                f" {name_of(pin.from_version)} nor {name_of(pin.to_version)}"
            )
        current = kept.history(template, known)[0]
        if current.digest == pin.from_version.digest and current.revision != pin.from_version.revision:
            raise RefusedError(
                f"{self._ref}: {name_of(pin.from_version)} was replaced and then put there again by somebody"
                f" (now revision {current.revision})"
            )
        if "deletionTimestamp" in found["metadata"]:
            raise RefusedError(f"{self._ref} is being deleted")
        if self._kind.is_paused(found):
            raise RefusedError(f"{self._ref} is paused: somebody works on it; resume it first")

    async def _write(self, found: dict[str, Any], target: Revision) -> None:
        # `test` only numbers and ids: a whole template would be compared as raw bytes.
        trace = annotating(found, self._pin, self._clock()) if self._clock else []
        operations = [
            {"op": "test", "path": "/metadata/uid", "value": found["metadata"]["uid"]},
            {"op": "test", "path": "/metadata/generation", "value": found["metadata"]["generation"]},
            {"op": "replace", "path": "/spec/template", "value": target.template},
            *trace,
            *_restoring_cause(found, target.version.change_cause, has_annotations=bool(trace)),
        ]
        await self._rehearse(operations, target)
        if not self._told:
            await self._before_write()
            self._told = True
        self._prepared = await self._prepare(found)
        self._sent = True
        try:
            await self._client.patch_json(self._kind.resource, self._ref.namespace, self._ref.name, operations)
        except PermanentError as error:
            if self._prepared:  # what was done before must not be forgotten over it
                raise PermanentError(f"{error}; {self._prepared}") from error
            raise
        _log.info(
            "rolled_back", target=self._pin.target, revision=target.version.revision, generation=found["metadata"]["generation"]
        )

    async def _rehearse(self, operations: list[dict[str, Any]], target: Revision) -> None:
        try:
            outcome = await self._client.patch_json(
                self._kind.resource, self._ref.namespace, self._ref.name, operations, dry_run=True
            )
        except PermanentError as error:
            if "does not support dry run" not in str(error):
                raise
            return  # an admission webhook's fault; the real write is guarded all the same
        if templates.steady_digest(outcome["spec"]["template"]) != templates.steady_digest(target.template):
            raise RefusedError(
                f"{self._ref}: the server would make something else out of {name_of(self._pin.to_version)} (admission)"
            )

    def _done(self, found: dict[str, Any]) -> str:
        done = f"{self._ref}: {name_of(self._pin.from_version)} replaced by {name_of(self._pin.to_version)}"
        return "; ".join(part for part in (done, self._kind.caveat(found), self._prepared) if part)


def _restoring_cause(found: dict[str, Any], cause: str, *, has_annotations: bool) -> list[dict[str, Any]]:
    """As `kubectl rollout undo` does: else the controller copies the bad version's change cause to the restored one.

    has_annotations: an operation before these makes them, if there are none.
    """
    annotations = found["metadata"].get("annotations") or {}
    if annotations.get(kept.CHANGE_CAUSE, "") == cause:
        return []
    if not annotations and not has_annotations:
        return [{"op": "add", "path": "/metadata/annotations", "value": {kept.CHANGE_CAUSE: cause}}]
    path = f"/metadata/annotations/{kept.CHANGE_CAUSE.replace('/', '~1')}"
    # `remove` alone fails where somebody has just removed it.
    return [{"op": "add", "path": path, "value": cause}, *([] if cause else [{"op": "remove", "path": path}])]


def _template_of(found: dict[str, Any], known: list[Revision]) -> dict[str, Any]:
    """What it is asked to run, as it is kept: a custom resource spells it differently."""
    current = kept.current_of(known)
    template: dict[str, Any] = current.template if current else found["spec"]["template"]
    return template


def name_of(version: Version) -> str:
    return f"{version.version} (revision {version.revision})"


def _error(state: RetryCallState) -> BaseException | None:
    return state.outcome.exception() if state.outcome else None


def _wait(state: RetryCallState) -> float:
    error = _error(state)
    asked = error.retry_after if isinstance(error, TemporaryError) else None
    return min(asked.total_seconds(), _ASKED_WAIT_LIMIT_SECONDS) if asked else _backoff(state)
