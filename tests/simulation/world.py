"""The engine on a real database, with a target and steps that do as they are told. What is outside the engine is played."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

from responder.actions.registry import build_actions
from responder.clients.http import new_client
from responder.clients.kubernetes import KubernetesClient
from responder.domain.incident import Incident
from responder.domain.matcher import parse_matcher
from responder.domain.plan import Monitor, Plan, Step
from responder.domain.rulebook import Response, Rule, Rulebook, Severity
from responder.domain.signal import Signal, SignalStatus
from responder.domain.target import GuardSettings, Mode, Target, WorkloadRef
from responder.domain.version import LedgerEntry, Pin, RolloutPhase, RolloutStatus, Version, WorkloadState
from responder.engine.assembly import EnginePorts, build_engine
from responder.engine.brain import Brain
from responder.engine.commands import Commands
from responder.engine.desk import IncidentDesk
from responder.engine.follow_up import FollowUp
from responder.engine.held_back import HeldBackRules
from responder.engine.orders import Orders
from responder.engine.preview import Previewer
from responder.errors import RefusedError
from responder.ports import Action, AlertLists, EntryKind, StepContext
from responder.stores.database import Database, open_database

V1, V2, V3 = (Version(f"v{n}", str(n), f"material-{n}", f"digest-{n}", (f"shop:v{n}",)) for n in (1, 2, 3))
APP = str(WorkloadRef("shop", "app"))  # the key of its ledger
COMPLETE = RolloutStatus(RolloutPhase.COMPLETE, "3 of 3 pods available", 3, 3, 3)


def wall() -> datetime:
    return datetime.now(UTC)


class PlayedWorkload:
    """A target that counts what is done to it. faults: raised by the next reads or writes, in order."""

    def __init__(self, *history: Version, changed: datetime) -> None:
        self.history = history
        self.changed = changed
        self.writes = 0
        self.read_faults: list[Exception] = []
        self.write_faults: list[Exception] = []
        self.before_patch: Callable[[], Awaitable[None]] | None = None
        self.after_write: Callable[[], Awaitable[None]] | None = None
        self.before_answer: Callable[[], Awaitable[None]] | None = None
        self.rollout_status = COMPLETE
        self.paused = False
        self.annotations: dict[str, str] = {}

    @property
    def current(self) -> Version:
        return self.history[0]

    async def read(self) -> WorkloadState:
        if self.read_faults:
            raise self.read_faults.pop(0)
        if self.before_answer is not None:
            await self.before_answer()
        versions = [replace(self.current, current=True, created_at=self.changed), *self.history[1:]]
        return WorkloadState(
            "uid-1", 1, versions[0], tuple(versions), COMPLETE, wall(), paused=self.paused, annotations=self.annotations
        )

    async def roll_back(self, pin: Pin, before_write: Callable[[], Awaitable[None]]) -> str:
        if self.current.digest == pin.to_version.digest:
            return "nothing to do"
        if self.current.digest != pin.from_version.digest:
            raise RefusedError(f"runs {self.current.version}, which is neither")
        await before_write()
        if self.before_patch is not None:
            await self.before_patch()
        if self.write_faults:
            raise self.write_faults.pop(0)
        self.writes += 1
        self.history = (pin.to_version, *(one for one in self.history if one.digest != pin.to_version.digest))
        if self.after_write is not None:
            await self.after_write()
        return f"{pin.from_version.version} replaced by {pin.to_version.version}"

    async def rollout(self, pin: Pin) -> RolloutStatus:
        if self.current.digest != pin.to_version.digest:
            return RolloutStatus(RolloutPhase.FAILED, f"changed by somebody else: asked to run {self.current.version}")
        return self.rollout_status

    async def watch(self) -> AsyncIterator[WorkloadState]:
        yield await self.read()


@dataclass
class PlayedStep:
    """An action `played`: raises the faults in order, then succeeds; or waits until it is let go."""

    faults: list[Exception] = field(default_factory=list)
    runs: int = 0
    gate: asyncio.Event | None = None
    entered: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self, parameters: Mapping[str, object], context: StepContext) -> str:
        self.runs += 1
        self.entered.set()
        if self.gate is not None:
            await self.gate.wait()
        if self.faults:
            raise self.faults.pop(0)
        return "played"


class _Workloads:
    def __init__(self, workloads: Mapping[str, PlayedWorkload]) -> None:
        self._workloads = workloads

    def of(self, target: Target) -> PlayedWorkload:
        return self._workloads[target.name]


ROLLBACK = Step("rollback", "rollback")
QUIET = Monitor(window=timedelta(0), settle=timedelta(seconds=30))


def rulebook(*steps: Step, mode: Mode = Mode.ARMED, hold: timedelta = timedelta(0), **plan: object) -> Rulebook:
    target = Target(
        "app",
        WorkloadRef("shop", "app"),
        (parse_matcher('deployment="app"'),),
        mode,
        GuardSettings(proven_for=timedelta(minutes=10)),
    )
    back = Plan("back", steps or (ROLLBACK,), **{"monitor": QUIET, **plan})  # type: ignore[arg-type]
    rules = (
        Rule(
            "errors",
            (parse_matcher('alertname="Errors"'),),
            hold=hold,
            severity=Severity.P1,
            response=Response.ROLLBACK,
            plan="back",
        ),
        Rule("latency", (parse_matcher('alertname="Latency"'),), severity=Severity.P1, response=Response.ROLLBACK, plan="back"),
        Rule("note", (parse_matcher('alertname="Note"'),), severity=Severity.P3),
    )
    return Rulebook({"app": target}, rules, {"back": back}, digest="digest-of-rules")


@dataclass
class World:
    """One life of the process: `start`, `stop` (as by kill -9: nothing is said goodbye to), `start` again.

    lists: what an Alertmanager says that is asked a second time; None when none is.
    """

    database: Database
    rules: Rulebook
    workload: PlayedWorkload
    played: PlayedStep
    others: dict[str, PlayedWorkload] = field(default_factory=dict)
    lists: AlertLists | None = None
    actions: dict[str, Action] = field(default_factory=dict)
    _numbers: count[int] = field(default_factory=count)
    _brain: asyncio.Task[None] | None = None
    _side: list[asyncio.Task[None]] = field(default_factory=list)
    configured: set[str] = field(default_factory=lambda: {"slack"})
    clock: Callable[[], datetime] = wall
    brain: Brain = field(init=False)
    desk: IncidentDesk = field(init=False)
    commands: Commands = field(init=False)
    orders: Orders = field(init=False)
    previewer: Previewer = field(init=False)
    held_back: HeldBackRules = field(init=False)
    follow_up: FollowUp = field(init=False)

    async def start(self) -> None:
        database = self.database
        engine = build_engine(
            EnginePorts(
                journal=database.journal,
                incidents=database.incidents,
                outbox=database.outbox,
                ledger=database.ledger,
                people=database.people,
                workloads=_Workloads({"app": self.workload, **self.others}),
                actions=self._actions(),
                rulebook=lambda: self.rules,
                configured=self.configured,
                clock=self.clock,
                new_id=lambda now: f"inc_{int(now.timestamp() * 1e6)}_{next(self._numbers)}",
                lists=self.lists,
                secrets=("hunter2",),
                hold_off=timedelta(milliseconds=100),
            )
        )
        self.brain, self.desk = engine.brain, engine.desk
        self.commands, self.orders, self.previewer = engine.commands, engine.orders, engine.previewer
        self.held_back = engine.held_back
        await self.brain.note_start()
        await self.brain.recover()
        self._brain = asyncio.create_task(self.brain.run())
        self.follow_up = engine.follow_up
        self._side = [asyncio.create_task(work()) for work in (engine.checkpoints.run, engine.follow_up.run)]

    def _actions(self) -> Mapping[str, Action]:
        return {**build_actions(new_client(), KubernetesClient()), "played": self.played, **self.actions}

    async def stop(self) -> None:
        if self._brain is not None:
            self._brain.cancel()
            await asyncio.gather(self._brain, return_exceptions=True)
            self._brain = None
        for task in self._side:
            task.cancel()
        await asyncio.gather(*self._side, return_exceptions=True)
        self._side = []

    async def alert(
        self,
        name: str,
        status: SignalStatus = SignalStatus.FIRING,
        *,
        key: str = "",
        ago: float = 30,
        heard: timedelta = timedelta(0),
        **annotations: str,
    ) -> None:
        """ago: seconds since the alert began. heard: how long ago it was told to us."""
        await self.deliver(self.signal(name, status, key=key, ago=ago, **annotations), heard=heard)

    async def deliver(self, *signals: Signal, heard: timedelta = timedelta(0)) -> None:
        """All of them in one delivery."""
        await self.database.journal.append(EntryKind.SIGNALS, wall() - heard, signals)

    def signal(
        self, name: str, status: SignalStatus = SignalStatus.FIRING, *, key: str = "", ago: float = 30, **annotations: str
    ) -> Signal:
        now = wall()
        labels = {"alertname": name, "deployment": "app", "source": "alertmanager"}
        began = self.began.setdefault((name, key), now - timedelta(seconds=ago))
        return Signal("alertmanager", key or name, status, labels, annotations, began, None, now)

    began: dict[tuple[str, str], datetime] = field(default_factory=dict)

    async def resolve(self, name: str, key: str = "") -> None:
        await self.alert(name, SignalStatus.RESOLVED, key=key)

    async def incident(self, *statuses: str, number: int = 1) -> Incident:
        """Wait until the number-th incident (oldest first) has one of these statuses."""
        async with asyncio.timeout(20):
            while True:
                found = list(reversed(await self.database.incidents.list(limit=100)))
                if len(found) >= number and (not statuses or found[number - 1].status.value in statuses):
                    return found[number - 1]
                await asyncio.sleep(0.005)

    async def all_incidents(self) -> list[Incident]:
        return list(reversed(await self.database.incidents.list(limit=100)))

    async def settled_start(self) -> None:
        """Wait until the brain has gone on with what was open."""
        async with asyncio.timeout(20):
            while True:
                if self.brain.is_up_to_date:
                    return
                await asyncio.sleep(0.005)

    async def settled(self) -> None:
        """Wait until everything journalled has been decided on."""
        last = (await self.database.journal.read(0, 10_000))[-1].id
        async with asyncio.timeout(20):
            while self.brain.position < last:  # noqa: ASYNC110 - the position is no event
                await asyncio.sleep(0.005)
        await asyncio.sleep(0.02)

    async def kinds(self, incident: Incident) -> list[str]:
        return [event.kind for event in await self.database.incidents.events(incident.id)]

    async def messages(self) -> list[str]:
        """Moments told to Slack so far, each with its title, in order; marks them as delivered."""
        told: list[str] = []
        while due := await self.database.outbox.due(wall() + timedelta(days=1), 100):
            for delivery in due:
                told.append(f"{delivery.message.moment.value}: {delivery.message.text}")
                await self.database.outbox.delivered(delivery.id, wall(), {})
        return told


@asynccontextmanager
async def a_world(folder: Path, rules: Rulebook | None = None, *, proven: bool = True) -> AsyncIterator[World]:
    """v2 was rolled out 60 s ago and is bad; v1 ran for hours before."""
    database = await open_database(f"sqlite:///{folder / 'responder.db'}")
    changed = wall() - timedelta(seconds=60)
    world = World(database, rules or rulebook(), PlayedWorkload(V2, V1, changed=changed), PlayedStep())
    if proven:
        start = changed - timedelta(hours=5)
        await database.ledger.put(
            LedgerEntry(APP, V1.fingerprint, "v1", "1", start, start, changed, replaced_at=changed, longest=timedelta(hours=5))
        )
    await database.ledger.put(LedgerEntry(APP, V2.fingerprint, "v2", "2", changed))
    try:
        yield world
    finally:
        await world.stop()
        await database.close()


def statuses(incidents: Sequence[Incident]) -> list[str]:
    return [incident.status.value for incident in incidents]


async def cut_off(world: World, hook: str) -> None:
    """Start, and end the process as by kill -9 inside the first write."""
    reached = asyncio.Event()

    async def hang() -> None:
        reached.set()
        await asyncio.Event().wait()

    setattr(world.workload, hook, hang)
    await world.start()
    await world.alert("Errors")
    await reached.wait()
    await world.stop()
    setattr(world.workload, hook, None)
