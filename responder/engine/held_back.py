"""Tells people of a rule that an alert named by its `unless` has kept from responding for too long.

Most often that is right: the dependency is still down. But an alert whose `resolved` was lost would hold the rule back for ever,
and nobody would hear of what it was to answer. Nothing is decided here: the alert may be true.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from responder.domain.decision import Decision, DecisionKind
from responder.domain.rule_state import HeldBack
from responder.domain.rulebook import Response, Rule, Rulebook
from responder.domain.wording import spell_duration, spell_time
from responder.engine.desk import IncidentDesk
from responder.engine.evaluator import Evaluator
from responder.engine.restraint import Restraint
from responder.engine.second_look import SOURCE as ALERTMANAGER
from responder.ports import AlertLists, Clock

TOO_LONG = timedelta(hours=1)
"""After the moment at which the rule would have responded."""


class HeldBackRules:
    """evaluator, rulebook: those in force, looked up at the time of use. lists: None when no Alertmanager can be asked.

    What was told is on record under the name of the rule and the episode of the alert, so a restart tells nothing twice.
    """

    def __init__(
        self,
        *,
        evaluator: Callable[[], Evaluator],
        rulebook: Callable[[], Rulebook],
        desk: IncidentDesk,
        restraint: Restraint,
        clock: Clock,
        lists: AlertLists | None = None,
    ) -> None:
        self._evaluator = evaluator
        self._rulebook = rulebook
        self._desk = desk
        self._restraint = restraint
        self._clock = clock
        self._lists = lists

    async def tell(self) -> None:
        """Once for each rule and the alert that has held it back for longest. Raises JournalUnavailableError."""
        now = self._clock()
        rules = {rule.name: rule for rule in self._rulebook().rules}
        for held in list(self._evaluator().held_back()):
            rule = rules.get(held.rule)
            if rule is None or now - held.due_at < TOO_LONG:
                continue
            decision = self._decision(held, rule, now)
            if await self._desk.find(decision.identity) is None:
                decision = decision._replace(reason=f"{decision.reason}. {await self._advice(held, rule)}")
                await self._desk.respond(decision, self._restraint.stay_of(decision, now))

    def _decision(self, held: HeldBack, rule: Rule, now: datetime) -> Decision:
        due, since = spell_time(held.due_at, now), spell_time(held.since, now)
        cause = f"it would have responded at {due}, but {held.alert} fires since {since}"
        reason = f"held back for {spell_duration(now - held.due_at)}: {cause}"
        return Decision(
            DecisionKind.RESPOND,
            now,
            reason,
            rule.name,
            target=held.targets[0] if len(held.targets) == 1 else "",
            episode=f"held back by {held.episode}",
            began_at=held.due_at,
            severity=rule.severity,
            response=Response.NOTIFY,
        )

    async def _advice(self, held: HeldBack, rule: Rule) -> str:
        told = ""
        if self._lists is not None and held.source == ALERTMANAGER:
            listing = await self._lists.alerts(rule.unless)
            if any(one.key == held.key for one in listing.alerts):
                told = "Alertmanager still lists it. "
            elif listing.knows_absence:
                told = "Alertmanager does not list it any more. "
        ordered = " or ".join(f"`responder rollback {target}`" for target in held.targets if target)
        then = f"send it again, or order what is to be done ({ordered})" if ordered else "send it again"
        return f"{told}If {held.alert} is over, its `resolved` was lost: {then}"
