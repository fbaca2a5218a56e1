"""How the guards would decide now: by HTTP and by the command line, with and without an alert."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from click.testing import CliRunner, Result

from responder.cli.main import cli
from responder.domain.decision import Decision, DecisionKind
from responder.domain.guards import Facts
from responder.domain.incident import Incident
from responder.domain.people import Hold
from responder.domain.rulebook import Response
from responder.domain.surroundings import Config, Quota, Surroundings
from responder.domain.target import Mode, Target
from responder.engine.facts import FactFinder
from responder.engine.guard_view import GuardView
from tests.unit.served import served
from tests.unit.test_guards import FACTS, V2, V3
from tests.unit.version_values import NOW, at, state
from tests.unit.web_parts import Parts

ARMED = replace(FACTS.target, mode=Mode.ARMED)
FIRING = Decision(DecisionKind.RESPOND, NOW, "5xx", "errors", "", target="app", began_at=at(-5), response=Response.ROLLBACK)
AROUND = Surroundings(
    references={V2.digest: ("configmap/app",)},
    configs={"configmap/app": Config("configmap/app", at(-3))},
    quotas=(Quota("team", {}, {}),),
)


class PlayedFacts(FactFinder):
    """Finds the facts it was given; remembers about which incident it was asked."""

    def __init__(self, facts: Facts) -> None:
        self.facts = facts
        self.asked: list[Incident] = []

    async def gather(self, target: Target, incident: Incident, *, still_firing: bool, acting: str = "") -> Facts:
        self.asked.append(incident)
        return replace(self.facts, target=target, began_at=incident.began_at, still_firing=still_firing, acting=acting)


def view(
    facts: Facts = FACTS, *, firing: tuple[Decision, ...] = (FIRING,), target: Target = ARMED, hold: Hold | None = None
) -> tuple[GuardView, PlayedFacts]:
    played = PlayedFacts(facts)
    return GuardView(
        facts=played,
        targets=lambda: {"app": target},
        firing=lambda: firing,
        holder=lambda _: "",
        hold=lambda: hold or Hold(),
        clock=lambda: NOW,
    ), played


async def asked(shown: GuardView, *arguments: str) -> Result:
    parts = Parts()
    parts.overrides["guards"] = shown
    async with served(parts) as port:
        environment = {"RESPONDER_URL": f"http://127.0.0.1:{port}", "RESPONDER_TOKEN": None}
        return await asyncio.to_thread(CliRunner().invoke, cli, ["guards", *arguments], env=environment)


async def document(shown: GuardView) -> dict[str, Any]:
    return dict(json.loads((await asked(shown, "app", "--json")).stdout))


async def test_what_fires_is_judged_from_when_it_began() -> None:
    shown, played = view()
    result = await asked(shown, "app")
    assert result.exit_code == 0, result.output
    assert played.asked[0].groups == (("errors", ""),)
    assert "From v3 (revision 3) to v2 (revision 2)." in result.output
    assert result.output.splitlines()[-1] == "It would be rolled back."
    rows = [" ".join(line.split()) for line in result.output.splitlines()]
    assert "pass recent_change v3 was rolled out 5m before the alert began" in rows


async def test_without_an_alert_it_is_judged_as_if_one_began_now() -> None:
    answer = await document(view(firing=())[0])
    assert (answer["assumed"], answer["would"]) == (True, "roll back")
    [fires] = [one for one in answer["guards"] if one["guard"] == "alert_firing"]
    assert fires == {
        "guard": "alert_firing",
        "outcome": "pass",
        "reason": "no alert fires: shown is what would be decided if one began now",
    }


REFUSED = {
    "a guard refuses": (view(replace(FACTS, state=state(V3, V2, paused=True)))[0], "paused by a person"),
    "the target can't be read": (view(replace(FACTS, state=None, unreadable="no right to get it"))[0], "no right to get it"),
    "people hold everything": (view(hold=Hold(True, "migration", "ann", NOW))[0], "on hold by ann: migration"),
}


@pytest.mark.parametrize(("shown", "reason"), REFUSED.values(), ids=REFUSED.keys())
async def test_the_exit_code_says_no_when(shown: GuardView, reason: str) -> None:
    result = await asked(shown, "app")
    assert result.exit_code == 3
    assert reason in result.output
    assert (await document(shown))["reason"].startswith(reason) or reason in (await document(shown))["reason"]


async def test_a_warning_does_not_refuse_and_its_facts_are_shown() -> None:
    answer = await document(view(replace(FACTS, state=state(V3, V2, surroundings=AROUND)))[0])
    assert answer["would"] == "roll back"
    assert [one["guard"] for one in answer["guards"] if one["outcome"] == "warn"] == ["configuration"]
    facts = answer["facts"]
    assert facts["surroundings"]["configuration"] == {"configmap/app": "2026-11-22T02:57:00Z"}
    assert (facts["runs"]["version"], facts["generation"], facts["alert_began_at"]) == ("v3", 7, "2026-11-22T02:55:00Z")
    assert answer["settings"]["settle_for"] == "10m"
    assert answer["to"]["version"] == "v2"


async def test_in_observe_mode_nothing_would_be_done() -> None:
    assert (await document(view(target=replace(ARMED, mode=Mode.OBSERVE))[0]))["would"] == "observe"


async def test_a_target_that_is_not_declared_is_said() -> None:
    result = await asked(view()[0], "nothing")
    assert result.exit_code == 1
    assert "no target `nothing` is declared" in result.output


async def test_the_earliest_of_several_alerts_counts() -> None:
    later = FIRING._replace(rule="latency", began_at=at(-1))
    shown, played = view(firing=(later, FIRING))
    await shown.look("app")
    assert played.asked[0].began_at == at(-5)
    assert at(-5) - NOW == timedelta(minutes=-5)
