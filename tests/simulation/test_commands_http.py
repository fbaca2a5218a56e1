"""Commands by real HTTP, many at once: one run, consistent answers."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from responder.domain.rulebook import Rulebook
from tests.simulation.people import asking, counting
from tests.simulation.served import served
from tests.simulation.world import World, a_world, statuses

TOKEN = {"Authorization": "Bearer op"}
FORCE = {"target": "app", "reason": "it is broken"}


@asynccontextmanager
async def commanded(folder: Path, rules: Rulebook | None = None) -> AsyncIterator[tuple[World, str]]:
    async with a_world(folder, rules) as world, served(world) as url:
        yield world, url


async def at_once(count: int, method: str, url: str, body: dict[str, Any], **headers: str) -> list[httpx.Response]:
    """The same request from `count` threads that set off together."""
    gate = threading.Barrier(count)
    answers: list[httpx.Response] = []

    def one() -> None:
        with httpx.Client(headers={**TOKEN, **headers}, timeout=30, trust_env=False) as client:
            gate.wait()
            answers.append(client.request(method, url, json=body))

    threads = [threading.Thread(target=one) for _ in range(count)]
    for thread in threads:
        thread.start()
    await asyncio.gather(*(asyncio.to_thread(thread.join) for thread in threads))
    return answers


def codes(answers: list[httpx.Response]) -> dict[int, int]:
    return dict(Counter(answer.status_code for answer in answers))


@pytest.mark.parametrize("count", [2, 10, 100])
async def test_of_many_forces_one_is_a_run_and_the_others_are_told_which(tmp_path: Path, count: int) -> None:
    async with commanded(tmp_path) as (world, url):
        answers = await at_once(count, "POST", f"{url}/v1/rollbacks", FORCE)
        assert codes(answers) == {202: 1, 409: count - 1}
        [begun] = [answer.json()["incident"]["id"] for answer in answers if answer.status_code == 202]
        assert {answer.json()["incident"]["id"] for answer in answers} == {begun}
        await world.incident("monitoring", "resolved")
        assert world.workload.writes == 1
        assert len(await world.all_incidents()) == 1


@pytest.mark.parametrize("count", [2, 10, 100])
async def test_many_forces_with_one_key_are_one_order(tmp_path: Path, count: int) -> None:
    async with commanded(tmp_path) as (world, url):
        answers = await at_once(count, "POST", f"{url}/v1/rollbacks", FORCE, **{"Idempotency-Key": "k1"})
        assert codes(answers) == {202: count}
        assert len({answer.content for answer in answers}) == 1
        await world.incident("monitoring", "resolved")
        assert world.workload.writes == 1
        other = await asyncio.to_thread(
            httpx.post, f"{url}/v1/rollbacks", json={**FORCE, "reason": "another"}, headers={**TOKEN, "Idempotency-Key": "k1"}
        )
        assert other.status_code == 422


@pytest.mark.parametrize("count", [2, 10, 100])
async def test_many_approvals_are_one_yes(tmp_path: Path, count: int) -> None:
    async with commanded(tmp_path, asking()) as (world, url):
        await world.alert("Errors")
        waiting = await world.incident("waiting_approval")
        answers = await at_once(count, "POST", f"{url}/v1/incidents/{waiting.id}/approve", {"reason": "go"})
        assert codes(answers) == {200: count}
        done = await world.incident("monitoring", "resolved")
        assert world.workload.writes == 1
        assert (await world.kinds(done)).count("approved") == 1


@pytest.mark.parametrize("count", [2, 10, 100])
async def test_many_cancels_are_one_stop(tmp_path: Path, count: int) -> None:
    async with commanded(tmp_path, counting()) as (world, url):
        await world.alert("Errors")
        counting_down = await world.incident("countdown")
        answers = await at_once(count, "POST", f"{url}/v1/incidents/{counting_down.id}/cancel", {})
        assert codes(answers) == {200: count}
        cancelled = await world.incident("cancelled")
        assert world.workload.writes == 0
        assert (await world.kinds(cancelled)).count("cancelled") == 1


async def test_a_yes_and_a_no_at_once_are_one_of_them(tmp_path: Path) -> None:
    async with commanded(tmp_path, asking()) as (world, url):
        await world.alert("Errors")
        waiting = await world.incident("waiting_approval")
        address = f"{url}/v1/incidents/{waiting.id}"
        yes, no = await asyncio.gather(
            at_once(10, "POST", f"{address}/approve", {}), at_once(10, "POST", f"{address}/reject", {})
        )
        assert {frozenset(codes(yes).items()), frozenset(codes(no).items())} == {
            frozenset({(200, 10)}),
            frozenset({(409, 10)}),
        }
        approved = codes(yes) == {200: 10}
        ended = await world.incident("monitoring", "resolved") if approved else await world.incident("refused")
        assert world.workload.writes == int(approved), ended.reason


async def test_a_restart_keeps_orders_answers_and_the_hold(tmp_path: Path) -> None:
    async with commanded(tmp_path) as (world, url):
        async with httpx.AsyncClient(base_url=url, headers=TOKEN, trust_env=False) as client:
            made = await client.post("/v1/rollbacks", json=FORCE, headers={"Idempotency-Key": "k"})
            assert made.status_code == 202, made.text
            await world.incident("monitoring")
            held = await client.put("/v1/hold", json={"held": True, "reason": "freeze"})
            assert (held.status_code, held.json()["by"]) == (200, "operator")
        await world.stop()
    async with commanded(tmp_path) as (world, url):
        await world.settled_start()
        async with httpx.AsyncClient(base_url=url, headers=TOKEN, trust_env=False) as client:
            again = await client.post("/v1/rollbacks", json=FORCE, headers={"Idempotency-Key": "k"})
            assert (again.status_code, again.content) == (202, made.content)
            assert again.headers["Idempotency-Replayed"] == "true"
            assert (await client.get("/v1/hold")).json()["held"] is True
            audit = (await client.get("/v1/audit")).json()["audit"]
            assert [(row["by"], row["action"], row["outcome"]) for row in audit] == [
                ("operator", "hold", "done"),
                ("operator", "rollback", "done"),
            ]
        assert statuses(await world.all_incidents()) == ["monitoring"]
