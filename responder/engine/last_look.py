"""The last look before the first byte of a rollback goes out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta

from responder.domain.incident import Incident, IncidentStatus
from responder.domain.ordered import judge_for
from responder.domain.people import Hold
from responder.domain.plan import ROLLBACKS, revisions_asked
from responder.domain.selection import describe
from responder.domain.target import Mode, Target
from responder.domain.version import Pin
from responder.engine.blast_radius import BlastRadius
from responder.engine.facts import FactFinder
from responder.errors import RefusedError
from responder.ports import Clock

# While a step asks for approval, others may run beside it.
_RUNNING = frozenset({IncidentStatus.RUNNING, IncidentStatus.WAITING_APPROVAL})
FRESH_FOR = timedelta(seconds=5)
"""How long the guards' verdicts stand. After longer steps, or a restart, they are asked again."""


def may_change(target: Target | None, name: str) -> Target:
    """The target, if its rulebook still lets us change anything there. Raises RefusedError."""
    if target is None:
        raise RefusedError(f"target {name} is not declared any more")
    if target.mode is Mode.OBSERVE:
        raise RefusedError(f"target {name} is in observe mode now")
    return target


def check_hold(incident: Incident, hold: Hold) -> None:
    """A hold keeps a run from its first change; what has begun to change things is finished, or cancelled by a person.

    Raises RefusedError.
    """
    if incident.acted_at is None and hold.held:
        raise RefusedError(str(hold))


CLEARED = "the alert cleared before anything was changed"
_ABOUT_THE_ALERT = frozenset({"alert_firing", "second_look"})


def _is_underway(incident: Incident) -> bool:
    """A target of this plan was rolled back already: the others belong to it, though the alert may clear by the first one.

    One that was only about to be (stage `patch`) does not count: it may have been cut off before its first byte.
    """
    return any(record.uses in ROLLBACKS and (record.intent or {}).get("stage") == "rollout" for record in incident.steps)


class LastLook:
    """Raises RefusedError when it must not be done any more; nothing was changed then."""

    def __init__(
        self,
        *,
        facts: FactFinder,
        targets: Callable[[], Mapping[str, Target]],
        still_firing: Callable[[Incident], bool],
        clock: Clock,
        hold: Callable[[], Hold] = Hold,
        radius: BlastRadius | None = None,
    ) -> None:
        self._facts = facts
        self._targets = targets
        self._still_firing = still_firing
        self._clock = clock
        self._hold = hold
        self._radius = radius

    def check_firing(self, incident: Incident) -> None:
        """Before the first change of a run that an alert began, whatever kind of change it is. Raises RefusedError."""
        if incident.acted_at is None and incident.order is None and not self._still_firing(incident):
            raise RefusedError(CLEARED)

    async def __call__(self, incident: Incident, pin: Pin) -> None:
        if incident.status not in _RUNNING or incident.failure:
            raise RefusedError("a rollback belongs to the steps of a plan: afterwards there is no second step back")
        target = may_change(self._targets().get(pin.target), pin.target)
        judged_at = incident.run_started_at
        if judged_at is None or abs(self._clock() - judged_at) >= FRESH_FOR:
            await self._ask_again(incident, target, pin)
        if incident.order is None and not _is_underway(incident) and not self._still_firing(incident):
            raise RefusedError(CLEARED)
        check_hold(incident, self._hold())
        if self._radius is not None:
            await self._radius.take(incident, target)

    async def _ask_again(self, incident: Incident, target: Target, pin: Pin) -> None:
        """The same guards on fresh facts; they must still lead to the pinned version."""
        facts = await self._facts.gather(target, incident, still_firing=self._still_firing(incident))
        revisions = revisions_asked(incident.plan, pin.target, incident.target)
        verdicts, choice = judge_for(facts, incident.order, chooses=pin.target == incident.target, revisions=revisions)
        excused = _ABOUT_THE_ALERT if _is_underway(incident) else frozenset()
        refusals = [verdict.reason for verdict in verdicts if not verdict.passes and verdict.guard not in excused]
        if refusals:
            raise RefusedError("; ".join(dict.fromkeys(refusals)))
        if choice.version is None or choice.version.fingerprint != pin.to_version.fingerprint:
            raise RefusedError(f"{describe(pin.to_version)} was pinned, but now {choice.reason}")
