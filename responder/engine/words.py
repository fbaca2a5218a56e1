"""What a person's word does to an incident: the incident with it, or why it does not apply.

Raises RefusedError where it does not apply as things are, DeniedError where this person may not, NothingNewError where the same
person has said the same before.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from responder.domain.incident import OPEN_STATUSES, Approval, Incident, IncidentStatus, Word, said_by
from responder.domain.people import Actor
from responder.domain.wording import spell_time
from responder.engine.approvals import answered, open_approvals
from responder.errors import DeniedError, RefusedError


class NothingNewError(Exception):
    """The same person has said the same before."""

    def __init__(self, incident: Incident) -> None:
        super().__init__(incident.id)
        self.incident = incident


def approved(incident: Incident, *, actor: Actor, step: str | None, word: Word) -> Incident:
    """step: of the request that is meant, None for the oldest."""
    request = _request(incident, actor, step, lambda one: one.given)
    if word.at >= request.expires_at:  # a no is never too late
        raise RefusedError(f"the request ran out at {spell_time(request.expires_at, word.at)}")
    return answered(incident, request.step, given=word)


def rejected(incident: Incident, *, actor: Actor, step: str | None, word: Word) -> Incident:
    """step: of the request that is meant, None for the oldest."""
    return answered(incident, _request(incident, actor, step, lambda one: one.denied).step, denied=word)


def cancelled(incident: Incident, *, word: Word) -> Incident:
    if incident.cancel is not None and incident.cancel.by == word.by:
        raise NothingNewError(incident)
    if not incident.is_open:
        raise RefusedError(f"it is closed: {_state(incident)}")
    if incident.cancel is not None:
        raise RefusedError(f"it is being stopped: {said_by('cancelled', incident.cancel)}")
    if incident.failure:
        raise RefusedError(f"it has failed, and what its plan does then is running: {incident.failure}")
    return replace(incident, cancel=word)


def acknowledged(incident: Incident, *, word: Word) -> Incident:
    if incident.acknowledged is not None and incident.acknowledged.by == word.by:
        raise NothingNewError(incident)
    if incident.acknowledged is not None:
        raise RefusedError(said_by("it is acknowledged", incident.acknowledged))
    if incident.status in (IncidentStatus.RESOLVED, IncidentStatus.SUPPRESSED):
        raise RefusedError(f"there is nothing to have in hand: {_state(incident)}")
    return replace(incident, acknowledged=word)


def _request(incident: Incident, actor: Actor, step: str | None, said: Callable[[Approval], Word | None]) -> Approval:
    """The oldest open request that may be meant. said: the answer that would be the same once more."""
    asked = [one for one in incident.approvals if step is None or one.step == step]
    waiting = [one for one in open_approvals(incident) if one in asked]
    if not waiting and any((word := said(one)) is not None and word.by == actor.name for one in asked):
        raise NothingNewError(incident)
    if not incident.is_open:
        raise RefusedError(f"it is closed: {_state(incident)}")
    if incident.cancel is not None:
        raise RefusedError(f"it is being stopped: {said_by('cancelled', incident.cancel)}")
    if not waiting:
        raise RefusedError(f"nothing waits for approval: {_state(incident)}")
    request = waiting[0]
    if not actor.is_among(request.by):
        raise DeniedError(f"{actor.name} may not: it waits for {' or '.join(request.by)}")
    return request


def _state(incident: Incident) -> str:
    given = next((one.given for one in reversed(incident.approvals) if one.given is not None), None)
    if incident.status in OPEN_STATUSES:
        said = f", {said_by('approved', given)}" if given is not None and given.by else ""
        return f"{incident.status.value.replace('_', ' ')}{said}"
    return f"{incident.status.value}: {incident.reason}"
