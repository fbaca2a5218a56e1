"""How the guards of a target would decide now."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from responder.domain.guards import Facts
from responder.domain.surroundings import Surroundings
from responder.domain.target import GuardSettings
from responder.engine.guard_view import GuardPicture, GuardView
from responder.rulebook.schema import as_written
from responder.web.answers import for_readers, json_answer
from responder.web.documents import Document, guards_document, pinned_version, time_text
from responder.web.tokens import Tokens

_PAST_SHOWN = 10


def guard_routes(view: GuardView | None, tokens: Tokens) -> list[Route]:
    """None when this service has no guards to ask."""
    if view is None:
        return []

    async def guards(request: Request) -> Response:
        return json_answer(_document(await view.look(request.path_params["target"])))

    return [Route("/v1/targets/{target}/guards", for_readers(tokens, guards), methods=["GET"])]


def _document(picture: GuardPicture) -> Document:
    target, choice = picture.target, picture.choice
    return {
        "target": target.name,
        "mode": target.mode,
        "assumed": picture.assumed,
        "would": picture.would,
        "reason": "; ".join(picture.refusals),
        "to": pinned_version(choice.version) if choice.version else None,
        "guards": guards_document({target.name: picture.verdicts})[target.name],
        "settings": _settings(target.guards),
        "facts": _facts(picture.facts),
    }


def _settings(settings: GuardSettings) -> Document:
    return {name: as_written(getattr(settings, name)) for name in GuardSettings.__dataclass_fields__}


def _facts(facts: Facts) -> Document:
    state = facts.state
    past = [
        {"target": one.target, "incident": one.incident, "at": time_text(one.at), "failed": one.failed, "ordered": one.ordered}
        for one in facts.past[:_PAST_SHOWN]
    ]
    document: Document = {"read_at": time_text(facts.now), "alert_began_at": time_text(facts.began_at), "past_rollbacks": past}
    if state is None:
        return document | {"unreadable": facts.unreadable}
    return document | {
        "uid": state.uid,
        "generation": state.generation,
        "runs": pinned_version(state.current),
        "rollout": {"phase": state.rollout.phase, "reason": state.rollout.reason},
        "replicas": state.replicas,
        "paused": state.paused,
        "owners": [f"{one.kind} {one.name}" for one in state.owners],
        "surroundings": _surroundings(state.surroundings) if state.surroundings else None,
    }


def _surroundings(around: Surroundings) -> Document:
    return {
        "may_be_unavailable": around.unavailable,
        "surge": around.surge,
        "autoscalers": list(around.autoscalers or ()),
        "budgets": {one.name: one.desired for one in around.budgets or ()},
        "quotas": {
            quota.name: {name: f"{quota.used.get(name, 0)} of {hard}" for name, hard in quota.hard.items()}
            for quota in around.quotas or ()
        },
        "configuration": {name: time_text(one.changed_at) for name, one in around.configs.items()},
        "unreadable": dict(around.unreadable),
    }
