"""How each guard would decide about a target right now, and on what facts, for people who ask."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from responder.domain.decision import Decision
from responder.domain.guard import Outcome, Verdict
from responder.domain.guards import Facts, judge
from responder.domain.incident import Incident, IncidentStatus
from responder.domain.people import Hold
from responder.domain.rulebook import Severity
from responder.domain.selection import Choice
from responder.domain.target import Mode, Target
from responder.domain.wording import undeclared
from responder.engine.facts import FactFinder
from responder.errors import NotFoundError
from responder.ports import Clock


@dataclass(frozen=True, slots=True)
class GuardPicture:
    """assumed: no alert about it fires; shown is what would be decided if one began now."""

    target: Target
    facts: Facts
    verdicts: tuple[Verdict, ...]
    choice: Choice
    assumed: bool

    @property
    def refusals(self) -> list[str]:
        return list(dict.fromkeys(one.reason for one in self.verdicts if not one.passes))

    @property
    def would(self) -> str:
        if self.refusals:
            return "refuse"
        return "observe" if self.target.mode is Mode.OBSERVE else "roll back"


class GuardView:
    """Changes nothing, not even in memory. firing: what responds now. holder: the incident that acts on a target."""

    def __init__(
        self,
        *,
        facts: FactFinder,
        targets: Callable[[], Mapping[str, Target]],
        firing: Callable[[], Iterable[Decision]],
        holder: Callable[[str], str],
        hold: Callable[[], Hold],
        clock: Clock,
    ) -> None:
        self._facts = facts
        self._targets = targets
        self._firing = firing
        self._holder = holder
        self._hold = hold
        self._clock = clock

    async def look(self, name: str) -> GuardPicture:
        """Raises NotFoundError when no target of this name is declared."""
        target = self._targets().get(name)
        if target is None:
            raise NotFoundError(undeclared("target", name, self._targets()), field="target")
        firing = [one for one in self._firing() if one.target == name]
        draft = self._draft(name, firing)
        facts = await self._facts.gather(target, draft, still_firing=True, acting=self._holder(name))
        verdicts, choice = judge(facts)
        shown = [*verdicts, *_held(self._hold())]
        if not firing:
            said = Verdict("alert_firing", Outcome.PASS, "no alert fires: shown is what would be decided if one began now")
            shown = [said if one.guard == said.guard else one for one in shown]
        return GuardPicture(target, facts, tuple(shown), choice, not firing)

    def _draft(self, name: str, firing: list[Decision]) -> Incident:
        now = self._clock()
        began = [one.began_at for one in firing if one.began_at is not None]
        groups = tuple((one.rule, one.group) for one in firing)
        rule, group = groups[0] if groups else ("", "")
        return Incident(
            id="look",
            identity="look",
            target=name,
            rule=rule,
            group=group,
            severity=Severity.P2,
            status=IncidentStatus.RUNNING,
            reason="a look at the guards",
            opened_at=now,
            began_at=min(began, default=now),
            groups=groups,
        )


def _held(hold: Hold) -> list[Verdict]:
    return [Verdict("hold", Outcome.REFUSE, str(hold))] if hold.held else []
