"""Many runs due at the same moment: all go through, the most urgent first, and none holds up the others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from responder.domain.matcher import parse_matcher
from responder.domain.rulebook import Response, Rule, Rulebook, Severity
from responder.domain.signal import Signal, SignalStatus
from responder.domain.target import Limits, RollbackLimit, WorkloadRef
from responder.domain.version import LedgerEntry
from responder.engine.turnstile import WIDTH, Turnstile
from responder.ports import EntryKind
from tests.simulation.people import ANN
from tests.simulation.world import V1, V2, PlayedWorkload, World, a_world, rulebook, wall

PLENTY = RollbackLimit(9999, timedelta(hours=1))
SEVERITIES = (Severity.P3, Severity.P2, Severity.P1, Severity.P0)


def many(names: Sequence[str]) -> Rulebook:
    """One rule for each severity; an alert's name is that of its rule."""
    plain = rulebook()
    targets = {
        name: replace(
            plain.targets["app"], name=name, workload=WorkloadRef("shop", name), matchers=(parse_matcher(f'deployment="{name}"'),)
        )
        for name in names
    }
    rules = tuple(
        Rule(one.value, (parse_matcher(f'alertname="{one.value}"'),), severity=one, response=Response.ROLLBACK, plan="back")
        for one in SEVERITIES
    )
    return replace(plain, targets=targets, rules=rules, limits=Limits(PLENTY, PLENTY, PLENTY))


class Fleet:
    """written: names of the targets in the order in which they were written to.

    written_when_looked_at: how many that were when a target was first read.
    """

    def __init__(self, world: World, names: Sequence[str]) -> None:
        self.world = world
        self.names = names
        self.written: list[str] = []
        self.written_when_looked_at: dict[str, int] = {}
        self.workloads = {name: self._played(name) for name in names}
        world.others.update(self.workloads)

    def _played(self, name: str) -> PlayedWorkload:
        played = PlayedWorkload(V2, V1, changed=wall() - timedelta(seconds=60))

        async def written() -> None:
            self.written.append(name)

        async def looked_at() -> None:
            self.written_when_looked_at.setdefault(name, len(self.written))

        played.after_write = written
        played.before_answer = looked_at
        return played

    async def fill_ledger(self) -> None:
        for name in self.names:
            key = str(WorkloadRef("shop", name))
            changed = self.workloads[name].changed
            began = changed - timedelta(hours=5)
            proven = LedgerEntry(
                key, V1.fingerprint, "v1", "1", began, began, changed, replaced_at=changed, longest=timedelta(hours=5)
            )
            await self.world.database.ledger.put(proven, LedgerEntry(key, V2.fingerprint, "v2", "2", changed))

    async def fire(self, names: Sequence[str], severities: Sequence[Severity] = (Severity.P1,)) -> None:
        """All in one delivery, the severities in turn."""
        now = wall()
        began = now - timedelta(seconds=30)
        signals = []
        for number, name in enumerate(names):
            alert = severities[number % len(severities)].value
            labels = {"alertname": alert, "deployment": name, "source": "alertmanager"}
            signals.append(Signal("alertmanager", f"{alert} {name}", SignalStatus.FIRING, labels, {}, began, None, now))
        await self.world.database.journal.append(EntryKind.SIGNALS, now, signals)

    async def until_written(self, names: Sequence[str]) -> None:
        async with asyncio.timeout(60):
            while not set(self.written) >= set(names):  # noqa: ASYNC110 - several tasks write
                await asyncio.sleep(0.005)


@asynccontextmanager
async def a_fleet(folder: Path, size: int) -> AsyncIterator[Fleet]:
    names = [f"app-{number}" for number in range(size)]
    async with a_world(folder, many(names)) as world:
        fleet = Fleet(world, names)
        await fleet.fill_ledger()
        await world.start()
        yield fleet


async def test_all_go_through_and_each_target_is_written_to_once(tmp_path: Path) -> None:
    async with a_fleet(tmp_path, 60) as fleet:
        await fleet.fire(fleet.names)
        await fleet.until_written(fleet.names)
        assert sorted(fleet.written) == sorted(fleet.names)
        assert {one.writes for one in fleet.workloads.values()} == {1}


async def test_the_first_is_written_to_before_the_last_is_looked_at(tmp_path: Path) -> None:
    async with a_fleet(tmp_path, 40) as fleet:
        await fleet.fire(fleet.names)
        await fleet.until_written(fleet.names)
        assert max(fleet.written_when_looked_at.values()) >= 40 - 2 * WIDTH


async def test_the_most_severe_go_first(tmp_path: Path) -> None:
    async with a_fleet(tmp_path, 80) as fleet:
        gate = asyncio.Event()
        for workload in fleet.workloads.values():
            workload.before_answer = gate.wait  # type: ignore[assignment]
        await fleet.fire(fleet.names, SEVERITIES)
        async with asyncio.timeout(60):
            while len(await fleet.world.all_incidents()) < 80:  # noqa: ASYNC110 - opened one by one
                await asyncio.sleep(0.005)
        gate.set()
        await fleet.until_written(fleet.names)
        severe = [number for number, name in enumerate(fleet.written) if int(name.removeprefix("app-")) % 4 == 3]
        mild = [number for number, name in enumerate(fleet.written) if int(name.removeprefix("app-")) % 4 == 0]
        assert sum(severe) / 20 < sum(mild) / 20 - 20


async def test_targets_that_do_not_answer_hold_nobody_up_for_long(tmp_path: Path) -> None:
    async with a_fleet(tmp_path, 40) as fleet:
        stuck, well = fleet.names[: WIDTH + 2], fleet.names[WIDTH + 2 :]
        for name in stuck:
            fleet.workloads[name].before_answer = asyncio.Event().wait  # type: ignore[assignment]
        await fleet.fire(fleet.names)
        await fleet.until_written(well)
        assert not set(fleet.written) & set(stuck)


async def test_a_run_that_waits_for_its_turn_is_cancelled_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("responder.engine.assembly.Turnstile", lambda: Turnstile(WIDTH, timedelta(hours=1)))
    async with a_fleet(tmp_path, WIDTH + 4) as fleet:
        gate = asyncio.Event()
        for workload in fleet.workloads.values():
            workload.before_answer = gate.wait  # type: ignore[assignment]
        await fleet.fire(fleet.names)
        incident = await fleet.world.incident(number=WIDTH + 4)
        await fleet.world.commands.cancel(incident.id, ANN, "a fix is being deployed")
        ended = await fleet.world.incident("cancelled", number=WIDTH + 4)
        assert "a fix is being deployed" in ended.reason
        gate.set()
        others = [name for name in fleet.names if name != incident.target]
        await fleet.until_written(others)
        assert fleet.workloads[incident.target].writes == 0


async def test_signals_are_accepted_and_decided_on_meanwhile(tmp_path: Path) -> None:
    async with a_fleet(tmp_path, 40) as fleet:
        for name in fleet.names[1:]:
            fleet.workloads[name].before_answer = asyncio.Event().wait  # type: ignore[assignment]
        await fleet.fire(fleet.names[1:])
        await fleet.world.incident(number=39)
        await fleet.fire(fleet.names[:1], (Severity.P0,))
        assert (await fleet.world.incident(number=40)).target == fleet.names[0]
        await fleet.until_written(fleet.names[:1])


async def test_runs_that_are_refused_make_room_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("responder.engine.assembly.Turnstile", lambda: Turnstile(WIDTH, timedelta(hours=1)))
    async with a_fleet(tmp_path, 2 * WIDTH + 1) as fleet:
        for workload in fleet.workloads.values():
            workload.paused = True
        await fleet.fire(fleet.names)
        for number in range(len(fleet.names)):
            await fleet.world.incident("refused", number=number + 1)
        assert fleet.written == []
