"""What holds the service back because people said so: suppressions and the hold. In the store first, then in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import structlog

from responder.domain.decision import Decision
from responder.domain.incident import IncidentStatus, Word
from responder.domain.people import Hold, Suppression
from responder.domain.rulebook import Response
from responder.domain.wording import spell_time
from responder.engine.freezes import Freezes
from responder.ports import People

_log = structlog.get_logger(__name__)
WARN_BEFORE = timedelta(minutes=15)
"""How long before its end a suppression is announced to end; a short one for its last quarter."""


@dataclass(frozen=True, slots=True)
class Stay:
    """Why a decision is recorded and not acted on. mark: tells its record from the incident that may follow."""

    status: IncidentStatus
    reason: str
    mark: str

    def identity(self, identity: str) -> str:
        return f"{identity}|{self.mark}"


class Restraint:
    """Load it before the brain resumes."""

    def __init__(self, people: People, freezes: Freezes) -> None:
        self._people = people
        self._freezes = freezes
        self._frozen: dict[datetime, None] = {}  # when windows end that have held something back
        self._suppressions: dict[str, Suppression] = {}
        self._hold = Hold()
        self._lifted = False
        self._turn = asyncio.Lock()  # one change at a time: store, then memory

    async def load(self) -> None:
        async with self._turn:  # a word that comes meanwhile is not overtaken by what was read before it
            self._hold = await self._people.hold()
            self._suppressions = {one.id: one for one in reversed(await self._people.suppressions())}

    # --- questions -----------------------------------------------------------------------------------------------

    @property
    def hold(self) -> Hold:
        return self._hold

    @property
    def lifted_at(self) -> datetime | None:
        """When a person last turned the hold off; None while it holds, or when nobody ever did."""
        return None if self._hold.held else self._hold.at

    def suppressions(self, now: datetime) -> list[Suppression]:
        """Those in force, oldest first."""
        return [one for one in self._suppressions.values() if one.is_active(now)]

    def stay_of(self, decision: Decision, now: datetime) -> Stay | None:
        """Why not to act on this decision now."""
        silence = self.silence(decision.trigger_labels, decision.target, decision.rule, now)
        if silence is not None:
            return silence
        if decision.response is Response.NOTIFY:
            return None
        return self.held() or self.frozen([decision.target], now)

    def silence(
        self, labels: Mapping[str, str] | tuple[tuple[str, str], ...], target: str, rule: str, now: datetime
    ) -> Stay | None:
        """Suppressed by the labels of the alert; `target` and `rule` count as labels.

        Where the alert has labels of these names itself, either may be meant: whoever suppresses wants nothing done.
        """
        ours = {"target": target, "rule": rule}
        readings = ({**ours, **dict(labels)}, {**dict(labels), **ours})
        for one in self.suppressions(now):
            if any(one.covers(known) for known in readings):
                until = spell_time(one.until, now)
                reason = f"suppressed until {until} by {one.by}: {one.reason}"
                return Stay(IncidentStatus.SUPPRESSED, reason, f"suppressed {one.id}")
        return None

    def held(self) -> Stay | None:
        if not self._hold.held or self._hold.at is None:
            return None
        return Stay(IncidentStatus.REFUSED, str(self._hold), f"held {self._hold.at.isoformat()}")

    def frozen(self, targets: Iterable[str], now: datetime) -> Stay | None:
        """A freeze window over any of them in which rollbacks are refused."""
        window = self._freezes.over(targets, now, asks=False)
        if window is None:
            return None
        self._frozen[window.until] = None
        reason = f"frozen until {spell_time(window.until, now)}: {window.freeze.reason}"
        return Stay(IncidentStatus.REFUSED, reason, f"frozen {window.start.isoformat()}")

    def asks(self, targets: Iterable[str], now: datetime) -> str:
        """Why a person must be asked now, whatever the rule says; "" if nobody must."""
        window = self._freezes.over(targets, now, asks=True)
        return "" if window is None else f"frozen until {spell_time(window.until, now)}: {window.freeze.reason}"

    # --- changes -------------------------------------------------------------------------------------------------

    async def suppress(self, suppression: Suppression) -> Suppression:
        """Put it in force. One of this id that is there already is left as it is, and returned."""
        async with self._turn:
            known = self._suppressions.get(suppression.id)
            if known is None:
                await self._people.put_suppression(suppression)
                known = self._suppressions[suppression.id] = suppression
            return known

    async def end(self, suppression_id: str, word: Word) -> Suppression | None:
        """End it before its time; None when there is none in force of this id."""
        async with self._turn:
            known = self._suppressions.get(suppression_id)
            if known is None or not known.is_active(word.at):
                return None
            return await self._end(known, word)

    async def turn_hold(self, hold: Hold) -> Hold:
        """What is held stays held with its first reason; the same word again changes nothing."""
        async with self._turn:
            if hold.held is not self._hold.held:
                await self._people.put_hold(hold)
                self._hold = hold
                self._lifted = self._lifted or not hold.held
                _log.warning("hold", held=hold.held, by=hold.by, reason=hold.reason)
            return self._hold

    async def _end(self, suppression: Suppression, word: Word) -> Suppression:
        ended = replace(suppression, ended=word)
        await self._people.put_suppression(ended)
        del self._suppressions[ended.id]
        self._lifted = True
        _log.info("suppression_ended", suppression=ended.id, by=word.by)
        return ended

    # --- time passes ---------------------------------------------------------------------------------------------

    def next_due(self) -> datetime | None:
        """When a suppression ends, or is to be announced to end, or a freeze window ends that has held something back."""
        moments = [one.until if one.warned else _warn_at(one) for one in self._suppressions.values()]
        return min([*moments, *self._frozen], default=None)

    async def pass_time(self, now: datetime) -> tuple[bool, list[Suppression]]:
        """Whether anything was lifted since the last time, so that what still fires is due; and those that end soon, once."""
        ending = []
        async with self._turn:
            for one in list(self._suppressions.values()):
                if now >= one.until:
                    await self._end(one, Word("", one.until, "its time ran out"))
                elif not one.warned and now >= _warn_at(one):
                    warned = replace(one, warned=True)
                    await self._people.put_suppression(warned)
                    self._suppressions[one.id] = warned
                    ending.append(warned)
            for over in [until for until in self._frozen if now >= until]:
                del self._frozen[over]
                self._lifted = True
            lifted, self._lifted = self._lifted, False
        return lifted, ending

    @property
    def is_lifted(self) -> bool:
        """Whether what fires has to be looked at again."""
        return self._lifted

    def lift_again(self) -> None:
        """What fires is still to be looked at: it could not be acted on, or was put off with something else."""
        self._lifted = True


def _warn_at(suppression: Suppression) -> datetime:
    return suppression.until - min(WARN_BEFORE, (suppression.until - suppression.created_at) / 4)
