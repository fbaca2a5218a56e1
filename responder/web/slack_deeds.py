"""What buttons and slash commands do: the commands of the API, with the same checks, and their outcome in words."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta

from responder.domain.incident import Order
from responder.domain.offer import OfferKind, standing_of
from responder.domain.wording import spell_time
from responder.engine.orders import GuardsError, RollbackRequest
from responder.errors import RefusedError
from responder.ports import Clock, Incidents
from responder.web.bodies import HoldBody, RollbackBody, SuppressionBody, read_body
from responder.web.services import PeopleServices
from responder.web.slack_words import USAGE, Spoken
from responder.web.tokens import Holder

QUIET_FOR = timedelta(hours=1)
_SHOWN = 10
Deed = Callable[[Holder, str], Awaitable[str]]
"""For whom and under which key; returns what to say to who asked, "" when the incident's own message tells it."""


class SlackDeeds:
    def __init__(self, people: PeopleServices, incidents: Incidents, clock: Clock) -> None:
        self._commands = people.commands
        self._orders = people.orders
        self._incidents = incidents
        self._clock = clock

    def press(self, kind: str, incident_id: str, step: str) -> Deed | None:
        """None for a button that is not known."""
        if kind not in set(OfferKind):
            return None

        async def pressed(holder: Holder, key: str) -> str:
            actor, commands = holder.actor, self._commands
            match OfferKind(kind):
                case OfferKind.APPROVE:
                    await commands.approve(incident_id, actor, step=step)
                case OfferKind.REJECT:
                    await commands.reject(incident_id, actor, step=step)
                case OfferKind.STOP | OfferKind.CANCEL:
                    await commands.cancel(incident_id, actor)
                case OfferKind.ACKNOWLEDGE:
                    await commands.acknowledge(incident_id, actor)
                case OfferKind.SUPPRESS:
                    await commands.quieten(incident_id, actor, QUIET_FOR, f"pressed in Slack at {incident_id}", key)
                case OfferKind.HOLD:
                    hold = await commands.turn_hold(actor, held=True, reason=f"pressed in Slack at {incident_id}")
                    return f"Everything is {hold}. `/responder hold off` lets go."
            return ""

        return pressed

    def say(self, spoken: Spoken) -> Deed:
        async def said(holder: Holder, key: str) -> str:  # noqa: PLR0911 (a table)
            match spoken.name:
                case "status":
                    return await self._status(spoken.subject)
                case "rollback":
                    return await self._rollback(spoken, holder, key)
                case "suppress":
                    return await self._suppress(spoken, holder, key)
                case "end_suppression":
                    await self._commands.end_suppression(spoken.subject, holder.actor)
                    return f"{spoken.subject} ended; what still fires is due now."
                case "hold":
                    body = read_body(HoldBody, spoken.body)
                    await self._commands.turn_hold(holder.actor, held=body.held, reason=body.reason)
                    return self._held()
                case "held":
                    return self._held()
                case _:
                    return USAGE

        return said

    async def _status(self, target: str) -> str:
        now, hold = self._clock(), self._commands.hold
        found = await self._incidents.list(target=target or None, open_only=True, limit=_SHOWN + 1)
        lines = [f"{one.id} {one.severity} {one.target or one.rule}: {standing_of(one, now)}" for one in found[:_SHOWN]]
        if len(found) > _SHOWN:
            lines.append("… and more")
        for made in self._commands.suppressions()[:_SHOWN]:
            what = " ".join(map(str, made.matchers))
            lines.append(f"{made.id} suppresses {what} until {spell_time(made.until, now)} ({made.by}: {made.reason})")
        lines += [f"Everything is {hold}."] if hold.held else []
        return "\n".join(lines or ["No open incidents, nothing is suppressed, nothing is on hold."])

    async def _rollback(self, spoken: Spoken, holder: Holder, key: str) -> str:
        body = read_body(RollbackBody, spoken.body)
        order = Order(by=holder.name, reason=body.reason, version=body.version or "")
        try:
            incident = await self._orders.force(RollbackRequest(body.target, order, body.plan or ""), holder.actor, key)
        except GuardsError as error:
            overrides = " ".join(f"--override {name}" for name in error.may_override)
            more = f" Who answers for it: responder rollback {body.target} --reason … {overrides}" if overrides else ""
            raise RefusedError(f"{error}.{more}") from error
        return f"{incident.id}: the rollback of {incident.target} is ordered."

    async def _suppress(self, spoken: Spoken, holder: Holder, key: str) -> str:
        body = read_body(SuppressionBody, spoken.body)
        made = await self._commands.suppress(holder.actor, body.matchers, body.end(self._clock()), body.reason, key)
        return f"{made.id}: suppressed until {spell_time(made.until, self._clock())}."

    def _held(self) -> str:
        hold = self._commands.hold
        return f"Everything is {hold}." if hold.held else "Nothing is on hold."
