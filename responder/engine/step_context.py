"""What a step of a run may know and use: see `responder.ports.StepContext`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import structlog

from responder.domain.incident import Incident, Phase, StepRecord, Word
from responder.domain.notification import Moment
from responder.domain.own_changes import made_by
from responder.domain.people import Hold
from responder.domain.plan import Step
from responder.domain.rulebook import ApprovalTerms
from responder.domain.target import Target
from responder.domain.version import Pin
from responder.engine.announcer import Tell
from responder.engine.desk import IncidentDesk
from responder.engine.last_look import LastLook, check_hold, may_change
from responder.engine.limit import Limit, paused
from responder.engine.records import find_record, set_record
from responder.errors import PermanentError, RefusedError, StoppedError
from responder.ports import Clock, Ledger, StepContext, Workload, Workloads

_log = structlog.get_logger(__name__)

Ask = Callable[[str, str, ApprovalTerms, str], Awaitable[Word]]
"""Waits for a person's yes: incident id, step, terms, question. See `StepContext.ask`."""

STOPPABLE = frozenset({Phase.STEPS, Phase.VERIFY})
"""A stop ends these. What is done after a failure is done to its end."""


async def nobody_to_ask(_incident: str, step: str, _terms: ApprovalTerms, _question: str) -> Word:
    raise RefusedError(f"{step} needs a person's word, and nobody can be asked")


class StepContexts:
    """look: the last look before a rollback's first byte. note: journals that a target is about to be rolled back.

    on_change: told of every incident whose run may change something from now on.
    """

    def __init__(
        self,
        *,
        desk: IncidentDesk,
        workloads: Workloads,
        ledger: Ledger,
        targets: Callable[[], Mapping[str, Target]],
        look: LastLook,
        note: Callable[[str], Awaitable[None]],
        clock: Clock,
        ask: Ask,
        hold: Callable[[], Hold],
        secrets: Sequence[str],
        on_change: Callable[[str], None],
    ) -> None:
        self._desk = desk
        self._workloads = workloads
        self._ledger = ledger
        self._targets = targets
        self._look = look
        self._note = note
        self._clock = clock
        self._ask = ask
        self._hold = hold
        self._secrets = secrets
        self._on_change = on_change

    def of(self, incident: Incident, step: Step, phase: Phase, limits: Sequence[Limit] = ()) -> StepContext:
        """incident: as it is on record now. limits: stand still while a person is being asked."""
        target = str(step.parameters.get("target") or incident.target)

        async def record(intent: Mapping[str, object]) -> None:
            await self._desk.change(incident.id, lambda known: set_record(known, step, phase, intent=dict(intent)))

        async def tell(title: str, text: str, to: str | None) -> None:
            public = {"public_title": title, "public_text": text} if to == "statuspage" else {}
            message = Tell(Moment.NOTICE, text, title, to, extra=public)
            await self._desk.change(incident.id, lambda known: known, [self._desk.event("told", text)], [message])

        def pin_of(name: str) -> Pin:
            if name not in incident.pins:
                raise RefusedError(f"this run has no pinned version for target {name}")
            return incident.pins[name]

        async def mark_acted(intent: Mapping[str, object]) -> None:
            await self._mark_acted(incident.id, pin_of(target), lambda known: set_record(known, step, phase, intent=dict(intent)))

        async def mark_changed() -> None:
            await self._mark_changed(incident.id, target, phase)

        def workload_of(name: str) -> Workload:
            return self._workloads.of(self._declared(name))

        def record_of(name: str) -> StepRecord | None:
            return next((one for one in incident.steps if one.name == name), None)

        async def sleep(duration: timedelta) -> None:
            await self.sleep(incident.id, phase, duration)

        def progress(text: str) -> None:
            _log.info("step_progress", incident=incident.id, step=step.name, text=text)
            self._desk.note_progress(incident.id, step.name, text)

        async def ask(terms: ApprovalTerms, question: str) -> Word:
            with paused(limits):
                return await self._ask(incident.id, step.name, terms, question)

        return StepContext(
            incident=incident,
            target=target,
            now=self._clock,
            intent=intent_of(incident, step, phase),
            record=record,
            progress=progress,
            tell=tell,
            pin_of=pin_of,
            workload_of=workload_of,
            mark_acted=mark_acted,
            sleep=sleep,
            declared=self._declared,
            record_of=record_of,
            mark_changed=mark_changed,
            targets=self._targets,
            step=step.name,
            secrets=self._secrets,
            ask=ask,
        )

    def of_preview(self, incident: Incident, step: Step, phase: Phase) -> StepContext:
        """For looking only: nothing durable, no effect, no message can come of it."""

        async def never(*_: object) -> Any:
            raise PermanentError("a preview changes nothing")

        return replace(
            self.of(incident, step, phase),
            record=never,
            tell=never,
            mark_acted=never,
            mark_changed=never,
            ask=never,
            progress=lambda _: None,
        )

    async def sleep(self, incident_id: str, phase: Phase, duration: timedelta) -> None:
        """Raises StoppedError as soon as somebody asks this run to stop."""
        if phase not in STOPPABLE:
            await asyncio.sleep(duration.total_seconds())
            return
        try:
            async with asyncio.timeout(max(0.0, duration.total_seconds())):
                await self._desk.stop_of(incident_id).wait()
        except TimeoutError:
            return
        raise StoppedError("stopped: somebody asked for it")

    def _declared(self, name: str) -> Target:
        if name not in self._targets():
            raise RefusedError(f"target {name} is not declared any more")
        return self._targets()[name]

    async def _mark_acted(self, incident_id: str, pin: Pin, with_intent: Callable[[Incident], Incident]) -> None:
        """After the last look, the bad version is marked for ever. All is on record when this returns, in whatever order."""
        incident = await self._desk.get(incident_id)
        if incident is None:
            raise RefusedError(f"incident {incident_id} is gone")
        await self._look(incident, pin)
        now, key = self._clock(), self._declared(pin.target).key
        # What this run itself made of the bad version before is no better.
        bad = {pin.from_version.fingerprint, *made_by(incident, pin.target).values()} - {pin.to_version.fingerprint}
        event = self._desk.event("acting", f"changing {pin.target} from {pin.from_version.version} to {pin.to_version.version}")

        def acting(known: Incident) -> Incident:
            return with_intent(replace(known, acted_at=known.acted_at or now))

        await asyncio.gather(
            *(self._ledger.mark_bad(key, fingerprint, now, incident_id) for fingerprint in bad),
            self._desk.change(incident_id, acting, [event]),
            self._note(pin.target),
        )
        self._on_change(incident_id)

    async def _mark_changed(self, incident_id: str, target: str, phase: Phase) -> None:
        """A step other than a rollback is about to change something: the version is not blamed, but a failure has to say so."""
        may_change(self._targets().get(target), target)
        now = self._clock()

        def changed(known: Incident) -> Incident:
            check_hold(known, self._hold())
            if phase in STOPPABLE:  # what is done after a failure needs no alert
                self._look.check_firing(known)
            return replace(known, acted_at=known.acted_at or now)

        await self._desk.change(incident_id, changed)
        self._on_change(incident_id)


def intent_of(incident: Incident, step: Step, phase: Phase) -> Mapping[str, object] | None:
    """What this step wrote down; what undoes a step reads what that step wrote down, and then its own."""
    own = find_record(incident, step, phase).intent
    if phase is not Phase.COMPENSATION:
        return own
    done = next((one.intent for one in incident.steps if one.name == step.name and one.phase in STOPPABLE), None)
    return None if done is None and own is None else {**(done or {}), **(own or {})}
