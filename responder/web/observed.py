"""`/v1/observed`: what observe mode would have done, and how it turned out without it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from responder.domain.observed import Observed, ObservedTarget, look_back
from responder.domain.quantity import format_duration, parse_duration
from responder.domain.target import Mode
from responder.web.answers import for_readers, json_answer
from responder.web.documents import time_text
from responder.web.problems import Problem
from responder.web.services import WebServices
from responder.web.statistics import incidents_since

_DEFAULT, _LONGEST = timedelta(days=14), timedelta(days=366)
_EXPERIENCE = timedelta(days=366)  # how far back rollbacks are looked at for the estimate


def observed_routes(services: WebServices) -> list[Route]:
    async def observed(request: Request) -> Response:
        window = _window(request)
        now = services.clock()
        targets = services.targets()
        incidents = await incidents_since(services, now - _EXPERIENCE, None)
        ledgers = {name: await services.ledger_of(target.key) for name, target in targets.items()}
        found = look_back(targets, incidents, ledgers, now - window)
        return json_answer(
            {"since": time_text(now - window), "window": format_duration(window), "targets": [*map(_target, found)]}
        )

    return [Route("/v1/observed", for_readers(services.tokens, observed), methods=["GET"])]


def _window(request: Request) -> timedelta:
    text = request.query_params.get("since")
    try:
        window = _DEFAULT if text is None else parse_duration(text)
    except ValueError as error:
        raise Problem(400, str(error), "since").error() from None
    if not timedelta(0) < window <= _LONGEST:
        raise Problem(400, "must be longer than 0s and at most 366d", "since").error()
    return window


def _target(found: ObservedTarget) -> Mapping[str, object]:
    armed = found.target.mode is Mode.ARMED
    return {
        "target": found.target.name,
        "mode": found.target.mode,
        "observed": len(found.incidents),
        "would_have_acted": found.acted,
        "in_vain": found.in_vain,
        "minutes_saved": _minutes(found.saved),
        "estimate": {"seconds": found.estimate.takes.total_seconds(), "basis": found.estimate.basis},
        "arm": "" if armed else f"targets: {{{found.target.name}: {{mode: armed}}}}",
        "incidents": [_one(one) for one in found.incidents],
    }


def _one(one: Observed) -> Mapping[str, object]:
    return {
        "incident": one.incident.id,
        "rule": one.incident.rule,
        "severity": one.incident.severity,
        "opened_at": time_text(one.incident.opened_at),
        "would": one.would,
        "acts": one.acts,
        "would_have_recovered_at": time_text(one.recovered_at) if one.acts else None,
        "ending": one.ending,
        "how": one.how,
        "ended_at": time_text(one.ended_at),
        "minutes_saved": _minutes(one.saved),
    }


def _minutes(length: timedelta) -> float:
    return round(length.total_seconds() / 60, 1)
