"""The HTTP application, built in a function."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

import structlog
from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from responder import __version__
from responder.domain.wording import undeclared
from responder.errors import NotFoundError, ResponderError, RulebookError, SettingsError
from responder.web.answers import for_readers, json_answer
from responder.web.commands import command_routes
from responder.web.documents import target_document, versions_document
from responder.web.gate import CommandGate
from responder.web.guards import guard_routes
from responder.web.incidents import incident_routes
from responder.web.observed import observed_routes
from responder.web.plans import plan_routes
from responder.web.problems import INTERNAL, Problem, ProblemError, problem_of
from responder.web.services import WebServices
from responder.web.slack import slack_routes
from responder.web.statistics import statistics_routes
from responder.web.stream import stream_routes
from responder.web.tokens import ADMINS
from responder.web.webhooks import Webhooks

_SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
_EXPOSITION = "text/plain; version=0.0.4; charset=utf-8"

_log = structlog.get_logger("responder.web")


def build_app(services: WebServices) -> ASGIApp:
    """The whole HTTP surface over these services."""
    pages = Starlette(
        routes=[
            *_service_routes(services),
            *_target_routes(services),
            *incident_routes(services),
            *statistics_routes(services),
            *observed_routes(services),
            *stream_routes(services),
            *command_routes(services),
            *slack_routes(services),
            *plan_routes(services),
            *guard_routes(services.guards, services.tokens),
        ],
        exception_handlers={
            ProblemError: _problem,
            ResponderError: _error_of_ours,
            HTTPException: _routing_error,
            Exception: _unexpected,
        },
    )
    pages.router.redirect_slashes = False
    return Surface(Webhooks(services), pages)


class Surface:
    """Sends webhooks straight to their endpoint and everything else to the pages, with security headers."""

    def __init__(self, webhooks: Webhooks, pages: ASGIApp) -> None:
        self._webhooks = webhooks
        self.short_cuts = webhooks.short_cuts
        self._pages = pages

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._pages(scope, receive, send)
            return
        intake = self._webhooks.at(scope["path"])
        if intake is None:
            await self._page(scope, receive, send)
        else:
            await intake(scope, receive, send)

    async def _page(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def hardened(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            await self._pages(scope, receive, hardened)
        except Exception:  # noqa: BLE001 - the web boundary; the answer has been sent by `_unexpected`
            _log.exception("request_failed", method=scope["method"], path=scope["path"])


def _service_routes(services: WebServices) -> list[Route]:
    async def index(_request: Request) -> Response:
        links = ["/v1/incidents", "/v1/rules", "/v1/targets", "/openapi.json", "/metrics", "/healthz", "/readyz"]
        return json_answer({"name": "responder", "version": __version__, "links": links})

    async def health(_request: Request) -> Response:
        return json_answer({"status": "ok"})

    async def ready(_request: Request) -> Response:
        is_ready, facts = await services.readiness()
        return json_answer({"ready": is_ready, **facts}, 200 if is_ready else 503)

    async def metrics(_request: Request) -> Response:
        return Response(services.metrics.exposition(), headers={"Content-Type": _EXPOSITION})

    async def openapi(_request: Request) -> Response:
        return json_answer(_openapi())

    async def rules(_request: Request) -> Response:
        return json_answer({"rules": list(services.rules_state())})

    gate = CommandGate(services)

    async def reload(request: Request) -> Response:
        actor = await gate.admit(request, ADMINS)
        if services.reload is None:
            raise NotFoundError("this service can't reload its rulebook")
        try:
            if gate.audit is None:
                return json_answer(await services.reload())
            return json_answer(await gate.audit.noting(actor, "reload", "rulebook", "read the rulebook again", services.reload))
        except RulebookError as error:
            raise Problem(
                422, "the rulebook can't be used; the one before stays in force", problems=error.problems
            ).error() from error
        except SettingsError as error:
            problems = tuple(str(error).splitlines())
            raise Problem(
                422, "the tokens file can't be used; the one before stays in force", problems=problems
            ).error() from error

    return [
        Route("/", index, methods=["GET"]),
        Route("/healthz", health, methods=["GET"]),
        Route("/readyz", ready, methods=["GET"]),
        Route("/metrics", metrics, methods=["GET"]),
        Route("/openapi.json", openapi, methods=["GET"]),
        Route("/v1/rules", for_readers(services.tokens, rules), methods=["GET"]),
        Route("/-/reload", reload, methods=["POST"]),
    ]


@cache
def _openapi() -> Mapping[str, object]:
    from responder.web.openapi import openapi_document  # only whoever asks for it waits for it

    return openapi_document()


def _target_routes(services: WebServices) -> list[Route]:
    async def targets(_request: Request) -> Response:
        watched, declared = services.watched(), services.targets().values()
        return json_answer({"targets": [target_document(target, watched=target.name in watched) for target in declared]})

    async def versions(request: Request) -> Response:
        name = request.path_params["target"]
        if name not in services.targets():
            raise NotFoundError(undeclared("target", name, services.targets()))
        state = await services.versions(name)
        return json_answer(versions_document(name, state, await services.proofs(name, state), services.clock()))

    return [
        Route("/v1/targets", for_readers(services.tokens, targets), methods=["GET"]),
        Route("/v1/targets/{target}/versions", for_readers(services.tokens, versions), methods=["GET"]),
    ]


async def _problem(_request: Request, error: Exception) -> Response:
    return error.problem.response() if isinstance(error, ProblemError) else INTERNAL.response()


async def _error_of_ours(_request: Request, error: Exception) -> Response:
    if not isinstance(error, ResponderError):
        return INTERNAL.response()
    problem = problem_of(error)
    if problem.status >= 500:
        _log.warning("request_refused", status=problem.status, detail=str(error))
    return problem.response()


async def _routing_error(_request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        return INTERNAL.response()
    headers = tuple((error.headers or {}).items())
    detail = {404: "there is nothing at this address", 405: "this address does not take this method"}
    return Problem(error.status_code, detail.get(error.status_code, error.detail), headers=headers).response()


async def _unexpected(_request: Request, _error: Exception) -> Response:
    return INTERNAL.response()
