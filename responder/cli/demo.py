"""`responder demo`: the real service against a played cluster, from a bad deploy to resolved."""

from __future__ import annotations

import asyncio
import signal
import socket
import tempfile
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import datetime
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from responder.cli.demo_view import DemoView, Picture
from responder.errors import ResponderError

if TYPE_CHECKING:
    import httpx

    from responder.sandbox.cluster import SandboxCluster
    from responder.sandbox.shop import Shop
    from responder.sandbox.slack_catcher import SlackCatcher
    from responder.sandbox.statuspage_catcher import StatuspageCatcher
    from responder.wiring.service import Service

_WITHIN = 90.0  # seconds for the whole story
_LOOK_EVERY = 0.15  # seconds


@click.command()
@click.option("--once", is_flag=True, help="End when the incident is resolved instead of serving on.")
@click.option(
    "--port", default=8080, show_default=True, type=click.IntRange(0, 65535), help="Port of the service; 0 takes a free one."
)
def demo(once: bool, port: int) -> None:
    """Watch a bad deploy being rolled back: the real service, a played cluster, nothing to install."""
    import uvloop

    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            ended_well = runner.run(_demo(once, port))
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    except ResponderError as error:
        raise click.ClickException(str(error)) from error
    raise SystemExit(0 if ended_well else 1)


@dataclass(frozen=True, slots=True)
class _Stage:
    cluster: SandboxCluster
    slack: SlackCatcher
    statuspage: StatuspageCatcher
    shop: Shop
    service: Service
    http: httpx.AsyncClient
    folder: Path


async def _demo(once: bool, port: int) -> bool:
    import httpx

    view = DemoView()
    async with AsyncExitStack() as stack:
        stage = await _set_up(stack, port, view)
        try:
            async with asyncio.timeout(_WITHIN):
                incident = await _tell(stage, view)
        except TimeoutError:
            view.say(f"The demo did not end within {_WITHIN:.0f} s; the service's log is {stage.folder / 'service.log'}")
            return False
        except httpx.HTTPError as error:
            view.say(f"The service did not answer as it should: {error}. Its log is {stage.folder / 'service.log'}")
            return False
        report = stage.folder / "report.md"
        answer = await stage.http.get(f"/v1/incidents/{incident['id']}/report")
        report.write_text(answer.text)
        view.epilogue(stage.service.url, incident["id"], report, stage.folder / "service.log", serving=not once)
        if not once:
            await _until_interrupted()
        return bool(incident["status"] == "resolved")


async def _set_up(stack: AsyncExitStack, port: int, view: DemoView) -> _Stage:
    import httpx

    from responder.sandbox.cluster import SandboxCluster
    from responder.sandbox.shop import NAME, NAMESPACE, Shop
    from responder.sandbox.slack_catcher import SlackCatcher
    from responder.sandbox.statuspage_catcher import StatuspageCatcher
    from responder.settings.environment import load_settings
    from responder.telemetry import set_up_logging
    from responder.wiring.clock import wall_clock
    from responder.wiring.serving import serving

    folder = Path(tempfile.mkdtemp(prefix="responder-demo-"))
    log = stack.enter_context((folder / "service.log").open("w"))
    cluster = await stack.enter_async_context(SandboxCluster(start_delay=0.8))
    slack = await stack.enter_async_context(SlackCatcher(clock=wall_clock))
    statuspage = await stack.enter_async_context(StatuspageCatcher({"cmp_checkout": "Checkout"}, clock=wall_clock))
    shop = await stack.enter_async_context(Shop(lambda: _image_of(cluster.deployment(NAMESPACE, NAME))))
    cluster.write_kubeconfig(folder / "kubeconfig")
    (folder / "rules.yaml").write_text(_rulebook(shop.health_url))
    settings = load_settings(
        {
            "RESPONDER_PORT": str(_free(port)),
            "RESPONDER_RULES": str(folder / "rules.yaml"),
            "RESPONDER_DATABASE_URL": f"sqlite:///{folder / 'responder.db'}",
            "RESPONDER_SLACK_WEBHOOK_URL": slack.url,
            "RESPONDER_STATUSPAGE_API_KEY": statuspage.api_key,
            "RESPONDER_STATUSPAGE_PAGE_ID": statuspage.page_id,
            "RESPONDER_STATUSPAGE_URL": statuspage.url,
        }
    )
    set_up_logging(settings.log_format, settings.secrets(), stream=log)
    service = await stack.enter_async_context(serving(settings, kubeconfig=str(folder / "kubeconfig")))
    http = await stack.enter_async_context(httpx.AsyncClient(base_url=service.url, trust_env=False))
    view.prologue(service.url, cluster.url, folder)
    return _Stage(cluster, slack, statuspage, shop, service, http, folder)


def _rulebook(health_url: str) -> str:
    return files("responder.sandbox").joinpath("demo.yaml").read_text().replace("__HEALTH__", health_url)


def _free(port: int) -> int:
    """The port, or 0 (any) when something else listens there."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return 0
    return port


def _image_of(deployment: Mapping[str, Any] | None) -> str | None:
    return str(deployment["spec"]["template"]["spec"]["containers"][0]["image"]) if deployment else None


async def _tell(stage: _Stage, view: DemoView) -> dict[str, Any]:
    """The story; returns the closed incident."""
    from responder.sandbox.shop import BAD, GOOD, NAME, NAMESPACE
    from responder.wiring.clock import wall_clock

    view.say(f"A pipeline deploys {GOOD} to {NAMESPACE}/{NAME} …")
    await stage.cluster.deploy(NAMESPACE, NAME, GOOD, replicas=3, change_cause="release 1.4.1")
    await stage.cluster.wait_available(NAMESPACE, NAME)
    view.say("… and it runs well for a while, so that the ledger knows it as proven.")
    await _until_proven(stage)
    view.say(f"Then comes {BAD}: requests fail. Prometheus sees it, both Alertmanagers send their webhooks.")
    await stage.cluster.deploy(NAMESPACE, NAME, BAD, change_cause="release 1.4.2")
    await asyncio.sleep(1.2)  # an alert never begins in the very second of the deploy
    began = wall_clock()
    await _post(stage, "firing", began, None)
    resolved = False
    with view.live() as show:
        while True:
            picture = await _look(stage)
            show(picture)
            if stage.shop.is_healthy and not resolved and picture.is_acting:
                await _post(stage, "resolved", began, wall_clock())
                resolved = True
            if picture.incident is not None and picture.incident["closed_at"]:
                break
            await asyncio.sleep(_LOOK_EVERY)
        await _until_told(stage)
        show(await _look(stage))
    return dict(picture.incident)


async def _until_proven(stage: _Stage) -> None:
    from datetime import timedelta

    from responder.domain.ledger import best_stretch

    async def is_proven() -> bool:
        key = stage.service.rulebook.targets["checkout"].key
        stretch = best_stretch(await stage.service.database.ledger.entries(key))
        return stretch is not None and stretch >= timedelta(seconds=2)

    await _until(is_proven)


async def _until_told(stage: _Stage) -> None:
    async def is_told() -> bool:
        return await stage.service.database.outbox.pending() == 0

    await _until(is_told)


async def _until(holds: Callable[[], Awaitable[bool]]) -> None:
    while not await holds():  # noqa: ASYNC110 - what is waited for happens in the database, not in an event
        await asyncio.sleep(_LOOK_EVERY)


async def _post(stage: _Stage, status: str, began: datetime, ended: datetime | None) -> None:
    from responder.sandbox.shop import webhooks

    for body in webhooks(status, began, ended):
        answer = await stage.http.post("/webhooks/alertmanager", json=body)
        answer.raise_for_status()


async def _look(stage: _Stage) -> Picture:
    """What the API says now."""
    from responder.wiring.clock import wall_clock

    rules = [row for row in (await stage.http.get("/v1/rules")).json()["rules"] if row["state"] != "inactive"]
    listed = (await stage.http.get("/v1/incidents", params={"limit": 1})).json()["incidents"]
    incident = (await stage.http.get(f"/v1/incidents/{listed[0]['id']}")).json()["incident"] if listed else None
    deployment = stage.cluster.deployment("shop", "checkout")
    told = [str(one.payload["text"]).partition("\n")[0] for one in stage.slack.messages]
    page = [f"{one['name']}: {one['status']}" for one in stage.statuspage.incidents]
    return Picture(wall_clock(), rules, incident, deployment, stage.shop.is_healthy, told, page)


async def _until_interrupted() -> None:
    interrupted = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(name, interrupted.set)
    await interrupted.wait()
