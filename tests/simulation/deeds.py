"""Actions for plans that are played: one that tells its story, and one that changes a number and can put it back."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

from responder.errors import ResponderError
from responder.ports import StepContext


@dataclass
class Deed:
    """`deed`: does nothing but say so. faults: raised by step, in order. gates: a step waits there until it is let go."""

    story: list[str] = field(default_factory=list)
    faults: dict[str, list[Exception]] = field(default_factory=dict)
    gates: dict[str, asyncio.Event] = field(default_factory=dict)
    entered: dict[str, asyncio.Event] = field(default_factory=lambda: defaultdict(asyncio.Event))

    async def run(self, parameters: Mapping[str, object], context: StepContext) -> str:
        step = context.step
        self.story.append(step)
        self.entered[step].set()
        if step in self.gates:
            await self.gates[step].wait()
        if self.faults.get(step):
            raise self.faults[step].pop(0)
        return f"{step} done"


@dataclass
class Scale:
    """`scale`: sets the number of replicas. Only what it made smaller is put back, and only while it still is as it left it."""

    replicas: int = 3
    story: list[str] = field(default_factory=list)
    undo_faults: list[ResponderError] = field(default_factory=list)

    async def run(self, parameters: Mapping[str, object], context: StepContext) -> str:
        wanted = int(str(parameters["to"]))
        if context.intent is None:
            await context.record({"was": self.replicas, "to": wanted})
        await context.mark_changed()
        if self.replicas != wanted:
            self.replicas = wanted
            self.story.append(f"{context.step}: {wanted}")
        return f"scaled to {wanted}"

    async def compensate(self, _parameters: Mapping[str, object], context: StepContext) -> str:
        intent = context.intent
        if intent is None or self.replicas != intent["to"] or int(str(intent["was"])) < self.replicas:
            return ""
        if self.undo_faults:
            raise self.undo_faults.pop(0)
        self.replicas = int(str(intent["was"]))
        self.story.append(f"undo {context.step}: {self.replicas}")
        return f"scaled back to {self.replicas}"
