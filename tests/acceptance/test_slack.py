"""The whole conversation in Slack: the real process, a workspace that takes what slack_sdk's models take, a simulated cluster."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from responder.sandbox.catchers import Fault, SlackCatcher
from responder.sandbox.cluster import SandboxCluster
from responder.sandbox.slack_workspace import BOT_TOKEN, CHANNEL_NAME, Post
from tests.acceptance.test_people import Scene
from tests.harness.cluster import Cluster
from tests.harness.kubernetes_proxy import Forward, KubernetesProxy, Request, pass_on
from tests.harness.service import ResponderService
from tests.harness.slack import SIGNING_SECRET, SlackHands, block_kit_problem
from tests.harness.warm_start import WarmStart

pytestmark = pytest.mark.acceptance

ANN, VIC, STRANGER = "U0ANN", "U0VIC", "U0STRANGER"
PEOPLE = "- {name: ann, role: responder, slack: U0ANN}\n- {name: vic, role: viewer, slack: U0VIC}\n"
RULES = """\
version: 1
targets:
  app:
    kubernetes: {{namespace: {namespace}, deployment: app}}
    match: ['namespace="{namespace}"', 'deployment="app"']
    mode: armed
    guards: {{proven_for: 0s, max_rollbacks: 10 per 24h}}
rules:
  - {{name: errors, match: ['alertname="Errors"'], severity: P1, respond: approve, approve: {{by: responder}}, plan: back}}
  - {{name: slow, match: ['alertname="Slow"'], severity: P2, respond: rollback, grace: 10m, plan: back}}
  - {{name: lost, match: ['alertname="Lost"'], severity: P2, respond: approve, plan: waits}}
plans:
  back:
    steps: [rollback]
    monitor: {{for: 0s, every: 100ms}}
  waits:
    steps:
      - rollback
      - {{uses: sleep, with: {{for: 10m}}}}
    monitor: {{for: 0s, every: 100ms}}
"""


@dataclass
class Conversation(Scene):
    slack: SlackCatcher
    people: SlackHands
    people_file: Path
    kubernetes: KubernetesProxy

    async def post(self, holds: Callable[[Post], bool] = lambda _: True) -> Post:
        """Wait until the newest incident's message is there and something holds of it."""

        def newest() -> Post | None:
            return next(reversed(self.posts()), None)

        await self.slack.until(lambda: (post := newest()) is not None and holds(post), timedelta(seconds=30))
        found = newest()
        assert found is not None
        return found

    def posts(self, kind: str = "inc_") -> list[Post]:
        """First messages of incidents, or with `note_` of what concerns none; in order."""
        every = self.slack.workspace.posts.values()
        return [post for post in every if post.payload["metadata"]["event_payload"]["incident"].startswith(kind)]

    async def with_buttons(self, *labels: str) -> Post:
        return await self.post(lambda post: tuple(post.buttons) == labels)

    async def press(self, post: Post, label: str, user: str = ANN) -> str:
        """The name of the response_url; Slack is answered with an empty 200 in any case."""
        answer, name = await self.people.press(post, label, user)
        assert (answer.status_code, answer.content) == (200, b"")
        return name

    async def told(self, name: str) -> str:
        """What the one who pressed is told, and nobody else."""
        answers = self.slack.workspace.answers
        await self.slack.until(lambda: bool(answers.get(name)))
        assert answers[name][0]["response_type"] == "ephemeral"
        return str(answers[name][0]["text"])

    async def said(self, post: Post, text: str) -> None:
        """Wait until it stands in the thread."""
        await self.slack.until(lambda: any(text in str(reply["blocks"]) for reply in post.thread), timedelta(seconds=30))


@asynccontextmanager
async def conversation(folder: Path, warm: WarmStart) -> AsyncIterator[Conversation]:
    kubeconfig, people_file = folder / "kubeconfig", folder / "people.yaml"
    people_file.write_text(PEOPLE)
    async with (
        SlackCatcher(check=block_kit_problem) as slack,
        SandboxCluster(start_delay=0.02, stop_delay=0.02, backoff=0.5) as sandbox,
    ):
        sandbox.write_kubeconfig(kubeconfig)
        async with Cluster(kubeconfig) as cluster, KubernetesProxy(cluster) as kubernetes:
            namespace = await cluster.new_namespace()
            await cluster.roll_out(namespace, "app", "shop/app:v1", "shop/app:v2")
            environment = {
                "RESPONDER_TOKENS_FILE": str(people_file),
                "RESPONDER_SLACK_BOT_TOKEN": BOT_TOKEN,
                "RESPONDER_SLACK_CHANNEL": CHANNEL_NAME,
                "RESPONDER_SLACK_API_URL": slack.api_url,
                "RESPONDER_SLACK_SIGNING_SECRET": SIGNING_SECRET,
                "KUBECONFIG": str(kubernetes.write_kubeconfig(folder / "proxied-kubeconfig")),
            }
            async with ResponderService(
                folder / "service", RULES.format(namespace=namespace), environment, warm.program
            ) as service:
                hands = SlackHands(slack, service.http, lambda: datetime.now(UTC))
                began = datetime.now(UTC) + timedelta(seconds=1)
                yield Conversation(service, cluster, namespace, began, slack, hands, people_file, kubernetes)
                assert BOT_TOKEN not in service.log
                assert SIGNING_SECRET not in service.log


async def test_a_yes_in_slack_rolls_back_and_the_message_follows_it_to_its_end(tmp_path: Path, warm: WarmStart) -> None:
    async with conversation(tmp_path, warm) as on:
        await on.alert("Errors")
        post = await on.with_buttons("Approve", "Reject", "Acknowledge", "Suppress 1 h", "Hold")
        assert "Waits for the yes of responder until" in str(post.payload["blocks"])
        await on.slack.until(lambda: any("reply_broadcast" in reply for reply in post.thread))

        for user, why in ((VIC, "a viewer may not do that"), (STRANGER, "nobody has named this user")):
            assert why in await on.told(await on.press(post, "Approve", user))
        assert await on.image() == "shop/app:v2"

        stale = dict(post.buttons)
        await on.press(post, "Acknowledge")
        await on.said(post, "Acknowledged by ann")
        await on.with_buttons("Approve", "Reject", "Suppress 1 h", "Hold")
        await on.press(post, "Approve")
        await on.said(post, "Approved by ann")
        await on.newest("monitoring")
        await on.alert("Errors", "resolved")
        await on.newest("resolved")
        assert await on.image() == "shop/app:v1"
        await on.post(lambda one: not one.buttons and "Resolved" in str(one.payload["blocks"]))
        assert len(on.slack.workspace.posts) == 1

        post.payloads.append({**post.payload, "blocks": [{"type": "actions", "elements": [stale["Reject"]]}]})
        assert "Not done: it is closed: resolved" in await on.told(await on.press(post, "Reject"))


async def test_a_countdown_is_stopped_in_slack(tmp_path: Path, warm: WarmStart) -> None:
    async with conversation(tmp_path, warm) as on:
        await on.alert("Slow")
        post = await on.with_buttons("Stop countdown", "Acknowledge", "Suppress 1 h", "Hold")
        await on.press(post, "Stop countdown")
        await on.said(post, "Cancelled by ann")
        await on.newest("cancelled")
        await on.post(lambda one: not one.buttons)
        assert await on.image() == "shop/app:v2"


async def test_a_run_is_cancelled_in_slack_and_everything_held_by_button_and_let_go_by_command(
    tmp_path: Path, warm: WarmStart
) -> None:
    async with conversation(tmp_path, warm) as on:
        await on.alert("Lost")
        post = await on.with_buttons("Approve", "Reject", "Acknowledge", "Suppress 1 h", "Hold")
        await on.service.kill()
        await on.service.start()  # the message is known after a restart: no second one
        on.people.http = on.service.http
        await on.press(post, "Approve")
        await on.post(lambda one: "Running: sleep, 1 of 2 steps are done" in str(one.payload["blocks"]))
        name = await on.press(post, "Hold")
        assert "on hold by ann" in await on.told(name)
        post = await on.with_buttons("Cancel rollback", "Acknowledge", "Suppress 1 h")
        assert "everything is on hold by ann" in str(post.payload["blocks"])
        assert "on hold by ann" in (await on.people.say("status", VIC)).text
        assert "Nothing is on hold." in (await on.people.say("hold off", ANN)).text
        await on.with_buttons("Cancel rollback", "Acknowledge", "Suppress 1 h", "Hold")
        await on.press(post, "Cancel rollback")
        await on.said(post, "Cancelled by ann")
        await on.newest("cancelled")
        await on.post(lambda one: not one.buttons)
        assert len(on.posts()) == 1
        await on.slack.until(lambda: len(on.posts("note_")) == 2)
        held, over = on.posts("note_")
        assert "Everything is on hold" in str(held.payload["blocks"])
        assert "The hold is over" in str(over.payload["blocks"])


async def test_a_dead_slack_delays_no_rollback_and_hears_of_it_in_order_when_it_is_back(tmp_path: Path, warm: WarmStart) -> None:
    async with conversation(tmp_path, warm) as on:
        on.slack.fail(Fault(200, '{"ok": false, "error": "ratelimited"}', retry_after="1", times=2))
        answer = await on.people.say("rollback app checkout is broken", ANN)
        assert "the rollback of app is ordered" in answer.text
        await on.newest("monitoring")
        assert await on.image() == "shop/app:v1"
        post = await on.post(lambda one: "Monitoring" in str(one.payload["blocks"]))
        assert "ann ordered the rollback of app: checkout is broken" in str(post.payloads[0]["blocks"])


async def test_who_was_told_to_wait_is_told_the_end_also_after_a_kill(tmp_path: Path, warm: WarmStart) -> None:
    async with conversation(tmp_path, warm) as on:
        never = asyncio.Event()

        async def hang(_request: Request, forward: Forward) -> httpx.Response | None:
            await never.wait()
            return await forward()

        on.kubernetes.rule = hang
        assert "Not done yet, it takes longer than usual." in (await on.people.say("rollback app checkout is broken", ANN)).text
        await on.service.kill()
        on.kubernetes.rule = pass_on
        await on.service.start()
        assert "Your `rollback app` was cut off by a restart of Responder" in await on.told("say-1")
        assert await on.service.incidents() == []
        assert await on.image() == "shop/app:v2"
        await on.service.kill()
        await on.service.start()
        on.people.http = on.service.http
        assert "is ordered" in (await on.people.say("rollback app checkout is broken", ANN)).text
        await on.newest("monitoring")
        assert len(on.slack.workspace.answers["say-1"]) == 1


async def test_who_is_taken_off_the_list_may_no_longer_act_without_a_restart(tmp_path: Path, warm: WarmStart) -> None:
    async with conversation(tmp_path, warm) as on:
        assert "Nothing is on hold." in (await on.people.say("hold", VIC)).text
        on.people_file.write_text(PEOPLE.splitlines()[0] + "\n")
        async with asyncio.timeout(20):
            while "nobody has named this user" not in (await on.people.say("hold", VIC)).text:  # noqa: ASYNC110 - no event tells
                await asyncio.sleep(0.2)
