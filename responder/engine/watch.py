"""The watch after a verified rollback: until its window has passed and the alert has cleared, or it must be called failed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from responder.domain.incident import Incident, said_by
from responder.domain.plan import Monitor
from responder.domain.wording import spell_duration
from responder.engine.desk import IncidentDesk
from responder.engine.runner import StepRunner
from responder.engine.steady import steady
from responder.ports import Clock


class Pulse:
    """Wakes everybody who waits, each time it beats."""

    def __init__(self) -> None:
        self._next = asyncio.Event()

    def beat(self) -> None:
        woken, self._next = self._next, asyncio.Event()
        woken.set()

    def next(self) -> asyncio.Event:
        """The next beat. Take it before reading what a beat may change, so that none is missed in between."""
        return self._next

    async def wait(self, timeout: timedelta, beat: asyncio.Event | None = None) -> None:
        """Return at the next beat (or the one that was taken before), or when the time is over."""
        try:
            async with asyncio.timeout(max(0.0, timeout.total_seconds())):
                await (beat or self._next).wait()
        except TimeoutError:
            return


@dataclass(frozen=True, slots=True)
class WatchVerdict:
    """cancelled: a person ended the watch."""

    failed: bool
    reason: str
    cancelled: bool = False


ASK_AGAIN = timedelta(seconds=5)
"""How often the sender is asked whether the alert goes on, once the watch could end."""


def assess_watch(
    monitor: Monitor, until: datetime, now: datetime, *, firing: bool, failures: int, calm: str = "the alert has cleared"
) -> WatchVerdict | None:
    """The end of the watch, or None while it goes on. calm: how it is known that nothing fires any more, "" without any alert."""
    if failures > monitor.failure_limit:
        return WatchVerdict(True, f"monitoring failed: {failures} rounds of checks in a row did not pass")
    if now < until:
        return None
    if not firing and failures:
        return None  # the last look was not good: one more, until it is or there were too many
    if not firing:
        return WatchVerdict(False, f"{f'{calm} and ' if calm else ''}nothing went wrong for {spell_duration(monitor.window)}")
    if now >= until + monitor.settle:
        waited = spell_duration(monitor.window + monitor.settle)
        return WatchVerdict(True, f"not recovered: the alert has not cleared {waited} after the rollback")
    return None


async def watch_incident(
    incident: Incident,
    monitor: Monitor,
    *,
    desk: IncidentDesk,
    runner: StepRunner,
    has_cleared: Callable[[Incident], bool],
    pulse: Pulse,
    clock: Clock,
    goes_on: Callable[[Incident], Awaitable[bool | None]] | None = None,
) -> WatchVerdict:
    """Run the checks every `every` and wait for the window and the alert. The end is on record: a restart goes on.

    goes_on: asks the sender whether the alert does, None when nobody knows; its word is newer than what was told.
    """
    clock = steady(clock)
    said, ask_at = None, datetime.min.replace(tzinfo=UTC)
    until = incident.monitor_until or clock() + monitor.window
    failures = 0
    next_round = clock()
    while True:
        beat = pulse.next()
        now = clock()
        if monitor.checks and now >= next_round:
            passed = await _round(incident, monitor, desk, runner)
            failures = 0 if passed else failures + 1
            now = clock()
            next_round = now + monitor.every
        known = await desk.get(incident.id) or incident
        if known.cancel is not None:
            return WatchVerdict(False, f"{said_by('the watch was ended', known.cancel)}; what was done stays", cancelled=True)
        if goes_on is not None and now >= max(until, ask_at):
            said = await goes_on(known)
            ask_at = clock() + ASK_AGAIN
        cleared = has_cleared(known)
        calm = "the alert has cleared" if cleared else "the sender does not list the alert any more"
        if not known.groups:  # ordered by a person: there is no alert
            calm = ""
        firing = not cleared if said is None else said
        verdict = assess_watch(monitor, until, now, firing=firing, failures=failures, calm=calm)
        if verdict is not None:
            return verdict
        moments = [moment for moment in (until, until + monitor.settle, ask_at) if moment > now]
        if monitor.checks:
            moments.append(next_round)
        await pulse.wait(min(moments) - now, beat)


async def _round(incident: Incident, monitor: Monitor, desk: IncidentDesk, runner: StepRunner) -> bool:
    passed = True
    for step in monitor.checks:
        outcome = await runner.check(incident, step)
        if not outcome.succeeded:
            passed = False
            event = desk.event("check_failed", f"{step.name}: {outcome.text}")
            await desk.change(incident.id, lambda known: known, [event])
    return passed
