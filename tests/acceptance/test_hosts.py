"""kill -9 of the real process while it rolls back a checkout or a Compose project, or runs a command: the end is the same."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.harness import docker
from tests.harness.checkout import BUILD, INSTALL, Application, application
from tests.harness.compose import Shop, make_image
from tests.harness.pm2 import pm2_environment
from tests.harness.program import find_program
from tests.harness.service import Json, ResponderService

pytestmark = pytest.mark.acceptance

_RULES = """
version: 1
targets:
  shop:
    {place}
    match: 'service="shop"'
    mode: armed
    guards: {{proven_for: 1s}}
rules:
  - {{name: down, match: 'alertname="Down"', respond: rollback, plan: back}}
plans:
  back:
    steps: {steps}
    monitor: {{for: 1s, every: 1s, settle: 1s}}
"""
SECONDS = 60


def rules(place: dict[str, object], *steps: object) -> str:
    [(kind, form)] = place.items()
    return _RULES.format(place=f"{kind}: {json.dumps(form)}", steps=json.dumps(list(steps)))


async def until(holds: Callable[[], Awaitable[bool]] | Callable[[], bool], service: ResponderService, what: str) -> None:
    try:
        async with asyncio.timeout(SECONDS):
            while True:
                held = holds()
                if held if isinstance(held, bool) else await held:
                    return
                await asyncio.sleep(0.05)
    except TimeoutError:
        pytest.fail(f"never came to be: {what}\n{service.tail()}")


async def ended(service: ResponderService) -> Json:
    """The one incident, once it is closed."""

    async def is_closed() -> bool:
        found = await service.incidents()
        return bool(found) and found[0]["closed_at"] is not None

    await until(is_closed, service, "a closed incident")
    [found] = await service.incidents()
    return await service.incident(found["id"])


@pytest.fixture
def shop_in_git(tmp_path: Path) -> Iterator[Application]:
    find_program("git", "git")
    find_program("node", "nodejs")
    with pm2_environment() as environment:
        shop = application(tmp_path / "shop", environment)
        shop.begin()
        yield shop


@pytest.fixture
def shop_in_docker(tmp_path: Path) -> Iterator[Shop]:
    if docker.what_is_missing():
        pytest.skip(docker.what_is_missing())
    find_program("docker-compose", "docker-compose")
    with docker.engine() as running:
        shop = Shop(running, tmp_path, {"DOCKER_HOST": f"unix://{running.socket}"})
        for service, version in [("web", "v1"), ("web", "v2"), ("worker", "v1"), ("worker", "v2"), ("database", "11")]:
            make_image(running, f"shop/{service}:{version}", f"{service} {version}")
        shop.write()
        shop.deploy("v1")
        yield shop
        shop.clear()


@pytest.fixture
async def service_of(tmp_path: Path) -> AsyncIterator[Callable[..., ResponderService]]:
    made: list[ResponderService] = []

    def make(text: str, environment: dict[str, str], *allowed: str) -> ResponderService:
        settings = {**environment, **({"RESPONDER_ALLOWED_PROGRAMS": ",".join(allowed)} if allowed else {})}
        made.append(ResponderService(tmp_path / "responder", text, settings))
        return made[0]

    yield make
    for one in made:
        await one.program.end()


def is_in_the_ledger(service: ResponderService, version: str) -> bool:
    """It runs now, and has been seen to be up."""
    with contextlib.closing(sqlite3.connect(service.rules_file.parent / "responder.db")) as database:
        documents = [json.loads(row[0]) for row in database.execute("select document from ledger where replaced_at is null")]
    return any(document["version"] == version and document.get("available_from") for document in documents)


async def alert(service: ResponderService, began: datetime, status: str = "firing") -> None:
    one = {
        "status": status,
        "labels": {"alertname": "Down", "service": "shop"},
        "startsAt": began.isoformat(),
        "endsAt": datetime.now(UTC).isoformat() if status == "resolved" else "0001-01-01T00:00:00Z",
        "fingerprint": "0123456789abcdef",
    }
    answer = await service.post_alerts({"version": "4", "status": status, "groupKey": "g", "alerts": [one]})
    assert answer.status_code == 202, answer.text


async def killed_while(service: ResponderService, reached: Callable[[], bool], what: str) -> datetime:
    """Alert, kill -9 at that moment, start again; when the alert began."""
    began = datetime.now(UTC)
    await alert(service, began)
    await until(reached, service, what)
    await service.kill()
    return began


async def test_a_checkout_is_installed_again_and_rolled_back_once(
    shop_in_git: Application, service_of: Callable[..., ResponderService]
) -> None:
    shop = shop_in_git
    place = {"folder": str(shop.folder), "install": INSTALL, "build": BUILD, "manager": "pm2", "processes": "shop"}
    service = service_of(rules({"checkout": place}, "rollback"), shop.environment, "./held")
    await service.start()
    await until(lambda: is_in_the_ledger(service, "v1"), service, "v1 in the ledger")
    await asyncio.to_thread(shop.deploy, "v2")
    await until(lambda: is_in_the_ledger(service, "v2"), service, "v2 in the ledger")
    shop.forget()
    shop.hold("install")
    began = await killed_while(service, lambda: shop.ran() == ["install"], "installing")
    shop.let_go()
    await service.start()
    await until(lambda: _runs(shop, "v1"), service, "v1 answers again")
    await alert(service, began, "resolved")
    incident = await ended(service)
    assert (incident["status"], [step["status"] for step in incident["steps"]]) == ("resolved", ["succeeded"]), incident
    assert (incident["pinned"]["from"]["version"], incident["pinned"]["to"]["version"]) == ("v2", "v1")
    assert shop.ran() == ["install", "install", "build"]


async def _runs(shop: Application, version: str) -> bool:
    return await shop.answers() == version


async def test_a_compose_project_is_recreated_and_rolled_back_once(
    shop_in_docker: Shop, service_of: Callable[..., ResponderService]
) -> None:
    shop = shop_in_docker
    place = {"project": "shop", "folder": str(shop.folder), "services": ["web", "worker"]}
    service = service_of(rules({"compose": place}, "rollback"), shop.environment)
    await service.start()
    await until(lambda: is_in_the_ledger(service, "v1"), service, "v1 in the ledger")
    await asyncio.to_thread(shop.deploy, "v2")
    await until(lambda: is_in_the_ledger(service, "v2"), service, "v2 in the ledger")

    def a_container_is_being_replaced() -> bool:
        states = shop.docker("ps", "--all", "--format", "{{.State}}").split()
        return len(states) != 3 or set(states) != {"running"}

    began = await killed_while(service, a_container_is_being_replaced, "a container being replaced")
    await service.start()
    await until(lambda: shop.versions().get("web") == shop.versions().get("worker") == {"v1"}, service, "v1 runs again")
    await alert(service, began, "resolved")
    incident = await ended(service)
    assert (incident["status"], [step["status"] for step in incident["steps"]]) == ("resolved", ["succeeded"]), incident
    assert shop.runs() == {"web": "web v1", "worker": "worker v1", "database": "database 11"}


@pytest.mark.parametrize(
    ("how", "status", "ran"),
    [
        pytest.param({}, "failed", 1, id="unmarked: a person has to look"),
        pytest.param({"idempotent": True}, "resolved", 2, id="idempotent: again"),
        pytest.param({"check": ["sh", "-c", "exit 0"]}, "resolved", 1, id="done, says its check"),
        pytest.param({"check": ["sh", "-c", "exit 1"]}, "resolved", 2, id="not done, says its check"),
    ],
)
async def test_a_command_runs_once_unless_it_may_run_again(
    how: dict[str, object],
    status: str,
    ran: int,
    tmp_path: Path,
    shop_in_git: Application,
    service_of: Callable[..., ResponderService],
) -> None:
    hold, out = tmp_path / "hold", tmp_path / "out"
    hold.touch()
    command = ["sh", "-c", f"echo ran >> {out}; while [ -e {hold} ]; do sleep 0.05; done"]
    place = {"folder": str(shop_in_git.folder), "manager": "pm2", "processes": "shop"}
    text = rules({"checkout": place}, {"uses": "command.run", "with": {"run": command, **how}})
    service = service_of(text, shop_in_git.environment, "sh")
    await service.start()
    began = await killed_while(service, out.exists, "the command running")
    hold.unlink()
    await service.start()
    await alert(service, began, "resolved")
    incident = await ended(service)
    assert incident["status"] == status, incident
    assert out.read_text().split() == ["ran"] * ran
