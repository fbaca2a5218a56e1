"""Leads one incident from its first decision to closed: guards, steps, verification, watch, report.

Everything that matters is on record before it happens, so `conduct` is both the start of a run and its resumption after a crash.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import datetime, timedelta

import structlog

from responder.domain.incident import Incident, IncidentStatus, said_by
from responder.domain.notification import Moment
from responder.domain.plan import Plan
from responder.domain.wording import spell_duration
from responder.engine.admission import Admission
from responder.engine.announcer import Tell
from responder.engine.claims import Claims
from responder.engine.desk import IncidentDesk
from responder.engine.plan_run import PlanRun, RunOutcome, named_targets, plan_of
from responder.engine.records import end_running
from responder.engine.runner import StepRunner
from responder.engine.turnstile import Turnstile
from responder.engine.watch import Pulse, watch_incident
from responder.errors import JournalUnavailableError
from responder.ports import Clock

_log = structlog.get_logger(__name__)


_RETRY_PAUSE = 1.0  # seconds, when the database can't be written


class _StoppedMeanwhileError(Exception):
    """A stop came before the failure was on record."""


class Conductor:
    """has_cleared: whether all alerts of the incident are over; it does not hold while the number of one is missing.

    goes_on: asks the sender; None when it can't be asked.
    """

    def __init__(
        self,
        *,
        desk: IncidentDesk,
        runner: StepRunner,
        admission: Admission,
        claims: Claims,
        turnstile: Turnstile,
        has_cleared: Callable[[Incident], bool],
        pulse: Pulse,
        clock: Clock,
        goes_on: Callable[[Incident], Awaitable[bool | None]] | None = None,
    ) -> None:
        self._desk = desk
        self._runner = runner
        self._run = PlanRun(desk=desk, runner=runner, clock=clock)
        self._admission = admission
        self._has_cleared = has_cleared
        self._goes_on = goes_on
        self._pulse = pulse
        self._clock = clock
        self._claims = claims
        self._turnstile = turnstile

    def expect(self, incident: Incident) -> None:
        """Before any incident is led after a start: what this open one has pinned or may be changing stays its own."""
        was_admitted = incident.run_started_at is not None or incident.approvals or incident.countdown_until is not None
        for name in (*incident.pins, *(named_targets(incident) if was_admitted and incident.plan is not None else ())):
            self._claims.take(name, incident.id)

    async def conduct(self, incident_id: str) -> None:
        """Lead the incident until it is closed. Cancelling leaves it open, to be resumed."""
        while True:
            try:
                await self._lead(incident_id)
            except JournalUnavailableError as error:
                _log.error("database_unavailable", incident=incident_id, error=str(error))
                await asyncio.sleep(_RETRY_PAUSE)  # what was begun is on record: going on is the same as resuming
            else:
                self._claims.let_go(incident_id)
                return

    async def _lead(self, incident_id: str) -> None:
        try:
            await self._conduct(incident_id)
        except JournalUnavailableError:
            raise
        except Exception as error:  # noqa: BLE001 (the run boundary: a bug must close the incident, not leave the target locked)
            _log.exception("run_crashed", incident=incident_id)
            await self._fail(incident_id, f"internal error: {type(error).__name__}")
        finally:
            self._turnstile.leave(incident_id)

    async def _conduct(self, incident_id: str) -> None:
        incident = await self._get(incident_id)
        if not incident.is_open:
            return
        if incident.cancel is not None:
            self._desk.stop_of(incident_id).set()
        if incident.failure:
            await self._fail(incident_id, incident.failure)
            return
        if incident.status is not IncidentStatus.MONITORING:
            if incident.acted_at is None and not await self._admission.admit(incident):
                return
            if not await self._work(await self._get(incident_id)):
                return
        await self._watch(await self._get(incident_id))

    async def _get(self, incident_id: str) -> Incident:
        incident = await self._desk.get(incident_id)
        if incident is None:
            raise LookupError(f"incident {incident_id} is gone")
        return incident

    # --- the run -------------------------------------------------------------------------------------------------

    async def _work(self, incident: Incident) -> bool:
        """Run the plan. True when everything is done and verified; else the incident is closed when this returns."""
        ending = await self._run.work(incident)
        match ending.outcome:
            case RunOutcome.DONE:
                await self._recovered(incident.id, plan_of(incident))
            case RunOutcome.REFUSED:
                await self._refuse(incident.id, ending.reason)
            case RunOutcome.CANCELLED:
                await self._cancelled(incident.id, ending.reason)
            case RunOutcome.FAILED:
                await self._fail(incident.id, ending.reason)
        return ending.outcome is RunOutcome.DONE

    async def _recovered(self, incident_id: str, plan: Plan) -> None:
        now = self._clock()
        window = spell_duration(plan.monitor.window)
        done = "all steps done and verified" if plan.verify else "all steps done; the plan verifies nothing but the rollout"
        event = self._desk.event("recovered", f"{done}; watching for {window}")

        def recovered(known: Incident) -> Incident:
            until = now + plan.monitor.window
            return replace(known, status=IncidentStatus.MONITORING, recovered_at=now, monitor_until=until)

        await self._desk.change(
            incident_id, recovered, [event], [Tell(Moment.RECOVERED, f"{done[:1].upper()}{done[1:]}. Watching for {window}.")]
        )

    async def _refuse(self, incident_id: str, reason: str) -> None:
        await self._desk.change(
            incident_id,
            lambda known: replace(known, status=IncidentStatus.REFUSED, reason=reason),
            [self._desk.event("refused", reason)],
            [Tell(Moment.NOTICE, f"Not rolled back: {reason}. Nothing was changed: a person is needed.", closes=True)],
        )

    async def _cancelled(self, incident_id: str, reason: str) -> None:
        """What was begun has ended at a safe point, and what can be put back is put back: only then is the target free."""
        put_back = await self._run.put_back(incident_id)
        incident = await self._get(incident_id)
        left = "The service was changed before that; check it now." if incident.acted_at else "Nothing was changed."
        await self._desk.change(
            incident_id,
            lambda known: replace(known, status=IncidentStatus.CANCELLED, reason=reason, steps=end_running(known, reason)),
            [self._desk.event("cancelled", reason)],
            [Tell(Moment.NOTICE, f"{reason[:1].upper()}{reason[1:]}. {left} {put_back}".rstrip(), closes=True)],
        )

    # --- watch and end -------------------------------------------------------------------------------------------

    async def _watch(self, incident: Incident) -> None:
        verdict = await watch_incident(
            incident,
            plan_of(incident).monitor,
            desk=self._desk,
            runner=self._runner,
            has_cleared=self._has_cleared,
            pulse=self._pulse,
            clock=self._clock,
            goes_on=self._goes_on if incident.groups else None,
        )
        if verdict.failed:
            await self._fail(incident.id, verdict.reason)
            return
        if verdict.cancelled:
            await self._end_watch(incident.id, verdict.reason)
            return
        await self._desk.change(
            incident.id,
            lambda known: replace(known, status=IncidentStatus.RESOLVED, reason=verdict.reason),
            [self._desk.event("resolved", verdict.reason)],
            [Tell(Moment.RESOLVED, _resolved_text(incident, self._clock(), verdict.reason))],
        )

    async def _end_watch(self, incident_id: str, reason: str) -> None:
        await self._desk.change(
            incident_id,
            lambda known: replace(known, status=IncidentStatus.CANCELLED, reason=reason),
            [self._desk.event("cancelled", reason)],
            [Tell(Moment.NOTICE, f"{reason[:1].upper()}{reason[1:]}. Nobody watches the service any more.", closes=True)],
        )

    async def _fail(self, incident_id: str, reason: str) -> None:
        """Tell people at once, put back what was begun, run the plan's `on_failure` steps, close. Never a second step back."""
        incident = await self._get(incident_id)
        if not incident.is_open:
            return
        if not incident.failure:
            acted = "The service was changed, or may have been; check it now." if incident.acted_at else "Nothing was changed."

            def failing(known: Incident) -> Incident:
                if known.cancel is not None:
                    raise _StoppedMeanwhileError
                return replace(known, failure=reason, steps=end_running(known, reason))

            event = self._desk.event("failing", reason)
            tell = [Tell(Moment.FAILED, f"{reason}. {acted} {self._run.what_follows(incident)}")]
            try:
                incident = await self._desk.change(incident_id, failing, [event], tell)
            except _StoppedMeanwhileError:
                await self._stopped(incident_id, reason)
                return
        await self._make_good(incident)
        await self._desk.change(
            incident_id,
            lambda known: replace(known, status=IncidentStatus.FAILED, reason=known.failure),
            [self._desk.event("failed", incident.failure)],
        )

    async def _stopped(self, incident_id: str, reason: str) -> None:
        """A person was told that it stops, and then it failed: it stops, and says both."""
        incident = await self._get(incident_id)
        said = said_by("stopped", incident.cancel) if incident.cancel is not None else "stopped"
        await self._cancelled(incident_id, f"{said}; it had failed: {reason}")

    async def _make_good(self, incident: Incident) -> None:
        put_back = await self._run.put_back(incident.id)
        if put_back:
            tell = [Tell(Moment.NOTICE, f"After the failure of {incident.target}'s plan: {put_back}")]
            await self._desk.change(incident.id, lambda known: known, [self._desk.event("put_back", put_back)], tell)
        await self._run.on_failure(incident)


def _resolved_text(incident: Incident, now: datetime, reason: str) -> str:
    began = incident.began_at or incident.opened_at
    total: timedelta = now - began
    what = "the alert began" if incident.began_at else "it was ordered"
    return f"{reason[:1].upper()}{reason[1:]}. {spell_duration(total)} after {what}."
