"""The second look: Alertmanager is asked whether what it told by webhook is still so.

A webhook may be lost or cut short, and a silence or an inhibition sends none at all. It is asked before anything is changed, and
before an all-clear. The reasons behind each answer are in docs/decisions/006-second-look.md.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

import structlog

from responder.domain.guard import Outcome
from responder.domain.guard import Verdict as GuardVerdict
from responder.domain.incident import Incident
from responder.domain.listing import ListedAlert, Listing
from responder.domain.matcher import Matcher
from responder.domain.reading import Verdict
from responder.domain.rulebook import Rulebook
from responder.domain.signal import SOURCE_LABEL, Signal, SignalStatus, claim
from responder.domain.wording import spell_duration
from responder.engine.evaluator import Evaluator
from responder.ports import AlertLists, Clock

_log = structlog.get_logger(__name__)

BELIEVED_FOR = timedelta(minutes=10)
"""For so long after it was decided to respond, that decision stands when no Alertmanager can be asked."""

GUARD = "second_look"
SOURCE = "alertmanager"

Place = tuple[str, str, str]
"""(rule, group, target)"""


class _Told(NamedTuple):
    """What was listed for one rule, as signals. held_back: what is not active, and by what."""

    active: tuple[Signal, ...]
    held_back: tuple[tuple[Signal, str], ...]
    knows_absence: bool
    troubles: tuple[str, ...]


class SecondLook:
    """evaluator, rulebook: those in force, looked up at the time of use."""

    def __init__(
        self,
        lists: AlertLists,
        *,
        evaluator: Callable[[], Evaluator],
        rulebook: Callable[[], Rulebook],
        clock: Clock,
    ) -> None:
        self._lists = lists
        self._evaluator = evaluator
        self._rulebook = rulebook
        self._clock = clock

    async def before_acting(self, incident: Incident) -> GuardVerdict | None:
        """As a guard. None when no alert of Alertmanager's can be behind this incident."""
        places = places_of(incident)
        if any(self._verdict(place, ()) is Verdict.HOLDS for place in places):
            return GuardVerdict(GUARD, Outcome.PASS, "it does not rest on Alertmanager's word alone")
        told = await self._ask(places)
        if not told:
            return None
        found = self._listed(told)
        if found is None and not all(one.knows_absence for one in told.values()):
            return self._unanswered(incident, told.values())
        outcome, reason = found or (Outcome.REFUSE, "Alertmanager does not list it any more: it is over")
        return GuardVerdict(GUARD, outcome, reason)

    def _listed(self, told: Mapping[Place, _Told]) -> tuple[Outcome, str] | None:
        """What the alerts that are listed come to; None when none of them belongs to this."""
        verdicts = {self._verdict(place, one.active) for place, one in told.items()}
        if Verdict.HOLDS in verdicts:
            return Outcome.PASS, "Alertmanager lists it as active"
        held_back = self._held_back(told)
        if held_back:
            return Outcome.REFUSE, f"Alertmanager holds it back: {held_back}"
        if not any(self._seen(place, one.active) for place, one in told.items()):
            return None
        if Verdict.INCONCLUSIVE in verdicts:
            return Outcome.UNKNOWN, "Alertmanager lists it, but no longer with a number that says anything"
        return Outcome.REFUSE, "Alertmanager lists it, but as it stands now the rule's condition does not hold"

    def _unanswered(self, incident: Incident, told: Iterable[_Told]) -> GuardVerdict:
        troubles = "; ".join(dict.fromkeys(trouble for one in told for trouble in one.troubles))
        age = self._clock() - incident.opened_at
        if age <= BELIEVED_FOR:
            reason = f"Alertmanager can't tell ({troubles}); its webhook is believed for {spell_duration(BELIEVED_FOR)}"
            return GuardVerdict(GUARD, Outcome.PASS, reason)
        reason = f"Alertmanager can't tell ({troubles}), and what it sent led to this {spell_duration(age)} ago"
        return GuardVerdict(GUARD, Outcome.UNKNOWN, reason)

    async def goes_on(self, incident: Incident) -> bool | None:
        """Whether Alertmanager lists any alert of this incident as active. False when it is plainly over, None when nobody knows.

        Of alerts that only others know, it is as they say.
        """
        told = await self._ask(places_of(incident))
        if not told:
            return None
        if any(self._verdict(place, one.active) is not Verdict.CALM for place, one in told.items()):
            return True
        if self._held_back(told) or not all(one.knows_absence for one in told.values()):
            return None
        others = [place for place in places_of(incident) if place not in told]
        return None if any(self._verdict(place, ()) is not Verdict.CALM for place in others) else False

    async def vouched(self, places: Collection[Place]) -> set[Place]:
        """Those whose conditions hold by nothing but what Alertmanager lists as active now."""
        told = await self._ask(places)
        return {place for place, one in told.items() if self._verdict(place, one.active, alone=True) is Verdict.HOLDS}

    # --- asking ----------------------------------------------------------------------------------------------------------

    async def _ask(self, places: Iterable[Place]) -> dict[Place, _Told]:
        """Every place that Alertmanager may know of, with what it lists for its rule. Each question once, all of them at once."""
        questions: dict[Place, tuple[Matcher, ...]] = {}
        for place in dict.fromkeys(places):
            matchers = self._matchers(place)
            if matchers is not None:
                questions[place] = matchers
        distinct = list(dict.fromkeys(questions.values()))
        answers = await asyncio.gather(*(self._lists.alerts(matchers) for matchers in distinct))
        now = self._clock()
        told = {matchers: _told(listing, now) for matchers, listing in zip(distinct, answers, strict=True)}
        for trouble in dict.fromkeys(trouble for one in told.values() for trouble in one.troubles):
            _log.warning("second_look_trouble", reason=trouble)
        return {place: told[matchers] for place, matchers in questions.items()}

    def _matchers(self, place: Place) -> tuple[Matcher, ...] | None:
        """None when the rule is gone, or looks at other senders only."""
        name, _, target = place
        rulebook = self._rulebook()
        rule = next((rule for rule in rulebook.rules if rule.name == name), None)
        if rule is None:
            return None
        matchers = rule.matchers
        if rule.target is None and target in rulebook.targets:
            matchers = (*matchers, *rulebook.targets[target].matchers)
        labels = {SOURCE_LABEL: SOURCE}
        return None if any(one.name == SOURCE_LABEL and not one.matches(labels) for one in matchers) else matchers

    # --- judging ---------------------------------------------------------------------------------------------------------

    def _verdict(self, place: Place, listed: Sequence[Signal], *, alone: bool = False) -> Verdict:
        return self._evaluator().appraise(place[0], place[1], listed, self._clock(), source=SOURCE, alone=alone).verdict

    def _seen(self, place: Place, listed: Sequence[Signal]) -> int:
        return self._evaluator().appraise(place[0], place[1], listed, self._clock(), source=SOURCE).seen

    def _held_back(self, told: Mapping[Place, _Told]) -> str:
        """What holds back an alert of this incident; "" when nothing does."""
        found = [by for place, one in told.items() for signal, by in one.held_back if self._seen(place, (signal,))]
        return ", ".join(dict.fromkeys(found))


def places_of(incident: Incident) -> list[Place]:
    return [(rule, group, incident.target) for rule, group in incident.groups]


def _told(listing: Listing, now: datetime) -> _Told:
    active = tuple(_signal(alert, now) for alert in listing.alerts if alert.is_active)
    held_back = tuple((_signal(alert, now), alert.held_back_by) for alert in listing.alerts if not alert.is_active)
    return _Told(active, held_back, listing.knows_absence, listing.troubles)


def _signal(alert: ListedAlert, now: datetime) -> Signal:
    """As its webhook would have told it."""
    labels = dict(alert.labels)
    claim(labels, SOURCE)
    return Signal(SOURCE, alert.key, SignalStatus.FIRING, labels, alert.annotations, alert.started_at, None, now)
