"""Plans whose process is killed at every boundary: each step is done once, whenever that happens."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from responder.domain.incident import Incident, Order, Phase
from responder.errors import PermanentError
from tests.simulation.plans import Stage, block, deed, ends, parallel, scale, stage
from tests.simulation.world import ROLLBACK, World


class Killer:
    """Stops the process at the n-th save of an incident: just before it is on disk, or just after."""

    def __init__(self, world: World, at: int, *, after: bool) -> None:
        self._incidents = world.database.incidents
        self._save = world.database.incidents.save
        self._at, self._after = at, after
        self.saves = 0
        self.dead = asyncio.Event()
        world.database.incidents.save = self  # type: ignore[method-assign,assignment]

    async def __call__(self, *given: Any, **more: Any) -> None:
        self.saves += 1
        if self.saves != self._at:
            await self._save(*given, **more)
            return
        if self._after:
            await self._save(*given, **more)
        self.dead.set()
        await asyncio.Event().wait()  # until it is cancelled: nothing after this ever happens

    def leave(self) -> None:
        self._incidents.save = self._save  # type: ignore[method-assign]


NESTED = (
    deed("first"),
    parallel(
        "both", deed("left", condition="labels.deployment == 'app'"), block("right", deed("r1"), replace(ROLLBACK, name="back"))
    ),
    deed("never", condition="value is defined and value > 1000"),
    deed("helped", rescue=(deed("plan-b"),), needs=("back",)),
    deed("last"),
)


@pytest.mark.parametrize("after", [False, True], ids=["before the write", "after the write"])
async def test_nested_steps_killed_at_every_boundary_go_on_exactly_there(after: bool, tmp_path: Path) -> None:
    at = 0
    while True:
        at += 1
        folder = tmp_path / f"{at}"
        folder.mkdir()
        async with stage(folder, *NESTED) as on:
            on.deed.faults["helped"] = [PermanentError("no")] * 2  # also when it is run again
            died, incident = await _killed_and_restarted(on, at, after, "monitoring", "failed")
            assert incident.status.value == "monitoring", (at, incident.reason)
            assert ends(incident) == {
                "first": "succeeded", "both": "succeeded", "left": "succeeded", "right": "succeeded", "r1": "succeeded",
                "back": "succeeded", "never": "skipped", "helped": "failed", "plan-b": "succeeded", "last": "succeeded",
            }, at  # fmt: skip
            assert on.world.workload.writes == 1, at
            assert len(on.deed.story) <= 7, "only the step in flight is run again"
            order = [name for name in dict.fromkeys(on.deed.story) if name not in ("left", "r1")]
            assert order == ["first", "helped", "plan-b", "last"], at
            if not died:
                break
    assert at > 15


@pytest.mark.parametrize("after", [False, True], ids=["before the write", "after the write"])
async def test_compensation_killed_at_every_boundary_leaves_nothing_stopped(after: bool, tmp_path: Path) -> None:
    at = 0
    while True:
        at += 1
        folder = tmp_path / f"{at}"
        folder.mkdir()
        async with stage(folder, scale("down", 1), scale("off", 0), deed("restore"), on_failure=(deed("tell"),)) as on:
            on.deed.faults["restore"] = [PermanentError("no such backup")] * 2
            died, incident = await _killed_and_restarted(on, at, after, "failed", "monitoring", "refused")
            assert incident.status.value == "failed", (at, incident.reason)
            assert on.scale.replicas == 3, (at, on.scale.story)
            assert ends(incident, Phase.COMPENSATION) == {"off": "succeeded", "down": "succeeded"}, at
            assert ends(incident, Phase.ON_FAILURE) == {"tell": "succeeded"}, at
            if not died:
                break
    assert at > 10


async def _killed_and_restarted(on: Stage, at: int, after: bool, *statuses: str) -> tuple[bool, Incident]:
    killer = Killer(on.world, at, after=after)
    await on.world.start()
    await on.world.alert("Errors")
    ended = asyncio.create_task(on.world.incident(*statuses))
    died = asyncio.create_task(killer.dead.wait())
    await asyncio.wait({ended, died}, return_when=asyncio.FIRST_COMPLETED)
    is_dead = killer.dead.is_set()
    died.cancel()
    if is_dead:
        await on.world.stop()
        killer.leave()
        await on.world.start()
    incident = await ended
    killer.leave()
    return is_dead, incident


async def test_an_order_runs_a_destroying_step_without_another_question(tmp_path: Path) -> None:
    async with stage(tmp_path, deed("drop", destroys=True)) as on:
        on.deed.gates["drop"] = asyncio.Event()
        await on.world.start()
        await on.world.alert("Errors")
        incident = await on.world.incident("waiting_approval")
        await on.world.stop()
        ordered = replace(incident, order=Order("ann", "lost anyway"))
        await on.world.database.incidents.save(ordered)
        on.deed.gates["drop"].set()
        await on.world.start()
        await on.world.incident("monitoring", "refused")
        assert on.deed.story == ["drop"]
