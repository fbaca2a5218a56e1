"""`/v1/statistics`: how the rollbacks of the last days went."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from responder.domain.incident import Incident
from responder.domain.quantity import format_duration, parse_duration
from responder.domain.statistics import Statistics, summarise
from responder.web.answers import for_readers, json_answer
from responder.web.problems import Problem
from responder.web.services import WebServices

_DEFAULT, _LONGEST = timedelta(days=30), timedelta(days=366)
_PAGE, _MOST_PAGES = 200, 250  # 50,000 incidents are looked at


def statistics_routes(services: WebServices) -> list[Route]:
    async def statistics(request: Request) -> Response:
        window = _window(request)
        since = services.clock() - window
        found = summarise(await incidents_since(services, since, request.query_params.get("target")), since)
        return json_answer({"statistics": _document(found, window)})

    return [Route("/v1/statistics", for_readers(services.tokens, statistics), methods=["GET"])]


async def incidents_since(services: WebServices, since: datetime, target: str | None) -> list[Incident]:
    """Ids grow with time, so the newest come first."""
    found: list[Incident] = []
    cursor: str | None = None
    for _ in range(_MOST_PAGES):
        page = await services.incidents.list(target=target, before=cursor, limit=_PAGE)
        found += [one for one in page if one.opened_at >= since]
        if len(page) < _PAGE or page[-1].opened_at < since:
            break
        cursor = page[-1].id
    return found


def _window(request: Request) -> timedelta:
    text = request.query_params.get("window")
    try:
        window = _DEFAULT if text is None else parse_duration(text)
    except ValueError as error:
        raise Problem(400, str(error), "window").error() from None
    if not timedelta(0) < window <= _LONGEST:
        raise Problem(400, "must be longer than 0s and at most 366d", "window").error()
    return window


def _document(found: Statistics, window: timedelta) -> Mapping[str, object]:
    mean = found.mean_duration
    return {
        "window": format_duration(window),
        "since": found.since,
        "incidents": found.incidents,
        "rollbacks": found.rollbacks,
        "resolved": found.resolved,
        "failed": found.failed,
        "others": found.others,
        "success_rate": found.success_rate,
        "mean_duration_seconds": None if mean is None else mean.total_seconds(),
        "by_target": found.by_target,
    }
