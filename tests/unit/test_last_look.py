"""The last look before a rollback's first byte: an old verdict is asked for again, and must still lead to the pinned version."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from responder.domain.guard import Outcome, Verdict
from responder.domain.guards import Facts
from responder.domain.incident import Incident, IncidentStatus, Order, Phase
from responder.domain.people import Hold
from responder.domain.plan import Step
from responder.domain.target import Mode, Target
from responder.domain.version import Pin
from responder.engine.facts import FactFinder
from responder.engine.last_look import FRESH_FOR, LastLook
from responder.engine.records import set_record
from responder.errors import RefusedError
from tests.harness.databases import incident
from tests.unit.test_guards import FACTS, V2, V3
from tests.unit.version_values import NOW, at, entry, state

APP = replace(FACTS.target, mode=Mode.ARMED)
PINNED = Pin("app", "uid-1", V3, V2)
RUNNING = incident(status=IncidentStatus.RUNNING, run_started_at=NOW, began_at=FACTS.began_at)


class PlayedFacts(FactFinder):
    """Finds the facts it was given, and counts how often it was asked."""

    def __init__(self, facts: Facts) -> None:
        self.facts = facts
        self.asked = 0

    async def gather(self, target: Target, incident: Incident, *, still_firing: bool, acting: str = "") -> Facts:
        self.asked += 1
        return replace(self.facts, target=target, still_firing=still_firing)


class Scene:
    """Everything is as it should be, and half a minute went by since the guards were asked; unless a test says otherwise."""

    def __init__(self, facts: Facts = FACTS, *, later: timedelta = timedelta(seconds=30), firing: bool = True) -> None:
        self.facts = PlayedFacts(facts)
        self.targets = {"app": APP}
        self.hold = Hold()
        self.look = LastLook(
            facts=self.facts,
            targets=lambda: self.targets,
            still_firing=lambda _: firing,
            clock=lambda: NOW + later,
            hold=lambda: self.hold,
        )

    async def refusal(self, about: Incident = RUNNING, pin: Pin = PINNED) -> str:
        """Why it says no; "" when it lets the rollback go on."""
        try:
            await self.look(about, pin)
        except RefusedError as error:
            return str(error)
        return ""


async def test_the_rollback_goes_on_when_the_guards_still_lead_to_the_pinned_version() -> None:
    scene = Scene()
    assert await scene.refusal() == ""
    assert scene.facts.asked == 1


async def test_the_guards_are_not_asked_again_just_after_they_were() -> None:
    scene = Scene(later=FRESH_FOR - timedelta(seconds=1))
    assert await scene.refusal() == ""
    assert scene.facts.asked == 0


@pytest.mark.parametrize("later", [FRESH_FOR, timedelta(hours=1), -timedelta(hours=1)], ids=str)
async def test_the_guards_are_asked_again_when_their_word_is_old_or_the_clock_was_turned(later: timedelta) -> None:
    scene = Scene(replace(FACTS, state=replace(FACTS.state, paused=True)), later=later)  # type: ignore[type-var]
    assert "paused by a person" in await scene.refusal()


async def test_a_run_without_a_known_beginning_was_not_judged_yet() -> None:
    scene = Scene(later=timedelta(0))
    assert await scene.refusal(replace(RUNNING, run_started_at=None)) == ""
    assert scene.facts.asked == 1


async def test_it_is_not_done_when_the_guards_would_choose_another_version_now() -> None:
    earlier = replace(V2, version="v1", fingerprint="fingerprint-of-v1", revision="1")
    other = replace(
        FACTS,
        state=state(V3, earlier),
        ledger=(entry(earlier, -300, -10, available_from=at(-299), available_to=at(-10)), entry(V3, -10)),
    )
    reason = await Scene(other).refusal()
    assert reason.startswith("v2 (revision 2) was pinned, but now v1")


async def test_it_is_not_done_when_the_target_can_not_be_read_any_more() -> None:
    assert "no right to get it" in await Scene(replace(FACTS, state=None, unreadable="no right to get it")).refusal()


async def test_it_is_not_done_when_the_alert_cleared_a_moment_ago() -> None:
    scene = Scene(later=timedelta(seconds=1), firing=False)
    assert await scene.refusal() == "the alert cleared before anything was changed"


async def test_it_is_not_done_when_the_sender_says_that_the_alert_is_over_though_its_end_never_came() -> None:
    over = replace(FACTS, second_look=Verdict("second_look", Outcome.REFUSE, "Alertmanager does not list it any more"))
    assert "does not list it any more" in await Scene(over).refusal()
    underway = set_record(RUNNING, Step("web", "rollback"), Phase.STEPS, intent={"stage": "rollout"})
    assert await Scene(over).refusal(underway) == "", "the first target of the plan may have ended it"


def test_the_first_change_of_any_kind_needs_an_alert_that_still_fires_unless_a_person_ordered_it() -> None:
    look = Scene(firing=False).look
    with pytest.raises(RefusedError, match="the alert cleared before anything was changed"):
        look.check_firing(RUNNING)
    look.check_firing(replace(RUNNING, order=Order("ann", "it is broken")))
    look.check_firing(replace(RUNNING, acted_at=NOW))
    Scene().look.check_firing(RUNNING)


async def test_the_version_that_a_person_ordered_is_that_of_the_orders_own_target_only() -> None:
    scene = Scene()
    scene.targets = {"app": APP, "workers": replace(APP, name="workers")}
    ordered = replace(RUNNING, order=Order("ann", "back to last week", version="v0"))
    assert "version v0 is not in the history" in await scene.refusal(ordered)
    assert await scene.refusal(ordered, replace(PINNED, target="workers")) == ""


@pytest.mark.parametrize(
    "about",
    [
        replace(RUNNING, status=IncidentStatus.VERIFYING),
        replace(RUNNING, status=IncidentStatus.MONITORING),
        replace(RUNNING, failure="rollback: timed out"),
    ],
    ids=["while it is verified", "while it is watched", "among the steps after a failure"],
)
async def test_there_is_no_second_step_back_after_the_steps(about: Incident) -> None:
    assert "no second step back" in await Scene(later=timedelta(seconds=1)).refusal(about)


async def test_it_is_not_done_when_its_target_was_taken_out_of_the_rulebook() -> None:
    scene = Scene()
    scene.targets = {}
    assert await scene.refusal() == "target app is not declared any more"


async def test_it_is_not_done_when_its_target_was_disarmed_meanwhile() -> None:
    scene = Scene()
    scene.targets = {"app": replace(APP, mode=Mode.OBSERVE)}
    assert await scene.refusal() == "target app is in observe mode now"


async def test_a_hold_keeps_it_from_its_first_change() -> None:
    scene = Scene()
    scene.hold = Hold(held=True, reason="freeze", by="ann", at=NOW)
    assert await scene.refusal() == "on hold by ann: freeze"


async def test_a_hold_does_not_stop_halfway_what_has_begun_to_change_things() -> None:
    scene = Scene()
    scene.hold = Hold(held=True, reason="freeze", by="ann", at=NOW)
    assert await scene.refusal(replace(RUNNING, acted_at=NOW)) == ""
