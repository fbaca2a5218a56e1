"""A step's surroundings for tests of actions: what it writes down outlives it, so it can be killed and run again."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from responder.actions.registry import PARAMETERS, build_actions
from responder.clients.http import new_client
from responder.clients.kubernetes import KubernetesClient
from responder.domain.incident import Phase, StepRecord
from responder.domain.target import Mode, Target, WorkloadRef
from responder.domain.version import Pin
from responder.errors import RefusedError
from responder.ports import Compensating, Previewing, StepContext
from responder.targets.kubernetes import KubernetesWorkloads
from tests.harness.databases import incident


class Killed(BaseException):
    """The process is gone: nobody catches this."""


class StepStage:
    """intents: what each step wrote down last, by name. story: what happened, in order."""

    def __init__(self, client: KubernetesClient, namespace: str, *others: str) -> None:
        self.client = client
        self.namespace = namespace
        self.targets = {name: Target(name, WorkloadRef(namespace, name), (), Mode.ARMED) for name in ("app", *others)}
        self.intents: dict[str, Mapping[str, Any]] = {}
        self.story: list[str] = []
        self.shown: list[str] = []
        self.kill_after_record = False
        self.incident = incident(target="app", opened_at=datetime.now(UTC), id="inc_01k3")
        self.refuse_change = ""
        self._actions = build_actions(new_client(), client)

    async def run(self, uses: str, parameters: Mapping[str, Any], *, step: str = "step") -> str:
        """As the engine does: with what an interrupted attempt wrote down."""
        return await self._action(uses).run(self._stored(uses, parameters), self.context(step))

    async def preview(self, uses: str, parameters: Mapping[str, Any], *, step: str = "step") -> str:
        action = self._action(uses)
        assert isinstance(action, Previewing), uses
        written = len(self.story)
        text = await action.preview(self._stored(uses, parameters), self.context(step))
        assert len(self.story) == written, "a preview writes nothing down"
        return text

    async def compensate(self, uses: str, parameters: Mapping[str, Any], *, step: str = "step") -> str:
        action = self._action(uses)
        assert isinstance(action, Compensating), uses
        return await action.compensate(self._stored(uses, parameters), self.context(step))

    def context(self, step: str = "step") -> StepContext:
        async def record(intent: Mapping[str, object]) -> None:
            self.intents[step] = json.loads(json.dumps(intent))
            self.story.append(f"record {intent.get('stage')}")
            if self.kill_after_record:
                raise Killed

        async def mark() -> None:
            if self.refuse_change:
                raise RefusedError(self.refuse_change)
            self.story.append("mark")

        async def mark_acted(intent: Mapping[str, object]) -> None:
            await mark()
            await record(intent)

        async def sleep(duration: timedelta) -> None:
            await asyncio.sleep(min(duration.total_seconds(), 0.05))

        async def tell(_title: str, _text: str, _to: str | None) -> None:
            raise AssertionError("tells nobody")

        def declared(name: str) -> Target:
            if name not in self.targets:
                raise RefusedError(f"target {name} is not declared any more")
            return self.targets[name]

        def pin_of(name: str) -> Pin:
            return self.incident.pins[name]

        def record_of(name: str) -> StepRecord | None:
            if name not in self.intents:
                return None
            return StepRecord(name, "", Phase.STEPS, intent=self.intents[name] or None)

        workloads = KubernetesWorkloads(self.client, lambda: datetime.now(UTC))
        return StepContext(
            incident=self.incident,
            target="app",
            now=lambda: datetime.now(UTC),
            intent=self.intents.get(step) or None,
            record=record,
            progress=self.shown.append,
            tell=tell,
            pin_of=pin_of,
            workload_of=lambda name: workloads.of(declared(name)),
            mark_acted=mark_acted,
            sleep=sleep,
            declared=declared,
            record_of=record_of,
            mark_changed=mark,
            targets=lambda: self.targets,
            step=step,
            secrets=("hunter2-the-password",),
        )

    def _action(self, uses: str) -> Any:
        return self._actions[uses]

    @staticmethod
    def _stored(uses: str, parameters: Mapping[str, Any]) -> Mapping[str, Any]:
        """As the rulebook's parameters come back from the database."""
        stored: Mapping[str, Any] = json.loads(PARAMETERS[uses].model_validate(parameters).model_dump_json(by_alias=True))
        return stored
