"""What pm2 and systemd say, read; systemd is played by a program of that name, as tests can't run as its child."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from responder.clients.programs import Programs
from responder.domain.target import CheckoutRef
from responder.domain.version import RolloutPhase
from responder.errors import PermanentError, RefusedError
from responder.targets.compose_engine import split_reference
from responder.targets.process_manager import process_manager, status_of

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def played(folder: Path, name: str, output: str, code: int = 0) -> Programs:
    """Programs that find one of that name, which notes its arguments."""
    (folder / "output").write_text(output)
    (folder / name).write_text(f'#!/bin/sh\necho "$@" >> {folder}/asked\ncat {folder}/output\nexit {code}\n')
    (folder / name).chmod(0o755)
    return Programs({"PATH": f"{folder}:/usr/bin:/bin"})


def unit(active: str, sub: str = "running", result: str = "success", load: str = "loaded") -> str:
    return f"LoadState={load}\nActiveState={active}\nSubState={sub}\nResult={result}\n"


@pytest.mark.parametrize(
    ("units", "phase", "reason"),
    [
        pytest.param([unit("active"), unit("active")], RolloutPhase.COMPLETE, "2 of 2 processes up", id="both up"),
        pytest.param(
            [unit("active"), unit("failed", "failed", "exit-code")], RolloutPhase.FAILED, "b is failed (exit-code)", id="failed"
        ),
        pytest.param(
            [unit("active"), unit("activating", "auto-restart")],
            RolloutPhase.PROGRESSING,
            "b is activating (auto-restart)",
            id="restarting",
        ),
        pytest.param([unit("active"), unit("inactive", "dead")], RolloutPhase.FAILED, "b is inactive (dead)", id="stopped"),
        pytest.param(
            [unit("active"), unit("inactive", "dead", load="not-found")],
            RolloutPhase.FAILED,
            "b is not known to systemd",
            id="unknown",
        ),
    ],
)
async def test_systemd(units: list[str], phase: RolloutPhase, reason: str, tmp_path: Path) -> None:
    programs = played(tmp_path, "systemctl", "\n".join(units))
    manager = process_manager(programs, CheckoutRef("/opt/app", manager="systemd", processes=("a", "b")))
    status = status_of(await manager.processes(NOW))
    assert status.phase is phase
    assert reason in status.reason


async def test_systemd_is_asked_to_restart_the_units_and_nothing_else(tmp_path: Path) -> None:
    programs = played(tmp_path, "systemctl", "")
    await process_manager(programs, CheckoutRef("/opt/app", manager="systemd", processes=("a", "--now"))).restart()
    assert (tmp_path / "asked").read_text() == "restart -- a --now\n"


async def test_a_restart_that_systemd_refuses_is_told(tmp_path: Path) -> None:
    programs = played(tmp_path, "systemctl", "Failed to restart a.service: Access denied", code=4)
    with pytest.raises(PermanentError, match="ended with 4: Failed to restart"):
        await process_manager(programs, CheckoutRef("/opt/app", manager="systemd", processes=("a",))).restart()


def process(name: str, status: str, up: timedelta = timedelta(minutes=5), *, autorestart: bool = True) -> dict[str, object]:
    env = {"status": status, "pm_uptime": (NOW - up).timestamp() * 1000, "autorestart": autorestart}
    return {"name": name, "pm2_env": env}


@pytest.mark.parametrize(
    ("processes", "phase", "reason"),
    [
        pytest.param([process("a", "online"), process("a", "online")], RolloutPhase.COMPLETE, "2 of 2", id="a cluster of two"),
        pytest.param(
            [process("a", "online"), process("other", "errored")], RolloutPhase.COMPLETE, "1 of 1", id="others don't count"
        ),
        pytest.param(
            [process("a", "online", timedelta(seconds=1))], RolloutPhase.PROGRESSING, "a has just started", id="just started"
        ),
        pytest.param([process("a", "launching")], RolloutPhase.PROGRESSING, "a is launching", id="launching"),
        pytest.param([process("a", "errored")], RolloutPhase.FAILED, "a is errored", id="errored"),
        pytest.param([process("a", "stopped")], RolloutPhase.PROGRESSING, "a is stopped", id="between two tries"),
        pytest.param(
            [process("a", "stopped", autorestart=False)], RolloutPhase.FAILED, "a is stopped", id="stopped and never tried again"
        ),
        pytest.param([], RolloutPhase.FAILED, "a is not known to pm2", id="unknown"),
    ],
)
@pytest.mark.parametrize(
    "before", ["", "[PM2] Spawning PM2 daemon with pm2_home=/root/.pm2\n>>>> In-memory PM2 is out-of-date\n"]
)
async def test_pm2(processes: list[object], phase: RolloutPhase, reason: str, before: str, tmp_path: Path) -> None:
    programs = played(tmp_path, "pm2", before + json.dumps(processes) + "\n")
    status = status_of(await process_manager(programs, CheckoutRef("/opt/app", processes=("a",))).processes(NOW))
    assert status.phase is phase
    assert reason in status.reason


async def test_pm2_that_says_nothing_usable_is_told(tmp_path: Path) -> None:
    programs = played(tmp_path, "pm2", "[PM2][ERROR] connect EACCES\n")
    with pytest.raises(PermanentError, match=r"no list of its processes: .*EACCES"):
        await process_manager(programs, CheckoutRef("/opt/app", processes=("a",))).processes(NOW)


@pytest.mark.parametrize(
    ("reference", "repository", "tag"),
    [
        ("shop", "shop", "latest"),
        ("shop/web:v1", "shop/web", "v1"),
        ("registry:5000/shop/web", "registry:5000/shop/web", "latest"),
        ("registry:5000/shop/web:v1", "registry:5000/shop/web", "v1"),
    ],
)
def test_an_image_s_name_is_repository_and_tag(reference: str, repository: str, tag: str) -> None:
    assert split_reference(reference) == (repository, tag)


@pytest.mark.parametrize("reference", ["shop/web@sha256:0123", "sha256:0123"])
def test_an_image_named_by_its_digest_can_t_be_replaced(reference: str) -> None:
    with pytest.raises(RefusedError, match="named by its digest"):
        split_reference(reference)
