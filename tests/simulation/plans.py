"""Plans of played steps, and a world in which one runs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from responder.domain.incident import Incident, Phase
from responder.domain.plan import Step
from tests.simulation.deeds import Deed, Scale
from tests.simulation.world import World, a_world, rulebook


def deed(name: str, **more: Any) -> Step:
    return Step(name, "deed", **more)


def scale(name: str, to: int, **more: Any) -> Step:
    return Step(name, "scale", {"to": to}, **more)


def parallel(name: str, *steps: Step, **more: Any) -> Step:
    return Step(name, "parallel", steps=steps, **more)


def block(name: str, *steps: Step, **more: Any) -> Step:
    return Step(name, "block", steps=steps, **more)


class Stage:
    """A world whose plan has these steps, its deeds and its scale."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.deed = Deed()
        self.scale = Scale()
        world.actions = {"deed": self.deed, "scale": self.scale}

    async def run_to(self, *statuses: str) -> Incident:
        await self.world.start()
        await self.world.alert("Errors")
        return await self.world.incident(*statuses)


@asynccontextmanager
async def stage(folder: Path, *steps: Step, **plan: Any) -> AsyncIterator[Stage]:
    async with a_world(folder, rulebook(*steps, **plan)) as world:
        yield Stage(world)


def ends(incident: Incident, phase: Phase = Phase.STEPS) -> dict[str, str]:
    return {record.name: record.status.value for record in incident.steps if record.phase is phase}
