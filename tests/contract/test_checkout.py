"""A checkout with real git, npm and pm2 (NQ-A1): read, rolled back once, gone on with wherever it was cut off."""

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

import psutil
import pytest

from responder.clients.programs import Programs
from responder.domain.target import CheckoutRef
from responder.domain.version import Pin, RolloutPhase, RolloutStatus
from responder.errors import NotFoundError, PermanentError, RefusedError
from responder.targets.checkout import CheckoutWorkload
from tests.harness.checkout import BUILD, INSTALL, Application, application
from tests.harness.pm2 import pm2_environment
from tests.harness.program import find_program
from tests.harness.rollback import Intent
from tests.harness.sshd import ssh_server


def now() -> datetime:
    return datetime.now(UTC)


@pytest.fixture(scope="module")
def environment() -> Iterator[dict[str, str]]:
    find_program("git", "git")
    find_program("node", "nodejs")
    with pm2_environment() as found:
        yield found


@pytest.fixture
def shop(environment: dict[str, str], tmp_path: Path) -> Iterator[Application]:
    """v1 ran, v2 has replaced it."""
    shop = application(tmp_path / "shop", environment)
    shop.begin()
    shop.deploy("v2")
    shop.forget()
    yield shop
    subprocess.run(["pm2", "delete", "shop"], env=environment, capture_output=True, timeout=60, check=False)


def ref_of(shop: Application, **more: object) -> CheckoutRef:
    values = {"install": INSTALL, "build": BUILD, "processes": ("shop",), **more}
    return CheckoutRef(str(shop.folder), **values)  # type: ignore[arg-type]


def workload(shop: Application, **more: object) -> CheckoutWorkload:
    programs = Programs(shop.environment, allowed=("./held",))
    return CheckoutWorkload(programs, ref_of(shop, **more), now, timedelta(milliseconds=100))


async def pin_to(target: CheckoutWorkload, version: str) -> Pin:
    state = await target.read()
    return Pin("app", state.uid, state.current, next(one for one in state.history if one.version == version))


async def rolled_out(target: CheckoutWorkload, pin: Pin) -> RolloutStatus:
    async with asyncio.timeout(30):
        while (status := await target.rollout(pin)).phase is RolloutPhase.PROGRESSING:  # noqa: ASYNC110
            await asyncio.sleep(0.1)
    return status


class TestReading:
    async def test_versions_are_where_it_has_been_and_what_is_tagged(self, shop: Application) -> None:
        shop.git("branch", "side")
        shop.release("v3")
        shop.git("reset", "--quiet", "--hard", "v2")
        state = await workload(shop).read()
        assert [one.version for one in state.history] == ["v2", "v3", "v1"]
        assert state.history[0] == state.current
        assert state.current.change_cause == "Release v2"
        assert state.current.revision == shop.git("rev-parse", "HEAD")
        assert (state.replicas, state.rollout.desired) == (1, 1)

    async def test_a_version_is_as_old_as_its_stay_here_and_one_that_was_never_here_has_no_age(self, shop: Application) -> None:
        shop.git("checkout", "--quiet", "--detach")
        shop.git("tag", "elsewhere", shop.git("commit-tree", "HEAD~^{tree}", "-p", "HEAD", "-m", "never here"))
        (shop.folder / "version").write_text("v9\n")
        shop.git("commit", "--quiet", "--all", "--message", "untagged")
        state = await workload(shop).read()
        ages = {one.version: one.created_at for one in state.history}
        assert next(iter(ages)) == shop.git("rev-parse", "HEAD")[:10]
        assert "elsewhere" not in ages  # the same files as v1: no other version to go back to
        assert all(at is not None and abs(at - now()) < timedelta(minutes=2) for at in ages.values())

    async def test_a_fresh_clone_knows_tags_only(self, shop: Application, tmp_path: Path) -> None:
        shop.git("clone", "--quiet", str(shop.folder), str(tmp_path / "clone"))
        clone = replace(shop, folder=tmp_path / "clone")
        state = await workload(clone).read()
        assert [(one.version, one.created_at is None) for one in state.history] == [("v2", False), ("v1", True)]
        assert state.uid != (await workload(shop).read()).uid

    async def test_what_was_changed_by_hand_is_another_version(self, shop: Application) -> None:
        before = (await workload(shop).read()).current
        (shop.folder / "server.js").write_text("// mended by hand\n")
        after = (await workload(shop).read()).current
        assert after.version == "v2 changed by hand"
        assert (after.fingerprint != before.fingerprint, after.digest != before.digest) == (True, True)

    async def test_no_checkout_is_not_found(self, shop: Application, tmp_path: Path) -> None:
        (tmp_path / "empty").mkdir()
        with pytest.raises(NotFoundError, match="no git checkout"):
            await workload(replace(shop, folder=tmp_path / "empty")).read()

    async def test_a_process_that_is_not_there_is_said(self, shop: Application) -> None:
        state = await workload(shop, processes=("shop", "worker")).read()
        assert "worker is not known to pm2" in state.rollout.reason
        assert state.rollout.phase is RolloutPhase.FAILED

    async def test_a_stopped_process_is_said(self, shop: Application) -> None:
        shop.stop()
        assert "shop is stopped" in (await workload(shop).read()).rollout.reason

    async def test_a_change_is_seen_by_whoever_watches(self, shop: Application) -> None:
        seen = []
        async with asyncio.timeout(60), contextlib.aclosing(workload(shop).watch()) as states:
            async for state in states:
                if not seen:
                    await asyncio.to_thread(shop.release, "v3")
                seen.append(state.current.version)
                if seen[-1] == "v3":
                    break
        assert seen[0] == "v2"


class TestRollingBack:
    async def test_the_old_version_is_installed_built_and_runs(self, shop: Application) -> None:
        target, intent = workload(shop), Intent()
        pin = await pin_to(target, "v1")
        assert await target.roll_back(pin, intent) == f"checkout {shop.folder}: v2 replaced by v1"
        assert (await rolled_out(target, pin)).phase is RolloutPhase.COMPLETE
        assert await shop.answers() == "v1"
        assert (shop.ran(), intent.written) == (["install", "build"], 1)
        assert (await target.read()).current.fingerprint == pin.to_version.fingerprint

    async def test_what_is_done_is_not_done_again(self, shop: Application) -> None:
        target, intent = workload(shop), Intent()
        pin = await pin_to(target, "v1")
        await target.roll_back(pin, intent)
        assert (await target.roll_back(pin, intent)).startswith("nothing to do")
        assert (shop.ran(), intent.written) == (["install", "build"], 1)

    async def test_files_changed_by_hand_are_named_and_nothing_is_touched(self, shop: Application) -> None:
        target, intent = workload(shop), Intent()
        pin = await pin_to(target, "v1")
        (shop.folder / "server.js").write_text("// mended by hand\n")
        with pytest.raises(RefusedError, match=r"files changed by hand: server\.js"):
            await target.roll_back(pin, intent)
        assert (shop.git("describe", "--tags"), shop.ran(), intent.written) == ("v2", [], 0)

    async def test_what_somebody_else_checked_out_is_left_alone(self, shop: Application) -> None:
        target, intent = workload(shop), Intent()
        pin = await pin_to(target, "v1")
        shop.release("v3")
        with pytest.raises(RefusedError, match="changed by somebody else"):
            await target.roll_back(pin, intent)
        assert (shop.git("describe", "--tags"), intent.written) == ("v3", 0)

    async def test_programs_that_are_not_allowed_stop_it_before_anything_is_done(self, shop: Application) -> None:
        target, intent = CheckoutWorkload(Programs(shop.environment), ref_of(shop), now), Intent()
        pin = await pin_to(target, "v1")
        with pytest.raises(RefusedError, match=r"\./held is not allowed here; RESPONDER_ALLOWED_PROGRAMS has none"):
            await target.roll_back(pin, intent)
        assert (shop.git("describe", "--tags"), intent.written) == ("v2", 0)

    async def test_a_build_that_fails_is_told_with_its_output_and_can_be_gone_on_with(self, shop: Application) -> None:
        target = workload(shop, build=("./held", "build", "sh", "-c", "test -e mended || { echo no compiler >&2; exit 3; }"))
        pin = await pin_to(target, "v1")
        with pytest.raises(PermanentError, match="ended with 3: no compiler"):
            await target.roll_back(pin, Intent())
        (shop.folder / "mended").touch()
        await target.roll_back(pin, Intent())
        assert shop.ran() == ["install", "build", "build"]

    async def test_a_version_that_ends_at_once_has_failed(self, shop: Application) -> None:
        target = workload(shop, build=("./held", "build", "sh", "-c", "echo 'nonsense(' > dist/version.json"))
        pin = await pin_to(target, "v1")
        await target.roll_back(pin, Intent())
        status = await rolled_out(target, pin)
        assert (status.phase, "shop is errored" in status.reason) == (RolloutPhase.FAILED, True)

    async def test_over_ssh(self, shop: Application, tmp_path: Path) -> None:
        path = shop.environment["PATH"]
        async with ssh_server(tmp_path / "sshd", PM2_HOME=shop.environment["PM2_HOME"], PATH=path) as server:
            programs = Programs(ssh=server.options, allowed=("./held",))
            target = CheckoutWorkload(programs, replace(ref_of(shop), host=server.host), now)
            pin = await pin_to(target, "v1")
            await target.roll_back(pin, Intent())
            assert (await rolled_out(target, pin)).phase is RolloutPhase.COMPLETE
        assert await shop.answers() == "v1"


ROLL_BACK = textwrap.dedent("""
    import asyncio, pickle, sys
    from datetime import UTC, datetime
    from responder.clients.programs import Programs
    from responder.targets.checkout import CheckoutWorkload

    async def intent():
        pass

    async def main():
        environment, ref, pin = pickle.load(sys.stdin.buffer)
        target = CheckoutWorkload(Programs(environment, allowed=("./held",)), ref, lambda: datetime.now(UTC))
        await target.roll_back(pin, intent)

    asyncio.run(main())
""")


def another_responder(shop: Application, pin: Pin) -> subprocess.Popen[bytes]:
    """A process that rolls back, to be killed."""
    responder = subprocess.Popen([sys.executable, "-c", ROLL_BACK], stdin=subprocess.PIPE)
    assert responder.stdin is not None
    responder.stdin.write(pickle.dumps((shop.environment, ref_of(shop), pin)))
    responder.stdin.close()
    return responder


def at_work(shop: Application) -> list[str]:
    """What is still running in the checkout, beside the application."""
    found = []
    for process in psutil.process_iter(["name"]):
        with contextlib.suppress(psutil.Error):
            if process.info["name"] in ("sh", "git", "held") and process.cwd() == str(shop.folder):
                found.append(process.info["name"])
    return found


def hold_the_check_out(shop: Application) -> None:
    """Every file goes through a filter that waits: git is cut off when some files are written and others are not."""
    (shop.folder / ".git" / "info" / "attributes").write_text("version filter=slow\n")
    shop.git("config", "filter.slow.smudge", "sh -c './held check-out cat'")
    shop.hold("check-out")


class TestCutOff:
    @pytest.mark.parametrize(
        ("hold", "reached", "afterwards"),
        [
            pytest.param(
                hold_the_check_out, "check-out", ["check-out", "check-out", "install", "build"], id="while checking out"
            ),
            pytest.param(lambda shop: shop.hold("install"), "install", ["install", "install", "build"], id="while installing"),
            pytest.param(lambda shop: shop.hold("build"), "build", ["install", "build", "build"], id="while building"),
        ],
    )
    async def test_killed_with_9_it_is_gone_on_with(
        self, shop: Application, hold: Callable[[Application], None], reached: str, afterwards: list[str]
    ) -> None:
        target = workload(shop)
        pin = await pin_to(target, "v1")
        assert not await target.has_begun(pin)
        hold(shop)
        responder = another_responder(shop, pin)
        async with asyncio.timeout(30):
            while reached not in shop.ran():
                assert responder.poll() is None
                await asyncio.sleep(0.02)
        responder.kill()
        responder.wait()
        shop.let_go()
        async with asyncio.timeout(30):
            while at_work(shop):  # noqa: ASYNC110 - a process sets no event
                await asyncio.sleep(0.02)
        assert await target.has_begun(pin)
        await target.roll_back(pin, Intent())
        assert (await rolled_out(target, pin)).phase is RolloutPhase.COMPLETE
        assert await shop.answers() == "v1"
        assert shop.ran() == afterwards
        assert (await target.read()).current.version == "v1"
