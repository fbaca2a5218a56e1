"""`rollback`: bring a target back to the version pinned for this run.

Nothing is chosen here. Which version replaces which was pinned and written down when the run began; a step that is run again
after a crash does exactly the same, and the workload finds out whether anything is left to do.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta

from responder.actions.parameters import RollbackParameters
from responder.domain.own_changes import made_by, starting_from
from responder.domain.version import Pin, RolloutPhase, Version
from responder.errors import PermanentError, TemporaryError
from responder.ports import StepContext, Stepwise, Traceable, Workload

_POLLS = (timedelta(milliseconds=500),) * 20  # most rollouts end within these
_LATER_POLL = timedelta(seconds=1)


class Rollback:
    async def run(self, parameters: Mapping[str, object], context: StepContext) -> str:
        target = RollbackParameters.read(parameters).target or context.target
        pin = replace(context.pin_of(target), incident=context.incident.id)
        _check_intent(context.intent, pin)
        workload = context.workload_of(target)

        async def before_write() -> None:
            if cut_off:  # half a rollback is worse than a whole one: only observe mode keeps it from being finished
                await context.mark_changed()
                return
            await context.mark_acted(_intent(pin, "patch"))

        if context.intent is not None and context.intent.get("stage") == "rollout":
            # The change was made before: if the bad version is back, somebody put it there.
            return await _rolled_out(workload, pin, context)
        made = made_by(context.incident, target)
        start = starting_from(pin, await workload.read(), made) if made else pin
        cut_off = context.intent is not None and isinstance(workload, Stepwise) and await workload.has_begun(start)
        done = await workload.roll_back(start, before_write)
        context.progress(done)
        if isinstance(workload, Traceable):  # before the record: a crash in between leaves it to the next attempt
            await workload.leave_trace(pin)
        await context.record(_intent(pin, "rollout"))
        return f"{done.rstrip('.')}; {await _rolled_out(workload, pin, context)}"

    async def preview(self, parameters: Mapping[str, object], context: StepContext) -> str:
        target = RollbackParameters.read(parameters).target or context.target
        pin = context.pin_of(target)
        before, after = pin.from_version, pin.to_version
        what = f"would bring {target} back from {_shown(before)} to {_shown(after)}"
        lines = [f"--- {target} {before.version}", f"+++ {target} {after.version}"]
        gone = [f"-image: {image}" for image in before.images if image not in after.images]
        came = [f"+image: {image}" for image in after.images if image not in before.images]
        if not gone and not came:
            return f"{what}; the images are the same, its template or settings differ"
        return "\n".join([what, *lines, *gone, *came])


def _shown(version: Version) -> str:
    return f"{version.version} (revision {version.revision})"


async def _rolled_out(workload: Workload, pin: Pin, context: StepContext) -> str:
    """Wait for the end of the rollout; the step's timeout bounds it. Returns how it ended."""
    shown = ""
    polls = 0
    while True:
        try:
            status = await workload.rollout(pin)
        except TemporaryError as error:  # the change is made; a short absence of the API server is no reason to fail
            text = f"waiting for the rollout, but its state can't be read: {error}"
        else:
            text = status.reason
            if status.phase is RolloutPhase.COMPLETE:
                return text
            if status.phase is RolloutPhase.FAILED:
                raise PermanentError(f"the rollout of {pin.to_version.version} failed: {text}")
        if text != shown:
            context.progress(text)
            shown = text
        await context.sleep(_POLLS[polls] if polls < len(_POLLS) else _LATER_POLL)
        polls += 1


def _intent(pin: Pin, stage: str) -> Mapping[str, object]:
    return {
        "stage": stage,
        "target": pin.target,
        "uid": pin.uid,
        "from": _named(pin.from_version),
        "to": _named(pin.to_version),
    }


def _named(version: Version) -> Mapping[str, object]:
    return {
        "version": version.version,
        "revision": version.revision,
        "fingerprint": version.fingerprint,
        "digest": version.digest,
    }


def _check_intent(intent: Mapping[str, object] | None, pin: Pin) -> None:
    """Refuse to go on with another pin than the one written down: that is how an undo flips back."""
    if intent is None:
        return
    before = {name: intent.get(name) for name in ("target", "uid", "from", "to")}
    now = {name: value for name, value in _intent(pin, "").items() if name != "stage"}
    if before != now:
        raise PermanentError("the pinned versions differ from those this step began with; a person must look")
