"""What tests share: real servers those of one module, the process that services are forked off those of one worker."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from tests.harness.cluster import GenuineCluster, shared_folder
from tests.harness.postgres import Postgres, postgres_server
from tests.harness.reference import Ground
from tests.harness.scraper import Scraper
from tests.harness.warm_start import WarmStart


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def postgres() -> AsyncIterator[Postgres]:
    async with postgres_server() as server:
        yield server


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cluster(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[GenuineCluster]:
    async with await asyncio.to_thread(GenuineCluster, shared_folder(tmp_path_factory)) as cluster:
        yield cluster


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def ground(
    cluster: GenuineCluster, postgres: Postgres, warm: WarmStart, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Ground]:
    """What the reference systems that live in a cluster stand on."""
    async with Scraper(tmp_path_factory.mktemp("scraper") / "prometheus") as scraper:
        yield Ground(cluster, postgres, scraper, warm)


@pytest.fixture(scope="session")
def warm() -> Iterator[WarmStart]:
    """For tests that are not about how the service starts."""
    with WarmStart() as warm:
        yield warm
