"""`/v1/incidents`: list, one, its report."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from responder.domain.incident import OPEN_STATUSES, Incident, IncidentStatus
from responder.errors import NotFoundError
from responder.web.answers import for_browsers, for_readers, json_answer, truth, whole_number
from responder.web.documents import incident_document
from responder.web.html import PAGE_HEADERS, page
from responder.web.problems import Problem
from responder.web.services import WebServices

MOST_SCANNED = 2000  # incidents looked at for one page when a filter passes few of them

REPORT_TYPES = {"text/markdown": "markdown", "text/plain": "markdown", "text/html": "html", "application/json": "json"}
FORMATS = ("markdown", "html", "json")


def incident_routes(services: WebServices) -> list[Route]:
    async def listed(request: Request) -> Response:
        limit = whole_number(request, "limit", 50, 1, 200)
        found, cursor = await _page(services, request, limit)
        return json_answer({"incidents": [incident_document(incident) for incident in found], "next": cursor})

    async def one(request: Request) -> Response:
        incident = await _incident(services, request)
        document = incident_document(incident, await services.incidents.events(incident.id))
        document["progress"] = services.progress_of(incident.id) if incident.is_open else ""
        return json_answer({"incident": document})

    async def report(request: Request) -> Response:
        wanted = report_format(request.query_params.get("format"), request.headers.get("accept", ""))
        incident = await _incident(services, request)
        events = await services.incidents.events(incident.id)
        if wanted == "json":
            return json_answer(services.report_document(incident, events), headers={"Vary": "Accept"})
        text = services.render_report(incident, events)
        if wanted == "html":
            return Response(page(f"Incident {incident.id}", text), headers={**PAGE_HEADERS, "Vary": "Accept"})
        return Response(text, media_type="text/markdown", headers={"Vary": "Accept"})

    tokens = services.tokens
    return [
        Route("/v1/incidents", for_readers(tokens, listed), methods=["GET"]),
        Route("/v1/incidents/{id}", for_readers(tokens, one), methods=["GET"]),
        Route("/v1/incidents/{id}/report", for_browsers(tokens, report), methods=["GET"]),
    ]


async def _incident(services: WebServices, request: Request) -> Incident:
    incident = await services.incidents.get(request.path_params["id"])
    if incident is None:
        raise NotFoundError("no incident has this id")
    return incident


async def _page(services: WebServices, request: Request, limit: int) -> tuple[list[Incident], str | None]:
    """One page and the cursor of the next; the store filters by target and open, this by status and closed."""
    statuses = _statuses(request)
    is_open = truth(request, "open")
    if is_open is not None:
        statuses &= OPEN_STATUSES if is_open else frozenset(IncidentStatus) - OPEN_STATUSES
    cursor = request.query_params.get("cursor")
    found: list[Incident] = []
    scanned = 0
    while scanned < MOST_SCANNED:
        rows = await services.incidents.list(
            target=request.query_params.get("target"), open_only=statuses <= OPEN_STATUSES, before=cursor, limit=limit + 1
        )
        for row in rows[:limit]:
            cursor = row.id
            if row.status in statuses:
                found.append(row)
            if len(found) == limit:
                break
        is_last = len(rows) <= limit and (not rows or cursor == rows[-1].id)
        if is_last:
            return found, None
        if len(found) == limit:
            break
        scanned += limit
    return found, cursor


def _statuses(request: Request) -> frozenset[IncidentStatus]:
    texts = [text for value in request.query_params.getlist("status") for text in value.split(",")]
    if not texts:
        return frozenset(IncidentStatus)
    try:
        return frozenset(IncidentStatus(text) for text in texts)
    except ValueError:
        raise Problem(400, f"must be among {', '.join(IncidentStatus)}", "status").error() from None


def report_format(wanted: str | None, accept: str) -> str:
    """`?format=` wins over Accept; Markdown when neither decides. Raises ProblemError for an unknown format."""
    if wanted is not None:
        if wanted not in FORMATS:
            raise Problem(400, f"must be one of {', '.join(FORMATS)}", "format").error()
        return wanted
    best, best_quality = "markdown", 0.0
    for part in accept.split(","):
        kind, *parameters = (text.strip().lower() for text in part.split(";"))
        quality = next((_quality(text) for text in parameters if text.startswith("q=")), 1.0)
        if kind in REPORT_TYPES and quality > best_quality:
            best, best_quality = REPORT_TYPES[kind], quality
    return best


def _quality(text: str) -> float:
    try:
        return float(text.removeprefix("q="))
    except ValueError:
        return 0.0
