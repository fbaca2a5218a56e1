"""kill -9 at random moments, while the API server fails and the database is locked: does every story end as it should?

python -m bench.kills [--stories 18] [--side-by-side 3] [--seed 1]    # needs KUBEBUILDER_ASSETS and etcd

Each story is the real service before a genuine control plane, from the alert to the end, killed up to five times: at a moment of
time, at a request (before it, after it was carried out, or so that it arrives when the process is gone), at a write, while it
starts. At the end one checker asks the same of all: exactly the changes that the plan makes, each once; one incident, closed as
it should be; nothing left stopped or paused; everybody told, nothing waiting in the outbox. The seed repeats what is drawn, not
the timing.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from tests.harness.cluster import GenuineCluster, is_rolled_out
from tests.harness.kubernetes_proxy import Forward, Request
from tests.harness.stage import BAD, GOOD, Stage, image_of, set_up
from tests.harness.warm_start import WarmStart

OPERATOR = "operator-token-of-the-drill"
PATIENCE = 150.0  # seconds from the last kill to the end
RULES = """
version: 1
targets:
  app:
    kubernetes: {{namespace: {namespace}, deployment: app}}
    match: ['namespace="{namespace}"', 'deployment="app"']
    mode: armed
    guards: {{deployed_within: 1h, proven_for: 0s}}
rules:
  - name: errors
    match: ['alertname="HighErrorRate"']
    when: {{value: {{above: 5%}}}}
    for: 300ms
    severity: P1
    {respond}
    plan: back
plans:
  back:
    deadline: 2m
    steps:
{steps}
    verify:
      - {{uses: http.check, with: {{url: "{health}", successes: 2, every: 100ms}}, timeout: {verified_within}}}
    monitor: {{for: 800ms, every: 200ms, settle: 2m}}
"""
RETRY = "timeout: 90s, retry: {attempts: 8, backoff: 100ms..1s}"
BACK = f"      - {{name: back, uses: rollback, {RETRY}}}\n"
DOWN = f"      - {{name: down, uses: kubernetes.scale, with: {{replicas: 0}}, {RETRY}}}\n"
UP = f"      - {{name: up, uses: kubernetes.scale, with: {{as_before: down}}, {RETRY}}}\n"
PAUSE = f"      - {{name: pause, uses: kubernetes.pause, {RETRY}}}\n"


@dataclass(frozen=True)
class Scene:
    """changes: of the object's generation, by the plan and by what puts it back."""

    steps: str
    changes: int
    respond: str = "respond: rollback"
    restores: bool = True


SCENES = {
    "rollback": Scene(BACK, 1),
    "countdown": Scene(BACK, 1, "respond: rollback\n    grace: 1500ms"),
    "approval": Scene(BACK, 1, "respond: approve"),
    "scaled down and put back": Scene(DOWN, 2, restores=False),
    "paused and put back": Scene(PAUSE, 2, restores=False),
    "down, back, up": Scene(DOWN + BACK + UP, 3),
}


@dataclass
class Trap:
    """Holds the request at which the process is to die, and for a while has the API server fail now and then."""

    draw: random.Random
    fails_until: float = 0.0
    countdown: int = 0  # requests until the trap shuts; 0: it is open
    only_writes: bool = False
    shut: asyncio.Event = field(default_factory=asyncio.Event)
    dead: asyncio.Event = field(default_factory=asyncio.Event)
    faults: Counter[str] = field(default_factory=Counter)

    def arm(self, *, only_writes: bool) -> None:
        self.shut.clear()
        self.dead.clear()
        self.only_writes = only_writes
        self.countdown = 1 if only_writes else self.draw.randint(1, 22)

    async def rule(self, request: Request, forward: Forward) -> httpx.Response | None:
        if self.countdown and (request.is_write or not self.only_writes):
            self.countdown -= 1
            if not self.countdown:
                return await self._hold(forward)
        return await self._fail(forward) if time.monotonic() < self.fails_until and self.draw.random() < 0.1 else await forward()

    async def _hold(self, forward: Forward) -> httpx.Response | None:
        self.shut.set()
        fate = self.draw.choice(["lost", "landed", "late"])
        if fate == "landed":
            await forward()
        await self.dead.wait()
        if fate == "late":
            await asyncio.sleep(self.draw.uniform(0, 1.5))
            with contextlib.suppress(httpx.HTTPError):
                await forward()
        return None

    async def _fail(self, forward: Forward) -> httpx.Response | None:
        fault = self.draw.choice(["429", "500", "503", "504", "cut", "no JSON"])
        self.faults[fault] += 1
        if self.draw.random() < 0.5 and fault in ("500", "504", "cut"):
            await forward()  # it was carried out all the same
        if fault == "cut":
            return None
        if fault == "no JSON":
            return httpx.Response(200, content=b"<html>", headers={"content-type": "text/html"})
        headers = {"retry-after": "1"} if fault == "429" else {}
        return httpx.Response(int(fault), json={"kind": "Status", "code": int(fault), "message": "drill"}, headers=headers)


async def tell(name: str, seed: int, shared: Path, warm: WarmStart) -> tuple[list[str], list[str]]:
    """Live through one story. Returns when it was killed, and what is wrong at the end."""
    scene, draw = SCENES[name], random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        async with (
            GenuineCluster(shared) as cluster,
            set_up(cluster, Path(folder), make=warm.program, settings={"RESPONDER_OPERATOR_TOKEN": OPERATOR}) as stage,
        ):
            health = f"{stage.health.url}/health/ready"
            within = "60s" if scene.restores else "2s"
            rules = RULES.format(
                namespace=stage.namespace, respond=scene.respond, steps=scene.steps, health=health, verified_within=within
            )
            stage.service.rules_file.write_text(rules)
            trap = Trap(draw)
            stage.kubernetes.rule = stage.health.rule = stage.slack_gateway.rule = trap.rule
            await start(stage)
            await stage.alert_fires()
            trap.fails_until = time.monotonic() + draw.uniform(0, 8)
            beside = [asyncio.create_task(work) for work in (approve(stage), clear(stage), lock(stage, draw))]
            try:
                kills = [await kill(stage, trap, draw) for _ in range(draw.randint(1, 5))]
                await until_closed(stage)
                return kills, await problems(stage, scene)
            finally:
                for task in beside:
                    task.cancel()
                await asyncio.gather(*beside, return_exceptions=True)


async def kill(stage: Stage, trap: Trap, draw: random.Random) -> str:
    """Returns what the newest incident was when it happened."""
    way = draw.choice(["time", "request", "write", "write", "starting"])
    if way == "time":
        await asyncio.sleep(draw.uniform(0, 1.5))
    elif way != "starting":
        trap.arm(only_writes=way == "write")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(4):
                await trap.shut.wait()
        trap.countdown = 0
    found = ask(stage, "select status from incidents order by number desc")
    await stage.service.kill()
    trap.dead.set()
    if way == "starting":
        stage.service.launch()
        await asyncio.sleep(draw.uniform(0.02, 0.8))
        await stage.service.program.kill()
    await start(stage)
    return f"{found or 'no incident'}: {way}"


async def start(stage: Stage) -> None:
    with contextlib.suppress(AssertionError):  # up, and not ready yet: its database is locked, or its disk is slow
        await stage.service.start()


async def approve(stage: Stage) -> None:
    headers = {"Authorization": f"Bearer {OPERATOR}"}

    async def once() -> None:
        for one in await stage.service.incidents():
            if one["status"] == "waiting_approval":
                await stage.service.http.post(f"/v1/incidents/{one['id']}/approve", json={}, headers=headers)

    await again_and_again(stage, once)


async def clear(stage: Stage) -> None:
    async def once() -> None:
        one = await stage.deployment()
        if image_of(one) == GOOD and is_rolled_out(one):
            await stage.post("resolved")

    await again_and_again(stage, once)


async def lock(stage: Stage, draw: random.Random) -> None:
    """Somebody else holds the database now and then, as a backup would."""

    def hold(seconds: float) -> None:
        other = sqlite3.connect(database(stage), isolation_level=None)
        with contextlib.closing(other), contextlib.suppress(sqlite3.OperationalError):
            other.execute("BEGIN EXCLUSIVE")
            time.sleep(seconds)

    for _ in range(draw.randint(0, 3)):
        await asyncio.sleep(draw.uniform(0, 2))
        await asyncio.to_thread(hold, draw.choice([0.3, 0.8, 1.5]))


async def again_and_again(stage: Stage, work: Callable[[], Awaitable[None]]) -> None:
    while True:
        with contextlib.suppress(httpx.TransportError, AssertionError):
            if stage.service.is_up:
                await work()
        await asyncio.sleep(0.1)


async def until_closed(stage: Stage) -> None:
    async def read() -> bool:
        found = await stage.service.incidents()
        return bool(found) and all(one["closed_at"] for one in found) and not waiting(stage)

    await stage.timeline.until("everything is closed and told", read, seconds=PATIENCE)


async def problems(stage: Stage, scene: Scene) -> list[str]:
    stage.history.check()
    found, deployment = await stage.service.incidents(), await stage.deployment()
    spec, changes = deployment["spec"], deployment["metadata"]["generation"] - stage.generation
    wanted = ("resolved", [GOOD, BAD, GOOD]) if scene.restores else ("failed", [GOOD, BAD])
    mark = "✅" if scene.restores else "❌"
    checks = {
        f"incidents: {[one['status'] for one in found]}": [one["status"] for one in found] == [wanted[0]],
        f"templates: {stage.history.images}": stage.history.images == wanted[1],
        f"changes: {changes}, not {scene.changes}": changes == scene.changes,
        f"left with {spec['replicas']} replicas, paused: {spec.get('paused')}": spec["replicas"] == 2 and not spec.get("paused"),
        "its end was told to nobody": any(str(one.payload["text"]).startswith(mark) for one in stage.slack.messages),
        "something crashed: see the log": "Traceback" not in stage.service.log,
    }
    return [problem for problem, holds in checks.items() if not holds]


def database(stage: Stage) -> Path:
    return stage.service.rules_file.parent / "responder.db"


def ask(stage: Stage, query: str) -> object:
    with contextlib.closing(sqlite3.connect(database(stage), timeout=10)) as reader:
        row = reader.execute(query).fetchone()
    return row[0] if row else None


def waiting(stage: Stage) -> bool:
    return bool(ask(stage, "select count(*) from outbox where done_at is null"))


async def drill(stories: int, side_by_side: int, seed: int) -> int:
    turns, kills, bad = asyncio.Semaphore(side_by_side), 0, 0
    with tempfile.TemporaryDirectory() as shared, WarmStart() as warm:
        await (await asyncio.to_thread(GenuineCluster, Path(shared))).__aexit__()

        async def one(number: int) -> None:
            nonlocal kills, bad
            name = list(SCENES)[number % len(SCENES)]
            async with turns:
                try:
                    killed, wrong = await tell(name, seed + number, Path(shared), warm)
                except (AssertionError, pytest.fail.Exception) as error:
                    killed, wrong = [], [str(error)]
            kills, bad = kills + len(killed), bad + bool(wrong)
            print(f"{'BAD' if wrong else 'ok '} {name} (seed {seed + number}): killed at {killed}", *wrong, sep="\n    ")

        await asyncio.gather(*(one(number) for number in range(stories)))
    print(f"{stories} stories, {kills} kills, {bad} ended wrongly")
    return 1 if bad else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stories", type=int, default=18)
    parser.add_argument("--side-by-side", type=int, default=3)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    sys.exit(asyncio.run(drill(arguments.stories, arguments.side_by_side, arguments.seed)))
