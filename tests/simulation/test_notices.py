"""What people are told that belongs to no incident."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from responder.domain.people import Actor
from responder.domain.rulebook import Rulebook
from responder.engine.notices import Notices
from responder.engine.reload import Reloader, RulebookInForce
from responder.errors import JournalUnavailableError, RulebookError
from responder.ports import Outbox
from tests.simulation.world import World, a_world, wall

ANN = Actor("ann")


def notices_of(world: World, outbox: Outbox | None = None) -> Notices:
    count = [0]

    def new_id(_: datetime) -> str:
        count[0] += 1
        return f"inc_{count[0]}"

    return Notices(
        outbox=outbox or world.database.outbox,
        rulebook=lambda: world.rules,
        configured=("slack", "statuspage", "pagerduty"),
        new_id=new_id,
        clock=wall,
    )


async def told(world: World) -> list[tuple[str, str]]:
    due = await world.database.outbox.due(wall(), 100)
    return [(one.to, f"{one.message.id}: {one.message.title}: {one.message.text}") for one in due]


async def test_that_everything_is_held_is_told_once_and_that_it_is_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with a_world(tmp_path) as world:
        await world.start()
        monkeypatch.setattr(world.commands, "_notices", notices_of(world))
        await world.commands.turn_hold(ANN, held=True, reason="migration")
        await world.commands.turn_hold(Actor("bob"), held=True, reason="me too")
        held = "note_1-1: Everything is on hold: Held by ann: migration. No rollback begins until somebody lets go."
        assert await told(world) == [("slack", held)]
        await world.commands.turn_hold(ANN, held=False, reason="")
        assert (await told(world))[1:] == [
            ("slack", "note_2-1: The hold is over: Let go by ann. What still fires is acted on now.")
        ]


async def test_a_sender_that_can_not_be_read_is_told_once_a_day(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world:
        await world.start()
        notices, now = notices_of(world), [wall()]
        notices._clock = lambda: now[0]
        for source in ("alertmanager", "alertmanager", "grafana"):
            notices.sender_unreadable(source, "alerts[0].labels.code: must be a string, not a number")
        await asyncio.gather(*notices._telling)
        now[0] += timedelta(days=1)
        notices.sender_unreadable("alertmanager", "alerts[0].status: must be")
        await asyncio.gather(*notices._telling)
        said = [one.message.title for one in await world.database.outbox.due(now[0], 100)]
        assert said == [f"Some of what {source} sends can't be read" for source in ("alertmanager", "grafana", "alertmanager")]
        [(_, first), *_] = await told(world)
        assert "alerts[0].labels.code: must be a string, not a number. Such alerts count for nothing" in first


async def test_a_rulebook_that_is_refused_is_told_once_for_the_same_problems(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world:
        await world.start()
        outcomes: list[list[str]] = [[f"rules.yaml:{line}:1: wrong" for line in range(7)]] * 2 + [[], ["other"]]

        def load() -> Rulebook:
            if problems := outcomes.pop(0):
                raise RulebookError(problems)
            return world.rules

        in_force = RulebookInForce(world.rules)
        reloader = Reloader(load=load, in_force=in_force, brain=world.brain, notices=notices_of(world))
        for _ in range(2):
            with pytest.raises(RulebookError):
                await reloader.reload()
        said = await told(world)
        [(to, text)] = said
        assert to == "slack"
        assert text.startswith("note_1-1: The rulebook was refused: The changed rulebook can't be used: the one before stays")
        assert text.endswith("rules.yaml:4:1: wrong\n… and 2 more")
        await reloader.reload()
        with pytest.raises(RulebookError):
            await reloader.reload()
        assert len(await told(world)) == 2


async def test_what_nobody_could_be_told_of_happens_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full:
        async def put(self, _: object) -> None:
            raise JournalUnavailableError("the disk is full")

    async with a_world(tmp_path) as world:
        await world.start()
        monkeypatch.setattr(world.commands, "_notices", notices_of(world, Full()))  # type: ignore[arg-type]
        assert (await world.commands.turn_hold(ANN, held=True, reason="migration")).held
