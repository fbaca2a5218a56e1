"""Commands and orders that note what they were told, behind the HTTP surface of a test."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, cast

from responder.domain.guard import Outcome, Verdict
from responder.domain.incident import Incident
from responder.domain.people import Actor, AuditEntry, Hold, KeptAnswer, Suppression
from responder.domain.plan import BARE_ROLLBACK
from responder.engine.commands import Commands
from responder.engine.orders import Orders, Preview, RollbackRequest
from responder.ports import People
from responder.web.services import PeopleServices
from responder.web.tokens import Tokens
from tests.unit.web_parts import NOW, Parts, an_incident

TOKENS = Tokens.of(webhook="hook", viewer="view", operator="op")
OPERATOR = {"Authorization": "Bearer op"}


@dataclass
class Played:
    """Commands and orders in one; error: raised by every one of them."""

    error: Exception | None = None
    calls: list[tuple[Any, ...]] = field(default_factory=list)
    hold: Hold = field(default_factory=Hold)
    answers: dict[str, KeptAnswer] = field(default_factory=dict)
    noted: list[AuditEntry] = field(default_factory=list)

    def _note(self, *call: object) -> None:
        self.calls.append(call)
        if self.error is not None:
            raise self.error

    async def approve(self, incident: str, actor: Actor, reason: str = "", step: str | None = None) -> Incident:
        self._note("approve", incident, actor.name, reason, step)
        return an_incident()

    async def reject(self, incident: str, actor: Actor, reason: str = "", step: str | None = None) -> Incident:
        self._note("reject", incident, actor.name, reason, step)
        return an_incident()

    async def cancel(self, incident: str, actor: Actor, reason: str = "") -> Incident:
        self._note("cancel", incident, actor.name, reason)
        return an_incident()

    async def acknowledge(self, incident: str, actor: Actor, reason: str = "") -> Incident:
        self._note("acknowledge", incident, actor.name, reason)
        return an_incident()

    async def force(self, request: RollbackRequest, actor: Actor, key: str = "") -> Incident:
        self._note("force", request, actor.name, key)
        return replace(an_incident(), order=request.order)

    async def preview(self, request: RollbackRequest) -> Preview:
        self._note("preview", request)
        verdicts = {"shop": [Verdict("paused", Outcome.REFUSE, "paused by a person")]}
        return Preview(request, BARE_ROLLBACK, verdicts, {}, ("paused by a person",), ("paused",), observed=False)

    async def suppress(self, actor: Actor, matchers: Any, until: datetime, reason: str, key: str = "") -> Suppression:
        self._note("suppress", actor.name, [str(one) for one in matchers], until, reason, key)
        return Suppression("sup_1", tuple(matchers), until, reason, actor.name, NOW)

    async def end_suppression(self, suppression: str, actor: Actor, reason: str = "") -> Suppression:
        self._note("end", suppression, actor.name, reason)
        return Suppression(suppression, (), NOW, reason, actor.name, NOW)

    def suppressions(self) -> list[Suppression]:
        return []

    async def turn_hold(self, actor: Actor, *, held: bool, reason: str) -> Hold:
        self._note("hold", actor.name, held, reason)
        self.hold = Hold(held, reason, actor.name, NOW)
        return self.hold

    async def audit(self, *, before: int | None = None, limit: int = 50) -> list[tuple[int, AuditEntry]]:
        self._note("audit", before, limit)
        return [(7, AuditEntry(NOW, "ann", "hold", "hold", "done", "held by ann"))] * min(limit, 1)

    async def note(self, entry: AuditEntry) -> None:
        self.noted.append(entry)

    async def kept_answer(self, key: str) -> KeptAnswer | None:
        return self.answers.get(key)

    async def keep_answer(self, key: str, answer: KeptAnswer, at: datetime) -> None:
        self.answers[key] = answer

    async def open_answers(self, status: int) -> list[tuple[str, KeptAnswer]]:
        return [(key, answer) for key, answer in self.answers.items() if answer.status == status]


def parts(played: Played, tokens: Tokens = TOKENS) -> Parts:
    services = PeopleServices(cast("Commands", played), cast("Orders", played), cast("People", played))
    return Parts(tokens=tokens, overrides={"people": services})
