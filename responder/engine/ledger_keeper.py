"""Keeps the ledger: watches every target and writes down what it runs and for how long it was fully available."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from datetime import datetime, timedelta

import structlog

from responder.domain.ledger import advance, best_stretch
from responder.domain.target import Place, Target
from responder.domain.version import LedgerEntry, WorkloadState
from responder.errors import ResponderError
from responder.ports import Clock, Ledger, Workloads

_log = structlog.get_logger(__name__)
_UNSEEN = 10.0  # seconds of watching without seeing it, then it is read, so that a wrong name is an error that is told
_RETRY_PAUSE = 5.0  # seconds, after the watch of a target broke (a right is missing, the object is gone, a bug)


class _Page:
    """What is remembered of one object's entries, since nobody else writes them; two targets may name the same object.

    latest: the open entry, else the last one; [] when there is none, None when the record has to be asked.
    """

    def __init__(self) -> None:
        self.latest: list[LedgerEntry] | None = None
        self._lock = asyncio.Lock()

    async def __aenter__(self) -> _Page:
        await self._lock.acquire()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._lock.release()


class LedgerKeeper:
    """One watch per target. Writes when the target changes, and once when a version becomes proven."""

    def __init__(self, workloads: Workloads, ledger: Ledger, clock: Clock) -> None:
        self._workloads = workloads
        self._ledger = ledger
        self._clock = clock
        self._seen: dict[str, datetime] = {}
        self._pages: dict[str, _Page] = {}
        self._targets: Mapping[str, Target] = {}
        self._retargeted = asyncio.Event()

    def last_seen(self) -> Mapping[str, datetime]:
        """When each target was last seen, by name; missing until the first time."""
        return self._seen

    def follow(self, targets: Mapping[str, Target]) -> None:
        """From now on watch these instead. A target that stays at its place is watched on without a gap."""
        self._targets = targets
        self._retargeted.set()

    async def run(self, targets: Mapping[str, Target]) -> None:
        """Watch until cancelled; `follow` changes what."""
        self.follow(targets)
        watches: dict[tuple[str, Place], asyncio.Task[None]] = {}
        async with asyncio.TaskGroup() as group:
            while True:
                self._retargeted.clear()
                wanted = {(target.name, target.workload): target for target in self._targets.values()}
                for place in watches.keys() - wanted.keys():
                    watches.pop(place).cancel()
                for place in wanted.keys() - watches.keys():
                    watches[place] = group.create_task(self._keep(wanted[place]), name=f"ledger {place[0]}")
                await self._retargeted.wait()

    async def _keep(self, target: Target) -> None:
        said = ""
        while True:
            try:
                await self._watch(target)
            except ResponderError as error:
                if str(error) != said:
                    _log.warning("target_unreadable", target=target.name, error=str(error))
                    said = str(error)
            except Exception:  # noqa: BLE001 (the target's boundary: a bug with one object must not end the service)
                _log.exception("ledger_crashed", target=target.name)
            await asyncio.sleep(_RETRY_PAUSE)

    async def _watch(self, target: Target) -> None:
        workload = self._workloads.of(target)
        states = workload.watch()
        upcoming: asyncio.Task[WorkloadState] | None = None
        state: WorkloadState | None = None
        watching = False
        try:
            while True:
                upcoming = upcoming or asyncio.ensure_future(anext(states))
                done, _ = await asyncio.wait({upcoming}, timeout=await self._until_proven(target) if state else _UNSEEN)
                if done:
                    state = upcoming.result()
                    upcoming = None
                else:  # it may not be there, or what the watch showed last may be long over, should the connection be dead
                    state = await workload.read()
                if state is not None:
                    await self._write(target, state, watching=watching)
                    watching = True
        except StopAsyncIteration:
            return
        finally:
            if upcoming is not None:
                upcoming.cancel()
                await asyncio.gather(upcoming, return_exceptions=True)
            if isinstance(states, AsyncGenerator):
                await states.aclose()  # lets go of its connection now, not when it is collected

    async def _write(self, target: Target, state: WorkloadState, *, watching: bool) -> None:
        now = self._clock()
        self._seen[target.name] = now
        async with self._page_of(target) as page:
            latest = await self._latest(target, page)
            if changed := advance(latest, target.key, state, now, watching=watching):
                page.latest = None
                await self._ledger.put(*changed)

    def _page_of(self, target: Target) -> _Page:
        return self._pages.setdefault(target.key, _Page())

    async def _latest(self, target: Target, page: _Page) -> list[LedgerEntry]:
        if page.latest is None:
            entries = await self._ledger.entries(target.key)
            page.latest = [one for one in entries if one.replaced_at is None][-1:] or entries[-1:]
        return page.latest

    async def _until_proven(self, target: Target) -> float | None:
        """Seconds until the current version has been available for long enough to be written down; None when it has, or isn't."""
        async with self._page_of(target) as page:
            current = next((entry for entry in await self._latest(target, page) if entry.replaced_at is None), None)
        if current is None or not current.available_open or current.available_from is None:
            return None
        proven_for = self._targets.get(target.name, target).guards.proven_for  # a reload may have changed it
        if (best_stretch([current]) or timedelta(0)) >= proven_for:
            return None
        remaining = current.available_from + proven_for - self._clock()
        return max(0.01, remaining.total_seconds())
