"""The way in for commands: who gives it, whether they may, whether they give too many. Who may not is on record."""

from __future__ import annotations

from starlette.requests import Request

from responder.domain.people import Actor
from responder.engine.audit import AuditLog
from responder.web.services import WebServices
from responder.web.tokens import LOCAL, Role, forbidden


class CommandGate:
    def __init__(self, services: WebServices) -> None:
        self._tokens = services.tokens
        self._rate = services.command_rate
        self._clock = services.clock
        self.audit = AuditLog(services.people.people, services.clock) if services.people else None

    async def admit(self, request: Request, roles: frozenset[Role]) -> Actor:
        """Whoever carries a token of one of the roles. Raises ProblemError: 401, 403 or 429."""
        holder = self._tokens.identify(dict(request.scope["headers"]), roles)
        if holder is None:
            return LOCAL
        self._rate.check(holder.name, self._clock())
        if holder.role not in roles:
            problem = forbidden(roles)
            if self.audit is not None:
                path = request.url.path[:300]
                await self.audit.note(holder.actor, request.method.lower(), path, "denied", f"{holder.role} may not")
            raise problem.error()
        return holder.actor
