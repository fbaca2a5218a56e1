"""All that surrounds one service, each neighbour behind a proxy: a cluster, the application, Slack, a status page; an alert."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from responder.sandbox.catchers import SlackCatcher, StatuspageCatcher
from tests.harness.alertmanager import webhook_body
from tests.harness.application import Application
from tests.harness.cluster import Cluster, Object, is_rolled_out
from tests.harness.gateway import Gateway
from tests.harness.kubernetes_proxy import KubernetesProxy
from tests.harness.service import Json, MakeProgram, ResponderService, serve
from tests.harness.timeline import TemplateHistory, Timeline, replica_set_of, revision_of

GOOD, BAD = "shop/app:v1", "shop/app:v2"
DEPLOYMENT = "app"
COMPONENT = "component-of-the-shop"
MOMENTS = ["opened", "acting", "recovered", "resolved"]
_MARKS = {"🚨": "opened", "⏪": "acting", "🟢": "recovered", "✅": "resolved", "❌": "failed", "🔔": "notice", "✋": "waiting"}

RULES = """
version: 1
targets:
  app:
    kubernetes: {{namespace: {namespace}, deployment: app}}
    match: ['namespace="{namespace}"', 'deployment="app"']
    mode: armed
    guards: {{deployed_within: 1h, proven_for: {proven_for}}}
notify:
  - slack
  - {{to: statuspage, severity: [P0, P1], components: {{app: {component}}}}}
rules:
  - name: error_rate_spike
    match: ['alertname="HighErrorRate"', 'environment="production"']
    when: {{value: {{above: 5%}}}}
    for: {hold}
    severity: P1
    respond: rollback
    plan: roll-back
  - name: for_information
    match: ['alertname="ForInformation"']
    by: mark
    severity: P3
    respond: notify
plans:
  roll-back:
    deadline: 2m
    steps:
      - uses: rollback
        timeout: 90s
        retry: {{attempts: 8, backoff: 100ms..1s}}
    verify:
      - uses: http.check
        with: {{url: "{health}", successes: 2, every: 100ms}}
        timeout: 60s
    monitor:
      for: {watch}
      every: 200ms
      settle: 2m
      checks:
        - uses: http.check
          with: {{url: "{health}", successes: 1}}
"""


@dataclass
class Stage:
    """namespace: of the test's own. began: when the alert began; set by `alert_fires`."""

    timeline: Timeline
    cluster: Cluster
    namespace: str
    history: TemplateHistory
    kubernetes: KubernetesProxy
    application: Application
    health: Gateway
    slack: SlackCatcher
    slack_gateway: Gateway
    statuspage: StatuspageCatcher
    statuspage_gateway: Gateway
    service: ResponderService
    generation: int = 0
    began: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def labels(self) -> dict[str, str]:
        return {"alertname": "HighErrorRate", "namespace": self.namespace, "deployment": DEPLOYMENT, "environment": "production"}

    async def deploy_bad(self) -> None:
        """The bad version, fully rolled out: it runs, and its requests fail."""
        await self.cluster.deploy(self.namespace, DEPLOYMENT, image=BAD)
        await self.cluster.wait_available(self.namespace, DEPLOYMENT)
        await self.timeline.until(f"{BAD} is deployed", self._image, lambda image: image == BAD)
        self.generation = int((await self.deployment())["metadata"]["generation"])

    async def deployment(self) -> Object:
        return await self.cluster.get(self.namespace, DEPLOYMENT)

    async def _image(self) -> str:
        return self.history.image

    # --- the alert -----------------------------------------------------------------------------------------------

    async def alert_fires(self) -> None:
        """The alert begins now; wait until it is accepted."""
        self.began = datetime.now(UTC)
        await self.post("firing")

    async def post(self, status: str, **changes: Any) -> None:
        """As Alertmanager does: until the service has taken it, however often it is away."""
        body = webhook_body(self.labels, status=status, **{"started": self.began, **changes})

        async def post() -> int:
            if not self.service.is_up:
                return 0
            return (await self.service.post_alerts(body)).status_code

        await self.timeline.until(f"the webhook `{status}` is accepted", post, lambda code: code == 202)

    async def alert_clears_with_recovery(self) -> None:
        """Wait until the good version is back in full, then send `resolved`."""
        await self.timeline.until(
            f"{GOOD} is back in full", self.deployment, lambda one: is_rolled_out(one) and image_of(one) == GOOD
        )
        await self.post("resolved")

    # --- what came of it -----------------------------------------------------------------------------------------

    async def until_resolved(self) -> Json:
        """Wait until the one incident is resolved and everybody has been told; the incident with its events."""

        async def read() -> list[Json]:
            return await self.service.incidents() if self.service.is_up else []

        found = await self.timeline.until(
            "the incident is resolved", read, lambda all_of_them: bool(all_of_them) and bool(all_of_them[0]["closed_at"])
        )
        await self.timeline.until("Slack was told everything", self.slack_moments, lambda told: MOMENTS[-1] in told)
        await self.timeline.until("the status page says resolved", self.page_statuses, lambda seen: "resolved" in seen)
        return await self.service.incident(found[0]["id"])

    async def check_one_rollback(self) -> Json:
        """The end state that every story has, whatever happened on the way; returns the incident."""
        incident = await self.until_resolved()
        assert [one["id"] for one in await self.service.incidents()] == [incident["id"]], "more than one incident"
        assert incident["status"] == "resolved", incident
        self.history.check()
        assert self.history.images == [GOOD, BAD, GOOD], "not exactly one template change after the bad deploy"
        deployment = await self.deployment()
        assert deployment["metadata"]["generation"] == self.generation + 1
        replica_sets = await self.cluster.replica_sets(self.namespace)
        assert len(replica_sets) == 2, "the old ReplicaSet was not used again"
        assert revision_of(replica_set_of(replica_sets, GOOD)) == revision_of(replica_set_of(replica_sets, BAD)) + 1
        assert is_rolled_out(deployment)
        assert (incident["pinned"]["from"]["version"], incident["pinned"]["to"]["version"]) == ("v2", "v1")
        self.check_slack(incident["id"])
        self.check_statuspage(incident["id"])
        return incident

    def check_slack(self, incident_id: str) -> None:
        """Each message at least once; a repeated one is the same message, recognisable by its id; in order."""
        told = [(message_id(one.payload), moment_of(one.payload)) for one in self.slack.messages]
        wanted = [(f"{incident_id}-{number}", moment) for number, moment in enumerate(MOMENTS, start=1)]
        assert list(dict.fromkeys(told)) == wanted
        assert told == sorted(told, key=wanted.index), "a message came after its successor"

    def check_statuspage(self, incident_id: str) -> None:
        assert len(self.statuspage.incidents) == 1, "the status page shows the incident more than once"
        (shown,) = self.statuspage.incidents
        assert shown["metadata"]["responder"]["incident"] == incident_id
        updates = [update["status"] for update in reversed(shown["incident_updates"])]
        assert updates == ["investigating", "identified", "monitoring", "resolved"]
        assert self.statuspage.components[COMPONENT]["status"] == "operational"

    # --- for waits -----------------------------------------------------------------------------------------------

    async def slack_moments(self) -> list[str]:
        return [moment_of(one.payload) for one in self.slack.messages]

    async def page_statuses(self) -> list[str]:
        return [str(one["status"]) for one in self.statuspage.incidents]


@asynccontextmanager
async def set_up(
    cluster: Cluster,
    folder: Path,
    *,
    hold: str = "300ms",
    watch: str = "300ms",
    proven_for: str = "0s",
    make: MakeProgram = serve,
    settings: Mapping[str, str] | None = None,
) -> AsyncIterator[Stage]:
    """The good version and, as the service begins, the bad one are deployed. The service is not started yet.

    hold: the rule's `for`. watch: how long the plan watches afterwards. make: how the service's process comes about.
    settings: further ones of the service.
    """
    timeline = Timeline()
    namespace = await cluster.new_namespace()
    await cluster.roll_out(namespace, DEPLOYMENT, GOOD, replicas=2)
    async with AsyncExitStack() as stack:
        history = await stack.enter_async_context(TemplateHistory(cluster, namespace, DEPLOYMENT))
        kubernetes = await stack.enter_async_context(KubernetesProxy(cluster))
        application = await stack.enter_async_context(Application(lambda: history.image, {GOOD: 0.002, BAD: 0.12}))
        health = await stack.enter_async_context(Gateway(application.url))
        slack = await stack.enter_async_context(SlackCatcher())
        slack_gateway = await stack.enter_async_context(Gateway(slack.base_url))
        page = await stack.enter_async_context(StatuspageCatcher({COMPONENT: "Shop"}))
        page_gateway = await stack.enter_async_context(Gateway(page.base_url))
        rules = RULES.format(
            namespace=namespace,
            component=COMPONENT,
            health=f"{health.url}/health/ready",
            hold=hold,
            watch=watch,
            proven_for=proven_for,
        )
        environment = {
            "KUBECONFIG": str(kubernetes.write_kubeconfig(folder / "kubeconfig")),
            **messengers(slack, page, slack_root=slack_gateway.url, page_root=page_gateway.url),
            **(settings or {}),
        }
        service = ResponderService(folder / "service", rules, environment, make)
        timeline.sources.append(service.tail)
        stack.push_async_callback(service.__aexit__)
        stage = Stage(
            timeline=timeline,
            cluster=cluster,
            namespace=namespace,
            history=history,
            kubernetes=kubernetes,
            application=application,
            health=health,
            slack=slack,
            slack_gateway=slack_gateway,
            statuspage=page,
            statuspage_gateway=page_gateway,
            service=service,
        )
        await stage.deploy_bad()
        try:
            yield stage
        except BaseException as error:
            error.add_note(timeline.story())
            raise


def messengers(slack: SlackCatcher, page: StatuspageCatcher, *, slack_root: str = "", page_root: str = "") -> dict[str, str]:
    """The settings that lead to the catchers. The roots are those of proxies, "" for none."""
    return {
        "RESPONDER_SLACK_WEBHOOK_URL": slack.url.replace(slack.base_url, slack_root or slack.base_url),
        "RESPONDER_STATUSPAGE_API_KEY": page.api_key,
        "RESPONDER_STATUSPAGE_PAGE_ID": page.page_id,
        "RESPONDER_STATUSPAGE_URL": page.url.replace(page.base_url, page_root or page.base_url),
    }


def message_id(payload: Mapping[str, Any]) -> str:
    """Our own id in the last line of a Slack message, which is what tells a repetition from news."""
    found = re.search(r"message (inc_[0-9a-z]+-\d+)", payload["blocks"][-1]["elements"][0]["text"])
    assert found, payload
    return found[1]


def moment_of(payload: Mapping[str, Any]) -> str:
    return _MARKS[str(payload["text"])[0]]


def image_of(deployment: Object) -> str:
    """The image that it is asked to run."""
    return str(deployment["spec"]["template"]["spec"]["containers"][0]["image"])
