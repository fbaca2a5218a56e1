"""The main job, end to end, on real parts: from a metric that goes bad to an incident that is resolved.

Debian's Prometheus scrapes the application and alerts; a pair of Alertmanagers sends the webhooks; `responder serve` runs as a
process of its own, with the rights of deploy/target/role.yaml and no others, against a genuine API server and controllers.
"""

from __future__ import annotations

import re
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from responder.sandbox.catchers import SlackCatcher, StatuspageCatcher
from tests.harness.alertmanager import AlertmanagerPair
from tests.harness.application import Application
from tests.harness.cluster import GenuineCluster, shared_folder
from tests.harness.prometheus import Prometheus
from tests.harness.service import VIEWER_TOKEN, WEBHOOK_TOKEN, Json, ResponderService
from tests.harness.stage import BAD, COMPONENT, DEPLOYMENT, GOOD, MOMENTS, RULES, message_id, messengers, moment_of
from tests.harness.timeline import TemplateHistory, Timeline, replica_set_of, revision_of

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(300)]

ROLE = Path(__file__).parents[2] / "deploy" / "target" / "role.yaml"


def alert_rule(namespace: str) -> dict[str, Any]:
    """As in deploy/prometheus: fires at once, since the rulebook keeps the durations; the value travels as an annotation."""
    return {
        "alert": "HighErrorRate",
        "expr": "error_ratio > 0.05",
        "labels": {"namespace": namespace, "deployment": DEPLOYMENT, "environment": "production"},
        "annotations": {"value": "{{ $value }}", "summary": "{{ $value | humanizePercentage }} of requests fail"},
    }


async def least_rights(cluster: GenuineCluster, namespace: str, folder: Path) -> str:
    """KUBECONFIG of a service account with exactly the Role that an overlay gives Responder in the target's namespace."""
    role = next(one for one in yaml.safe_load_all(ROLE.read_text()) if one["kind"] == "Role")
    rights = [
        {**rule, "resourceNames": [DEPLOYMENT]} if rule.get("resourceNames") == ["set-by-the-overlay"] else rule
        for rule in role["rules"]
    ]
    assert rights != role["rules"], "the base Role names no object to be narrowed"
    return str(await cluster.limited_kubeconfig(namespace, rights, folder))


async def test_from_a_metric_going_bad_to_resolved(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    timeline = Timeline()
    async with GenuineCluster(shared_folder(tmp_path_factory)) as cluster:
        namespace = await cluster.new_namespace("shop")
        kubeconfig = await least_rights(cluster, namespace, tmp_path)
        await cluster.roll_out(namespace, DEPLOYMENT, GOOD, replicas=2)
        timeline.note(f"{GOOD} is deployed")
        async with (
            TemplateHistory(cluster, namespace, DEPLOYMENT) as history,
            Application(lambda: history.image, {GOOD: 0.002}) as application,
            SlackCatcher() as slack,
            StatuspageCatcher({COMPONENT: "Shop"}) as page,
            service_in(tmp_path, namespace, application, slack, page, kubeconfig) as service,
            AlertmanagerPair(
                tmp_path / "alertmanagers", webhook=f"{service.url}/webhooks/alertmanager", token_file=service.token_file
            ) as pair,
            Prometheus(
                tmp_path / "prometheus", page=application.url, alert=alert_rule(namespace), alertmanagers=pair.urls
            ) as prometheus,
        ):
            timeline.sources += [service.tail, pair.tail, prometheus.tail]
            try:
                await the_main_job(timeline, cluster, namespace, history, application, slack, page, service, pair, prometheus)
            except BaseException as error:
                error.add_note(timeline.story())
                raise


def service_in(
    folder: Path, namespace: str, application: Application, slack: SlackCatcher, page: StatuspageCatcher, kubeconfig: str
) -> ResponderService:
    health = f"{application.url}/health/ready"
    rules = RULES.format(namespace=namespace, component=COMPONENT, health=health, hold="6s", watch="2s", proven_for="1s")
    return ResponderService(folder / "service", rules, {"KUBECONFIG": kubeconfig, **messengers(slack, page)})


async def the_main_job(
    timeline: Timeline,
    cluster: GenuineCluster,
    namespace: str,
    history: TemplateHistory,
    application: Application,
    slack: SlackCatcher,
    page: StatuspageCatcher,
    service: ResponderService,
    pair: AlertmanagerPair,
    prometheus: Prometheus,
) -> None:
    async def told() -> list[str]:
        return [moment_of(one.payload) for one in slack.messages]

    async def shown() -> list[str]:
        return [str(update["status"]) for one in page.incidents for update in reversed(one["incident_updates"])]

    async def incident() -> Json:
        found = await service.incidents()
        return found[0] if found else {"status": ""}

    # Everything is up, and all is well.
    await timeline.until("the Alertmanagers are a pair", pair.peers, lambda peers: peers == [2, 2])
    await timeline.until("Prometheus knows both", prometheus.alertmanagers, lambda known: len(known) == 2)
    await timeline.until("Prometheus sees the metric", lambda: prometheus.value("error_ratio"), lambda ratio: ratio == 0.002)
    scrapes = application.scrapes

    async def scraped_on() -> bool:
        return application.scrapes >= scrapes + 3  # one a second

    await timeline.until(f"{GOOD} has run for longer than `proven_for`", scraped_on)
    assert await service.incidents() == []

    # A bad version comes: it starts well, and its requests fail.
    application.error_ratios[BAD] = 0.12
    await cluster.deploy(namespace, DEPLOYMENT, image=BAD)
    bad = await cluster.wait_available(namespace, DEPLOYMENT)
    timeline.note(f"{BAD} is deployed")
    await timeline.until("Prometheus sees the error rate", lambda: prometheus.value("error_ratio"), lambda ratio: ratio == 0.12)
    await timeline.until("Prometheus fires", prometheus.alerts, lambda alerts: any(one["state"] == "firing" for one in alerts))

    # The rule holds the alert for its duration, for all to see.
    async def waiting_rules() -> list[dict[str, Any]]:
        return [one for one in await service.rules() if one["state"] == "pending"]

    (waiting,) = await timeline.until("the rule is pending", waiting_rules, bool)
    assert (waiting["rule"], waiting["target"], waiting["values"]) == ("error_rate_spike", "app", [0.12])
    held = datetime.fromisoformat(waiting["due_at"]) - datetime.fromisoformat(waiting["since"])
    assert held.total_seconds() == 6
    assert history.images == [GOOD, BAD], "acted before the duration was over"
    await timeline.until("both Alertmanagers have delivered", pair.delivered, lambda counts: min(counts) >= 1)

    # It acts: the pinned revision is back, by one change and nothing else.
    opened = await timeline.until("an incident is open", incident, lambda one: one["status"] != "")
    assert (opened["target"], opened["rule"], opened["severity"]) == ("app", "error_rate_spike", "P1")
    await timeline.until("Slack was told that it acts", told, lambda moments: moments[:2] == ["opened", "acting"])

    async def images() -> list[str]:
        return history.images

    await timeline.until(f"{GOOD} is asked for again", images, lambda seen: seen == [GOOD, BAD, GOOD])
    restored = await cluster.wait_available(namespace, DEPLOYMENT)
    timeline.note(f"{GOOD} is fully available again")
    await timeline.until("the metric is good again", lambda: prometheus.value("error_ratio"), lambda ratio: ratio == 0.002)
    await timeline.until("verified, and watching", incident, lambda one: one["status"] in ("monitoring", "resolved"))

    # The alert clears, and the incident with it.
    await timeline.until("Prometheus is calm", prometheus.alerts, lambda alerts: alerts == [])
    closed = await timeline.until("the incident is closed", incident, lambda one: one["closed_at"])
    assert closed["status"] == "resolved", closed["reason"]
    await timeline.until("both Alertmanagers have delivered the end", pair.delivered, lambda counts: min(counts) >= 2)
    await timeline.until("Slack was told everything", told, lambda moments: "resolved" in moments)
    await timeline.until("the status page says resolved", shown, lambda statuses: "resolved" in statuses)

    # One change of the template, and one only.
    history.check()
    assert history.images == [GOOD, BAD, GOOD]
    now = await cluster.get(namespace, DEPLOYMENT)
    assert now["metadata"]["generation"] == restored["metadata"]["generation"] == bad["metadata"]["generation"] + 1
    replica_sets = await cluster.replica_sets(namespace)
    assert len(replica_sets) == 2, "the old ReplicaSet was not used again"
    assert revision_of(replica_set_of(replica_sets, BAD)) == 2
    assert revision_of(replica_set_of(replica_sets, GOOD)) == revision_of(now) == 3

    # One incident, and everybody knows the same story.
    (only,) = await service.incidents()
    whole = await service.incident(only["id"])
    assert (whole["pinned"]["from"]["version"], whole["pinned"]["to"]["version"]) == ("v2", "v1")
    assert (whole["pinned"]["from"]["revision"], whole["pinned"]["to"]["revision"]) == ("2", "1")
    assert [(step["phase"], step["status"]) for step in whole["steps"]] == [("steps", "succeeded"), ("verify", "succeeded")]
    kinds = [event["kind"] for event in whole["events"]]
    story = ["opened", "guards", "pinned", "acting", "step_succeeded", "recovered", "resolved"]
    assert [kind for kind in dict.fromkeys(kinds) if kind in story] == story
    assert await told() == MOMENTS
    assert [message_id(one.payload) for one in slack.messages] == [f"{only['id']}-{number}" for number in (1, 2, 3, 4)]
    assert [one["metadata"]["responder"]["incident"] for one in page.incidents] == [only["id"]]
    assert await shown() == ["investigating", "identified", "monitoring", "resolved"]
    assert page.components[COMPONENT]["status"] == "operational"

    # Both replicas' webhooks were taken, none was refused, and the second one's changed nothing.
    assert await pair.failed() == [0, 0]
    assert await service.metric("responder_intake_accepted_total", source="alertmanager") >= 4
    check_report(await service.report(only["id"]), whole)
    for secret in (WEBHOOK_TOKEN, VIEWER_TOKEN, page.api_key, slack.url.removeprefix(slack.base_url)):
        assert secret not in service.log

    # Told to stop, it stops.
    assert await service.stop() == 0


def check_report(report: str, incident: Json) -> None:
    """The report tells versions, timeline, steps and impact with the times that the API has."""
    assert report.startswith("# ")
    assert incident["id"] in report
    assert re.search(r"v2\b.*\bv1\b", report, re.DOTALL), "from and to are missing"
    for moment in ("began_at", "opened_at", "acted_at", "recovered_at", "closed_at"):
        second = datetime.fromisoformat(incident[moment]).strftime("%H:%M:%S")
        assert second in report, f"{moment} is missing"
    for event in incident["events"]:
        if event["kind"] in ("opened", "acting", "recovered", "resolved"):
            assert event["at"][11:19] in report
    for step in incident["steps"]:
        assert step["name"] in report
    for heading in ("Timeline", "Impact", "Follow-up"):
        assert re.search(rf"^##+ .*{heading}", report, re.MULTILINE | re.IGNORECASE), f"no section {heading}"
