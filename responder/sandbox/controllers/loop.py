"""Runs the controllers whenever something changed or something is due."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta

from responder.ports import Clock
from responder.sandbox.api.operations import Operations
from responder.sandbox.api.refusals import RefusalError
from responder.sandbox.api.resources import DEPLOYMENTS, JOBS, REPLICA_SETS, SERVICES
from responder.sandbox.api.store import Json
from responder.sandbox.controllers.deployments import Deployments
from responder.sandbox.controllers.endpoints import Endpoints
from responder.sandbox.controllers.events import EventRecorder
from responder.sandbox.controllers.garbage import GarbageCollector
from responder.sandbox.controllers.jobs import Jobs
from responder.sandbox.controllers.kubelet import Kubelet, Pace
from responder.sandbox.controllers.replica_sets import ReplicaSets


class ControllerLoop:
    def __init__(self, operations: Operations, pace: Pace, clock: Clock) -> None:
        events = EventRecorder(operations.store)
        self._store, self._clock = operations.store, clock
        self._deployments = Deployments(operations, events)
        self._replica_sets = ReplicaSets(operations, events)
        self._garbage = GarbageCollector(operations)
        self._jobs = Jobs(operations, pace)
        self._endpoints = Endpoints(operations)
        self.kubelet = Kubelet(operations, events, pace)

    def reconcile(self, now: datetime) -> datetime | None:
        """One pass over everything. Returns when the next one is due at the latest; None when only a change makes one due."""
        self._garbage.reconcile()
        dues = [
            *self._each(DEPLOYMENTS.plural, self._deployments.reconcile, now),
            *self._each(REPLICA_SETS.plural, self._replica_sets.reconcile, now),
            *self._each(JOBS.plural, self._jobs.reconcile, now),
            self.kubelet.reconcile(now),
            *self._each(SERVICES.plural, self._endpoints.reconcile, now),
        ]
        return min((due for due in dues if due is not None), default=None)

    def settle(self, now: datetime) -> datetime | None:
        """Passes until nothing changes any more."""
        while True:
            version = self._store.version
            due = self.reconcile(now)
            if self._store.version == version:
                return due

    async def run(self) -> None:
        """For ever; ends by cancellation or with the store."""
        while not self._store.closed:
            version = self._store.version
            due = self.reconcile(self._clock())
            # Requests and watchers get their turn between two passes, as they would beside a real controller.
            await asyncio.sleep(0)
            try:
                async with asyncio.timeout(self._wait(due)):
                    await self._store.changed(version)
            except TimeoutError:
                continue

    def _wait(self, due: datetime | None) -> float | None:
        return None if due is None else max((due - self._clock()) / timedelta(seconds=1), 0.001)

    def _each(
        self, plural: str, reconcile: Callable[[Json, datetime], datetime | None], now: datetime
    ) -> Iterator[datetime | None]:
        for listed in self._store.items(plural):
            metadata = listed["metadata"]
            item = self._store.get(plural, metadata["namespace"], metadata["name"])
            if item is None:
                continue
            try:
                yield reconcile(item, now)
            except RefusalError:  # the object, its namespace or its quota went away meanwhile: the next pass sees it
                continue
