"""What people tell the service over HTTP: answers to incidents, rollbacks, suppressions, the hold; and who did what."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from responder.domain.incident import Incident, Order
from responder.domain.people import Actor, KeptAnswer
from responder.engine.orders import BusyError, GuardsError, RollbackRequest
from responder.errors import ResponderError
from responder.ports import Clock, People
from responder.web.answers import Endpoint, for_readers, json_answer, whole_number
from responder.web.bodies import (
    HoldBody,
    ReasonBody,
    RollbackBody,
    SuppressionBody,
    WordBody,
    digest_of,
    read_body,
    read_document,
)
from responder.web.documents import (
    audit_document,
    guards_document,
    hold_document,
    incident_document,
    preview_document,
    suppression_document,
)
from responder.web.gate import CommandGate
from responder.web.problems import Problem, ProblemError, problem_of
from responder.web.services import PeopleServices, WebServices
from responder.web.tokens import OPERATORS

KEY_HEADER = "Idempotency-Key"
REPLAYED_HEADER = "Idempotency-Replayed"
_LONGEST_KEY = 255
_KEPT = frozenset({200, 201, 202, 409})
"""Answers that a repeated command gets again: those that were decided. A wrong body is just wrong again."""

Document = Mapping[str, Any]
Command = Callable[[Request, Actor, Document, str], Awaitable[Response]]
"""The last one is the Idempotency-Key, "" when there is none."""


class Repeats:
    """Answers a command that came before under the same key as it was answered then."""

    def __init__(self, people: People, clock: Clock) -> None:
        self._people = people
        self._clock = clock
        self._running: dict[str, tuple[asyncio.Lock, int]] = {}

    async def once(self, actor: Actor, key: str, digest: str, work: Callable[[], Awaitable[Response]]) -> Response:
        """Raises ProblemError (422) when the key belongs to another command."""
        if not key:
            return await work()
        name = hashlib.sha256(f"{actor.name}\n{key}".encode()).hexdigest()
        lock, waiting = self._running.get(name, (asyncio.Lock(), 0))
        self._running[name] = lock, waiting + 1
        try:
            async with lock:
                return await self._once(name, digest, work)
        finally:
            lock, waiting = self._running[name]
            if waiting == 1:
                del self._running[name]
            else:
                self._running[name] = lock, waiting - 1

    async def _once(self, name: str, digest: str, work: Callable[[], Awaitable[Response]]) -> Response:
        kept = await self._people.kept_answer(name)
        if kept is not None:
            if kept.digest != digest:
                raise Problem(422, "this key was used for another command", KEY_HEADER).error()
            kind = "application/json" if kept.status < 400 else "application/problem+json"
            return Response(kept.body, kept.status, {REPLAYED_HEADER: "true"}, media_type=kind)
        answer = await work()
        if answer.status_code in _KEPT:
            await self._people.keep_answer(name, KeptAnswer(digest, answer.status_code, bytes(answer.body)), self._clock())
        return answer


def command_routes(services: WebServices) -> list[Route]:
    """None when the service takes no commands."""
    people = services.people
    if people is None:
        return []
    repeats, gate = Repeats(people.people, services.clock), CommandGate(services)

    def command(path: str, method: str, work: Command) -> Route:
        return Route(path, _command(gate, repeats, work), methods=[method])

    def reading(path: str, endpoint: Endpoint) -> Route:
        return Route(path, for_readers(services.tokens, endpoint), methods=["GET"])

    return [
        *(command(f"/v1/incidents/{{id}}/{name}", "POST", work) for name, work in _answers(people).items()),
        command("/v1/rollbacks", "POST", _rollback(people)),
        reading("/v1/suppressions", _suppressions(people)),
        command("/v1/suppressions", "POST", _suppress(people, services.clock)),
        command("/v1/suppressions/{id}", "DELETE", _end_suppression(people)),
        reading("/v1/hold", _hold(people)),
        command("/v1/hold", "PUT", _turn_hold(people)),
        reading("/v1/audit", _audit(people)),
    ]


def _command(gate: CommandGate, repeats: Repeats, work: Command) -> Endpoint:
    async def endpoint(request: Request) -> Response:
        actor = await gate.admit(request, OPERATORS)
        key = _key(request)
        document = await read_document(request)
        digest = digest_of(request.method, request.url.path, document)
        return await repeats.once(actor, key, digest, lambda: _decided(work(request, actor, document, key)))

    return endpoint


def _key(request: Request) -> str:
    key = request.headers.get(KEY_HEADER, "").strip()
    if len(key) > _LONGEST_KEY or not (key.isascii() and key.isprintable()):
        raise Problem(400, f"must be at most {_LONGEST_KEY} printable ASCII characters", KEY_HEADER).error()
    return key


async def _decided(work: Awaitable[Response]) -> Response:
    """A refusal is an answer like any other: the same command gets it again."""
    try:
        return await work
    except BusyError as error:
        return Problem(409, str(error), more={"incident": incident_document(error.incident)}).response()
    except GuardsError as error:
        more = {"guards": guards_document(error.verdicts), "may_override": error.may_override}
        return Problem(409, str(error), more=more).response()
    except ProblemError as error:
        if error.problem.status not in _KEPT:
            raise
        return error.problem.response()
    except ResponderError as error:
        problem = problem_of(error)
        if problem.status not in _KEPT:
            raise
        return problem.response()


def _answers(people: PeopleServices) -> Mapping[str, Command]:
    commands = people.commands

    def worded(say: Callable[[str, Actor, str, str | None], Awaitable[Incident]]) -> Command:
        async def work(request: Request, actor: Actor, document: Document, _key: str) -> Response:
            body = read_body(WordBody, document)
            return _incident(await say(request.path_params["id"], actor, body.reason, body.step))

        return work

    def plain(say: Callable[[str, Actor, str], Awaitable[Incident]]) -> Command:
        async def work(request: Request, actor: Actor, document: Document, _key: str) -> Response:
            body = read_body(ReasonBody, document)
            return _incident(await say(request.path_params["id"], actor, body.reason))

        return work

    return {
        "approve": worded(commands.approve),
        "reject": worded(commands.reject),
        "cancel": plain(commands.cancel),
        "acknowledge": plain(commands.acknowledge),
    }


def _incident(incident: Incident, status: int = 200) -> Response:
    return json_answer({"incident": incident_document(incident)}, status)


def _rollback(people: PeopleServices) -> Command:
    async def work(_request: Request, actor: Actor, document: Document, key: str) -> Response:
        body = read_body(RollbackBody, document)
        order = Order(
            by=actor.name,
            reason=body.reason,
            version=body.version or "",
            revision=body.revision or "",
            immediate=body.immediate,
            skip_validation=body.skip_validation,
            create_backup=body.create_backup,
            override=tuple(dict.fromkeys(body.override)),
        )
        asked = RollbackRequest(body.target, order, body.plan or "", body.inputs)
        if body.dry_run:
            return json_answer(preview_document(await people.orders.preview(asked)))
        return _incident(await people.orders.force(asked, actor, key), 202)

    return work


def _suppressions(people: PeopleServices) -> Endpoint:
    async def endpoint(_request: Request) -> Response:
        return json_answer({"suppressions": [suppression_document(one) for one in people.commands.suppressions()]})

    return endpoint


def _suppress(people: PeopleServices, clock: Clock) -> Command:
    async def work(_request: Request, actor: Actor, document: Document, key: str) -> Response:
        body = read_body(SuppressionBody, document)
        made = await people.commands.suppress(actor, body.matchers, body.end(clock()), body.reason, key)
        return json_answer({"suppression": suppression_document(made)}, 201)

    return work


def _end_suppression(people: PeopleServices) -> Command:
    async def work(request: Request, actor: Actor, document: Document, _key: str) -> Response:
        body = read_body(ReasonBody, document)
        ended = await people.commands.end_suppression(request.path_params["id"], actor, body.reason)
        return json_answer({"suppression": suppression_document(ended)})

    return work


def _hold(people: PeopleServices) -> Endpoint:
    async def endpoint(_request: Request) -> Response:
        return json_answer(hold_document(people.commands.hold))

    return endpoint


def _turn_hold(people: PeopleServices) -> Command:
    async def work(_request: Request, actor: Actor, document: Document, _key: str) -> Response:
        body = read_body(HoldBody, document)
        if body.held and not body.reason.strip():
            raise Problem(400, "say why", "reason").error()
        return json_answer(hold_document(await people.commands.turn_hold(actor, held=body.held, reason=body.reason.strip())))

    return work


def _audit(people: PeopleServices) -> Endpoint:
    async def endpoint(request: Request) -> Response:
        limit = whole_number(request, "limit", 50, 1, 200)
        before = whole_number(request, "cursor", 0, 1, 999_999_999)
        rows = await people.people.audit(before=before or None, limit=limit)
        following = rows[-1][0] if len(rows) == limit else None
        return json_answer({"audit": [audit_document(number, entry) for number, entry in rows], "next": following})

    return endpoint
