"""pm2 and systemd: restart the processes of a checkout, and tell how they are."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol

from responder.clients.programs import Programs
from responder.domain.target import CheckoutRef
from responder.domain.version import RolloutPhase, RolloutStatus
from responder.errors import PermanentError

_ASK = timedelta(seconds=30)
_RESTART = timedelta(minutes=5)
_STEADY = timedelta(seconds=3)  # a process must have run for so long
_KEPT = 8 * 1024 * 1024  # bytes of an answer; pm2's holds the environment of every process
_EPOCH = datetime.fromisoformat("1970-01-01T00:00:00+00:00")


@dataclass(frozen=True, slots=True)
class Process:
    """trouble: why it does not count as up, "" when it does. over: it will not come up by itself."""

    name: str
    trouble: str = ""
    over: bool = False


class ProcessManager(Protocol):
    async def restart(self) -> None: ...

    async def processes(self, now: datetime) -> list[Process]:
        """Every process of the target; several of one name when it is scaled."""
        ...


def process_manager(programs: Programs, ref: CheckoutRef) -> ProcessManager:
    return Systemd(programs, ref) if ref.manager == "systemd" else Pm2(programs, ref)


def status_of(processes: Sequence[Process]) -> RolloutStatus:
    up = sum(not one.trouble for one in processes)
    counts = {"updated": len(processes), "available": up, "desired": len(processes)}
    if up == len(processes):
        return RolloutStatus(RolloutPhase.COMPLETE, f"{up} of {up} processes up", **counts)
    why = ", ".join(f"{one.name} {one.trouble}" for one in processes if one.trouble)
    phase = RolloutPhase.FAILED if any(one.over for one in processes) else RolloutPhase.PROGRESSING
    return RolloutStatus(phase, f"{up} of {len(processes)} processes up: {why}", **counts)


class Pm2:
    def __init__(self, programs: Programs, ref: CheckoutRef) -> None:
        self._programs = programs
        self._ref = ref

    async def restart(self) -> None:
        await self._programs.run(
            ["pm2", "restart", *self._ref.processes], folder=self._ref.folder, host=self._ref.host, timeout=_RESTART
        )

    async def processes(self, now: datetime) -> list[Process]:
        finished = await self._programs.run(["pm2", "jlist"], host=self._ref.host, timeout=_ASK, kept=_KEPT)
        # Before its list it may say that it starts its daemon, or that it is out of date.
        line = next((line for line in finished.stdout.splitlines() if line.startswith(("[{", "[]"))), None)
        if not finished.complete:  # never quoted: it holds the environment of processes
            raise PermanentError(f"{self._ref}: pm2's list of its processes is too long")
        if line is None:
            raise PermanentError(f"{self._ref}: pm2 gave no list of its processes: {finished.tail()}")
        known = [one for one in json.loads(line) if one.get("name") in self._ref.processes]
        missing = [name for name in self._ref.processes if name not in {one["name"] for one in known}]
        return [_pm2_process(one, now) for one in known] + [Process(name, "is not known to pm2", True) for name in missing]


def _pm2_process(found: Mapping[str, Any], now: datetime) -> Process:
    name, env = found["name"], found.get("pm2_env") or {}
    status = str(env.get("status", "unknown"))
    if status == "errored" or (status == "stopped" and env.get("autorestart") is False):
        return Process(name, f"is {status}", True)
    if status != "online":  # `stopped` is also what stands there for a moment between two tries
        return Process(name, f"is {status}")
    started = _EPOCH + timedelta(milliseconds=float(env.get("pm_uptime") or 0))
    return Process(name, "has just started") if abs(now - started) < _STEADY else Process(name)


class Systemd:
    def __init__(self, programs: Programs, ref: CheckoutRef) -> None:
        self._programs = programs
        self._ref = ref

    async def restart(self) -> None:
        await self._programs.run(["systemctl", "restart", "--", *self._ref.processes], host=self._ref.host, timeout=_RESTART)

    async def processes(self, now: datetime) -> list[Process]:  # noqa: ARG002 - systemd says itself what is starting
        asked = ["systemctl", "show", "--property=LoadState,ActiveState,SubState,Result", "--", *self._ref.processes]
        finished = await self._programs.run(asked, host=self._ref.host, timeout=_ASK)
        blocks = [dict(line.split("=", 1) for line in block.splitlines()) for block in finished.stdout.strip().split("\n\n")]
        if len(blocks) != len(self._ref.processes):
            raise PermanentError(f"{self._ref}: systemd did not tell of every unit: {finished.tail()}")
        return [_unit(name, block) for name, block in zip(self._ref.processes, blocks, strict=True)]


def _unit(name: str, found: Mapping[str, str]) -> Process:
    active, sub = found.get("ActiveState", "unknown"), found.get("SubState", "")
    if found.get("LoadState") == "not-found":
        return Process(name, "is not known to systemd", True)
    if active == "active":
        return Process(name)
    why = f"is {active} ({found.get('Result') or sub})" if active == "failed" else f"is {active} ({sub})"
    return Process(name, why, active in ("failed", "inactive"))
