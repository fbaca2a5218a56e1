"""What holds the parts of the service together, and what must not pull it down."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from responder.errors import JournalUnavailableError
from responder.settings.service import Settings
from responder.wiring import upkeep
from responder.wiring.service import Server
from responder.wiring.serving import serving

RULES = """\
version: 1
targets:
  app:
    kubernetes: {namespace: shop, deployment: app}
    match: ['deployment="app"']
rules:
  - name: errors
    match: ['alertname="Errors"']
"""


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    (tmp_path / "rules.yaml").write_text(RULES)
    return Settings(port=0, rules=tmp_path / "rules.yaml", database_url=SecretStr(f"sqlite:///{tmp_path / 'responder.db'}"))


@pytest.fixture(autouse=True)
def _no_cluster(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "missing"))


async def test_side_work_that_fails_is_tried_again_and_ends_nothing(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    calls, thrice = [0], asyncio.Event()

    async def fails(*_: Any) -> None:
        calls[0] += 1
        if calls[0] == 3:
            thrice.set()
        raise JournalUnavailableError("the database can't be used: disk I/O error") if calls[0] == 1 else KeyError("a bug")

    monkeypatch.setattr(upkeep, "count_open", fails)
    monkeypatch.setattr(upkeep, "_GAUGES_EVERY", timedelta(milliseconds=1))
    async with serving(settings) as service, httpx.AsyncClient(base_url=service.url) as http:
        async with asyncio.timeout(10):
            await thrice.wait()
        assert (await http.get("/readyz")).status_code == 200
        assert service.main is not None
        assert not service.main.done()


async def test_a_server_that_breaks_ends_the_service_with_its_error(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    async def breaks(*_: Any, **__: Any) -> None:
        raise OSError("too many open files")

    monkeypatch.setattr(Server, "serve", breaks)
    with pytest.raises(OSError, match="too many open files"):
        async with serving(settings) as service:
            await service.wait()


async def test_a_full_disk_at_the_end_is_no_failure_of_the_service(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(settings) as service:

        async def full(*_: Any) -> None:
            raise JournalUnavailableError("the database can't be used: disk full")

        monkeypatch.setattr(service.database.journal, "save_snapshot", full)
        service.stop()
        await service.wait()
