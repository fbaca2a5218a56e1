"""kill -9 at every boundary of a run, and inside the PATCH: whenever it hits, the story ends the same way.

A proxy before every neighbour holds the very request at which the process is to die, so nothing here depends on timing.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
import pytest_asyncio

from responder.sandbox.cluster import SandboxCluster
from tests.harness.cluster import Cluster, GenuineCluster, shared_folder
from tests.harness.gateway import Gateway
from tests.harness.kubernetes_proxy import KubernetesProxy, Request
from tests.harness.moments import Moment
from tests.harness.side_by_side import SideBySide
from tests.harness.stage import GOOD, Stage, image_of, set_up
from tests.harness.warm_start import WarmStart

# One event loop for all: they live side by side. One group: with xdist, one worker lives through them.
pytestmark = [pytest.mark.acceptance, pytest.mark.asyncio(loop_scope="module")]

IsIt = Callable[[Stage, Request], Awaitable[bool]]
ClusterIn = Callable[[Path], AbstractAsyncContextManager[Cluster]]


@dataclass(frozen=True)
class Boundary:
    """at: the neighbour before which the request is caught. landed, late: as in Moment."""

    at: str
    is_it: IsIt
    landed: bool = False
    late: bool = False

    def arm(self, stage: Stage) -> Moment:
        async def is_it(request: Request) -> bool:
            return await self.is_it(stage, request)

        moment = Moment(is_it, landed=self.landed, late=self.late)
        proxies: dict[str, KubernetesProxy | Gateway] = {
            "cluster": stage.kubernetes,
            "application": stage.health,
            "slack": stage.slack_gateway,
            "statuspage": stage.statuspage_gateway,
        }
        proxies[self.at].rule = moment.rule
        return moment


def _is_deployment(request: Request) -> bool:
    return request.target.partition("?")[0].endswith("/deployments/app")


async def guards_read(stage: Stage, request: Request) -> bool:
    """Only an open incident makes anybody ask the guards; reads before that are the ledger's."""
    return request.method == "GET" and _is_deployment(request) and bool(await stage.service.incidents())


async def dry_run(_: Stage, request: Request) -> bool:
    return request.method == "PATCH" and request.is_dry_run


async def the_patch(_: Stage, request: Request) -> bool:
    return request.method == "PATCH" and request.is_write


async def rollout_poll(stage: Stage, request: Request) -> bool:
    return request.method == "GET" and _is_deployment(request) and image_of(await stage.deployment()) == GOOD


def while_incident(status: str) -> IsIt:
    async def is_it(stage: Stage, _: Request) -> bool:
        return bool((await stage.service.incidents())[0]["status"] == status)

    return is_it


def slack_message(number: int) -> IsIt:
    async def is_it(_: Stage, request: Request) -> bool:
        return re.search(rb"message inc_[0-9a-z]+-%d\b" % number, request.body) is not None

    return is_it


async def page_create(_: Stage, request: Request) -> bool:
    return request.method == "POST"


async def page_update(_: Stage, request: Request) -> bool:
    return request.method == "PATCH"


GUARDS = Boundary("cluster", guards_read)
DRY_RUN_ARRIVES = Boundary("cluster", dry_run)
DRY_RUN_DONE = Boundary("cluster", dry_run, landed=True)
PATCH_LOST = Boundary("cluster", the_patch)
PATCH_LATE = Boundary("cluster", the_patch, late=True)
PATCH_DONE = Boundary("cluster", the_patch, landed=True)
ROLLOUT = Boundary("cluster", rollout_poll)
VERIFICATION = Boundary("application", while_incident("verifying"))
MONITORING = Boundary("application", while_incident("monitoring"))


@asynccontextmanager
async def played(folder: Path) -> AsyncIterator[Cluster]:
    async with SandboxCluster(start_delay=0.2, stop_delay=0.05) as sandbox:
        sandbox.write_kubeconfig(folder / "sandbox.kubeconfig")
        async with Cluster(folder / "sandbox.kubeconfig") as cluster:
            yield cluster


@asynccontextmanager
async def genuine(shared: Path) -> AsyncIterator[Cluster]:
    # In a thread: starting a control plane takes a while, and the other stories go on.
    async with await asyncio.to_thread(GenuineCluster, shared) as cluster:
        yield cluster


async def live_through(stage: Stage, boundaries: Sequence[Boundary]) -> None:
    """From the alert to the end, killed at every boundary in turn; without one, right after the webhook's 202."""
    await stage.service.start()
    moments = [boundary.arm(stage) for boundary in boundaries[:1]]
    await stage.alert_fires()
    clearing = asyncio.create_task(stage.alert_clears_with_recovery())
    try:
        for number, boundary in enumerate(boundaries):
            await stage.timeline.until(f"reached: {boundary.is_it.__name__}", moments[number].is_reached)
            await kill(stage)
            moments += [upcoming.arm(stage) for upcoming in boundaries[number + 1 : number + 2]]
            if not boundary.late:
                moments[number].let_go()
            await stage.service.start()
        if not boundaries:
            await kill(stage)
            await stage.service.start()
        await clearing
        await stage.check_one_rollback()
    finally:
        clearing.cancel()
    for boundary, moment in zip(boundaries, moments, strict=True):
        if boundary.late:
            assert (await moment.answer_when_let_go()).status_code == 422, "the late PATCH was not stopped by its preconditions"
            await stage.check_one_rollback()


async def kill(stage: Stage) -> None:
    await stage.service.kill()
    stage.timeline.note("killed")


STORIES = {
    "right after the 202 of the webhook": [],
    "as the guards read the target": [GUARDS],
    "before the dry run arrives": [DRY_RUN_ARRIVES],
    "after the dry run, before its answer": [DRY_RUN_DONE],
    "inside the PATCH, which never arrives": [PATCH_LOST],
    "inside the PATCH, which arrives when all is over": [PATCH_LATE],
    "after the PATCH was carried out, before its answer": [PATCH_DONE],
    "while the rollout is awaited": [ROLLOUT],
    "during the check of the verification": [VERIFICATION],
    "during a check of the monitoring": [MONITORING],
    "before the first message reaches Slack": [Boundary("slack", slack_message(1))],
    "after the first message reached Slack, before its answer": [Boundary("slack", slack_message(1), landed=True)],
    "after the last message reached Slack, before its answer": [Boundary("slack", slack_message(4), landed=True)],
    "before the status page shows the incident": [Boundary("statuspage", page_create)],
    "after the status page shows the incident, before its answer": [Boundary("statuspage", page_create, landed=True)],
    "after the status page took an update, before its answer": [Boundary("statuspage", page_update, landed=True)],
    "at one boundary after the other": [GUARDS, DRY_RUN_DONE, PATCH_LOST, PATCH_DONE, ROLLOUT, VERIFICATION, MONITORING],
}
GENUINE = {
    "inside the PATCH, which never arrives": [PATCH_LOST],
    "inside the PATCH, which arrives when all is over": [PATCH_LATE],
    "after the PATCH was carried out, before its answer": [PATCH_DONE],
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stories(
    request: pytest.FixtureRequest, warm: WarmStart, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[SideBySide]:
    """The chosen stories, begun together: each mostly waits, for the status page's one request a second."""
    shared = shared_folder(tmp_path_factory)
    chosen: dict[object, tuple[str, Mapping[str, Sequence[Boundary]], ClusterIn]] = {
        test_on_a_played_cluster: ("played", STORIES, played),
        test_on_a_genuine_cluster: ("genuine", GENUINE, lambda _: genuine(shared)),
    }
    async with SideBySide(most=10) as stories:
        for item in request.session.items:
            if isinstance(item, pytest.Function) and item.function in chosen:
                kind, boundaries, cluster_in = chosen[item.function]
                name = str(item.callspec.params["story"])
                folder = tmp_path_factory.mktemp("kill")
                stories.begin(f"{kind}: {name}", partial(tell, boundaries[name], cluster_in, warm, folder))
        yield stories


async def tell(boundaries: Sequence[Boundary], cluster_in: ClusterIn, warm: WarmStart, folder: Path) -> None:
    async with cluster_in(folder) as cluster, set_up(cluster, folder, make=warm.program) as stage:
        await live_through(stage, boundaries)


@pytest.mark.parametrize("story", STORIES)
async def test_on_a_played_cluster(story: str, stories: SideBySide) -> None:
    await stories.end_of(f"played: {story}")


@pytest.mark.parametrize("story", GENUINE)
async def test_on_a_genuine_cluster(story: str, stories: SideBySide) -> None:
    await stories.end_of(f"genuine: {story}")
