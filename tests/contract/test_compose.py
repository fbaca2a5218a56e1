"""A Compose project on a real Docker engine (KP-A1, KP-A2): read, rolled back once, gone on with wherever it was cut off."""

from __future__ import annotations

import asyncio
import contextlib
import pickle
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from responder.clients.programs import Programs
from responder.domain.target import ComposeRef
from responder.domain.version import Pin, RolloutPhase, RolloutStatus, Version
from responder.errors import NotFoundError, PermanentError, RefusedError
from responder.targets.compose import ComposeWorkload
from responder.targets.compose_engine import ComposeEngine
from tests.harness import docker
from tests.harness.compose import Shop, make_image
from tests.harness.program import find_program
from tests.harness.rollback import Intent
from tests.harness.sshd import ssh_server

pytestmark = pytest.mark.skipif(bool(docker.what_is_missing()), reason=docker.what_is_missing())


def now() -> datetime:
    return datetime.now(UTC)


@pytest.fixture(scope="module")
def engine() -> Iterator[docker.Docker]:
    find_program("docker-compose", "docker-compose")
    find_program("busybox", "busybox-static")
    with docker.engine() as running:
        for service, version in [*((service, f"v{n}") for n in (1, 2, 3) for service in ("web", "worker")), ("database", "11")]:
            make_image(running, f"kept/{service}:{version}", f"{service} {version}")
        yield running


@pytest.fixture
def shop(engine: docker.Docker, tmp_path: Path) -> Iterator[Shop]:
    """v1 ran, v2 has replaced it."""
    shop = Shop(engine, tmp_path, {"DOCKER_HOST": f"unix://{engine.socket}"})
    for kept in engine("images", "--format", "{{.Repository}}:{{.Tag}}", "kept/*").split():
        engine("tag", kept, kept.replace("kept/", "shop/"))
    shop.write()
    shop.ran("v1")
    shop.deploy("v2")
    yield shop
    shop.clear()


def workload(shop: Shop, *services: str, **more: object) -> ComposeWorkload:
    ref = ComposeRef("shop", str(shop.folder), services=services, **more)  # type: ignore[arg-type]
    return ComposeWorkload(ComposeEngine(Programs(shop.environment), ref), ref, now, timedelta(milliseconds=100))


async def pin_to(target: ComposeWorkload, version: str) -> Pin:
    state = await target.read()
    return Pin("app", state.uid, state.current, next(one for one in state.history if one.version == version))


async def rolled_out(target: ComposeWorkload, pin: Pin) -> RolloutStatus:
    async with asyncio.timeout(30):
        while (status := await target.rollout(pin)).phase is RolloutPhase.PROGRESSING:  # noqa: ASYNC110
            await asyncio.sleep(0.1)
    return status


def named(versions: tuple[Version, ...]) -> list[tuple[str, str]]:
    return [(one.version, one.change_cause) for one in versions]


class TestReading:
    async def test_versions_are_what_runs_what_is_kept_for_going_back_and_common_tags(self, shop: Shop) -> None:
        state = await workload(shop).read()
        assert named(state.history) == [("v2", ""), ("v1", "kept for going back"), ("v3", "tag v3")]
        assert state.history[0] == state.current
        assert [one.current for one in state.history] == [True, False, False]
        assert state.current.created_at is not None
        assert abs(state.current.created_at - now()) < timedelta(minutes=2)
        assert state.rollout.desired == 3

    async def test_named_services_only_are_looked_at(self, shop: Shop) -> None:
        state = await workload(shop, "web", "worker").read()
        assert (state.current.version, state.replicas) == ("v2", 2)
        assert named(state.history)[1:] == [("v1", "kept for going back"), ("v3", "tag v3")]

    async def test_a_recreation_changes_no_fingerprint(self, shop: Shop) -> None:
        before = await workload(shop).read()
        shop.up("--force-recreate", "--no-deps", "worker")
        after = await workload(shop).read()
        assert (after.current.fingerprint, after.current.digest) == (before.current.fingerprint, before.current.digest)
        assert after.uid == before.uid

    async def test_another_configuration_of_the_same_images_is_the_same_version_to_go_back_to(self, shop: Shop) -> None:
        before = (await workload(shop).read()).current
        shop.write(more="    environment: [A=B]\n")
        shop.up()
        after = (await workload(shop).read()).current
        assert after.fingerprint == before.fingerprint
        assert after.digest != before.digest

    async def test_a_project_without_containers_is_not_found(self, shop: Shop) -> None:
        shop.clear()
        with pytest.raises(NotFoundError, match="no containers of"):
            await workload(shop).read()

    async def test_a_service_without_containers_is_named(self, shop: Shop) -> None:
        with pytest.raises(NotFoundError, match="no containers of nothing-like-it"):
            await workload(shop, "web", "nothing-like-it").read()

    async def test_a_service_whose_check_fails_is_not_up(self, shop: Shop) -> None:
        check = "    healthcheck: {test: [CMD, /bin/busybox, 'false'], interval: 1s, timeout: 5s, retries: 1}\n"
        shop.write(more=check)
        shop.up()
        target = workload(shop)
        async with asyncio.timeout(30):
            while "web is unhealthy" not in (status := (await target.read()).rollout).reason:
                assert status.phase is RolloutPhase.PROGRESSING
                await asyncio.sleep(0.2)

    async def test_a_change_is_seen_by_whoever_watches(self, shop: Shop) -> None:
        seen = []
        async with asyncio.timeout(60), contextlib.aclosing(workload(shop, "web", "worker").watch()) as states:
            async for state in states:
                if not seen:
                    await asyncio.to_thread(shop.deploy, "v3")
                seen.append(state.current.version)
                if seen[-1] == "v3":
                    break
        assert seen[0] == "v2"


class TestRollingBack:
    @pytest.mark.row("KP-A2")
    async def test_the_services_run_the_kept_images_and_the_database_is_left_alone(self, shop: Shop) -> None:
        target, intent = workload(shop), Intent()
        database = shop.containers()["database"]["Id"]
        state = await target.read()
        pin = Pin("app", state.uid, state.current, state.history[1])
        told = await target.roll_back(pin, intent)
        assert shop.runs() == {"web": "web v1", "worker": "worker v1", "database": "database 11"}
        assert shop.containers()["database"]["Id"] == database
        assert intent.written == 1
        assert told.endswith("(web, worker)")
        assert (await rolled_out(target, pin)).phase is RolloutPhase.COMPLETE
        assert (await target.read()).current.fingerprint == pin.to_version.fingerprint

    async def test_what_is_done_is_not_done_again(self, shop: Shop) -> None:
        target, intent = workload(shop, "web", "worker"), Intent()
        pin = await pin_to(target, "v1")
        await target.roll_back(pin, intent)
        before = {name: one["Id"] for name, one in shop.containers().items()}
        assert (await target.roll_back(pin, intent)).startswith("nothing to do")
        assert {name: one["Id"] for name, one in shop.containers().items()} == before
        assert intent.written == 1

    async def test_a_later_up_by_hand_does_not_bring_the_bad_version_back(self, shop: Shop) -> None:
        target = workload(shop, "web", "worker")
        await target.roll_back(await pin_to(target, "v1"), Intent())
        shop.up("--force-recreate")
        assert shop.runs()["web"] == "web v1"

    async def test_one_service_alone(self, shop: Shop) -> None:
        target = workload(shop, "web")
        await target.roll_back(await pin_to(target, "v1"), Intent())
        assert shop.runs() == {"web": "web v1", "worker": "worker v2", "database": "database 11"}

    async def test_the_pinned_image_counts_even_when_the_tag_has_moved(self, shop: Shop) -> None:
        target = workload(shop, "web", "worker")
        pin = await pin_to(target, "v1")
        shop.docker("tag", "shop/web:v3", "shop/web:rollback")
        await target.roll_back(pin, Intent())
        assert shop.runs()["web"] == "web v1"

    async def test_a_version_by_its_tag(self, shop: Shop) -> None:
        target = workload(shop, "web", "worker")
        await target.roll_back(await pin_to(target, "v3"), Intent())
        assert shop.runs()["web"] == "web v3"

    async def test_several_containers_of_a_service_stay_several(self, shop: Shop) -> None:
        shop.up("--scale", "web=2")
        target = workload(shop, "web", "worker")
        await target.roll_back(await pin_to(target, "v1"), Intent())
        assert (await target.read()).replicas == 3

    @pytest.mark.parametrize("how", ["is about to be", "was"])
    async def test_what_somebody_else_deployed_meanwhile_is_left_alone(self, shop: Shop, how: str) -> None:
        target, intent = workload(shop, "web", "worker"), Intent()
        pin = await pin_to(target, "v1")
        if how == "was":
            shop.deploy("v3")
        else:
            shop.docker("tag", "shop/web:v3", "shop/web:latest")
        before = shop.runs()
        with pytest.raises(RefusedError, match="changed by somebody else: web"):
            await target.roll_back(pin, intent)
        assert (shop.runs(), intent.written) == (before, 0)

    async def test_another_engine_is_another_target(self, shop: Shop) -> None:
        target, intent = workload(shop, "web"), Intent()
        pin = replace(await pin_to(target, "v1"), uid="another/shop")
        with pytest.raises(RefusedError, match="another Docker engine"):
            await target.roll_back(pin, intent)
        assert intent.written == 0

    async def test_an_image_that_is_gone_is_said_before_anything_is_changed(self, shop: Shop) -> None:
        target, intent = workload(shop, "web"), Intent()
        pin = await pin_to(target, "v1")
        pin = replace(pin, to_version=replace(pin.to_version, images=(f"web: shop/web:latest@sha256:{'0' * 64}",)))
        with pytest.raises(PermanentError, match="the image of web in v1 is gone"):
            await target.roll_back(pin, intent)
        assert (shop.runs()["web"], intent.written) == ("web v2", 0)

    async def test_a_version_that_ends_at_once_has_failed(self, shop: Shop) -> None:
        shop.write(command='["/bin/busybox", "sh", "-c", "/bin/busybox grep -q v2 /version && /bin/busybox sleep 1000"]')
        shop.up()
        target = workload(shop, "web", "worker")
        pin = await pin_to(target, "v1")
        await target.roll_back(pin, Intent())
        status = await rolled_out(target, pin)
        assert (status.phase, "web has exited with 1" in status.reason) == (RolloutPhase.FAILED, True)

    async def test_over_ssh(self, shop: Shop, tmp_path: Path) -> None:
        async with ssh_server(tmp_path / "sshd", **shop.environment) as server:
            ref = ComposeRef("shop", str(shop.folder), host=server.host, services=("web", "worker"))
            target = ComposeWorkload(ComposeEngine(Programs(ssh=server.options), ref), ref, now)
            pin = await pin_to(target, "v1")
            await target.roll_back(pin, Intent())
            assert (await rolled_out(target, pin)).phase is RolloutPhase.COMPLETE
        assert shop.runs()["web"] == "web v1"


ROLL_BACK = textwrap.dedent("""
    import asyncio, pickle, sys
    from datetime import UTC, datetime
    from responder.clients.programs import Programs
    from responder.targets.compose import ComposeWorkload
    from responder.targets.compose_engine import ComposeEngine

    async def intent():
        print("intent", flush=True)

    async def main():
        environment, ref, pin = pickle.load(sys.stdin.buffer)
        target = ComposeWorkload(ComposeEngine(Programs(environment), ref), ref, lambda: datetime.now(UTC))
        await target.roll_back(pin, intent)

    asyncio.run(main())
""")


def another_responder(shop: Shop, ref: ComposeRef, pin: Pin) -> subprocess.Popen[bytes]:
    """A process that rolls back, to be killed; its intent is written down."""
    responder = subprocess.Popen([sys.executable, "-c", ROLL_BACK], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert responder.stdin is not None
    assert responder.stdout is not None
    responder.stdin.write(pickle.dumps((shop.environment, ref, pin)))
    responder.stdin.close()
    assert responder.stdout.readline() == b"intent\n"
    return responder


def web_is_retagged(shop: Shop) -> bool:
    return shop.docker("images", "--quiet", "shop/web:latest") == shop.docker("images", "--quiet", "shop/web:v1")


def a_container_is_being_replaced(shop: Shop) -> bool:
    found = shop.docker("ps", "--all", "--format", "{{.Names}} {{.Status}}")
    return len(found.splitlines()) > 3 or "Exited" in found or "Created" in found


def one_is_replaced(shop: Shop) -> bool:
    ids = shop.docker("ps", "--quiet", "--no-trunc").split()
    found = shop.docker("inspect", "--format", '{{index .Config.Labels "shop.version"}}', *ids) if ids else ""
    return "v1" in found


class TestCutOff:
    @pytest.mark.parametrize(
        "reached",
        [
            pytest.param(web_is_retagged, id="after the first tag"),
            pytest.param(a_container_is_being_replaced, id="while a container is being replaced"),
            pytest.param(one_is_replaced, id="when one service of two is done"),
        ],
    )
    async def test_killed_with_9_it_is_gone_on_with(self, shop: Shop, reached: Callable[[Shop], bool]) -> None:
        ref = ComposeRef("shop", str(shop.folder), services=("web", "worker"))
        target = workload(shop, "web", "worker")
        pin = await pin_to(target, "v1")
        assert not await target.has_begun(pin)
        responder = another_responder(shop, ref, pin)
        async with asyncio.timeout(30):
            while not reached(shop):
                assert responder.poll() in (None, 0)
                await asyncio.sleep(0)
        responder.kill()
        responder.wait()
        assert await target.has_begun(pin)
        await target.roll_back(pin, Intent())
        assert (await rolled_out(target, pin)).phase is RolloutPhase.COMPLETE
        assert shop.runs() == {"web": "web v1", "worker": "worker v1", "database": "database 11"}
