"""`sleep`: do nothing for a while. The end is written down, so a restart waits only for the rest."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

from responder.actions.parameters import SleepParameters
from responder.domain.quantity import format_duration
from responder.ports import StepContext


class Sleep:
    async def run(self, parameters: Mapping[str, object], context: StepContext) -> str:
        duration = SleepParameters.read(parameters).duration
        until = _written_down(context.intent)
        if until is None:
            until = context.now() + duration
            await context.record({"until": until.isoformat()})
        # A clock that was set back while we slept must not make it longer than was asked for.
        rest = min(until - context.now(), duration)
        if rest > timedelta(0):
            context.progress(f"waiting until {until:%H:%M:%S} UTC")
            await context.sleep(rest)
        return f"waited {format_duration(duration)}"

    async def preview(self, parameters: Mapping[str, object], context: StepContext) -> str:  # noqa: ARG002 (the port)
        return f"would wait {format_duration(SleepParameters.read(parameters).duration)}"


def _written_down(intent: Mapping[str, object] | None) -> datetime | None:
    until = intent.get("until") if intent is not None else None
    return datetime.fromisoformat(until) if isinstance(until, str) else None
