"""Whom a command concerns, and whether the word of who gives it counts there."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from responder.domain.incident import Incident
from responder.domain.matcher import Matcher, MatchOperator
from responder.domain.people import Actor
from responder.domain.plan import Plan
from responder.errors import DeniedError

EVERYTHING = ""
"""In the place of a target's name: what concerns all of them, or none that is declared."""


def check_scope(actor: Actor, concerned: Iterable[str]) -> None:
    """Raises DeniedError when a command concerns targets beyond those of its giver."""
    beyond = actor.beyond(concerned)
    if beyond:
        what = " and ".join(name or "more than single targets" for name in beyond)
        raise DeniedError(f"{actor.name} may not: it concerns {what}, and {actor.name}'s word counts for {_listed(actor)} only")


def targets_of(plan: Plan | None, own: str) -> list[str]:
    """Names of all targets that the steps of a plan speak of, the incident's own first."""
    steps = plan.walk() if plan is not None else ()
    return list(dict.fromkeys((own, *(str(step.parameters.get("target") or own) for step in steps))))


def concerned(incident: Incident, action: str) -> list[str]:
    """A yes has everything done that the plan does; any other word concerns the incident as a whole."""
    return targets_of(incident.plan, incident.target) if action == "approve" else [incident.target]


def covered(matchers: Sequence[Matcher]) -> list[str]:
    """What a suppression can concern: one target if it names one, else everything."""
    named = [one.value for one in matchers if one.name == "target" and one.operator is MatchOperator.EQUAL and one.value]
    return named[:1] or [EVERYTHING]


def _listed(actor: Actor) -> str:
    return ", ".join(sorted(actor.targets or ())) or "nothing"
